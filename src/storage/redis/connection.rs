//! One Redis connection for many callers. The first call opens it. After a failed call the connection is
//! dropped, and the next call opens a new one.
//!
//! A failure is a closed socket, no reply in time, or an error reply. Error replies count because a server
//! that was demoted, loads its data or has lost its master keeps its sockets open and replies to each call
//! with an error, while the address may belong to another server by then. NOSCRIPT is not a failure: the
//! caller loads the script.
//!
//! A call that such a server refused had no effect, so it is repeated once on the new connection. Two
//! dials begin at least [`MIN_DIAL_INTERVAL`] apart.

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

/// Shortest time between the begin of two dials.
const MIN_DIAL_INTERVAL: Duration = Duration::from_millis(100);

/// A shared connection. Clones share it.
#[derive(Clone)]
pub struct Connection(Arc<ActiveConnection>);

struct ActiveConnection {
    server: Arc<Server>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the current dial, which grows with each dial.
    number: u64,
    dial: Option<Dial>,
    /// When the last dial begins or began.
    dialed_at: Option<Instant>,
}

/// A dial that all callers wait for, and its result.
type Dial = Shared<BoxFuture<'static, Result<Socket, RedisError>>>;

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection that the first call opens.
    pub(super) fn new(server: Server) -> Connection {
        Connection(Arc::new(ActiveConnection { server: Arc::new(server), state: Mutex::default() }))
    }

    /// The current dial, its number, and whether it begins with this call, because none was running.
    fn dial(&self) -> (u64, Dial, bool) {
        let mut state = self.state();
        if let Some(dial) = &state.dial {
            return (state.number, dial.clone(), false);
        }
        let now = Instant::now();
        let begins = state.dialed_at.map_or(now, |at| now.max(at + MIN_DIAL_INTERVAL));
        let server = Arc::clone(&self.0.server);
        // A task, so that the dial continues when the caller that began it gives up.
        let task = tokio::spawn(async move {
            sleep(begins.saturating_duration_since(now)).await;
            let dial = timeout(server.limit(), server.dial()).await;
            dial.unwrap_or_else(|_| Err(timed_out()))
        });
        let dial = async move { task.await.unwrap_or_else(|_| Err(closed())) }.boxed().shared();
        state.number += 1;
        state.dialed_at = Some(begins);
        state.dial = Some(dial.clone());
        (state.number, dial, true)
    }

    /// The open connection, or a new one. A dial that began before may fail because of how the network was
    /// then, so that a call which has waited for it dials once more.
    async fn socket(&self) -> RedisResult<(u64, Socket)> {
        let (number, dial, is_new) = self.dial();
        let error = match dial.await {
            Ok(socket) => return Ok((number, socket)),
            Err(error) => error,
        };
        self.drop_dial(number);
        if is_new {
            return Err(error);
        }
        let (number, dial, _) = self.dial();
        let socket = dial.await.inspect_err(|_| self.drop_dial(number))?;
        Ok((number, socket))
    }

    /// Drops the connection of this dial, so that the next call dials again.
    fn drop_dial(&self, number: u64) {
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
        let attempts = async {
            let result = self.call_once(commands).await;
            match &result {
                Err(error) if is_refused(error) => self.call_once(commands).await,
                _ => result,
            }
        };
        timeout(limit, attempts).await.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn call_once(&self, commands: Commands<'_>) -> RedisResult<Vec<Value>> {
        let (number, mut socket) = self.socket().await?;
        let since = Instant::now();
        let mut call = PendingCall { connection: self, number, since, is_complete: false };
        let result = commands.send(&mut socket).await;
        call.is_complete = true;
        if result.as_ref().is_err_and(|error| !is_unknown_script(error)) {
            self.drop_dial(number);
        }
        result
    }
}

/// A call in flight. If its caller drops it after a long wait, the connection may be dead and is dropped.
struct PendingCall<'a> {
    connection: &'a Connection,
    number: u64,
    since: Instant,
    is_complete: bool,
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        // A caller that gives up earlier has a reason of its own. Half of the limit, because the dial may
        // have taken a part of it.
        let long_wait = self.connection.0.server.limit() / 2;
        if !self.is_complete && self.since.elapsed() >= long_wait {
            self.connection.drop_dial(self.number);
        }
    }
}

/// One command, or a pipeline.
#[derive(Clone, Copy)]
enum Commands<'a> {
    One(&'a Cmd),
    Several { pipeline: &'a Pipeline, offset: usize, count: usize },
}

impl Commands<'_> {
    /// The replies.
    ///
    /// # Errors
    /// The first error reply, or the failure of the socket.
    async fn send(self, socket: &mut Socket) -> RedisResult<Vec<Value>> {
        let replies = match self {
            Commands::One(cmd) => vec![socket.req_packed_command(cmd).await?],
            Commands::Several { pipeline, offset, count } => {
                socket.req_packed_commands(pipeline, offset, count).await?
            }
        };
        let checked = |reply| match reply {
            Value::ServerError(error) => Err(error.into()),
            reply => Ok(reply),
        };
        replies.into_iter().map(checked).collect()
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether the server refused the call without effect: it is read-only, loads its data or has no master.
fn is_refused(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown,
        ) => true,
        // Before Redis 7 the error of a refused script quotes the server's own error.
        ErrorKind::Server(ServerErrorKind::ResponseError) => error
            .detail()
            .is_some_and(|text| ["-READONLY", "-MASTERDOWN"].iter().any(|it| text.contains(it))),
        _ => false,
    }
}

fn timed_out() -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, "no reply in time").into()
}

fn closed() -> RedisError {
    (ErrorKind::Io, "the connection was closed").into()
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let call = async move {
            let replies = self.call(Commands::One(cmd)).await?;
            replies.into_iter().next().ok_or_else(closed)
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
