//! Accepting connections, within the bounds on how many are open: that of the config, and the share of
//! file descriptors that clients have. The admin port has a bound of its own.

use std::io;
use std::net::{SocketAddr, TcpStream as Socket};
use std::sync::Arc;

use prometheus::{IntCounter, IntGauge};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Duration;
use tokio_util::task::TaskTracker;

use super::connection::{self, Protocols};
use super::handler::Handler;
use super::shutdown::Shutdown;
use super::slots::{EvictableSlots, Slot};
use super::tls::Acceptor;
use super::workers::Workers;
use crate::pipeline::SharedGateway;
use crate::system::descriptors::{LogLimit, Shares, is_exhaustion};
use crate::system::time::sleep;

/// Pause after an error that is the machine's and not one connection's, such as too many files.
const PAUSE: Duration = Duration::from_millis(50);

/// What listeners share.
#[derive(Clone, Debug)]
pub(super) struct Accept {
    shared_gateway: Arc<SharedGateway>,
    slots: Arc<Semaphore>,
    /// The connections of the admin port, which has a bound of its own.
    evictable: Option<Arc<EvictableSlots>>,
    shares: Shares,
    open: IntGauge,
    refused: IntCounter,
    exhausted: IntCounter,
    log_limit: Arc<LogLimit>,
    protocols: Protocols,
    workers: Workers,
}

impl Accept {
    pub(super) fn new(shared_gateway: &Arc<SharedGateway>, workers: Workers) -> Accept {
        let gateway = shared_gateway.load();
        let (metrics, config) = (&gateway.metrics, &gateway.config.server);
        Accept {
            shared_gateway: Arc::clone(shared_gateway),
            slots: Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
            evictable: None,
            shares: Shares::now(),
            open: metrics.connections.clone(),
            refused: metrics.connections_refused.clone(),
            exhausted: metrics.exhausted.with_label_values(&["accept"]),
            log_limit: Arc::default(),
            protocols: Protocols::new(shared_gateway),
            workers,
        }
    }

    /// For the admin port, where no connection is refused: clients that take all slots of the API leave health
    /// and metrics theirs, and the oldest connections of the admin port give way.
    pub(super) fn for_admin(shared_gateway: &Arc<SharedGateway>) -> Accept {
        let common = Accept::new(shared_gateway, Workers::none());
        let evictable = Some(Arc::new(EvictableSlots::new(common.shares.admin())));
        let slots = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Accept { evictable, slots, ..common }
    }

    /// Connections open now.
    pub(super) fn open(&self) -> i64 {
        self.open.get()
    }

    fn slot(&self, socket: &Socket) -> Option<Slot> {
        // Connections to upstreams that wait for a request make room for a client.
        if self.evictable.is_none()
            && !self.shares.has_room_for_client(socket)
            && !self.shared_gateway.load().upstream.close_idle()
        {
            self.refused.inc();
            self.ran_out("the last file descriptors are kept for upstreams and the admin port");
            return None;
        }
        let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.refused.inc();
            return None;
        };
        let evictable = self.evictable.as_ref().map(EvictableSlots::enter);
        Some(Slot::new(permit, evictable, self.open.clone()))
    }

    /// Counts a connection that could not be taken for want of something of the gateway's own.
    fn ran_out(&self, problem: &str) {
        self.exhausted.inc();
        if self.log_limit.is_due() {
            let limit = self.shares.limit();
            tracing::warn!(%problem, limit, "not accepting client connections");
        }
    }

    /// What follows an error of the listener: a pause, unless there is room for the next at once.
    async fn failed(&self, error: io::Error) {
        if is_exhaustion(&error) {
            self.ran_out(&error.to_string());
            let has_room = self.shared_gateway.load().upstream.close_idle();
            // What is closed for it is closed while this task pauses.
            if let Some(evictable) = self.evictable.as_ref().filter(|_| !has_room) {
                evictable.evict();
            }
        } else if self.log_limit.is_due() {
            tracing::warn!(%error, "a connection could not be accepted");
        }
        sleep(PAUSE).await;
    }
}

/// Accepts connections and answers their requests until the listeners are to close; by TLS where
/// there is an acceptor. A connection above the bound is closed at once, which is the cheapest way
/// to say so.
pub(super) async fn accept<A: Handler>(
    listener: TcpListener,
    tls: Option<Acceptor>,
    common: Accept,
    handler: A,
    connections: TaskTracker,
    shutdown: Shutdown,
) {
    // Those that are still to be accepted count among the connections that are waited for.
    let _accepting = connections.token();
    let serve = |socket: Socket, peer: SocketAddr| {
        let Some(slot) = common.slot(&socket) else { return };
        let (tls, protocols, handler) = (tls.clone(), common.protocols.clone(), handler.clone());
        let shutdown = shutdown.clone();
        common.workers.spawn(&connections, socket, move |socket| {
            connection::serve(socket, peer, tls, protocols, handler, shutdown, slot)
        });
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.closing() => break,
        };
        match accepted.and_then(|(socket, peer)| Ok((socket.into_std()?, peer))) {
            Ok((socket, peer)) => serve(socket, peer),
            Err(error) => common.failed(error).await,
        }
    }
    for (socket, peer) in connected(listener) {
        serve(socket, peer);
    }
}

/// The connections in a listener's backlog that were not accepted yet. Closing
/// the listener would break them, although their clients see them as connected.
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
