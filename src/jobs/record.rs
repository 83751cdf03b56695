//! What the queue knows of a job, and the states it goes through.
//!
//! ```text
//!  Waiting -> Running -> Done | Failed
//!                |  ^
//!                v  |
//!             Retrying          any of the three on the left -> Cancelled
//! ```
//! Done, Failed and Cancelled are final: whoever comes too late with a result is turned away by
//! the store, so a job has one end.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use uuid::Uuid;

/// A queue of jobs, with limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Analyses of a section.
    Analysis,
    /// Chat messages.
    Chat,
    /// Connection tests.
    Test,
}

impl Queue {
    /// All of them.
    pub const ALL: [Queue; 3] = [Queue::Analysis, Queue::Chat, Queue::Test];

    /// Its place in [`Queue::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// The name in the store, in metrics and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Queue::Analysis => "analysis",
            Queue::Chat => "chat",
            Queue::Test => "test",
        }
    }
}

/// A text that names no queue or state: the store holds something that was not written by this
/// version.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not known to this version")]
pub struct Unknown(String);

impl FromStr for Queue {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Queue, Unknown> {
        let named = Queue::ALL.into_iter().find(|queue| queue.name() == text);
        named.ok_or_else(|| Unknown(text.to_owned()))
    }
}

/// Where a job is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not begun.
    Waiting,
    /// A worker is at it.
    Running,
    /// It failed and will be tried again.
    Retrying,
    /// It has a result.
    Done,
    /// It failed for good.
    Failed,
    /// It was cancelled before it had an end of its own.
    Cancelled,
}

impl State {
    const ALL: [State; 6] = [
        State::Waiting,
        State::Running,
        State::Retrying,
        State::Done,
        State::Failed,
        State::Cancelled,
    ];

    /// The name in the store and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Retrying => "retrying",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<State, Unknown> {
        let named = State::ALL.into_iter().find(|state| state.name() == text);
        named.ok_or_else(|| Unknown(text.to_owned()))
    }
}

/// A job to be submitted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The queue it joins.
    pub queue: Queue,
    /// Whose it is, where submitters are known.
    pub owner: Option<String>,
    /// What it is about, for people: a section's name, a question.
    pub subject: String,
    /// What its work needs to know.
    pub payload: Value,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its queue.
    pub queue: Queue,
    /// Where it is on its way.
    pub state: State,
    /// Whose it is, where submitters are known. It never changes.
    pub owner: Option<String>,
    /// What it is about, for people.
    pub subject: String,
    /// How far it is, 0 to 100.
    pub progress: u8,
    /// What came of it; once it is done.
    pub result: Option<Value>,
    /// Why it failed, for good or the last time.
    pub error: Option<String>,
}

/// A job's end, or what its end is made of.
#[derive(Clone, Debug)]
pub(super) enum End {
    Done(Value),
    Failed(String),
}

/// One hold on a job: the job, and the token that tells this delivery of it from any other. A
/// store takes reports on a job only from the token it started it for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hold {
    pub(super) job: Uuid,
    pub(super) token: Uuid,
}

impl Hold {
    pub(super) fn new(job: Uuid) -> Hold {
        Hold { job, token: Uuid::new_v4() }
    }
}

/// What a queue's jobs amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not begun, or waiting to be tried again.
    pub waiting: u64,
    /// Of those, in the hands of a worker that waits for leave to start.
    pub reserved: u64,
    /// Running.
    pub running: u64,
}

/// A worker that was seen lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its name, unique to its process's life.
    pub name: String,
    /// The queue it serves.
    pub queue: Queue,
    /// When it was last seen, in seconds since 1970.
    pub seen: u64,
}
