//! What a client's connection is doing, and when it has done that for too long.
//!
//! The HTTP library times the head of a request, and that from the end of the one before; it has no
//! limit at all for HTTP/2, and none for a client that does not read its answer. So the limits of
//! a connection are kept here, for both protocols alike, from three things: when bytes are read and
//! written, when a request begins, and when its answer has ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::StatusCode;
use tokio::time::Instant;

use super::lengths::Lengths;
use super::streams;
use crate::config;
use crate::quota::{InFlightGuard, InFlightLimit, ORDINARY_HEAD};
use crate::system::time::{Sleep, sleep_until};

/// How long after its limit an answer may still end by itself, with a clear error; and how long a
/// connection that was told to end may take for it.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// Further off than any limit.
const NEVER: Duration = Duration::from_secs(366 * 24 * 3600);

/// The time of a request before anything is known of it, with the grace. Who answers it keeps to
/// its own.
pub(super) fn longest(config: &config::Server) -> Duration {
    config.request_timeout.max(config.bidirectional_timeout) + GRACE
}

/// The limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Time for the head of a request.
    pub(super) header_read: Duration,
    /// Time between two requests.
    pub(super) keep_alive: Duration,
    /// Requests in a row that a client may reset.
    pub(super) max_resets: u32,
    /// Bytes of the head of a request.
    pub(super) max_head: usize,
}

/// What a connection did for too long, or too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It did not send the head of a request.
    Head,
    /// It had no request.
    Idle,
    /// It did not read its answer.
    Stalled,
    /// It reset its requests.
    Resets,
    /// It was told to end, and did not.
    Leaving,
    /// There is no room for the head that it sends.
    Overloaded,
}

impl Overdue {
    /// The reason in metrics; `None` where one was given already.
    pub(super) fn reason(self) -> Option<&'static str> {
        match self {
            Overdue::Head => Some("header_timeout"),
            Overdue::Idle => Some("idle"),
            Overdue::Stalled => Some("stalled"),
            Overdue::Resets => Some("resets"),
            Overdue::Leaving => None,
            Overdue::Overloaded => Some("overloaded"),
        }
    }
}

/// How a client sees that the body of an answer has come to its end, by HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimited {
    /// By the last chunk.
    Chunked,
    /// By the length that the head tells.
    Length,
    /// By the end of the connection.
    Close,
}

/// The activity of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    patience: Patience,
    load: InFlightLimit,
    is_http2: bool,
    /// Whether the last answer ends where the connection does: for every write to look at.
    is_close_delimited: AtomicBool,
    state: Mutex<State>,
    /// The task that serves the connection; that of an HTTP/2 stream is another.
    server: AtomicWaker,
}

#[derive(Debug)]
struct State {
    /// Requests whose answer has not ended.
    open: usize,
    /// Whether there was a request.
    has_asked: bool,
    /// Since when no request is open and nothing of an answer was written.
    quiet_since: Moment,
    /// When the head began that is being read.
    head_since: Option<Moment>,
    /// What was read of it.
    head_bytes: usize,
    /// The room that it takes, if it is more than an ordinary one; and whether there was none.
    head_share: Option<InFlightGuard>,
    is_overloaded: bool,
    /// Requests so far, and which of them tells its length twice.
    requests: u64,
    lengths: Lengths,
    /// When the request under way must have ended, by HTTP/1.1. By HTTP/2 each stream has a task,
    /// which knows.
    due: Option<Instant>,
    /// Requests that were reset since the last that was answered.
    resets: u32,
    /// The last answer by HTTP/1: how its end is told, and whether its body came to it.
    delimited: Delimited,
    is_whole: bool,
    /// When it was told to end.
    leaving: Option<Instant>,
    /// What the library answered by itself, as of a request that is not HTTP.
    refused: Option<StatusCode>,
}

/// A time that is told when somebody asks for it first, which the watchdog does as soon as the
/// connection waits. Most are forgotten before that, and the clock is not read for them.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Now,
    At(Instant),
}

impl Moment {
    fn pin(&mut self) -> Instant {
        let at = match *self {
            Moment::Now => Instant::now(),
            Moment::At(at) => at,
        };
        *self = Moment::At(at);
        at
    }
}

