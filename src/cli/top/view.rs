//! Draws the model. The scrolled section comes first in getting lines, then failures, clients and targets;
//! a small terminal shows the scrolled one alone. Everything is readable without colours.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Widget};

use super::super::rest::rest;
use super::failures::{self, draw_failures};
use super::model::{App, Pane, question};
use super::section::{Section, Theme};
use super::status::{Client, History, Step, Target};
use super::text::{age, bar, held, short, sum};

/// Lines that each section gets first, with its title and head.
const SMALL_SECTION_HEIGHT: u16 = 4;

/// Most columns of plots and tables in a printed frame.
pub(super) const MAX_TABLE_WIDTH: u16 = 180;

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

/// The number of lines of a frame that shows everything.
pub(super) fn height(app: &App) -> u16 {
    let lines_of_all: usize = PANES.into_iter().map(|pane| usize::from(wanted(app, pane))).sum();
    let head = usize::from(head_height(app));
    u16::try_from(lines_of_all + head + PLOTS.len()).unwrap_or(u16::MAX)
}

/// The columns of a printed frame in which no line of the head or of a failure is cut.
pub(super) fn printed_width(app: &App) -> usize {
    let head = head_lines(app, Theme::PRINTED);
    head.iter().map(Line::width).max().unwrap_or(0).max(failures::printed_width(app))
}

/// The sections, in the order in which they stand.
const PANES: [Pane; 3] = [Pane::Targets, Pane::Clients, Pane::Failures];

/// The number of lines of a section that shows everything, with its title and head.
fn wanted(app: &App, pane: Pane) -> u16 {
    lines(app.position(pane).1.max(1)).saturating_add(2)
}

/// Shares the available lines among the sections, in the order of [`PANES`].
fn section_heights(app: &App, available: u16) -> [u16; 3] {
    let mut heights = PANES.map(|pane| wanted(app, pane).min(SMALL_SECTION_HEIGHT));
    let mut left = available.saturating_sub(heights.iter().sum());
    for pane in [app.pane, Pane::Failures, Pane::Clients, Pane::Targets] {
        for (height, _) in heights.iter_mut().zip(PANES).filter(|(_, it)| *it == pane) {
            let more = left.min(wanted(app, pane).saturating_sub(*height));
            *height += more;
            left -= more;
        }
    }
    heights
}

/// Lines of the head: a third one if several APIs are in use, and one if something needs attention.
fn head_height(app: &App) -> u16 {
    2 + u16::from(app.status.has_several_apis()) + u16::from(!app.status.problems().is_empty())
}

/// Draws a frame, and stores the number of lines of its scrolled section.
pub(super) fn draw(app: &mut App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let has_all_sections = theme.is_printed || area.height >= MIN_HEIGHT_FOR_ALL_SECTIONS;
    let has_plots = theme.is_printed || area.height >= MIN_HEIGHT_FOR_PLOTS;
    let head_lines = head_height(app);
    let plot_lines = if has_plots { lines(PLOTS.len()) } else { 0 };
    let foot_lines = u16::from(!theme.is_printed);
    let available = area.height.saturating_sub(head_lines + plot_lines + foot_lines);
    let heights = match (theme.is_printed, has_all_sections) {
        (true, _) => PANES.map(|pane| wanted(app, pane)),
        (false, true) => section_heights(app, available),
        (false, false) => PANES.map(|pane| if pane == app.pane { available } else { 0 }),
    };
    let [of_targets, of_clients, of_failures] = heights.map(Constraint::Length);
    let layout = Layout::vertical([
        Constraint::Length(head_lines),
        Constraint::Length(plot_lines),
        of_targets,
        of_clients,
        of_failures,
        Constraint::Min(0),
        Constraint::Length(foot_lines),
    ]);
    let [head, plots, targets, clients, failures, _, foot] = layout.areas(area);
    // A long message does not stretch what has columns.
    let tabular = |part: Rect| {
        if theme.is_printed {
            part.resize((part.width.min(MAX_TABLE_WIDTH), part.height).into())
        } else {
            part
        }
    };
    let [plots, targets, clients] = [plots, targets, clients].map(tabular);
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
    Paragraph::new(head_lines(app, theme)).render(area, buffer);
}

