//! The limits of a client's connection: tracks what it does, and closes it when that takes too long or
//! happens too often.
//!
//! hyper's timeout for a request head runs from the end of the request before, HTTP/2 has none at all,
//! and neither has one for a client that does not read its response. So all limits of a connection are
//! kept here, for both protocols, from three things: when bytes are read and written, when a request
//! starts, and when its response ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::deadline::{GRACE, max_request_time, set_stream_deadline};
use super::lengths::LengthScanner;
use crate::config;
use crate::quota::{InFlightGuard, InFlightLimit, ORDINARY_HEAD};
use crate::system::time::{Sleep, sleep_until};

/// Further off than any limit.
const NEVER: Duration = Duration::from_secs(366 * 24 * 3600);

/// The limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    /// Time for the head of a request.
    pub(super) header_read: Duration,
    /// Time between two requests.
    pub(super) keep_alive: Duration,
    /// Requests in a row that a client may reset.
    pub(super) max_resets: u32,
    /// Bytes of the head of a request.
    pub(super) max_head: usize,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The head of a request did not arrive in time.
    HeaderTimeout,
    /// There was no request for too long.
    IdleTimeout,
    /// The client did not read its response.
    Stalled,
    /// The client reset too many requests.
    TooManyResets,
    /// The connection did not shut down in time.
    ShutdownTimeout,
    /// No memory is left for a request head.
    Overloaded,
}

impl CloseReason {
    /// The reason in metrics; `None` if another one was counted before.
    pub(super) fn label(self) -> Option<&'static str> {
        match self {
            CloseReason::HeaderTimeout => Some("header_timeout"),
            CloseReason::IdleTimeout => Some("idle"),
            CloseReason::Stalled => Some("stalled"),
            CloseReason::TooManyResets => Some("resets"),
            CloseReason::ShutdownTimeout => None,
            CloseReason::Overloaded => Some("overloaded"),
        }
    }
}

/// How an HTTP/1 client recognises the end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// The last chunk.
    Chunked,
    /// The `content-length`.
    Length,
    /// The end of the connection.
    Close,
}

/// Tracks one connection.
#[derive(Debug)]
pub(super) struct ConnectionTracker {
    limits: ConnectionLimits,
    load: InFlightLimit,
    is_http2: bool,
    /// Whether the last response ends with the connection. Outside the lock, since every write reads it.
    is_close_delimited: AtomicBool,
    state: Mutex<State>,
    /// The task that serves the connection, which is not that of an HTTP/2 stream.
    server: AtomicWaker,
}

#[derive(Debug)]
struct State {
    /// Requests whose response has not ended.
    open: usize,
    /// Whether there was any request.
    had_request: bool,
    /// Since when no request is open and nothing of a response was written.
    idle_since: LazyInstant,
    /// When the first byte of the current head came.
    head_since: Option<LazyInstant>,
    /// Bytes read of that head.
    head_bytes: usize,
    /// The memory reserved for a large head, and whether there was too little.
    head_guard: Option<InFlightGuard>,
    is_overloaded: bool,
    /// Requests so far, and which of them repeats its `content-length`.
    requests: u64,
    lengths: LengthScanner,
    /// The deadline of the current request over HTTP/1.1. Over HTTP/2 the task of each stream has one.
    deadline: Option<Instant>,
    /// Requests that were reset since the last completed one.
    resets: u32,
    /// How the last HTTP/1 response ends, and whether its body is complete.
    body_end: BodyEnd,
    is_complete: bool,
    /// When its shutdown began.
    shutting_down_since: Option<Instant>,
}

/// A time that is read when it is first needed, which is as soon as the connection waits. Most are
/// overwritten before that, and cost no look at the clock.
#[derive(Clone, Copy, Debug)]
enum LazyInstant {
    Now,
    At(Instant),
}

impl LazyInstant {
    fn resolve(&mut self) -> Instant {
        let at = match *self {
            LazyInstant::Now => Instant::now(),
            LazyInstant::At(at) => at,
        };
        *self = LazyInstant::At(at);
        at
    }
}

