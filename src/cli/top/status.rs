//! What the gateway tells of itself; see `admin::status::snapshot`. An older gateway leaves fields out.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;

use crate::bedrock::Date;

/// The share from which a budget is near its end, or the queue nearly full.
const NEARLY: f64 = 0.8;

/// Most budgets of one kind that are named.
const MAX_NAMES: usize = 3;

/// From so many days before its end on, a model is one that retires soon.
const RETIRES_SOON: i64 = 90;

/// The state of a gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    /// Milliseconds since the Unix epoch.
    pub(super) now: u64,
    pub(super) version: String,
    pub(super) state: String,
    /// Seconds since the Unix epoch.
    pub(super) started: f64,
    pub(super) config: Config,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) targets: Vec<Target>,
    pub(super) queue: Queue,
    pub(super) in_flight: InFlight,
    pub(super) totals: Totals,
    pub(super) clients: Vec<Client>,
    /// The APIs that clients have used.
    pub(super) api_usage: Vec<ApiUsage>,
    /// The budgets that are near their end.
    pub(super) budgets: Vec<NearlySpent>,
    /// How many of them the gateway has left out.
    pub(super) budgets_left_out: LeftOut,
    pub(super) failures: Vec<Failure>,
    /// The outcomes that are no fault of the client.
    pub(super) failed_outcomes: Vec<String>,
    pub(super) history: Option<History>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    /// The last reload, if it was refused.
    pub(super) refused: Option<Refused>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refused {
    pub(super) message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) up: bool,
    pub(super) message: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) model: String,
    pub(super) region: String,
    pub(super) state: String,
    pub(super) cooldown_remaining: Option<f64>,
    pub(super) quota: Quota,
    pub(super) daily_quotas: Vec<DailyQuota>,
    pub(super) latency_ms: f64,
    pub(super) waiters: u64,
    /// The target at which the queue is counted, where that is another one.
    pub(super) shares_queue_of: Option<String>,
    /// The model that the config names, where another one answers in its place.
    pub(super) configured_model: Option<String>,
    /// The day on which that model ends, such as 2026-03-01.
    pub(super) retires_on: Option<String>,
    /// The model that answers from that day on.
    pub(super) replaced_by: Option<String>,
}

/// What is left of a quota of tokens a day.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DailyQuota {
    pub(super) tpd: Option<f64>,
    pub(super) available: Option<f64>,
}