impl Activity {
    /// Of a connection that was opened at `began`.
    pub(super) fn new(
        patience: Patience,
        load: InFlightLimit,
        is_http2: bool,
        began: Instant,
    ) -> Arc<Activity> {
        let state = State {
            open: 0,
            has_asked: false,
            quiet_since: Moment::At(began),
            head_since: None,
            head_bytes: 0,
            head_share: None,
            is_overloaded: false,
            requests: 0,
            lengths: Lengths::default(),
            due: None,
            resets: 0,
            delimited: Delimited::Chunked,
            is_whole: true,
            leaving: None,
            refused: None,
        };
        let (state, server) = (Mutex::new(state), AtomicWaker::new());
        let is_close_delimited = AtomicBool::new(false);
        Arc::new(Activity { patience, load, is_http2, is_close_delimited, state, server })
    }

    /// A request has come, under this config. It is open as long as what is returned lives.
    pub(super) fn asked(self: &Arc<Self>, config: &config::Server) -> Open {
        let now = Instant::now();
        let mut state = self.state();
        state.open += 1;
        state.requests += 1;
        state.has_asked = true;
        state.head_since = None;
        state.head_bytes = 0;
        // Whoever answers the request takes room for its head.
        state.head_share = None;
        state.due = (!self.is_http2).then(|| now + longest(config));
        drop(state);
        let usual_end = now + config.request_timeout;
        Open { activity: Arc::clone(self), usual_end, is_answered: false }
    }

    /// How many bytes may be read at once, if that is bounded: the library looks at how long a head
    /// is when it has read something, so what is read ends where a head is as long as it may be.
    pub(super) fn room(&self) -> Option<usize> {
        if self.is_http2 {
            return None;
        }
        let state = self.state();
        let max = self.patience.max_head.max(1);
        (state.open == 0).then(|| max - state.head_bytes % max)
    }

    /// Whether the request that has come tells the length of its body more than once, by HTTP/1.1.
    pub(super) fn repeats_length(&self) -> bool {
        let state = self.state();
        state.lengths.is_repeated(state.requests)
    }

    /// These bytes were read.
    pub(super) fn read(&self, bytes: &[u8]) {
        if self.is_http2 {
            return;
        }
        let mut state = self.state();
        state.lengths.pass(bytes, self.patience.max_head);
        if state.open == 0 {
            state.head_bytes += bytes.len();
            state.head_since.get_or_insert(Moment::Now);
            if state.head_bytes > ORDINARY_HEAD {
                // What follows a head is not kept.
                let kept = state.head_bytes.min(self.patience.max_head);
                let share = state.head_share.get_or_insert_with(|| self.load.guard_for_bytes());
                state.is_overloaded = share.reserve_head(kept).is_err();
            }
        }
    }

    /// Bytes were written. The last of an answer may be long on their way.
    pub(super) fn wrote(&self) {
        let mut state = self.state();
        if state.open == 0 && !self.is_http2 {
            state.quiet_since = Moment::Now;
        }
    }

    /// Whether the last answer ends where the connection does.
    pub(super) fn is_close_delimited(&self) -> bool {
        self.is_close_delimited.load(Ordering::Acquire)
    }

