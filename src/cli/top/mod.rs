//! `sluice top`: the status page for a terminal.
//!
//! It polls the admin port once a second. Keys act on the selected target through the admin API, after
//! a confirmation. `model` holds the state, `view` draws it, `admin_port` is the client, and this file
//! has the loop. The terminal is restored however the loop ends, even by a panic.

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
use admin_port::{AdminPort, AskError};
use model::{App, Asked, Status};
use view::Look;

/// The polling interval.
const EVERY: Duration = Duration::from_secs(1);

/// The variable with the admin key. A command line is visible to other users of the machine.
const KEY_VARIABLE: &str = "SLUICE_ADMIN_KEY";

/// Columns and lines of a frame that is printed.
const PRINTED: (u16, u16) = (120, 1000);

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
        // A wrong address or key is reported before the screen is taken.
        let status = admin_port.status().await.map_err(|error| error.to_string())?;
        let mut app = App::new(admin_port.url());
        app.has(status);
        if arguments.once {
            print_frame(&mut app);
            return Ok(());
        }
        let stop = CancellationToken::new();
        on_signals(stop.clone(), CancellationToken::new())?;
        let terminal = ratatui::try_init().map_err(|error| error.to_string())?;
        let shown = show(terminal, app, admin_port, &stop).await;
        ratatui::restore();
        shown.map_err(|error| error.to_string())
    })
}

/// Where to ask, and with what key.
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
            let own = || server.admin_key.as_ref().map(|key| key.expose().to_owned());
            let address = super::reachable(server.admin_listen);
            (format!("http://{address}"), key.or_else(own))
        }
    };
    AdminPort::new(url, key).map_err(|error| error.to_string())
}

fn print_frame(app: &mut App) {
    let (columns, lines) = PRINTED;
    let area = Rect::new(0, 0, columns, view::height(app).min(lines));
    let mut buffer = Buffer::empty(area);
    view::draw(app, Look::PRINTED, area, &mut buffer);
    for line in buffer.content().chunks(usize::from(columns)) {
        let text: String = line.iter().map(|cell| cell.symbol()).collect();
        print(text.trim_end());
    }
}

/// Messages from the polling tasks to the loop.
#[derive(Debug)]
enum News {
    Status(Box<Result<Status, AskError>>),
    Done(Result<String, AskError>),
}

async fn show(
    mut terminal: DefaultTerminal,
    mut app: App,
    admin_port: AdminPort,
    stop: &CancellationToken,
) -> io::Result<()> {
    let look = Look::of_terminal();
    let (tell, mut news) = mpsc::channel(8);
    let (mut keys, mut due, mut is_asking) = (EventStream::new(), Instant::now() + EVERY, false);
    loop {
        terminal.draw(|frame| view::draw(&mut app, look, frame.area(), frame.buffer_mut()))?;
        let asked = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep_until(due), if !is_asking => {
                is_asking = true;
                let (admin_port, tell) = (admin_port.clone(), tell.clone());
                tokio::spawn(async move {
                    let status = News::Status(Box::new(admin_port.status().await));
                    // Nobody listens any more: the command ends.
                    let _ = tell.send(status).await;
                });
                Asked::Nothing
            }
            Some(heard) = news.recv() => {
                match heard {
                    News::Status(status) => {
                        is_asking = false;
                        due = Instant::now() + EVERY;
                        match *status {
                            Ok(status) => app.has(status),
                            Err(error) => app.lost(error.to_string()),
                        }
                    }
                    News::Done(done) => {
                        app.says(done.unwrap_or_else(|error| error.to_string()));
                        due = Instant::now();
                    }
                }
                Asked::Nothing
            }
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => app.pressed(key),
                Some(Ok(_)) => Asked::Nothing,
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        };
        match asked {
            Asked::Nothing => {}
            Asked::Quit => return Ok(()),
            Asked::Act(act, target) => {
                let (admin_port, tell) = (admin_port.clone(), tell.clone());
                tokio::spawn(async move {
                    let _ = tell.send(News::Done(admin_port.act(act, &target).await)).await;
                });
            }
        }
        // Keys that are held down, or a screen that is pasted into, draw no more often than this.
        sleep(Duration::from_millis(5)).await;
    }
}