impl DailyQuota {
    /// The share that is left.
    fn share(&self) -> f64 {
        let figures = self.available.zip(self.tpd);
        figures.map_or(1.0, |(available, tpd)| available / tpd.max(1.0))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Quota {
    /// The limits that count, configured or learned.
    pub(super) rpm: Option<f64>,
    pub(super) tpm: Option<f64>,
    pub(super) requests_available: Option<f64>,
    pub(super) tokens_available: Option<f64>,
    /// The part of the available quota that this replica holds, if replicas share the quota.
    pub(super) requests_held: Option<f64>,
    pub(super) tokens_held: Option<f64>,
    pub(super) in_flight: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Queue {
    pub(super) waiting: i64,
    pub(super) max_waiting: u64,
    /// Milliseconds that the oldest request has waited.
    pub(super) oldest_wait_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InFlight {
    pub(super) requests: u64,
    pub(super) max_requests: u64,
}

/// Counts since the start, or of one step.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    pub(super) answered: Option<f64>,
    /// Answers by the model that the request was first to go to.
    pub(super) first_choice: Option<f64>,
}

/// The use of a client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) requests_last_minute: Option<f64>,
    pub(super) tokens_last_minute: Option<f64>,
    pub(super) in_flight: Option<u64>,
    pub(super) waiting: Option<u64>,
    pub(super) budgets: Vec<Budget>,
    /// Since the start.
    pub(super) requests: f64,
    pub(super) failed: f64,
    pub(super) input: f64,
    pub(super) output: f64,
    pub(super) cache_read: f64,
    pub(super) cache_write: f64,
    pub(super) cost_usd: f64,
}

/// The use of an API, since the start.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiUsage {
    pub(super) api: String,
    pub(super) requests: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Budget {
    pub(super) period: String,
    /// The share that is spent.
    pub(super) used: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NearlySpent {
    pub(super) client: String,
    #[serde(flatten)]
    pub(super) budget: Budget,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LeftOut {
    pub(super) used_up: usize,
    pub(super) nearly_used_up: usize,
}

/// A request without a complete answer, as in the access log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    pub(super) time: String,
    pub(super) request_id: String,
    pub(super) client: String,
    pub(super) api: String,
    pub(super) operation: String,
    pub(super) requested_model: Option<String>,
    pub(super) status: u16,
    pub(super) outcome: String,
    pub(super) error: Option<String>,
    pub(super) message: Option<String>,
    pub(super) attempts: Vec<Attempt>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attempt {
    pub(super) target: String,
    pub(super) outcome: String,
}

/// The counts of the last hour, in steps; the oldest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    /// The length of one step, in seconds.
    pub(super) seconds: u64,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    pub(super) requests: f64,
    pub(super) failed: f64,
    pub(super) fallbacks: f64,
    pub(super) throttles: f64,
    /// The peak of the queue.
    pub(super) waiting: f64,
    #[serde(flatten)]
    pub(super) totals: Totals,
}

/// Requests without an answer that have the same status, outcome, error, client and model.
#[derive(Clone, Debug, Default)]
pub(super) struct FailureGroup {
    pub(super) count: usize,
    /// Whether these are failures that an operator should look into, and not errors of the client.
    pub(super) is_failed: bool,
    pub(super) newest: Failure,
}

impl Failure {
    /// The operation, after its API unless that is Bedrock's own; empty for a request that is none.
    pub(super) fn operation_with_api(&self) -> String {
        match (&*self.api, &*self.operation) {
            (_, "-") => String::new(),
            ("" | "bedrock", operation) => operation.to_owned(),
            (api, operation) => format!("{api} {operation}"),
        }
    }
}

impl Status {
    /// The failures in groups: what is no fault of a client first, then the newest.
    pub(super) fn failure_groups(&self) -> Vec<FailureGroup> {
        let mut groups: Vec<FailureGroup> = Vec::new();
        let mut places = HashMap::new();
        for failure in &self.failures {
            let Failure { status, outcome, error, client, requested_model, .. } = failure;
            let place = *places
                .entry((status, outcome, error, client, requested_model))
                .or_insert(groups.len());
            if let Some(group) = groups.get_mut(place) {
                group.count += 1;
                continue;
            }
            // An older gateway does not tell them apart.
            let is_failed =
                self.failed_outcomes.is_empty() || self.failed_outcomes.contains(outcome);
            groups.push(FailureGroup { count: 1, is_failed, newest: failure.clone() });
        }
        groups.sort_by_key(|group| !group.is_failed);
        groups
    }

    /// Whether clients have used another API than Bedrock's own.
    pub(super) fn has_several_apis(&self) -> bool {
        self.api_usage.iter().any(|it| !matches!(&*it.api, "bedrock" | "other"))
    }

    /// The share of the answers that came from the first choice, in the last minute or else since the
    /// start; `None` if there were none, or the gateway does not tell.
    pub(super) fn first_choice(&self) -> Option<f64> {
        let share = |answered: f64, first: f64| (answered > 0.0).then(|| first / answered);
        let minute = self.history.as_ref().and_then(|history| {
            let steps = history.last_minute();
            let answered = steps.iter().filter_map(|step| step.totals.answered).sum();
            share(answered, steps.iter().filter_map(|step| step.totals.first_choice).sum())
        });
        let Totals { answered, first_choice } = self.totals;
        minute.or_else(|| share(answered?, first_choice?))
    }

    /// What needs attention beside the states of the targets, a few words each.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(refused) = &self.config.refused {
            problems.push(format!("config not reloaded: {}", refused.message));
        }
        for Dependency { name, message, .. } in self.dependencies.iter().filter(|it| !it.up) {
            problems.push(match message {
                Some(message) => format!("{name} is down: {message}"),
                None => format!("{name} is down"),
            });
        }
        let Queue { waiting, max_waiting, .. } = self.queue;
        if max_waiting > 0 && waiting as f64 >= NEARLY * max_waiting as f64 {
            problems.push("the queue is nearly full".to_owned());
        }
        problems.extend(self.budget_problems());
        let today = Date::of(UNIX_EPOCH + Duration::from_millis(self.now));
        problems.extend(self.targets.iter().filter_map(|target| target.retirement(today)));
        problems
    }
}

impl Status {
    /// The budgets near their end, in one line a kind if they are many.
    fn budget_problems(&self) -> Vec<String> {
        let (used_up, nearly): (Vec<_>, Vec<_>) =
            self.budgets.iter().partition(|it| it.budget.used >= 1.0);
        let LeftOut { used_up: more_used_up, nearly_used_up: more_nearly } = self.budgets_left_out;
        let mut problems = Vec::new();
        for (budgets, left_out, what) in
            [(used_up, more_used_up, "used up"), (nearly, more_nearly, "nearly used up")]
        {
            if budgets.len() <= MAX_NAMES && left_out == 0 {
                problems.extend(budgets.into_iter().map(NearlySpent::problem));
                continue;
            }
            let names: Vec<&str> =
                budgets.iter().take(MAX_NAMES).map(|it| it.client.as_str()).collect();
            let count = budgets.len() + left_out;
            let names = format!("{} and {} more", names.join(", "), count - names.len());
            problems.push(format!("{count} budgets {what}: {names}"));
        }
        problems
    }
}

impl NearlySpent {
    fn problem(&self) -> String {
        let used = self.budget.used * 100.0;
        format!("{}: {used:.0} % of the {} budget used", self.client, self.budget.period)
    }
}

impl History {
    /// The steps of the last minute.
    pub(super) fn last_minute(&self) -> &[Step] {
        let count = usize::try_from(60 / self.seconds.max(1)).unwrap_or(1).max(1);
        self.steps.get(self.steps.len().saturating_sub(count)..).unwrap_or_default()
    }
}

impl Target {
    /// What becomes of the target's model, if it is retired or will be soon.
    fn retirement(&self, today: Date) -> Option<String> {
        let day = self.retires_on.as_deref()?;
        let left = today.days_until(Date::parse(day)?);
        let Target { name, model, configured_model, replaced_by, .. } = self;
        let model = configured_model.as_ref().unwrap_or(model);
        let then = match replaced_by {
            Some(successor) => format!("{successor} answers in its place"),
            None => "Bedrock refuses requests for it".to_owned(),
        };
        match left {
            ..=0 => Some(format!("{name}: {model} is retired since {day}; {then}")),
            1..=RETIRES_SOON => Some(format!("{name}: {model} retires on {day}; then {then}")),
            _ => None,
        }
    }

