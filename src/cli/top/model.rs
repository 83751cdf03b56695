//! What is shown: the last known state of the gateway, and what the person at the keys has
//! chosen. No drawing, no network: a key changes it and may ask for something.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde::Deserialize;

/// The state of a gateway; see `admin::status::snapshot`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Status {
    /// Milliseconds since the Unix epoch.
    pub(super) now: u64,
    pub(super) version: String,
    pub(super) state: String,
    /// Seconds since the Unix epoch.
    pub(super) started: f64,
    pub(super) targets: Vec<Target>,
    pub(super) queue: Queue,
    pub(super) in_flight: InFlight,
    pub(super) clients: Vec<Client>,
    pub(super) failures: Vec<Failure>,
    pub(super) history: Option<History>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) model: String,
    pub(super) region: String,
    pub(super) state: String,
    pub(super) cooldown_remaining: Option<f64>,
    pub(super) quota: Quota,
    pub(super) latency_ms: f64,
    pub(super) waiters: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Quota {
    pub(super) rpm: Option<f64>,
    pub(super) tpm: Option<f64>,
    pub(super) requests_available: Option<f64>,
    pub(super) tokens_available: Option<f64>,
    /// What the replica holds of what is left, where replicas share the quota.
    pub(super) requests_held: Option<f64>,
    pub(super) tokens_held: Option<f64>,
    pub(super) in_flight: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Queue {
    pub(super) waiting: i64,
    pub(super) max_waiting: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct InFlight {
    pub(super) requests: u64,
    pub(super) max_requests: u64,
}

/// What a client has used since the start.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) requests: f64,
    pub(super) failed: f64,
    pub(super) input: f64,
    pub(super) output: f64,
    pub(super) cache_read: f64,
    pub(super) cache_write: f64,
    pub(super) cost_usd: f64,
}

/// A request that failed, as in the access log.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Failure {
    pub(super) time: String,
    pub(super) client: String,
    pub(super) requested_model: Option<String>,
    pub(super) status: u16,
    pub(super) outcome: String,
    pub(super) error: Option<String>,
    pub(super) attempts: Vec<Attempt>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Attempt {
    pub(super) target: String,
    pub(super) outcome: String,
}

/// What was counted in the last hour, in steps; the oldest first.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct History {
    /// Of one step.
    pub(super) seconds: u64,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Step {
    pub(super) requests: f64,
    pub(super) failed: f64,
    pub(super) fallbacks: f64,
    pub(super) throttles: f64,
}

/// What can be done to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Reset,
    Drain,
    Resume,
}

impl Act {
    /// Its name in the admin API.
    pub(super) fn path(self) -> &'static str {
        match self {
            Act::Reset => "reset",
            Act::Drain => "drain",
            Act::Resume => "resume",
        }
    }

    pub(super) fn question(self, target: &str) -> String {
        match self {
            Act::Reset => format!("Reset the cooldown of {target}, for all replicas?"),
            Act::Drain => format!("Take {target} out of traffic?"),
            Act::Resume => format!("Put {target} back into traffic?"),
        }
    }

    pub(super) fn done(self) -> &'static str {
        match self {
            Act::Reset => "cooldown reset",
            Act::Drain => "drained",
            Act::Resume => "back in traffic",
        }
    }
}

/// What a key asks the loop for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Quit,
    /// This, to the target of this name.
    Act(Act, String),
}

/// A part of the screen that can be scrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Targets,
    Clients,
    Failures,
}

impl Pane {
    fn next(self) -> Pane {
        match self {
            Pane::Targets => Pane::Clients,
            Pane::Clients => Pane::Failures,
            Pane::Failures => Pane::Targets,
        }
    }
}

/// The order of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// That of the config.
    Config,
    /// Those out of traffic first.
    State,
    /// Those with the least left of their quota first.
    Quota,
    /// Those with the most in flight first.
    InFlight,
}

impl Sort {
    fn next(self) -> Sort {
        match self {
            Sort::Config => Sort::State,
            Sort::State => Sort::Quota,
            Sort::Quota => Sort::InFlight,
            Sort::InFlight => Sort::Config,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Config => "config",
            Sort::State => "state",
            Sort::Quota => "quota",
            Sort::InFlight => "in flight",
        }
    }
}

