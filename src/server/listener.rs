//! Accepting connections, within the bound on how many are open.

use std::net::{SocketAddr, TcpStream as Socket};
use std::sync::Arc;

use prometheus::{IntCounter, IntGauge};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, sleep};
use tokio_util::task::TaskTracker;

use super::Answer;
use super::connection::{self, Protocols};
use super::ending::Ending;
use super::tls::Acceptor;
use super::workers::Workers;
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
    workers: Workers,
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
    pub(super) fn new(live: &Arc<Live>, workers: Workers) -> Accept {
        let gateway = live.load();
        let (metrics, config) = (&gateway.metrics, &gateway.config.server);
        Accept {
            slots: Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
            open: metrics.connections.clone(),
            refused: metrics.connections_refused.clone(),
            protocols: Protocols::new(live),
            workers,
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

/// Accepts connections and answers their requests until the listeners are to close; by TLS where
/// there is an acceptor. A connection above the bound is closed at once, which is the cheapest way
/// to say so.
pub(super) async fn accept<A: Answer>(
    listener: TcpListener,
    tls: Option<Acceptor>,
    common: Accept,
    answer: A,
    connections: TaskTracker,
    ending: Ending,
) {
    // Those that are still to be accepted count among the connections that are waited for.
    let _accepting = connections.token();
    let serve = |socket: Socket, peer: SocketAddr| {
        let Some(slot) = common.slot() else { return };
        let (tls, protocols, answer) = (tls.clone(), common.protocols.clone(), answer.clone());
        let ending = ending.clone();
        common.workers.spawn(&connections, socket, move |socket| {
            connection::serve(socket, peer, tls, protocols, answer, ending, slot)
        });
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ending.closing() => break,
        };
        match accepted.and_then(|(socket, peer)| Ok((socket.into_std()?, peer))) {
            Ok((socket, peer)) => serve(socket, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
    for (socket, peer) in connected(listener) {
        serve(socket, peer);
    }
}

/// The connections that the system has taken for a listener and nobody has accepted yet. Closing
/// the listener would break them, after their clients were told that they are connected.
fn connected(listener: TcpListener) -> Vec<(Socket, SocketAddr)> {
    let mut found = Vec::new();
    let Ok(listener) = listener.into_std() else { return found };
    while let Ok((socket, peer)) = listener.accept() {
        if socket.set_nonblocking(true).is_ok() {
            found.push((socket, peer));
        }
    }
    found
}