    /// Whether the target takes any traffic.
    pub(super) fn is_available(&self) -> bool {
        self.state == "available"
    }

    /// The available share of its quota, by the scarcer kind, 0 to 1.
    pub(super) fn available_share(&self) -> f64 {
        let share = |available: Option<f64>, limit: Option<f64>| match (available, limit) {
            (Some(available), Some(limit)) if limit > 0.0 => available / limit,
            _ => 1.0,
        };
        let quota = &self.quota;
        let daily = self.scarcest_day().map_or(1.0, DailyQuota::share);
        share(quota.requests_available, quota.rpm)
            .min(share(quota.tokens_available, quota.tpm))
            .min(daily)
    }

    /// The quota of tokens a day of which the smallest share is left.
    pub(super) fn scarcest_day(&self) -> Option<&DailyQuota> {
        self.daily_quotas.iter().min_by(|one, other| one.share().total_cmp(&other.share()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(outcome: &str, client: &str, time: &str) -> Failure {
        let text = str::to_owned;
        Failure {
            outcome: text(outcome),
            client: text(client),
            time: text(time),
            ..Failure::default()
        }
    }

    #[test]
    fn equal_failures_are_one_group_and_those_of_clients_come_last() {
        let status = Status {
            failures: vec![
                failure("client_error", "a", "4"),
                failure("throttled", "a", "3"),
                failure("throttled", "b", "2"),
                failure("throttled", "a", "1"),
            ],
            failed_outcomes: vec!["throttled".to_owned()],
            ..Status::default()
        };
        let groups = status.failure_groups();
        let seen: Vec<_> =
            groups.iter().map(|it| (it.newest.time.as_str(), it.count, it.is_failed)).collect();
        assert_eq!(seen, [("3", 2, true), ("2", 1, true), ("4", 1, false)]);
    }

    #[test]
    fn a_gateway_that_leaves_fields_out_is_understood() {
        let text = r#"{"state": "ready", "targets": [{"name": "a"}], "clients": [{"name": "b"}],
            "failures": [{"time": "t"}], "history": {"seconds": 10, "steps": [{"requests": 1}]}}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert_eq!(status.first_choice(), None);
        assert_eq!(status.problems(), [""; 0]);
        assert_eq!((status.failure_groups().len(), status.targets.len()), (1, 1));
    }

    #[test]
    fn the_share_of_the_first_choice_is_that_of_the_last_minute() {
        let step = |answered, first_choice| Step {
            totals: Totals { answered: Some(answered), first_choice: Some(first_choice) },
            ..Step::default()
        };
        let mut steps = vec![step(100.0, 0.0)];
        steps.extend((0..6).map(|_| step(10.0, 7.0)));
        let totals = Totals { answered: Some(10.0), first_choice: Some(4.0) };
        let mut status = Status { totals, ..Status::default() };
        assert_eq!(status.first_choice(), Some(0.4));
        status.history = Some(History { seconds: 10, steps });
        assert_eq!(status.first_choice(), Some(0.7));
    }

    #[test]
    fn a_model_is_named_when_it_retires_within_90_days() {
        let now = Duration::from_secs(1_764_374_400).as_millis(); // 2025-11-29
        let text = format!(
            r#"{{"now": {now}, "targets": [
            {{"name": "a", "model": "new", "configured_model": "old", "retires_on": "2025-11-29",
              "replaced_by": "new"}},
            {{"name": "b", "model": "m", "retires_on": "2026-02-27"}},
            {{"name": "c", "model": "m", "retires_on": "2026-02-28"}}]}}"#
        );
        let status: Status = serde_json::from_str(&text).unwrap();
        let wanted = [
            "a: old is retired since 2025-11-29; new answers in its place",
            "b: m retires on 2026-02-27; then Bedrock refuses requests for it",
        ];
        assert_eq!(status.problems(), wanted);
    }

    #[test]
    fn many_budgets_share_a_line_and_all_are_counted() {
        let budgets: Vec<String> = (0..20)
            .map(|it| format!(r#"{{"client": "team-{it}", "period": "daily", "used": 1}}"#))
            .collect();
        let text = format!(
            r#"{{"budgets": [{}], "budgets_left_out": {{"used_up": 7, "nearly_used_up": 0}}}}"#,
            budgets.join(", ")
        );
        let status: Status = serde_json::from_str(&text).unwrap();
        let wanted = ["27 budgets used up: team-0, team-1, team-2 and 24 more"];
        assert_eq!(status.problems(), wanted);
    }

    #[test]
    fn problems_are_named() {
        let text = r#"{"config": {"refused": {"message": "unknown key"}},
            "dependencies": [{"name": "redis", "up": false}, {"name": "budgets", "up": true}],
            "queue": {"waiting": 9, "max_waiting": 10},
            "budgets": [{"client": "a", "period": "daily", "used": 0.87}]}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        let wanted = [
            "config not reloaded: unknown key",
            "redis is down",
            "the queue is nearly full",
            "a: 87 % of the daily budget used",
        ];
        assert_eq!(status.problems(), wanted);
    }
}