impl Target {
    /// Whether it takes requests normally.
    pub(super) fn is_open(&self) -> bool {
        self.state == "available"
    }

    /// The share of its quota that is left, by the scarcer kind.
    fn left(&self) -> f64 {
        let share = |available: Option<f64>, limit: Option<f64>| match (available, limit) {
            (Some(available), Some(limit)) if limit > 0.0 => available / limit,
            _ => 1.0,
        };
        let Quota { rpm, tpm, requests_available, tokens_available, .. } = self.quota;
        share(requests_available, rpm).min(share(tokens_available, tpm))
    }
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct App {
    pub(super) url: String,
    pub(super) status: Status,
    /// Why there is nothing newer.
    pub(super) lost: Option<String>,
    pub(super) pane: Pane,
    pub(super) sort: Sort,
    /// What is to be confirmed.
    pub(super) question: Option<(Act, String)>,
    /// What came of the last act.
    pub(super) message: Option<String>,
    pub(super) shows_help: bool,
    /// Lines of the scrolled part that the last frame had room for.
    pub(super) page: usize,
    /// The selected target stays so when the order changes.
    selected: Option<String>,
    client: usize,
    failure: usize,
}

impl App {
    pub(super) fn new(url: &str) -> App {
        App {
            url: url.to_owned(),
            status: Status::default(),
            lost: None,
            pane: Pane::Targets,
            sort: Sort::Config,
            question: None,
            message: None,
            shows_help: false,
            page: 1,
            selected: None,
            client: 0,
            failure: 0,
        }
    }

    /// Takes a newer state.
    pub(super) fn has(&mut self, status: Status) {
        self.status = status;
        self.lost = None;
    }

    /// The gateway can't be asked any more; what is shown is old.
    pub(super) fn lost(&mut self, why: String) {
        self.lost = Some(why);
    }

    pub(super) fn says(&mut self, message: String) {
        self.message = Some(message);
    }

    /// The targets in the chosen order.
    pub(super) fn targets(&self) -> Vec<&Target> {
        let mut targets: Vec<&Target> = self.status.targets.iter().collect();
        match self.sort {
            Sort::Config => {}
            Sort::State => targets.sort_by_key(|target| target.is_open()),
            Sort::Quota => targets.sort_by(|a, b| a.left().total_cmp(&b.left())),
            Sort::InFlight => targets.sort_by_key(|it| std::cmp::Reverse(it.quota.in_flight)),
        }
        targets
    }

    /// The selected line of a part, and how many it has.
    pub(super) fn place(&self, pane: Pane) -> (usize, usize) {
        let (at, count) = match pane {
            Pane::Targets => {
                let targets = self.targets();
                let at = targets.iter().position(|it| Some(&it.name) == self.selected.as_ref());
                (at.unwrap_or(0), targets.len())
            }
            Pane::Clients => (self.client, self.status.clients.len()),
            Pane::Failures => (self.failure, self.status.failures.len()),
        };
        (at.min(count.saturating_sub(1)), count)
    }

    pub(super) fn pressed(&mut self, key: KeyEvent) -> Asked {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Asked::Quit;
        }
        self.message = None;
        if let Some((act, target)) = self.question.take() {
            let is_yes = matches!(key.code, KeyCode::Char('y' | 'Y') | KeyCode::Enter);
            return if is_yes { Asked::Act(act, target) } else { Asked::Nothing };
        }
        if std::mem::take(&mut self.shows_help) {
            return Asked::Nothing;
        }
        let page = self.page.max(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Asked::Quit,
            KeyCode::Char('?' | 'h') => self.shows_help = true,
            KeyCode::Down | KeyCode::Char('j') => self.go(|at| at.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.go(|at| at.saturating_sub(1)),
            KeyCode::PageDown | KeyCode::Char(' ') => self.go(|at| at.saturating_add(page)),
            KeyCode::PageUp => self.go(|at| at.saturating_sub(page)),
            KeyCode::Home | KeyCode::Char('g') => self.go(|_| 0),
            KeyCode::End | KeyCode::Char('G') => self.go(|_| usize::MAX),
            KeyCode::Tab => self.pane = self.pane.next(),
            KeyCode::Char('s') => {
                // Whatever is selected stays so.
                self.go(|at| at);
                self.sort = self.sort.next();
            }
            KeyCode::Char('r') => self.asks(Act::Reset),
            KeyCode::Char('d') => self.asks(Act::Drain),
            KeyCode::Char('u') => self.asks(Act::Resume),
            _ => {}
        }
        Asked::Nothing
    }

