//! One connection for many callers, which is opened at the first call and given up after a call that
//! failed; the next call opens another.
//!
//! Whatever the failure: a socket that was closed, no answer in time, or an error that the server gave.
//! A server that was demoted, that loads its data or that has lost its master keeps its sockets open and
//! answers each call with an error, while the address may lead to another one by now. NOSCRIPT
//! is not a failure: the caller loads the script.
//!
//! A call that was refused with such an error had no effect, so it is made once more on the new connection.
//! Dials are at least [`PAUSE`] apart.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::{Mutex, MutexGuard};
use redis::aio::ConnectionLike;
use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value,
};
use tokio::time::Instant;

use super::server::{Server, Socket};
use crate::system::time::{sleep, timeout};

/// Shortest time between two dials.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection. Clones are the same.
#[derive(Clone)]
pub struct Connection(Arc<ActiveConnection>);

struct ActiveConnection {
    server: Arc<Server>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Raised with each dial.
    number: u64,
    dial: Option<Dial>,
    /// When the last dial began, or will.
    dialed_at: Option<Instant>,
}

/// A dial that all callers wait for, and its outcome.
type Dial = Shared<BoxFuture<'static, Result<Socket, RedisError>>>;

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection that is not open yet.
    pub(super) fn new(server: Server) -> Connection {
        Connection(Arc::new(ActiveConnection { server: Arc::new(server), state: Mutex::default() }))
    }

    /// The number of the dial that counts, and the dial.
    fn dial(&self) -> (u64, Dial) {
        let mut state = self.state();
        if let Some(dial) = &state.dial {
            return (state.number, dial.clone());
        }
        let now = Instant::now();
        let begins = state.dialed_at.map_or(now, |at| now.max(at + PAUSE));
        let server = Arc::clone(&self.0.server);
        // A task, so that it goes on when the caller that began it waits no longer.
        let task = tokio::spawn(async move {
            sleep(begins.saturating_duration_since(now)).await;
            let dial = timeout(server.limit(), server.dial()).await;
            dial.unwrap_or_else(|_| Err(too_late()))
        });
        let dial = async move { task.await.unwrap_or_else(|_| Err(closed())) }.boxed().shared();
        state.number += 1;
        state.dialed_at = Some(begins);
        state.dial = Some(dial.clone());
        (state.number, dial)
    }

    /// Has the next call dial again, unless another caller has done so already.
    fn give_up(&self, number: u64) {
        let mut state = self.state();
        if state.number == number {
            state.dial = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    async fn call(&self, commands: Commands<'_>) -> RedisResult<Vec<Value>> {
        let limit = self.0.server.limit();
        let tries = async {
            let outcome = self.call_once(commands).await;
            match &outcome {
                Err(error) if is_refused(error) => self.call_once(commands).await,
                _ => outcome,
            }
        };
        timeout(limit, tries).await.unwrap_or_else(|_| Err(too_late()))
    }

    async fn call_once(&self, commands: Commands<'_>) -> RedisResult<Vec<Value>> {
        let (number, dial) = self.dial();
        let mut socket = match dial.await {
            Ok(socket) => socket,
            Err(error) => {
                self.give_up(number);
                return Err(error);
            }
        };
        let since = Instant::now();
        let mut waiting = Waiting { connection: self, number, since, is_over: false };
        let outcome = commands.send(&mut socket).await;
        waiting.is_over = true;
        if outcome.as_ref().is_err_and(|error| !is_unknown_script(error)) {
            self.give_up(number);
        }
        outcome
    }
}

/// A call in flight. If its caller gives up although it had its time, the connection may be dead.
struct Waiting<'a> {
    connection: &'a Connection,
    number: u64,
    since: Instant,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Callers that give up earlier have reasons of their own. Half of the limit, since a dial may have
        // taken a part of it.
        let patience = self.connection.0.server.limit() / 2;
        if !self.is_over && self.since.elapsed() >= patience {
            self.connection.give_up(self.number);
        }
    }
}

/// One command, or several.
#[derive(Clone, Copy)]
enum Commands<'a> {
    One(&'a Cmd),
    Several { pipeline: &'a Pipeline, offset: usize, count: usize },
}

impl Commands<'_> {
    /// The answers; the first error that is among them, if there is one.
    async fn send(self, socket: &mut Socket) -> RedisResult<Vec<Value>> {
        let answers = match self {
            Commands::One(cmd) => vec![socket.req_packed_command(cmd).await?],
            Commands::Several { pipeline, offset, count } => {
                socket.req_packed_commands(pipeline, offset, count).await?
            }
        };
        let whole = |answer| match answer {
            Value::ServerError(error) => Err(error.into()),
            answer => Ok(answer),
        };
        answers.into_iter().map(whole).collect()
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether the server did nothing, because it takes no writes, or none yet.
fn is_refused(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown,
        ) => true,
        // Before version 7 a script that was refused ends with an error of its own, which quotes this.
        ErrorKind::Server(ServerErrorKind::ResponseError) => error
            .detail()
            .is_some_and(|text| ["-READONLY", "-MASTERDOWN"].iter().any(|it| text.contains(it))),
        _ => false,
    }
}

fn too_late() -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time").into()
}

fn closed() -> RedisError {
    (ErrorKind::Io, "the connection was closed").into()
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let call = async move {
            let answer = self.call(Commands::One(cmd)).await?;
            answer.into_iter().next().ok_or_else(closed)
        };
        call.boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        async move { self.call(Commands::Several { pipeline, offset, count }).await }.boxed()
    }

    fn get_db(&self) -> i64 {
        self.0.server.db()
    }
}