fn head_lines(app: &App, theme: Theme) -> Vec<Line<'static>> {
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
    let cost = sum(status.clients.iter().map(|client| client.cost_usd));
    let oldest = match status.queue.oldest_wait_ms {
        Some(wait) => format!(", oldest {:.1} s", wait as f64 / 1000.0),
        None => String::new(),
    };
    let first_choice = match status.first_choice() {
        Some(share) => format!("   first choice {:.0} %", share * 100.0),
        None => String::new(),
    };
    let second = format!(
        "waiting {} of {}{oldest}   in flight {} of {}{first_choice}   cost {cost:.2} USD",
        status.queue.waiting,
        short(status.queue.max_waiting as f64),
        status.in_flight.requests,
        short(status.in_flight.max_requests as f64),
    );
    let mut shown = vec![Line::from(first), Line::from(second)];
    if status.has_several_apis() {
        let usage = status.api_usage.iter();
        let counts: Vec<String> =
            usage.map(|it| format!("{} {}", it.api, short(it.requests))).collect();
        shown.push(Line::from(format!("requests by API: {}", counts.join(", "))));
    }
    let problems = status.problems();
    if !problems.is_empty() {
        let red = theme.color(Color::Red).add_modifier(Modifier::BOLD);
        // A message of the config may have several lines.
        let text = problems.join("; ").split_whitespace().collect::<Vec<_>>().join(" ");
        shown.push(Line::styled(format!("attention: {text}"), red));
    }
    shown
}

/// How the steps of a minute become one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Sum,
    Peak,
}

