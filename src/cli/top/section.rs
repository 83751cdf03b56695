//! The colours of the screen, and a section of it: a title and a table, of which one row may be selected.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Row, StatefulWidget, Table, TableState, Widget};

use super::model::{App, Pane};

/// The appearance of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) has_colors: bool,
    /// Shows every line of every section, and no keys and no selection.
    pub(super) is_printed: bool,
}

impl Theme {
    /// The theme of text that `--once` prints.
    pub(super) const PRINTED: Theme = Theme { has_colors: false, is_printed: true };

    /// The theme of a terminal, without colours if NO_COLOR is set.
    pub(super) fn of_terminal() -> Theme {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Theme { has_colors: !no_color, is_printed: false }
    }

    pub(super) fn color(self, color: Color) -> Style {
        if self.has_colors { Style::new().fg(color) } else { Style::new() }
    }

    pub(super) fn state(self, state: &str) -> Style {
        match state {
            "available" | "ready" => self.color(Color::Green),
            "probing" | "drained" | "starting" | "draining" => self.color(Color::Yellow),
            _ => self.color(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

/// A section with a title, a table head, and rows of which one is selected.
pub(super) struct Section<'a> {
    pub(super) pane: Pane,
    pub(super) title: String,
    pub(super) head: Vec<&'a str>,
    pub(super) widths: Vec<Constraint>,
    pub(super) rows: Vec<Row<'a>>,
}

impl Section<'_> {
    pub(super) fn draw(self, app: &App, theme: Theme, area: Rect, buffer: &mut Buffer) {
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
