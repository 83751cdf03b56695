//! Whether what the gateway depends on works, and what is wrong if it does not: for metrics and for the
//! status page.
//!
//! A problem is the text of an error that the process log has, too: it has no secret.

use std::collections::BTreeMap;
use std::fmt::Display;

use parking_lot::Mutex;
use prometheus::IntGaugeVec;

/// Most characters of a problem that are kept.
const MAX_PROBLEM: usize = 300;

/// The dependencies in use, by name.
#[derive(Debug)]
pub struct Dependencies {
    up: IntGaugeVec,
    /// Of those that are down.
    problems: Mutex<BTreeMap<String, String>>,
}

impl Dependencies {
    pub(super) fn new(up: IntGaugeVec) -> Dependencies {
        Dependencies { up, problems: Mutex::default() }
    }

    /// Notes that a dependency works.
    pub fn works(&self, name: &str) {
        self.set(name, true, None);
    }

    /// Notes that a dependency does not work, and why.
    pub fn fails(&self, name: &str, problem: impl Display) {
        let problem = problem.to_string().chars().take(MAX_PROBLEM).collect();
        self.set(name, false, Some(problem));
    }

    /// Notes that a dependency was not asked yet: it counts as down, without a problem.
    pub fn is_unchecked(&self, name: &str) {
        self.set(name, false, None);
    }

    fn set(&self, name: &str, is_up: bool, problem: Option<String>) {
        self.up.with_label_values(&[name]).set(i64::from(is_up));
        let mut problems = self.problems.lock();
        match problem {
            Some(problem) => drop(problems.insert(name.to_owned(), problem)),
            None => drop(problems.remove(name)),
        }
    }

    /// Ends the use of a dependency.
    pub fn forget(&self, name: &str) {
        self.problems.lock().remove(name);
        // Fails only if there is no sample.
        let _ = self.up.remove_label_values(&[name]);
    }

    /// The metric.
    pub fn gauges(&self) -> &IntGaugeVec {
        &self.up
    }

    /// What is wrong with a dependency; `None` if it works, or that is not known.
    pub fn problem(&self, name: &str) -> Option<String> {
        self.problems.lock().get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn a_problem_is_kept_within_bounds_until_the_dependency_works() {
        let metrics = Metrics::new();
        let dependencies = &metrics.dependencies;
        dependencies.is_unchecked("redis");
        assert_eq!(dependencies.problem("redis"), None);
        dependencies.fails("redis", "\u{e4}".repeat(MAX_PROBLEM + 1));
        assert_eq!(dependencies.problem("redis"), Some("\u{e4}".repeat(MAX_PROBLEM)));
        assert_eq!(dependencies.gauges().with_label_values(&["redis"]).get(), 0);
        dependencies.works("redis");
        assert_eq!(dependencies.problem("redis"), None);
        assert_eq!(dependencies.gauges().with_label_values(&["redis"]).get(), 1);
        dependencies.fails("redis", "it is gone");
        dependencies.forget("redis");
        assert_eq!(dependencies.problem("redis"), None);
        assert!(!metrics.encode().unwrap().contains("dependency=\"redis\""));
    }
}