/// A plot: its name, its values, their figure of a minute, and whether they are failures.
type Plot = (&'static str, fn(&Step) -> f64, Figure, bool);

const PLOTS: [Plot; 5] = [
    ("requests", |step| step.requests, Figure::Sum, false),
    ("failed", |step| step.failed, Figure::Sum, true),
    ("fallbacks", |step| step.fallbacks, Figure::Sum, false),
    ("throttles", |step| step.throttles, Figure::Sum, true),
    ("waiting", |step| step.waiting, Figure::Peak, false),
];

/// Draws one line for each plot: the figure of the last minute, the plot, and its highest step.
fn draw_plots(history: &History, theme: Theme, area: Rect, buffer: &mut Buffer) {
    for ((name, value, figure, is_bad), line) in PLOTS.into_iter().zip(area.rows()) {
        let columns = [Constraint::Length(30), Constraint::Min(0), Constraint::Length(18)];
        let [label, plot, top] = Layout::horizontal(columns).areas(line);
        let minute = history.last_minute().iter().map(|step| value(step).max(0.0));
        let (minute, unit) = match figure {
            Figure::Sum => (sum(minute), "a minute"),
            Figure::Peak => (minute.fold(0.0, f64::max), "at most"),
        };
        // The newest steps, one for each column.
        let newest = history.steps.iter().rev().map(|step| value(step).max(0.0) as u64);
        let mut shown: Vec<u64> = newest.take(usize::from(plot.width)).collect();
        let most = shown.iter().copied().max().unwrap_or(0);
        shown.resize(usize::from(plot.width), 0);
        shown.reverse();
        let minute = short(minute);
        Line::from(format!("{name:<13}{minute:>6} {unit} ")).render(label, buffer);
        let color = if is_bad { Color::Red } else { Color::Cyan };
        Sparkline::default().data(&shown).style(theme.color(color)).render(plot, buffer);
        let most = format!(" peak {} in {} s", short(most as f64), history.seconds);
        Line::from(most).render(top, buffer);
    }
}

fn draw_targets(app: &App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let (has_quota, has_model) = (area.width >= 72, area.width >= 110);
    let is_shared = |target: &&Target| {
        target.quota.requests_held.is_some() || target.quota.tokens_held.is_some()
    };
    let has_held = area.width >= 90 && app.targets().iter().any(is_shared);
    let has_day =
        area.width >= 100 && app.targets().iter().any(|target| !target.daily_quotas.is_empty());
    let row = |target: &Target| {
        let quota = &target.quota;
        let state = match target.cooldown_remaining {
            Some(left) => format!("{} {}", target.state, rest(left)),
            None => target.state.clone(),
        };
        let mut cells = vec![
            Cell::from(target.name.clone()),
            Cell::from(state).style(theme.state(&target.state)),
        ];
        if has_quota {
            cells.push(Cell::from(bar(quota.requests_available, quota.rpm)));
            cells.push(Cell::from(bar(quota.tokens_available, quota.tpm)));
        }
        if has_day {
            let day = target.scarcest_day();
            cells.push(Cell::from(day.map_or_else(String::new, |day| bar(day.available, day.tpd))));
        }
        if has_held {
            cells.push(Cell::from(held(quota.requests_held, quota.tokens_held)));
        }
        cells.push(Cell::from(quota.in_flight.to_string()));
        // A queue is counted once, at the first of the targets that share it.
        cells.push(Cell::from(match target.shares_queue_of {
            Some(_) => "same".to_owned(),
            None => target.waiters.to_string(),
        }));
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
        widths.extend([Constraint::Length(if area.width >= 90 { 16 } else { 15 }); 2]);
    }
    if has_day {
        head.push("today left");
        widths.push(Constraint::Length(16));
    }
    if has_held {
        head.push("held here");
        widths.push(Constraint::Length(11));
    }
    if area.width >= 90 {
        head.extend(["in flight", "waiting", "first byte"]);
        widths.extend([9, 7, 10].map(Constraint::Length));
    } else {
        head.extend(["flight", "wait", "byte"]);
        widths.extend([6, 4, 7].map(Constraint::Length));
    }
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
    let (has_totals, has_tokens) = (area.width >= 72, area.width >= 110);
    let known = |count: Option<f64>| count.map_or_else(|| "-".to_owned(), short);
    let row = |client: &Client| {
        let budget = client.budgets.iter().map(|budget| budget.used).reduce(f64::max);
        let mut cells = vec![client.name.clone(), known(client.requests_last_minute)];
        cells.push(known(client.tokens_last_minute));
        cells.push(known(client.in_flight.map(|count| count as f64)));
        cells.push(known(client.waiting.map(|count| count as f64)));
        cells.push(budget.map_or_else(|| "-".to_owned(), |used| format!("{:.0} %", used * 100.0)));
        if has_totals {
            cells.extend([client.requests, client.failed].map(short));
        }
        if has_tokens {
            let cache = client.cache_read + client.cache_write;
            cells.extend([client.input, client.output, cache].map(short));
        }
        cells.push(format!("{:.2}", client.cost_usd));
        Row::new(cells)
    };
    let mut head = vec!["name", "req/min", "tok/min", "in flight", "waiting", "budget"];
    let mut widths = vec![Constraint::Min(10)];
    widths.extend([7, 7, 9, 7, 6].map(Constraint::Length));
    if has_totals {
        head.extend(["requests", "failed"]);
        widths.extend([8, 6].map(Constraint::Length));
    }
    if has_tokens {
        head.extend(["input", "output", "cached"]);
        widths.extend([7; 3].map(Constraint::Length));
    }
    head.push("USD");
    widths.push(Constraint::Length(9));
    let title = "Clients".to_owned();
    let rows = app.status.clients.iter().map(row).collect();
    let section = Section { pane: Pane::Clients, title, head, widths, rows };
    section.draw(app, theme, area, buffer);
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

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::tests::target;
    use super::super::status::{
        ApiUsage, Attempt, Client, Dependency, Failure, Refused, Status, Totals,
    };
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
            ..Failure::default()
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
            "target-1      cooling 42 s   ████ 59/60",
            "target-2      available",
            "team-a        -       -       -         -       -      12.3k",
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
    fn a_printed_frame_cuts_no_message_and_has_the_id_before_it() {
        let mut app = app(1);
        let mut status = app.status.clone();
        let message = format!("{}\nthe end", "all targets are throttled ".repeat(11));
        status.failures[0].client = "a-client-with-a-long-name".to_owned();
        status.failures[0].request_id = "25e27cb5-333a".to_owned();
        status.failures[0].message = Some(message);
        status.config.refused = Some(Refused { message: format!("{} last word", "x".repeat(300)) });
        app.update(status);
        let (width, all) = (u16::try_from(printed_width(&app)).unwrap(), height(&app));
        let text = drawn(&mut app, Theme::PRINTED, width, all);
        let line = text.lines().find(|line| line.contains("25e27cb5-333a")).unwrap();
        let at = |part: &str| line.find(part).unwrap_or_else(|| panic!("{part}: {line}"));
        assert!(at("a-client-with-a-long-name") < at("25e27cb5-333a"), "{line}");
        assert!(at("25e27cb5-333a") < at("all targets"), "{line}");
        assert!(at("throttled the end") < at("target-1 throttled"), "{line}");
        assert!(text.contains("last word"), "{text}");
        // The columns of the tables stay together.
        let target = text.lines().find(|line| line.contains("target-0 ")).unwrap();
        assert!(target.trim_end_matches(['"', ' ']).chars().count() <= 181, "{target}");
    }

    #[test]
    fn several_apis_have_a_line_and_failures_name_theirs() {
        let mut app = app(2);
        let head = head_height(&app);
        let mut status = app.status.clone();
        let usage = |api: &str, requests| ApiUsage { api: api.to_owned(), requests };
        status.api_usage = vec![usage("bedrock", 12_300.0), usage("other", 1.0)];
        app.update(status.clone());
        assert_eq!(head_height(&app), head, "native operations alone need no line");
        status.api_usage.insert(1, usage("messages", 3.0));
        status.failures[0].api = "messages".to_owned();
        status.failures[0].operation = "CreateMessage".to_owned();
        app.update(status);
        let text = drawn(&mut app, TERMINAL, 160, 30);
        assert_eq!(head_height(&app), head + 1);
        assert!(text.contains("requests by API: bedrock 12.3k, messages 3, other 1"), "{text}");
        assert!(text.contains("; messages CreateMessage; "), "{text}");
    }

    #[test]
    fn figures_before_the_first_step_have_no_sign() {
        let mut app = app(1);
        let mut status = app.status.clone();
        (status.history, status.clients) = (Some(History::default()), Vec::new());
        app.update(status);
        let text = drawn(&mut app, TERMINAL, 100, 24);
        assert!(text.contains("0 a minute") && text.contains("cost 0.00 USD"), "{text}");
        assert!(!text.contains(" -0"), "{text}");
    }

    #[test]
    fn a_shared_queue_is_counted_once() {
        let mut app = app(3);
        let mut status = app.status.clone();
        for target in &mut status.targets {
            target.waiters = 64;
            target.shares_queue_of = (target.name != "target-0").then(|| "target-0".to_owned());
        }
        app.update(status);
        let text = drawn(&mut app, TERMINAL, 100, 24);
        assert_eq!(text.matches(" 64 ").count(), 1, "{text}");
    }

    #[test]
    fn free_lines_go_to_the_sections_that_are_not_scrolled() {
        let mut app = app(2);
        let failure = |client: usize| Failure {
            client: format!("client-{client}"),
            outcome: "throttled".to_owned(),
            message: Some("all targets are throttled".to_owned()),
            ..Failure::default()
        };
        let client = |number: usize| Client { name: format!("team-{number}"), ..Client::default() };
        let mut status = app.status.clone();
        status.failures = (0..6).map(failure).collect();
        status.clients = (0..6).map(client).collect();
        app.update(status.clone());
        let text = drawn(&mut app, TERMINAL, 130, 40);
        for part in ["team-0", "team-5", "client-0", "client-5", "all targets are throttled"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        // The selected section comes first when there is too little for all.
        status.targets =
            (0..30).map(|it| target(&format!("target-{it}"), "available", 0)).collect();
        app.update(status);
        let text = drawn(&mut app, TERMINAL, 130, 40);
        assert!(text.contains("target-15") && !text.contains("team-5"), "{text}");
        assert!(text.contains("team-1") && text.contains("client-1"), "{text}");
    }

    #[test]
    fn equal_failures_are_one_line_with_their_count() {
        let mut app = app(1);
        let mut status = app.status.clone();
        status.failures = vec![status.failures[0].clone(); 3];
        app.update(status);
        let text = drawn(&mut app, TERMINAL, 130, 30);
        assert!(text.contains("3x"), "{text}");
        assert_eq!(text.matches("ThrottlingException").count(), 1, "{text}");
    }

    #[test]
    fn what_needs_attention_and_the_share_of_the_first_choice_are_in_the_head() {
        let mut app = app(1);
        let mut status = app.status.clone();
        status.dependencies =
            vec![Dependency { name: "redis".to_owned(), ..Dependency::default() }];
        status.totals = Totals { answered: Some(200.0), first_choice: Some(143.0) };
        app.update(status);
        let text = drawn(&mut app, TERMINAL, 100, 24);
        assert!(text.contains("attention: redis is down"), "{text}");
        assert!(text.contains("first choice 72 %"), "{text}");
    }
}