impl ConnectionTracker {
    /// Tracks a connection that was opened at `began`.
    pub(super) fn new(
        limits: ConnectionLimits,
        load: InFlightLimit,
        is_http2: bool,
        began: Instant,
    ) -> Arc<ConnectionTracker> {
        let state = State {
            open: 0,
            had_request: false,
            idle_since: LazyInstant::At(began),
            head_since: None,
            head_bytes: 0,
            head_guard: None,
            is_overloaded: false,
            requests: 0,
            lengths: LengthScanner::default(),
            deadline: None,
            resets: 0,
            body_end: BodyEnd::Chunked,
            is_complete: true,
            shutting_down_since: None,
        };
        let (state, server) = (Mutex::new(state), AtomicWaker::new());
        let is_close_delimited = AtomicBool::new(false);
        Arc::new(ConnectionTracker { limits, load, is_http2, is_close_delimited, state, server })
    }

    /// Notes a new request. It is open until the returned value is dropped.
    pub(super) fn request_started(self: &Arc<Self>, config: &config::Server) -> OpenRequest {
        let now = Instant::now();
        let mut state = self.state();
        state.open += 1;
        state.requests += 1;
        state.had_request = true;
        state.head_since = None;
        state.head_bytes = 0;
        // The pipeline reserves memory for the head from here on.
        state.head_guard = None;
        state.deadline = (!self.is_http2).then(|| now + max_request_time(config));
        drop(state);
        let usual_end = now + config.request_timeout;
        OpenRequest { tracker: Arc::clone(self), usual_end, is_completed: false }
    }

    /// Most bytes of the next read, if it is limited: hyper checks the length of a head after each read,
    /// so a read must end where a head reaches its maximum.
    pub(super) fn read_limit(&self) -> Option<usize> {
        if self.is_http2 {
            return None;
        }
        let state = self.state();
        let max = self.limits.max_head.max(1);
        (state.open == 0).then(|| max - state.head_bytes % max)
    }

    /// Whether the current HTTP/1.1 request has more than one `content-length`.
    pub(super) fn has_repeated_length(&self) -> bool {
        let state = self.state();
        state.lengths.is_repeated(state.requests)
    }

    /// Notes bytes that were read.
    pub(super) fn read(&self, bytes: &[u8]) {
        if self.is_http2 {
            return;
        }
        let mut state = self.state();
        state.lengths.pass(bytes, self.limits.max_head);
        if state.open == 0 {
            state.head_bytes += bytes.len();
            state.head_since.get_or_insert(LazyInstant::Now);
            if state.head_bytes > ORDINARY_HEAD {
                // Bytes after the head are not part of it.
                let kept = state.head_bytes.min(self.limits.max_head);
                let guard = state.head_guard.get_or_insert_with(|| self.load.guard_for_bytes());
                state.is_overloaded = guard.reserve_head(kept).is_err();
            }
        }
    }

    /// Notes that bytes were written. The last ones of a response may take long.
    pub(super) fn wrote(&self) {
        let mut state = self.state();
        if state.open == 0 && !self.is_http2 {
            state.idle_since = LazyInstant::Now;
        }
    }

    /// Whether the last response ends with the connection.
    pub(super) fn is_close_delimited(&self) -> bool {
        self.is_close_delimited.load(Ordering::Acquire)
    }

