//! The section of requests without an answer. The id of a request stands before messages, which may be long.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style};
use ratatui::widgets::{Cell, Row};

use super::model::{App, Pane};
use super::section::{Section, Theme};
use super::status::FailureGroup;

const HEAD: [&str; 5] =
    ["count", "last", "outcome", "client", "error, operation, model, request, message, attempts"];

/// The least columns of each part but the last.
const WIDTHS: [usize; 4] = [5, 8, 19, 14];

/// The text of each column of a line.
fn columns(group: &FailureGroup) -> [String; 5] {
    let it = &group.newest;
    let attempts: Vec<String> =
        it.attempts.iter().map(|it| format!("{} {}", it.target, it.outcome)).collect();
    let what = [
        it.error.clone().unwrap_or_default(),
        it.operation_with_api(),
        it.requested_model.clone().unwrap_or_default(),
        it.request_id.clone(),
        it.message.clone().unwrap_or_default(),
        attempts.join(", "),
    ];
    // A message may have several lines.
    let what = what.iter().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let what: Vec<String> = what.filter(|text| !text.is_empty()).collect();
    [
        format!("{}x", group.count),
        it.time.get(11..19).unwrap_or(&it.time).to_owned(),
        format!("{} {}", it.status, it.outcome),
        it.client.clone(),
        what.join("; "),
    ]
}

/// The columns of each part but the last: in a printed frame, as many as its longest text has.
fn widths(app: &App, theme: Theme) -> [usize; 4] {
    let mut widths = WIDTHS;
    if theme.is_printed {
        for group in &app.failures {
            for (width, text) in widths.iter_mut().zip(columns(group)) {
                *width = (*width).max(text.chars().count());
            }
        }
    }
    widths
}

/// The columns of a printed frame in which no line is cut.
pub(super) fn printed_width(app: &App) -> usize {
    let [.., head] = HEAD;
    let last = app.failures.iter().map(|group| {
        let [.., text] = columns(group);
        text.chars().count()
    });
    let first: usize = widths(app, Theme::PRINTED).iter().map(|width| width + 1).sum();
    first + last.max().unwrap_or(0).max(head.len())
}

/// Draws the section.
pub(super) fn draw_failures(app: &App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let row = |group: &FailureGroup| {
        let style = if group.is_failed { theme.color(Color::Red) } else { Style::new() };
        let [count, time, outcome, client, what] = columns(group).map(Cell::from);
        Row::new([count, time, outcome.style(style), client, what])
    };
    let mut widths: Vec<Constraint> = widths(app, theme)
        .iter()
        .map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)))
        .collect();
    widths.push(Constraint::Min(10));
    let title = "Requests without an answer".to_owned();
    let (head, rows) = (HEAD.to_vec(), app.failures.iter().map(row).collect());
    Section { pane: Pane::Failures, title, head, widths, rows }.draw(app, theme, area, buffer);
}
