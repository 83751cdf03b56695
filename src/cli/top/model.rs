//! The model of the screen: the last known state of the gateway, and the user's selection.
//!
//! The model neither draws nor uses the network. A key changes the model, and may return a command.

use super::super::admin_port::TargetAction;
use super::status::{FailureGroup, Status, Target};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The question that confirms an action on a target.
pub(super) fn question(action: TargetAction, target: &str) -> String {
    match action {
        TargetAction::Reset => format!("Reset the cooldown of {target}, for all replicas?"),
        TargetAction::Drain => format!("Take {target} out of traffic?"),
        TargetAction::Resume => format!("Put {target} back into traffic?"),
    }
}

/// What a key makes the event loop do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Nothing,
    Quit,
    /// Apply an action to the target with this name.
    Act(TargetAction, String),
}

/// A section of the screen that can be scrolled.
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
    /// The order of the config.
    Config,
    /// Targets that take no traffic first.
    State,
    /// Targets with the least available quota first.
    Quota,
    /// Targets with the most requests in flight first.
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

/// The state of the screen.
#[derive(Debug)]
pub(super) struct App {
    pub(super) url: String,
    pub(super) status: Status,
    /// The failures of the state, in groups.
    pub(super) failures: Vec<FailureGroup>,
    /// Why the state is out of date; `None` while the gateway responds.
    pub(super) connection_error: Option<String>,
    pub(super) pane: Pane,
    pub(super) sort: Sort,
    /// The action that the user must confirm, and its target.
    pub(super) unconfirmed: Option<(TargetAction, String)>,
    /// The result of the last action.
    pub(super) message: Option<String>,
    pub(super) shows_help: bool,
    /// The number of lines of the scrolled section in the last frame.
    pub(super) page: usize,
    /// The name of the selected target, so that it stays selected when the order changes.
    selected: Option<String>,
    client: usize,
    failure: usize,
}

impl App {
    pub(super) fn new(url: &str) -> App {
        App {
            url: url.to_owned(),
            status: Status::default(),
            failures: Vec::new(),
            connection_error: None,
            pane: Pane::Targets,
            sort: Sort::Config,
            unconfirmed: None,
            message: None,
            shows_help: false,
            page: 1,
            selected: None,
            client: 0,
            failure: 0,
        }
    }

    /// Replaces the state by a newer one.
    pub(super) fn update(&mut self, status: Status) {
        self.failures = status.failure_groups();
        self.status = status;
        self.connection_error = None;
    }

    /// Notes why the gateway does not respond. The last known state stays.
    pub(super) fn disconnected(&mut self, error: String) {
        self.connection_error = Some(error);
    }

    pub(super) fn show_message(&mut self, message: String) {
        self.message = Some(message);
    }

    /// The targets in the chosen order.
    pub(super) fn targets(&self) -> Vec<&Target> {
        let mut targets: Vec<&Target> = self.status.targets.iter().collect();
        match self.sort {
            Sort::Config => {}
            Sort::State => targets.sort_by_key(|target| target.is_available()),
            Sort::Quota => {
                targets.sort_by(|a, b| a.available_share().total_cmp(&b.available_share()))
            }
            Sort::InFlight => targets.sort_by_key(|it| std::cmp::Reverse(it.quota.in_flight)),
        }
        targets
    }

    /// The selected line of a section, and the number of its lines.
    pub(super) fn position(&self, pane: Pane) -> (usize, usize) {
        let (at, count) = match pane {
            Pane::Targets => {
                let targets = self.targets();
                let at = targets.iter().position(|it| Some(&it.name) == self.selected.as_ref());
                (at.unwrap_or(0), targets.len())
            }
            Pane::Clients => (self.client, self.status.clients.len()),
            Pane::Failures => (self.failure, self.failures.len()),
        };
        (at.min(count.saturating_sub(1)), count)
    }

