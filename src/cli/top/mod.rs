//! `sluice top`: the status page for a terminal.
//!
//! The command polls the admin port once a second. Keys act on the selected target through the admin
//! API, after a confirmation. `status` is what the gateway tells, `model` the state of the screen,
//! `view` draws it with the figures of `text` and the sections of `section` and `failures`, and this file
//! has the event loop. The terminal is restored however the loop ends, even after a panic.

mod failures;
mod model;
mod section;
mod status;
mod text;
mod view;

use std::io::{self, IsTerminal};
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admin_port::{AdminPort, AdminPortArguments, AdminPortError};
use super::{on_signals, print, runtime};
use crate::system::time::{sleep, sleep_until};
use model::{App, Command};
use section::Theme;
use status::Status;

/// The polling interval.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The path of the state on the admin port.
const PATH: &str = "/admin/status";

/// Most columns and lines of a frame that `--once` prints. A failure has a few thousand characters at most.
const MAX_PRINTED_SIZE: (u16, u16) = (4000, 1000);

/// Arguments of `sluice top`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    admin_port: AdminPortArguments,
    /// Print the current state as text and exit.
    #[arg(long)]
    once: bool,
    /// Print everything that the gateway tells of its state, as JSON, and exit.
    #[arg(long, conflicts_with = "once")]
    json: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    if arguments.json {
        return print_json(arguments.admin_port);
    }
    let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !arguments.once && !is_terminal {
        return Err(
            "not a terminal; use --once to print the current state as text, or --json".to_owned()
        );
    }
    let admin_port = arguments.admin_port.connect()?;
    runtime(Some(1))?.block_on(async {
        // Reports a wrong address or key before the terminal changes to the full screen.
        let status = status(&admin_port).await.map_err(|error| error.to_string())?;
        let mut app = App::new(admin_port.url());
        app.update(status);
        if arguments.once {
            print_frame(&mut app);
            return Ok(());
        }
        let stop = CancellationToken::new();
        on_signals(stop.clone(), CancellationToken::new())?;
        let terminal = ratatui::try_init().map_err(|error| error.to_string())?;
        let result = run_screen(terminal, app, admin_port, &stop).await;
        ratatui::restore();
        result.map_err(|error| error.to_string())
    })
}

fn print_json(admin_port: AdminPortArguments) -> Result<(), String> {
    let admin_port = admin_port.connect()?;
    let status = runtime(Some(1))?.block_on(admin_port.get::<serde_json::Value>(PATH));
    let status = status.map_err(|error| error.to_string())?;
    let text = serde_json::to_string_pretty(&status).map_err(|error| error.to_string())?;
    print(&text);
    Ok(())
}

/// The state of the gateway now.
async fn status(admin_port: &AdminPort) -> Result<Status, AdminPortError> {
    admin_port.get(PATH).await
}

fn print_frame(app: &mut App) {
    let (columns, lines) = MAX_PRINTED_SIZE;
    let width = u16::try_from(view::printed_width(app)).unwrap_or(columns);
    let columns = width.clamp(view::MAX_TABLE_WIDTH, columns);
    let area = Rect::new(0, 0, columns, view::height(app).min(lines));
    let mut buffer = Buffer::empty(area);
    view::draw(app, Theme::PRINTED, area, &mut buffer);
    for line in buffer.content().chunks(usize::from(columns)) {
        let text: String = line.iter().map(|cell| cell.symbol()).collect();
        print(text.trim_end());
    }
}

/// A message from a request's task to the event loop.
#[derive(Debug)]
enum Message {
    Status(Box<Result<Status, AdminPortError>>),
    ActionResult(Result<String, AdminPortError>),
}

async fn run_screen(
    mut terminal: DefaultTerminal,
    mut app: App,
    admin_port: AdminPort,
    stop: &CancellationToken,
) -> io::Result<()> {
    let theme = Theme::of_terminal();
    let (sender, mut messages) = mpsc::channel(8);
    let (mut keys, mut due, mut is_polling) =
        (EventStream::new(), Instant::now() + POLL_INTERVAL, false);
    loop {
        terminal.draw(|frame| view::draw(&mut app, theme, frame.area(), frame.buffer_mut()))?;
        let command = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep_until(due), if !is_polling => {
                is_polling = true;
                let (admin_port, sender) = (admin_port.clone(), sender.clone());
                tokio::spawn(async move {
                    let status = Message::Status(Box::new(status(&admin_port).await));
                    // An error means that the event loop has ended.
                    let _ = sender.send(status).await;
                });
                Command::Nothing
            }
            Some(message) = messages.recv() => {
                match message {
                    Message::Status(status) => {
                        is_polling = false;
                        due = Instant::now() + POLL_INTERVAL;
                        match *status {
                            Ok(status) => app.update(status),
                            Err(error) => app.disconnected(error.to_string()),
                        }
                    }
                    Message::ActionResult(result) => {
                        app.show_message(result.unwrap_or_else(|error| error.to_string()));
                        due = Instant::now();
                    }
                }
                Command::Nothing
            }
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => app.handle_key(key),
                Some(Ok(_)) => Command::Nothing,
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        };
        match command {
            Command::Nothing => {}
            Command::Quit => return Ok(()),
            Command::Act(action, target) => {
                let (admin_port, sender) = (admin_port.clone(), sender.clone());
                tokio::spawn(async move {
                    let _ = sender
                        .send(Message::ActionResult(admin_port.act(action, &target).await))
                        .await;
                });
            }
        }
        // Limits how often held keys or pasted text redraw the screen.
        sleep(Duration::from_millis(5)).await;
    }
}
