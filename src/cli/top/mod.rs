//! `sluice top`: the status page for a terminal.
//!
//! The command polls the admin port once a second. Keys act on the selected target through the admin
//! API, after a confirmation. `model` holds the state, `view` draws it, `admin_port` is the client, and
//! this file has the event loop. The terminal is restored however the loop ends, even after a panic.

mod admin_port;
mod model;
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

use super::{ConfigFile, on_signals, print, runtime};
use crate::config::Config;
use crate::system::time::{sleep, sleep_until};
use admin_port::{AdminPort, AdminPortError};
use model::{App, Command, Status};
use view::Theme;

/// The polling interval.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The variable with the admin key. A command line is visible to other users of the machine.
const KEY_VARIABLE: &str = "SLUICE_ADMIN_KEY";

/// Columns and most lines of a frame that `--once` prints.
const PRINTED_SIZE: (u16, u16) = (120, 1000);

/// Arguments of `sluice top`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// URL of the admin port, such as http://127.0.0.1:9090. Default: the one in the config. The
    /// admin key comes from SLUICE_ADMIN_KEY or the config.
    #[arg(long, value_parser = admin_port::base)]
    url: Option<String>,
    /// Print the current state as text and exit.
    #[arg(long)]
    once: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !arguments.once && !is_terminal {
        return Err("not a terminal; use --once to print the current state as text".to_owned());
    }
    let admin_port = admin_port(arguments.url, arguments.config)?;
    runtime(Some(1))?.block_on(async {
        // Reports a wrong address or key before the terminal changes to the full screen.
        let status = admin_port.status().await.map_err(|error| error.to_string())?;
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

/// The admin port's client, with the URL and the key of the arguments, the environment or the config.
fn admin_port(url: Option<String>, file: ConfigFile) -> Result<AdminPort, String> {
    let key = std::env::var(KEY_VARIABLE).ok().filter(|key| !key.is_empty());
    let (url, key) = match url {
        Some(url) => (url, key),
        None => {
            let Config { server, .. } = super::load(&file.source())?.config;
            if server.tls.is_some() && server.listen == server.admin_listen {
                return Err("the admin port of this config speaks TLS, which this command does \
                            not; give admin_listen a port of its own"
                    .to_owned());
            }
            let configured = || server.admin_key.as_ref().map(|key| key.expose().to_owned());
            let address = super::reachable(server.admin_listen);
            (format!("http://{address}"), key.or_else(configured))
        }
    };
    AdminPort::new(url, key).map_err(|error| error.to_string())
}

fn print_frame(app: &mut App) {
    let (columns, lines) = PRINTED_SIZE;
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
                    let status = Message::Status(Box::new(admin_port.status().await));
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
