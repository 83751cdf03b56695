//! Reloads of the config on request: the admin surface asks, and the task that reloads answers.

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Most requests that wait for a reload. Each is answered by a reload of its own.
const MAX_WAITING: usize = 8;

/// The result of a reload that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// What the config allows but is probably not meant, a sentence each.
    pub warnings: Vec<String>,
    /// The keys that have changed and take effect after a restart.
    pub restart_needed: Vec<String>,
}

/// Why the config was not reloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The new config is wrong, or can't be applied. The old one stays in use.
    #[error("the config was not reloaded: {0}")]
    Refused(String),
    /// The process reloads no config: it ends, or it was started without one.
    #[error("this gateway reloads no config")]
    Unavailable,
    /// Too many requests wait already.
    #[error("too many reloads wait already")]
    Busy,
}

/// The place where a reload's result is expected.
pub type ReloadReply = oneshot::Sender<Result<Reloaded, ReloadError>>;

/// The requests for a reload, for the task that reloads.
#[derive(Debug)]
pub struct ReloadRequests(mpsc::Receiver<ReloadReply>);

impl ReloadRequests {
    /// The next request; `None` when there will be none.
    pub async fn next(&mut self) -> Option<ReloadReply> {
        self.0.recv().await
    }
}

/// Asks for reloads.
#[derive(Clone, Debug)]
pub(super) struct Reloads(mpsc::Sender<ReloadReply>);

impl Reloads {
    pub(super) fn new() -> (Reloads, ReloadRequests) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Reloads(sender), ReloadRequests(receiver))
    }

    /// Asks for a reload and waits for its result.
    pub(super) async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let (reply, result) = oneshot::channel();
        self.0.try_send(reply).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReloadError::Busy,
            mpsc::error::TrySendError::Closed(_) => ReloadError::Unavailable,
        })?;
        result.await.map_err(|_| ReloadError::Unavailable)?
    }
}
