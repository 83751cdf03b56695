//! How a request was diverted from its first choice: which better targets it passed over without an
//! attempt, for which reasons, and whether the model of the first choice answered.
//!
//! The names here are labels of metrics and members of the access log. They are a fixed list, whatever
//! the config and the requests are.

use std::fmt;
use std::sync::Arc;

use crate::bedrock::Features;

/// Most targets that the record of a request lists as passed over.
const MAX_LISTED: usize = 16;

/// Why a request passed over a target without an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedOverReason {
    /// Its quota has no room now.
    NoQuota,
    /// A quota of the day has no room.
    NoDailyQuota,
    /// Others wait ahead for its quota.
    Queue,
    /// It cools down.
    Cooling,
    /// Another request probes it.
    Probing,
    /// An operator has taken it out.
    Drained,
    /// It is known to deny the operation.
    Denied,
    /// Its quota has no room now, and the request is larger than its whole quota.
    Oversized,
    /// Its model lacks a feature that the request uses.
    Feature(Features),
    /// It does not take the beta flag that a member of the request needs.
    BetaFlag,
    /// The body has the schema of another model family.
    Schema,
    /// The request can't be translated for its model.
    Translation,
    /// It does not serve the API, or its endpoint takes no guardrail and the request has one.
    Surface,
    /// The policy of the client does not allow it.
    Policy,
    /// The client has a budget, and the target has no price.
    Unpriced,
}

impl PassedOverReason {
    /// The names of missing features. Those that the config can't name have names of their own.
    const FEATURES: [(Features, &'static str); 13] = [
        (Features::VISION, "feature:images"),
        (Features::DOCUMENTS, "feature:documents"),
        (Features::VIDEO, "feature:video"),
        (Features::AUDIO, "feature:audio"),
        (Features::TOOLS, "feature:tools"),
        (Features::REASONING, "feature:thinking"),
        (Features::PROMPT_CACHING, "feature:prompt_caching"),
        (Features::STRUCTURED_OUTPUT, "feature:structured_output"),
        (Features::EFFORT, "feature:effort"),
        (Features::WEB_SEARCH, "feature:web_search"),
        (Features::SERVER_TOOLS, "feature:server_tools"),
        (Features::BACKGROUND, "feature:background"),
        (Features::OUTPUT_CONFIG_FORMAT, "feature:output_config_format"),
    ];

    /// The label in metrics and logs. Of several missing features it names the first.
    pub fn name(self) -> &'static str {
        match self {
            PassedOverReason::NoQuota => "no_quota",
            PassedOverReason::NoDailyQuota => "no_daily_quota",
            PassedOverReason::Queue => "queue",
            PassedOverReason::Cooling => "cooling",
            PassedOverReason::Probing => "probing",
            PassedOverReason::Drained => "drained",
            PassedOverReason::Denied => "denied",
            PassedOverReason::Oversized => "oversized",
            PassedOverReason::Feature(missing) => {
                let mut all = Self::FEATURES.into_iter();
                all.find(|(feature, _)| missing.contains(*feature)).map_or("feature", |it| it.1)
            }
            PassedOverReason::BetaFlag => "beta_flag",
            PassedOverReason::Schema => "schema",
            PassedOverReason::Translation => "translation",
            PassedOverReason::Surface => "surface",
            PassedOverReason::Policy => "policy",
            PassedOverReason::Unpriced => "unpriced",
        }
    }
}

/// A target that was passed over.
#[derive(Clone, Debug)]
pub struct PassedOver {
    /// Its name.
    pub target: Arc<str>,
    /// Why.
    pub reason: PassedOverReason,
}

/// The targets that a request has passed over, best first. Only the first few are listed.
#[derive(Clone, Debug, Default)]
pub struct PassedOverTargets {
    listed: Vec<PassedOver>,
    more: usize,
}

impl PassedOverTargets {
    /// Adds a target that ranks below those that are here.
    pub fn push(&mut self, target: &Arc<str>, reason: PassedOverReason) {
        if self.listed.len() < MAX_LISTED {
            self.listed.push(PassedOver { target: Arc::clone(target), reason });
        } else {
            self.more += 1;
        }
    }

    /// Forgets this target, if it is listed, and those that rank below it.
    pub fn end_before(&mut self, target: &str) {
        if let Some(place) = self.listed.iter().position(|it| *it.target == *target) {
            self.listed.truncate(place);
            self.more = 0;
        }
    }

    /// Those that are listed.
    pub fn listed(&self) -> &[PassedOver] {
        &self.listed
    }

    /// The number of the others.
    pub fn more(&self) -> usize {
        self.more
    }

    /// The best of them.
    pub fn first(&self) -> Option<&PassedOver> {
        self.listed.first()
    }
}

/// For people: `a no_quota, b cooling and 3 more`.
impl fmt::Display for PassedOverTargets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, PassedOver { target, reason }) in self.listed.iter().enumerate() {
            let before = if number > 0 { ", " } else { "" };
            write!(f, "{before}{target} {}", reason.name())?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Whose answer a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// That of the requested model, or of the model that the config puts first in its place, in
    /// whatever region or account.
    First,
    /// That of another model.
    Other,
}

impl Choice {
    /// The label in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Choice::First => "first",
            Choice::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind.
    fn reasons() -> Vec<PassedOverReason> {
        use PassedOverReason as Reason;
        let features = Features::NAMES.map(|(_, feature)| Reason::Feature(feature));
        let unnamed = [Features::STRUCTURED_OUTPUT, Features::EFFORT].map(Reason::Feature);
        let others = [
            Reason::NoQuota,
            Reason::NoDailyQuota,
            Reason::Queue,
            Reason::Cooling,
            Reason::Probing,
            Reason::Drained,
            Reason::Denied,
            Reason::Oversized,
            Reason::Schema,
            Reason::Translation,
            Reason::Surface,
            Reason::Policy,
            Reason::Unpriced,
        ];
        others.into_iter().chain(features).chain(unnamed).collect()
    }

    #[test]
    fn a_missing_feature_has_the_name_that_the_config_gives_it() {
        for (name, feature) in Features::NAMES {
            let reason = PassedOverReason::Feature(feature);
            assert_eq!(reason.name(), format!("feature:{name}"));
        }
        let both = [Features::TOOLS, Features::VISION].into_iter().collect();
        assert_eq!(PassedOverReason::Feature(both).name(), "feature:images");
    }

    #[test]
    fn the_page_on_fallback_has_every_reason() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fallback.md");
        let page = std::fs::read_to_string(page).unwrap();
        let mut names = std::collections::HashSet::new();
        for reason in reasons() {
            assert!(page.contains(&format!("`{}`", reason.name())), "{}", reason.name());
            assert!(names.insert(reason.name()), "{}", reason.name());
        }
    }

    #[test]
    fn a_long_list_is_cut_and_says_how_many_more_there_are() {
        let mut targets = PassedOverTargets::default();
        assert_eq!(targets.to_string(), "");
        for number in 0..MAX_LISTED + 3 {
            targets.push(&format!("t{number}").into(), PassedOverReason::Cooling);
        }
        assert_eq!((targets.listed().len(), targets.more()), (MAX_LISTED, 3));
        let text = targets.to_string();
        assert!(text.starts_with("t0 cooling, t1 cooling, "), "{text}");
        assert!(text.ends_with(", t15 cooling and 3 more"), "{text}");
        targets.end_before("t2");
        assert_eq!(targets.to_string(), "t0 cooling, t1 cooling");
    }
}
