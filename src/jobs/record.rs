//! A job's record, and the states that a job goes through.
//!
//! ```text
//!  Waiting -> Running -> Done | Failed
//!                |  ^
//!                v  |
//!             Retrying          any of the three on the left -> Cancelled
//! ```
//! Done, Failed and Cancelled are final. The store refuses a result that arrives later, so a job ends once.

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
    /// All queues.
    pub const ALL: [Queue; 3] = [Queue::Analysis, Queue::Chat, Queue::Test];

    /// The name in the store, in metrics and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Queue::Analysis => "analysis",
            Queue::Chat => "chat",
            Queue::Test => "test",
        }
    }
}

/// The name of a queue or state that this version does not have.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not known to this version")]
pub struct UnknownName(String);

impl FromStr for Queue {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Queue, UnknownName> {
        let named = Queue::ALL.into_iter().find(|queue| queue.name() == text);
        named.ok_or_else(|| UnknownName(text.to_owned()))
    }
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started.
    Waiting,
    /// A worker runs it.
    Running,
    /// The last try failed, and another one follows.
    Retrying,
    /// Ended with a result.
    Done,
    /// Ended without a result.
    Failed,
    /// Cancelled before another end.
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
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<State, UnknownName> {
        let named = State::ALL.into_iter().find(|state| state.name() == text);
        named.ok_or_else(|| UnknownName(text.to_owned()))
    }
}

/// A job to be submitted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The queue it joins.
    pub queue: Queue,
    /// The client that submitted the job; `None` without configured clients.
    pub owner: Option<String>,
    /// A description for people: a section's name, a question.
    pub subject: String,
    /// The handler's input.
    pub payload: Value,
}

/// A job's current record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its queue.
    pub queue: Queue,
    /// Its state.
    pub state: State,
    /// The client that submitted the job; `None` without configured clients. Never changes.
    pub owner: Option<String>,
    /// A description for people.
    pub subject: String,
    /// Its progress, 0 to 100.
    pub progress: u8,
    /// Its result, once it is done.
    pub result: Option<Value>,
    /// The error of the job, or of its last try.
    pub error: Option<String>,
}

/// What a job ended with.
#[derive(Clone, Debug)]
pub(super) enum JobResult {
    Done(Value),
    Failed(String),
}

/// A worker's right to run a job. The token distinguishes it from earlier and later claims on the
/// same job: the store takes reports on a job from its last claim only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    pub(super) queue: Queue,
    pub(super) job: Uuid,
    pub(super) token: Uuid,
}

impl Claim {
    pub(super) fn new(queue: Queue, job: Uuid) -> Claim {
        Claim { queue, job, token: Uuid::new_v4() }
    }
}

/// The numbers of a queue's unfinished jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not started, or waiting for a retry.
    pub waiting: u64,
    /// Not started, but claimed by a worker that waits for the queue's rate.
    pub reserved: u64,
    /// Running.
    pub running: u64,
}

/// A worker with a recent heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its name, unique to one run of a process.
    pub name: String,
    /// The queue it serves.
    pub queue: Queue,
    /// The time of its last heartbeat, in seconds since 1970.
    pub seen: u64,
}