    pub(super) fn handle_key(&mut self, key: KeyEvent) -> Command {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Command::Quit;
        }
        self.message = None;
        if let Some((action, target)) = self.unconfirmed.take() {
            let is_yes = matches!(key.code, KeyCode::Char('y' | 'Y') | KeyCode::Enter);
            return if is_yes { Command::Act(action, target) } else { Command::Nothing };
        }
        if std::mem::take(&mut self.shows_help) {
            return Command::Nothing;
        }
        let page = self.page.max(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Command::Quit,
            KeyCode::Char('?' | 'h') => self.shows_help = true,
            KeyCode::Down | KeyCode::Char('j') => self.move_selection(|at| at.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.move_selection(|at| at.saturating_sub(1)),
            KeyCode::PageDown | KeyCode::Char(' ') => {
                self.move_selection(|at| at.saturating_add(page))
            }
            KeyCode::PageUp => self.move_selection(|at| at.saturating_sub(page)),
            KeyCode::Home | KeyCode::Char('g') => self.move_selection(|_| 0),
            KeyCode::End | KeyCode::Char('G') => self.move_selection(|_| usize::MAX),
            KeyCode::Tab => self.pane = self.pane.next(),
            KeyCode::Char('s') => {
                // Selects the target by its name, so that the selection survives the new order.
                self.move_selection(|at| at);
                self.sort = self.sort.next();
            }
            KeyCode::Char('r') => self.confirm(TargetAction::Reset),
            KeyCode::Char('d') => self.confirm(TargetAction::Drain),
            KeyCode::Char('u') => self.confirm(TargetAction::Resume),
            _ => {}
        }
        Command::Nothing
    }

    fn move_selection(&mut self, to: impl Fn(usize) -> usize) {
        let (at, count) = self.position(self.pane);
        let at = to(at).min(count.saturating_sub(1));
        match self.pane {
            Pane::Targets => self.selected = self.targets().get(at).map(|it| it.name.clone()),
            Pane::Clients => self.client = at,
            Pane::Failures => self.failure = at,
        }
    }

    fn confirm(&mut self, action: TargetAction) {
        let (at, _) = self.position(Pane::Targets);
        self.unconfirmed = self.targets().get(at).map(|target| (action, target.name.clone()));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::status::Quota;
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
        app.update(Status { targets, ..Status::default() });
        app
    }

    fn press(app: &mut App, keys: &str) -> Vec<Command> {
        let key = |it| KeyEvent::new(KeyCode::Char(it), KeyModifiers::NONE);
        keys.chars()
            .map(|it| app.handle_key(key(it)))
            .filter(|it| *it != Command::Nothing)
            .collect()
    }

    fn names(app: &App) -> Vec<&str> {
        app.targets().iter().map(|target| target.name.as_str()).collect()
    }

    #[test]
    fn an_action_needs_a_yes() {
        let mut app = app();
        assert_eq!(press(&mut app, "jr"), []);
        assert_eq!(app.unconfirmed, Some((TargetAction::Reset, "b".to_owned())));
        assert_eq!(press(&mut app, "y"), [Command::Act(TargetAction::Reset, "b".to_owned())]);
        assert_eq!(press(&mut app, "dn"), []);
        assert_eq!(press(&mut app, "dq"), [], "a key other than yes neither confirms nor quits");
        assert_eq!(app.unconfirmed, None);
        assert_eq!(press(&mut app, "kuY"), [Command::Act(TargetAction::Resume, "a".to_owned())]);
        assert_eq!(press(&mut app, "q"), [Command::Quit]);
    }

    #[test]
    fn the_selected_target_stays_selected_in_every_order() {
        let mut app = app();
        press(&mut app, "j");
        for order in [["b", "a", "c"], ["c", "b", "a"], ["c", "b", "a"], ["a", "b", "c"]] {
            press(&mut app, "s");
            assert_eq!(names(&app), order);
            let (at, _) = app.position(Pane::Targets);
            assert_eq!(order[at], "b");
        }
        app.update(Status { targets: vec![target("z", "available", 0)], ..Status::default() });
        assert_eq!(app.position(Pane::Targets), (0, 1), "the selected target is gone");
    }

    #[test]
    fn keys_do_nothing_without_targets() {
        let mut app = App::new("http://127.0.0.1:9090");
        assert_eq!(press(&mut app, "jkgGs rdu\tj"), []);
        assert_eq!(app.position(Pane::Targets), (0, 0));
    }

    #[test]
    fn scrolling_stops_at_both_ends() {
        let mut app = app();
        press(&mut app, "jjjjj");
        assert_eq!(app.position(Pane::Targets), (2, 3));
        press(&mut app, "kkkkk");
        assert_eq!(app.position(Pane::Targets), (0, 3));
        app.page = 2;
        press(&mut app, " ");
        assert_eq!(app.position(Pane::Targets), (2, 3));
    }
}