    /// Whether the body of the last response is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.state().is_complete
    }

    /// Whether the last response ended early and has no chunks: only a reset shows that to a client that
    /// does not check the length.
    pub(super) fn is_truncated(&self) -> bool {
        let state = self.state();
        !state.is_complete && state.body_end != BodyEnd::Chunked
    }

    /// Whether a part of an HTTP/1.1 head has come, so that the client expects a response.
    pub(super) fn is_reading_head(&self) -> bool {
        let state = self.state();
        state.open == 0 && state.head_since.is_some()
    }

    /// Notes that the connection shuts down.
    pub(super) fn shutting_down(&self) {
        self.state().shutting_down_since.get_or_insert_with(Instant::now);
    }

    /// When the connection is to be closed if nothing happens, and why.
    pub(super) fn deadline(&self) -> (Instant, CloseReason) {
        let mut state = self.state();
        let limits = &self.limits;
        // During a shutdown as many again are allowed: the client may be a proxy of many.
        let most =
            limits.max_resets.saturating_mul(1 + u32::from(state.shutting_down_since.is_some()));
        if state.resets > most {
            let what = if state.shutting_down_since.is_some() {
                CloseReason::ShutdownTimeout
            } else {
                CloseReason::TooManyResets
            };
            return (Instant::now(), what);
        }
        if state.is_overloaded {
            return (Instant::now(), CloseReason::Overloaded);
        }
        if state.open > 0 {
            let deadline = state.deadline.unwrap_or_else(|| Instant::now() + NEVER);
            return (deadline, CloseReason::Stalled);
        }
        let (idle_since, had_request) = (state.idle_since.resolve(), state.had_request);
        if let Some(shutting_down_since) = state.shutting_down_since {
            return (idle_since.max(shutting_down_since) + GRACE, CloseReason::ShutdownTimeout);
        }
        match &mut state.head_since {
            // Bytes before the first request may be no head, and extend no time.
            _ if !had_request => (idle_since + limits.header_read, CloseReason::HeaderTimeout),
            Some(since) => (since.resolve() + limits.header_read, CloseReason::HeaderTimeout),
            None => (idle_since + limits.keep_alive, CloseReason::IdleTimeout),
        }
    }

    /// Whether a request is open, and since when the connection has been idle. The connection with the
    /// lowest rank is evicted first.
    pub(super) fn eviction_rank(&self) -> (bool, Instant) {
        let mut state = self.state();
        (state.open > 0, state.idle_since.resolve())
    }

    /// Wakes the task of `cx` when a request ends in another task.
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.server.register(cx.waker());
    }

    fn request_ended(&self, is_completed: bool) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        state.deadline = None;
        state.idle_since = LazyInstant::Now;
        state.head_since = None;
        state.resets = if is_completed { 0 } else { state.resets.saturating_add(1) };
        let is_of_interest = state.open == 0 || state.resets > self.limits.max_resets;
        if is_of_interest && self.is_http2 {
            drop(state);
            self.server.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// An open request, dropped with the body of its response or with the future of one.
#[derive(Debug)]
pub(super) struct OpenRequest {
    tracker: Arc<ConnectionTracker>,
    /// The deadline of the request, unless its response has another one.
    usual_end: Instant,
    is_completed: bool,
}

impl OpenRequest {
    /// Notes that the response has started, with a deadline of its own if `until` has one. Must be called in
    /// the task that sends it.
    pub(super) fn response_started(&self, until: Option<Instant>, body_end: BodyEnd) {
        let end = until.unwrap_or(self.usual_end).max(Instant::now()) + GRACE;
        if self.tracker.is_http2 {
            set_stream_deadline(end);
        } else {
            let mut state = self.tracker.state();
            state.deadline = Some(end);
            (state.body_end, state.is_complete) = (body_end, false);
            let is_close_delimited = body_end == BodyEnd::Close;
            self.tracker.is_close_delimited.store(is_close_delimited, Ordering::Release);
        }
    }

    /// Notes that the response is complete.
    pub(super) fn completed(&mut self) {
        self.is_completed = true;
        if !self.tracker.is_http2 {
            self.tracker.state().is_complete = true;
        }
    }

    /// Notes that the response ended early.
    pub(super) fn aborted(&mut self) {
        self.is_completed = true;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.tracker.request_ended(self.is_completed);
    }
}

/// A timer that follows [`ConnectionTracker::deadline`].
#[derive(Debug)]
pub(super) struct TimeoutTimer {
    tracker: Arc<ConnectionTracker>,
    timer: std::pin::Pin<Box<Sleep>>,
}

impl TimeoutTimer {
    pub(super) fn new(tracker: Arc<ConnectionTracker>) -> TimeoutTimer {
        let timer = Box::pin(sleep_until(tracker.deadline().0));
        TimeoutTimer { tracker, timer }
    }

    /// Ready when the connection is to be closed. Polled after each poll of the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.tracker.register(cx);
        loop {
            let (deadline, what) = self.tracker.deadline();
            // A timer that fires early is cheaper than one that is reset at every step.
            if deadline < self.timer.deadline() || self.timer.is_elapsed() {
                if deadline <= Instant::now() {
                    return Poll::Ready(what);
                }
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
