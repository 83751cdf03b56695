//! Accepting connections, within the bound on how many are open.

use std::sync::Arc;

use prometheus::{IntCounter, IntGauge};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Answer;
use super::connection::{self, Protocols};
use crate::config;
use crate::pipeline::Live;

/// Pause after an error that is the machine's and not one connection's, such as too many files.
const PAUSE: Duration = Duration::from_millis(50);

/// What listeners share.
#[derive(Clone, Debug)]
pub(super) struct Accept {
    slots: Arc<Semaphore>,
    open: IntGauge,
    refused: IntCounter,
    protocols: Protocols,
}

/// A connection's slot, free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Accept {
    pub(super) fn new(live: &Arc<Live>, config: &config::Server) -> Accept {
        let metrics = &live.load().metrics;
        Accept {
            slots: Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
            open: metrics.connections.clone(),
            refused: metrics.connections_refused.clone(),
            protocols: Protocols::new(live, config),
        }
    }

    /// Connections open now.
    pub(super) fn open(&self) -> i64 {
        self.open.get()
    }

    fn slot(&self) -> Option<Slot> {
        let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.refused.inc();
            return None;
        };
        self.open.inc();
        Some(Slot { _permit: permit, open: self.open.clone() })
    }
}

/// Accepts connections and answers their requests until `closing`. A connection above the bound
/// is closed at once, which is the cheapest way to say so.
pub(super) async fn accept<A: Answer>(
    listener: TcpListener,
    common: Accept,
    answer: A,
    connections: TaskTracker,
    closing: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                let Some(slot) = common.slot() else { continue };
                let connection = connection::serve(
                    socket,
                    peer,
                    common.protocols.clone(),
                    answer.clone(),
                    closing.clone(),
                );
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}
