//! Draws the model. The scrolled section gets the available lines; the others get a few lines, or none
//! on a small terminal. Everything is readable without colours.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, Cell, Clear, Paragraph, Row, Sparkline, StatefulWidget, Table, TableState, Widget,
};

use super::model::{App, Failure, History, Pane, Step, Target, question};

/// Lines of a section that is not scrolled, with its title and head.
const SMALL_SECTION_HEIGHT: u16 = 4;

/// Least number of lines of a terminal with plots.
const MIN_HEIGHT_FOR_PLOTS: u16 = 20;

/// Least number of lines of a terminal with the sections that are not scrolled.
const MIN_HEIGHT_FOR_ALL_SECTIONS: u16 = 14;

const HELP: [&str; 14] = [
    "q, Esc        quit",
    "Up, k         up",
    "Down, j       down",
    "PgUp, PgDn    a page up, down",
    "Home, End     first, last",
    "Tab           scroll targets, clients or failures",
    "s             order of targets: config, state, quota, in flight",
    "",
    "For the selected target, after a confirmation:",
    "r             reset its cooldown, for all replicas",
    "d             drain: take it out of traffic",
    "u             put it back into traffic",
    "",
    "Any key closes this help.",
];

/// The appearance of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    has_colors: bool,
    /// Shows every line of every section, and no keys and no selection.
    is_printed: bool,
}

impl Theme {
    /// The theme of text that `--once` prints.
    pub(super) const PRINTED: Theme = Theme { has_colors: false, is_printed: true };

    /// The theme of a terminal, without colours if NO_COLOR is set.
    pub(super) fn of_terminal() -> Theme {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Theme { has_colors: !no_color, is_printed: false }
    }

    fn color(self, color: Color) -> Style {
        if self.has_colors { Style::new().fg(color) } else { Style::new() }
    }