    /// Whether the body of the last answer came to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.state().is_whole
    }

    /// Whether the last answer broke off, and clients that don't compare its length with what came
    /// would take a close of the connection for its end.
    pub(super) fn is_cut_short(&self) -> bool {
        let state = self.state();
        !state.is_whole && state.delimited != Delimited::Chunked
    }

    /// Whether what is written now is the library's own: no request is open, and HTTP/1.1 is spoken.
    pub(super) fn has_nothing_to_say(&self) -> bool {
        !self.is_http2 && self.state().open == 0
    }

    /// Notes what the library answered by itself, and what was not sent.
    pub(super) fn refused(&self, status: StatusCode) {
        self.state().refused = Some(status);
    }

    /// What the library answered by itself.
    pub(super) fn refusal(&self) -> Option<StatusCode> {
        self.state().refused
    }

    /// Whether the head of a request has begun by HTTP/1.1, so that it may be answered.
    pub(super) fn is_within_head(&self) -> bool {
        let state = self.state();
        state.open == 0 && state.head_since.is_some()
    }

    /// The connection is told to end.
    pub(super) fn leaves(&self) {
        self.state().leaving.get_or_insert_with(Instant::now);
    }

    /// When what goes on now will have gone on for too long.
    pub(super) fn due(&self) -> (Instant, Overdue) {
        let mut state = self.state();
        let patience = &self.patience;
        // One that was told to end has as much again, since its client may be many.
        let most = patience.max_resets.saturating_mul(1 + u32::from(state.leaving.is_some()));
        if state.resets > most {
            let what = if state.leaving.is_some() { Overdue::Leaving } else { Overdue::Resets };
            return (Instant::now(), what);
        }
        if state.is_overloaded {
            return (Instant::now(), Overdue::Overloaded);
        }
        if state.open > 0 {
            let due = state.due.unwrap_or_else(|| Instant::now() + NEVER);
            return (due, Overdue::Stalled);
        }
        let (quiet_since, has_asked) = (state.quiet_since.pin(), state.has_asked);
        if let Some(leaving) = state.leaving {
            return (quiet_since.max(leaving) + GRACE, Overdue::Leaving);
        }
        match &mut state.head_since {
            // What was said before the first request may be no head, and gives no more time.
            _ if !has_asked => (quiet_since + patience.header_read, Overdue::Head),
            Some(since) => (since.pin() + patience.header_read, Overdue::Head),
            None => (quiet_since + patience.keep_alive, Overdue::Idle),
        }
    }

    /// Whether a request is open, and since when that is so, about.
    pub(super) fn standing(&self) -> (bool, Instant) {
        let mut state = self.state();
        (state.open > 0, state.quiet_since.pin())
    }

    /// Has the task of `cx` woken when a request has ended elsewhere.
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.server.register(cx.waker());
    }

    fn closed(&self, is_answered: bool) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        state.due = None;
        state.quiet_since = Moment::Now;
        state.head_since = None;
        state.resets = if is_answered { 0 } else { state.resets.saturating_add(1) };
        let is_of_interest = state.open == 0 || state.resets > self.patience.max_resets;
        if is_of_interest && self.is_http2 {
            drop(state);
            self.server.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open request; dropped with the body of its answer, or with what would have been one.
#[derive(Debug)]
pub(super) struct Open {
    activity: Arc<Activity>,
    /// When a request must have ended, unless its answer says otherwise.
    usual_end: Instant,
    is_answered: bool,
}

impl Open {
    /// The answer begins, and must have ended at `until`, if it says so. Must be called in the task
    /// that sends it.
    pub(super) fn begins(&self, until: Option<Instant>, delimited: Delimited) {
        let end = until.unwrap_or(self.usual_end).max(Instant::now()) + GRACE;
        if self.activity.is_http2 {
            streams::end_at(end);
        } else {
            let mut state = self.activity.state();
            state.due = Some(end);
            (state.delimited, state.is_whole) = (delimited, false);
            let is_close_delimited = delimited == Delimited::Close;
            self.activity.is_close_delimited.store(is_close_delimited, Ordering::Release);
        }
    }

    /// The answer has come to its end.
    pub(super) fn answered(&mut self) {
        self.is_answered = true;
        if !self.activity.is_http2 {
            self.activity.state().is_whole = true;
        }
    }

    /// The answer has broken off, and nothing more comes of it.
    pub(super) fn broke_off(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.activity.closed(self.is_answered);
    }
}

/// A timer that follows what [`Activity::due`] says.
#[derive(Debug)]
pub(super) struct Watchdog {
    activity: Arc<Activity>,
    timer: std::pin::Pin<Box<Sleep>>,
}

impl Watchdog {
    pub(super) fn new(activity: Arc<Activity>) -> Watchdog {
        let timer = Box::pin(sleep_until(activity.due().0));
        Watchdog { activity, timer }
    }

    /// Ready when something has gone on for too long. Polled whenever the connection was.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        self.activity.register(cx);
        loop {
            let (due, what) = self.activity.due();
            // A timer that goes off early is cheaper than one that is set at every step.
            if due < self.timer.deadline() || self.timer.is_elapsed() {
                if due <= Instant::now() {
                    return Poll::Ready(what);
                }
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