    fn go(&mut self, to: impl Fn(usize) -> usize) {
        let (at, count) = self.place(self.pane);
        let at = to(at).min(count.saturating_sub(1));
        match self.pane {
            Pane::Targets => self.selected = self.targets().get(at).map(|it| it.name.clone()),
            Pane::Clients => self.client = at,
            Pane::Failures => self.failure = at,
        }
    }

    fn asks(&mut self, act: Act) {
        let (at, _) = self.place(Pane::Targets);
        self.question = self.targets().get(at).map(|target| (act, target.name.clone()));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::top) fn target(name: &str, state: &str, in_flight: u64) -> Target {
        let quota = Quota {
            rpm: Some(60.0),
            requests_available: Some(60.0 - in_flight as f64),
            in_flight,
            ..Quota::default()
        };
        let cooldown_remaining = (state == "cooling").then_some(41.2);
        let (name, state) = (name.to_owned(), state.to_owned());
        let model = "anthropic.claude-3-haiku-20240307-v1:0".to_owned();
        let region = "us-east-1".to_owned();
        Target { name, model, region, state, quota, cooldown_remaining, ..Target::default() }
    }

    fn app() -> App {
        let mut app = App::new("http://127.0.0.1:9090");
        let targets = vec![
            target("a", "available", 1),
            target("b", "cooling", 3),
            target("c", "available", 5),
        ];
        app.has(Status { targets, ..Status::default() });
        app
    }

    fn press(app: &mut App, keys: &str) -> Vec<Asked> {
        let key = |it| KeyEvent::new(KeyCode::Char(it), KeyModifiers::NONE);
        keys.chars().map(|it| app.pressed(key(it))).filter(|it| *it != Asked::Nothing).collect()
    }

    fn names(app: &App) -> Vec<&str> {
        app.targets().iter().map(|target| target.name.as_str()).collect()
    }

    #[test]
    fn an_act_is_done_after_a_yes_alone() {
        let mut app = app();
        assert_eq!(press(&mut app, "jr"), []);
        assert_eq!(app.question, Some((Act::Reset, "b".to_owned())));
        assert_eq!(press(&mut app, "y"), [Asked::Act(Act::Reset, "b".to_owned())]);
        assert_eq!(press(&mut app, "dn"), []);
        assert_eq!(press(&mut app, "dq"), [], "no answer but yes is a yes, nor the end");
        assert_eq!(app.question, None);
        assert_eq!(press(&mut app, "kuY"), [Asked::Act(Act::Resume, "a".to_owned())]);
        assert_eq!(press(&mut app, "q"), [Asked::Quit]);
    }

    #[test]
    fn the_selected_target_stays_so_in_every_order() {
        let mut app = app();
        press(&mut app, "j");
        for order in [["b", "a", "c"], ["c", "b", "a"], ["c", "b", "a"], ["a", "b", "c"]] {
            press(&mut app, "s");
            assert_eq!(names(&app), order);
            let (at, _) = app.place(Pane::Targets);
            assert_eq!(order[at], "b");
        }
        app.has(Status { targets: vec![target("z", "available", 0)], ..Status::default() });
        assert_eq!(app.place(Pane::Targets), (0, 1), "it is gone");
    }

    #[test]
    fn nothing_to_scroll_or_act_on_is_no_harm() {
        let mut app = App::new("http://127.0.0.1:9090");
        assert_eq!(press(&mut app, "jkgGs rdu\tj"), []);
        assert_eq!(app.place(Pane::Targets), (0, 0));
    }

    #[test]
    fn scrolling_ends_at_both_ends() {
        let mut app = app();
        press(&mut app, "jjjjj");
        assert_eq!(app.place(Pane::Targets), (2, 3));
        press(&mut app, "kkkkk");
        assert_eq!(app.place(Pane::Targets), (0, 3));
        app.page = 2;
        press(&mut app, " ");
        assert_eq!(app.place(Pane::Targets), (2, 3));
    }
}