    fn state(self, state: &str) -> Style {
        match state {
            "available" | "ready" => self.color(Color::Green),
            "probing" | "drained" | "starting" | "draining" => self.color(Color::Yellow),
            _ => self.color(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

/// The number of lines of a frame that shows everything.
pub(super) fn height(app: &App) -> u16 {
    let panes = [Pane::Targets, Pane::Clients, Pane::Failures];
    let lines: usize = panes.into_iter().map(|pane| app.position(pane).1.max(1) + 2).sum();
    u16::try_from(lines + 2 + PLOTS.len()).unwrap_or(u16::MAX)
}

/// Draws a frame, and stores the number of lines of its scrolled section.
pub(super) fn draw(app: &mut App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let has_all_sections = theme.is_printed || area.height >= MIN_HEIGHT_FOR_ALL_SECTIONS;
    let has_plots = theme.is_printed || area.height >= MIN_HEIGHT_FOR_PLOTS;
    let height_of = |pane: Pane| match (theme.is_printed, pane == app.pane, has_all_sections) {
        (true, ..) => Constraint::Length(lines(app.position(pane).1.max(1)) + 2),
        (false, true, _) => Constraint::Min(2),
        (false, false, true) => Constraint::Length(SMALL_SECTION_HEIGHT),
        (false, false, false) => Constraint::Length(0),
    };
    let layout = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(if has_plots { lines(PLOTS.len()) } else { 0 }),
        height_of(Pane::Targets),
        height_of(Pane::Clients),
        height_of(Pane::Failures),
        Constraint::Length(u16::from(!theme.is_printed)),
    ]);
    let [head, plots, targets, clients, failures, foot] = layout.areas(area);
    draw_head(app, theme, head, buffer);
    if let Some(history) = &app.status.history {
        draw_plots(history, theme, plots, buffer);
    }
    let scrolled = match app.pane {
        Pane::Targets => targets,
        Pane::Clients => clients,
        Pane::Failures => failures,
    };
    draw_targets(app, theme, targets, buffer);
    draw_clients(app, theme, clients, buffer);
    draw_failures(app, theme, failures, buffer);
    if !theme.is_printed {
        draw_foot(app, theme, foot, buffer);
    }
    if app.shows_help {
        draw_help(area, buffer);
    }
    // The title and the head take two lines.
    app.page = usize::from(scrolled.height.saturating_sub(2)).max(1);
}

fn lines(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn draw_head(app: &App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let status = &app.status;
    let up = (status.now as f64 / 1000.0 - status.started).max(0.0);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut first = vec![
        Span::styled(format!("Sluice {}", status.version), bold),
        Span::raw(format!(" at {}  ", app.url)),
    ];
    match &app.connection_error {
        Some(error) => {
            let red = theme.color(Color::Red).add_modifier(Modifier::BOLD);
            first.push(Span::styled(format!("connection lost, trying again: {error}"), red));
        }
        None => {
            first.push(Span::styled(status.state.clone(), theme.state(&status.state)));
            first.push(Span::raw(format!("  up {}", age(up))));
        }
    }
    let cost: f64 = status.clients.iter().map(|client| client.cost_usd).sum();
    let second = format!(
        "waiting {} of {}   in flight {} of {}   cost {cost:.2} USD",
        status.queue.waiting,
        short(status.queue.max_waiting as f64),
        status.in_flight.requests,
        short(status.in_flight.max_requests as f64),
    );
    Paragraph::new(vec![Line::from(first), Line::from(second)]).render(area, buffer);
}

/// A plot: its name, its counts, and whether they are failures.
type Plot = (&'static str, fn(&Step) -> f64, bool);

const PLOTS: [Plot; 4] = [
    ("requests", |step| step.requests, false),
    ("not answered", |step| step.failed, true),
    ("fallbacks", |step| step.fallbacks, false),
    ("throttles", |step| step.throttles, true),
];

/// Draws one line for each plot: the count of the last minute, the plot, and its highest step.
fn draw_plots(history: &History, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let in_a_minute = usize::try_from(60 / history.seconds.max(1)).unwrap_or(1).max(1);
    for ((name, count, is_bad), line) in PLOTS.into_iter().zip(area.rows()) {
        let columns = [Constraint::Length(30), Constraint::Min(0), Constraint::Length(18)];
        let [label, plot, top] = Layout::horizontal(columns).areas(line);
        // The newest steps, one for each column.
        let newest: Vec<u64> =
            history.steps.iter().rev().map(|step| count(step).max(0.0) as u64).collect();
        let minute: u64 = newest.iter().take(in_a_minute).sum();
        let mut shown: Vec<u64> = newest.into_iter().take(usize::from(plot.width)).collect();
        let most = shown.iter().copied().max().unwrap_or(0);
        shown.resize(usize::from(plot.width), 0);
        shown.reverse();
        let minute = short(minute as f64);
        Line::from(format!("{name:<13}{minute:>6} a minute ")).render(label, buffer);
        let color = if is_bad { Color::Red } else { Color::Cyan };
        Sparkline::default().data(&shown).style(theme.color(color)).render(plot, buffer);
        let most = format!(" top {} in {} s", short(most as f64), history.seconds);
        Line::from(most).render(top, buffer);
    }
}

/// A section with a title, a table head, and rows of which one is selected.
struct Section<'a> {
    pane: Pane,
    title: String,
    head: Vec<&'a str>,
    widths: Vec<Constraint>,
    rows: Vec<Row<'a>>,
}

impl Section<'_> {
    fn draw(self, app: &App, theme: Theme, area: Rect, buffer: &mut Buffer) {
        if area.height == 0 {
            return;
        }
        let [title, rest] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        let (at, count) = app.position(self.pane);
        let is_scrolled = app.pane == self.pane && !theme.is_printed;
        let bar = Style::new().add_modifier(Modifier::REVERSED);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let place = if is_scrolled && count > 0 {
            format!(" {} of {count}", at + 1)
        } else {
            format!(" {count}")
        };
        let style = if is_scrolled { bold.add_modifier(Modifier::UNDERLINED) } else { bold };
        Line::from(vec![Span::styled(self.title, style), Span::raw(place)]).render(title, buffer);
        if count == 0 {
            Line::from("none").render(rest, buffer);
            return;
        }
        let head = Row::new(self.head).style(Style::new().add_modifier(Modifier::DIM));
        let table = Table::new(self.rows, self.widths).header(head).row_highlight_style(bar);
        let mut state = TableState::new().with_selected(is_scrolled.then_some(at));
        StatefulWidget::render(table, rest, buffer, &mut state);
    }
}

fn draw_targets(app: &App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let (has_quota, has_model) = (area.width >= 72, area.width >= 110);
    let is_shared = |target: &&Target| {
        target.quota.requests_held.is_some() || target.quota.tokens_held.is_some()
    };
    let has_held = area.width >= 90 && app.targets().iter().any(is_shared);
    let row = |target: &Target| {
        let quota = &target.quota;
        let state = match target.cooldown_remaining {
            Some(left) if left >= 600.0 => format!("{} {}", target.state, age(left)),
            Some(left) => format!("{} {} s", target.state, left.ceil()),
            None => target.state.replace('_', "-"),
        };
        let mut cells = vec![
            Cell::from(target.name.clone()),
            Cell::from(state).style(theme.state(&target.state)),
        ];
        if has_quota {
            cells.push(Cell::from(bar(quota.requests_available, quota.rpm)));
            cells.push(Cell::from(bar(quota.tokens_available, quota.tpm)));
        }
        if has_held {
            cells.push(Cell::from(held(quota.requests_held, quota.tokens_held)));
        }
        cells.push(Cell::from(quota.in_flight.to_string()));
        cells.push(Cell::from(target.waiters.to_string()));
        cells.push(Cell::from(format!("{:.0} ms", target.latency_ms)));
        if has_model {
            cells.push(Cell::from(format!("{}, {}", target.model, target.region)));
        }
        Row::new(cells)
    };
    let (mut head, mut widths) = (vec!["name", "state"], vec![Constraint::Min(8)]);
    widths.push(Constraint::Length(14));
    if has_quota {
        head.extend(["requests left", "tokens left"]);
        widths.extend([Constraint::Length(15); 2]);
    }
    if has_held {
        head.push("held here");
        widths.push(Constraint::Length(11));
    }
    head.extend(["sent", "wait", "latency"]);
    widths.extend([4, 4, 7].map(Constraint::Length));
    if has_model {
        head.push("model");
        widths.push(Constraint::Fill(2));
    }
    let title = match theme.is_printed {
        true => "Targets".to_owned(),
        false => format!("Targets by {}", app.sort.name()),
    };
    let rows = app.targets().into_iter().map(row).collect();
    Section { pane: Pane::Targets, title, head, widths, rows }.draw(app, theme, area, buffer);
}

fn draw_clients(app: &App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let rows = app.status.clients.iter().map(|client| {
        let cache = client.cache_read + client.cache_write;
        let counts = [client.requests, client.failed, client.input, client.output, cache];
        let mut cells = vec![client.name.clone()];
        cells.extend(counts.map(short));
        cells.push(format!("{:.4}", client.cost_usd));
        Row::new(cells)
    });
    let head = vec!["name", "requests", "failed", "input", "output", "cached", "USD"];
    let mut widths = vec![Constraint::Min(12)];
    widths.extend([9, 8, 8, 8, 8, 11].map(Constraint::Length));
    let title = "Clients since the start".to_owned();
    let section = Section { pane: Pane::Clients, title, head, widths, rows: rows.collect() };
    section.draw(app, theme, area, buffer);
}

fn draw_failures(app: &App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let row = |failure: &Failure| {
        let Failure { time, client, requested_model, status, outcome, error, attempts } = failure;
        let time = time.get(11..19).unwrap_or(time);
        let attempts: Vec<String> =
            attempts.iter().map(|it| format!("{} {}", it.target, it.outcome)).collect();
        let what = [
            error.clone().unwrap_or_default(),
            requested_model.clone().unwrap_or_default(),
            attempts.join(", "),
        ];
        let what: Vec<String> = what.into_iter().filter(|text| !text.is_empty()).collect();
        Row::new([time.to_owned(), format!("{status} {outcome}"), client.clone(), what.join("; ")])
    };
    let head = vec!["time", "outcome", "client", "error, model, attempts"];
    let widths = vec![
        Constraint::Length(8),
        Constraint::Length(19),
        Constraint::Length(14),
        Constraint::Min(10),
    ];
    let title = "Failures".to_owned();
    let rows = app.status.failures.iter().map(row).collect();
    Section { pane: Pane::Failures, title, head, widths, rows }.draw(app, theme, area, buffer);
}

fn draw_foot(app: &App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let line = match (&app.unconfirmed, &app.message) {
        (Some((action, target)), _) => {
            let yellow = theme.color(Color::Yellow).add_modifier(Modifier::BOLD);
            Line::styled(format!("{} y: yes, any other key: no", question(*action, target)), yellow)
        }
        (None, Some(message)) => Line::from(message.clone()),
        (None, None) => {
            Line::from("q quit  ? help  s sort  Tab section  r reset  d drain  u resume")
                .style(Style::new().add_modifier(Modifier::DIM))
        }
    };
    line.render(area, buffer);
}

fn draw_help(area: Rect, buffer: &mut Buffer) {
    let width = HELP.iter().map(|line| line.len()).max().unwrap_or(0);
    let area = area.intersection(Rect::new(2, 1, lines(width) + 2, lines(HELP.len()) + 2));
    Clear.render(area, buffer);
    let help = Paragraph::new(HELP.map(Line::from).to_vec());
    help.block(Block::bordered()).render(area, buffer);
}

/// The available part of a quota, as a bar and in figures.
fn bar(available: Option<f64>, limit: Option<f64>) -> String {
    const CELLS: usize = 4;
    let (Some(available), Some(limit)) = (available, limit) else {
        return "not limited".to_owned();
    };
    let left = available.max(0.0);
    let share = if limit > 0.0 { (left / limit).min(1.0) } else { 0.0 };
    let full = (share * CELLS as f64).ceil() as usize;
    format!(
        "{}{} {}/{}",
        "█".repeat(full),
        "░".repeat(CELLS - full),
        short(left.floor()),
        short(limit)
    )
}

/// The requests and tokens of the available quota that this replica holds.
fn held(requests: Option<f64>, tokens: Option<f64>) -> String {
    let figure = |held: Option<f64>| {
        held.map_or_else(|| "-".to_owned(), |held| short(held.max(0.0).floor()))
    };
    format!("{}, {}", figure(requests), figure(tokens))
}

/// A count in about five characters.
fn short(count: f64) -> String {
    for (from, unit) in [(1e9, "G"), (1e6, "M"), (1e4, "k")] {
        if count >= from {
            let in_units = count / if unit == "k" { 1e3 } else { from };
            return if in_units < 100.0 {
                format!("{in_units:.1}{unit}")
            } else {
                format!("{in_units:.0}{unit}")
            };
        }
    }
    format!("{count:.0}")
}

fn age(seconds: f64) -> String {
    match seconds / 3600.0 {
        hours if hours < 1.0 => format!("{:.0} min", (seconds / 60.0).floor()),
        hours if hours < 48.0 => format!("{hours:.1} h"),
        hours => format!("{:.0} days", (hours / 24.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::tests::target;
    use super::super::model::{Attempt, Client, Status};
    use super::*;

    const TERMINAL: Theme = Theme { has_colors: false, is_printed: false };

    fn app(targets: usize) -> App {
        let mut app = App::new("http://127.0.0.1:9090");
        let state = |number| if number % 3 == 1 { "cooling" } else { "available" };
        let targets =
            (0..targets).map(|it| target(&format!("target-{it}"), state(it), it as u64 % 60));
        let failure = Failure {
            time: "2026-11-24T00:45:58.14663Z".to_owned(),
            client: "team-a\u{1b}[31m".to_owned(),
            status: 429,
            outcome: "throttled".to_owned(),
            error: Some("ThrottlingException".to_owned()),
            attempts: vec![Attempt {
                target: "target-1".to_owned(),
                outcome: "throttled".to_owned(),
            }],
            requested_model: None,
        };
        let client = Client { name: "team-a".to_owned(), requests: 12_345.0, ..Client::default() };
        let step = |count| Step { requests: f64::from(count), ..Step::default() };
        app.update(Status {
            version: "0.1.0".to_owned(),
            state: "ready".to_owned(),
            now: 7_200_000,
            targets: targets.collect(),
            clients: vec![client],
            failures: vec![failure],
            history: Some(History { seconds: 10, steps: (0..360).map(step).collect() }),
            ..Status::default()
        });
        app
    }

    fn drawn(app: &mut App, theme: Theme, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(app, theme, frame.area(), frame.buffer_mut())).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_terminal_of_80_by_24_shows_every_section() {
        let text = drawn(&mut app(4), TERMINAL, 80, 24);
        for part in [
            "Sluice 0.1.0 at http://127.0.0.1:9090  ready  up 2.0 h",
            "requests       2139 a minute",
            "target-1        cooling 42 s   ████ 59/60",
            "target-2        available",
            "team-a                 12.3k",
            "00:45:58 429 throttled",
            "q quit",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn any_terminal_size_and_number_of_targets_can_be_drawn() {
        for count in [0, 1, 200] {
            let mut app = app(count);
            for (width, height) in [(0, 0), (1, 1), (2, 5), (20, 3), (40, 10), (80, 13), (300, 100)]
            {
                for pane in [Pane::Targets, Pane::Clients, Pane::Failures] {
                    app.pane = pane;
                    app.shows_help = !app.shows_help;
                    let area = Rect::new(0, 0, width, height);
                    draw(&mut app, TERMINAL, area, &mut Buffer::empty(area));
                }
            }
        }
    }

    #[test]
    fn a_narrow_terminal_shows_complete_names_and_states() {
        let text = drawn(&mut app(2), TERMINAL, 46, 10);
        assert!(text.contains("target-1") && text.contains("cooling 42 s"), "{text}");
    }

    #[test]
    fn the_selected_target_is_on_the_screen() {
        use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
        let mut app = app(200);
        assert!(!drawn(&mut app, TERMINAL, 80, 24).contains("target-199"));
        app.handle_key(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
        let text = drawn(&mut app, TERMINAL, 80, 24);
        assert!(text.contains("target-199") && text.contains("200 of 200"), "{text}");
    }

    #[test]
    fn a_theme_without_colours_draws_none() {
        let colors = |theme: Theme| {
            let area = Rect::new(0, 0, 100, 30);
            let mut buffer = Buffer::empty(area);
            draw(&mut app(4), theme, area, &mut buffer);
            buffer.content().iter().filter(|cell| cell.fg != Color::Reset).count()
        };
        assert_eq!(colors(TERMINAL), 0);
        assert!(colors(Theme { has_colors: true, ..TERMINAL }) > 0);
    }

    #[test]
    fn a_lost_connection_and_a_confirmation_are_shown() {
        let mut app = app(2);
        app.disconnected("nobody is there".to_owned());
        app.unconfirmed =
            Some((super::super::super::admin_port::TargetAction::Drain, "target-0".to_owned()));
        let text = drawn(&mut app, TERMINAL, 100, 24);
        assert!(text.contains("connection lost, trying again: nobody is there"), "{text}");
        assert!(text.contains("Take target-0 out of traffic? y: yes"), "{text}");
        assert!(text.contains("target-1"), "the last known state stays: {text}");
    }

    #[test]
    fn a_printed_frame_has_every_line_and_no_escape() {
        let mut app = app(200);
        let all = height(&app);
        let text = drawn(&mut app, Theme::PRINTED, 120, all);
        for part in ["target-0 ", "target-199 ", "team-a", "ThrottlingException"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains("q quit"), "{text}");
    }

    #[test]
    fn the_quota_that_a_replica_holds_is_shown_in_figures() {
        assert_eq!(held(Some(2.7), Some(12_345.0)), "2, 12.3k");
        assert_eq!(held(Some(0.0), None), "0, -");
        assert_eq!(held(None, Some(-5.0)), "-, 0");
    }

    #[test]
    fn counts_are_abbreviated() {
        let counts = [0.0, 999.0, 9_999.0, 12_345.0, 123_456.0, 1_500_000.0, 2e9];
        assert_eq!(counts.map(short), ["0", "999", "9999", "12.3k", "123k", "1.5M", "2.0G"]);
    }
}
