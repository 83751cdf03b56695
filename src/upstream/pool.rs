//! The connection pool: decides whether a request goes out on an idle connection, a shared one or a
//! new one.
//!
//! HTTP/1.1 connections are reused last in, first out, so that those that a burst has opened grow old
//! and are closed. HTTP/2 connections are shared; another one is opened when all have as many streams
//! as the upstream allows. A task closes once a second what has been unused for too long or was closed
//! by the upstream, for as long as there are connections.
//!
//! Each worker thread has connections of its own, so that no thread waits for another.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use prometheus::IntCounterVec;
use tokio::time::Instant;

use super::connect::{BoxError, Connector, GaugeGuard, NewConnection, Stream};
use super::meter::Metered;
use super::proxy::Proxies;
use super::{Origin, SendError, http1, http2};
use crate::system::descriptors::is_caused_by_exhaustion;
use crate::system::time::sleep;

/// Time between two sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How many threads have connections of their own. Beyond that some threads share a shard.
const SHARDS: usize = 64;

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// Gives this thread the shard of the pool with this number.
pub fn set_shard(number: usize) {
    SHARD.set(number % SHARDS);
}

/// The connections of one thread, or of all threads without a number.
type Shard = Mutex<HashMap<Key, Arc<HostPool>, BuildHasherDefault<PrehashedHasher>>>;

/// An HTTP/1.1 connection, counted while it is open.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) http: http1::Connection<TokioIo<Stream>>,
    _open: GaugeGuard,
}

/// The connections to all hosts.
#[derive(Debug)]
pub(super) struct ConnectionPool {
    connector: Connector,
    proxies: Arc<Proxies>,
    shards: [Shard; SHARDS],
    max_idle: usize,
    idle_timeout: Duration,
    is_sweeping: AtomicBool,
}

/// What identifies a host: scheme and authority, with their hash, which is computed once.
#[derive(Clone, Debug)]
pub(super) struct Key {
    hash: u64,
    scheme: Scheme,
    authority: Authority,
}

impl Key {
    pub(super) fn new(scheme: Scheme, authority: Authority) -> Key {
        let mut hasher = std::hash::DefaultHasher::new();
        scheme.hash(&mut hasher);
        authority.hash(&mut hasher);
        Key { hash: hasher.finish(), scheme, authority }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.hash == other.hash && self.scheme == other.scheme && self.authority == other.authority
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Passes on the hash that a [`Key`] has computed.
#[derive(Debug, Default)]
pub(super) struct PrehashedHasher(u64);

impl Hasher for PrehashedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What a request is sent on.
#[derive(Debug)]
pub(super) enum Checkout {
    /// A connection for this request alone.
    Http1 {
        connection: Box<Http1>,
        /// Whether the connection was idle before the request.
        reused: bool,
    },
    /// A stream of a shared connection.
    Http2(http2::Stream),
}

/// The connections to one host.
#[derive(Debug)]
pub(super) struct HostPool {
    pool: Weak<ConnectionPool>,
    /// Counts the connections that the upstream has flooded.
    floods: IntCounterVec,
    uri: Uri,
    /// The credentials for a proxy that forwards plain requests.
    authorization: Option<HeaderValue>,
    max_idle: usize,
    /// Idle HTTP/1.1 connections, the last used at the end.
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<Vec<Arc<http2::Connection>>>,
    /// Whether the host is known to speak HTTP/1.1, so that each request may open a connection.
    is_http1: AtomicBool,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Http1>,
    since: Instant,
}

impl ConnectionPool {
    /// A pool without connections. It keeps at most `max_idle` HTTP/1.1 connections to a host, each
    /// for `idle_timeout` without use.
    pub(super) fn new(
        connector: Connector,
        proxies: Arc<Proxies>,
        max_idle: usize,
        idle_timeout: Duration,
    ) -> ConnectionPool {
        let is_sweeping = AtomicBool::new(false);
        let shards = std::array::from_fn(|_| Shard::default());
        ConnectionPool { connector, proxies, shards, max_idle, idle_timeout, is_sweeping }
    }

    /// The connections to one host.
    pub(super) fn host(self: &Arc<Self>, origin: &Origin) -> Arc<HostPool> {
        let shard = self.shards.get(SHARD.get()).unwrap_or(&self.shards[0]);
        let mut hosts = shard.lock();
        if let Some(host) = hosts.get(&origin.key) {
            return Arc::clone(host);
        }
        let host = Arc::new(HostPool::new(self, origin));
        hosts.insert(origin.key.clone(), Arc::clone(&host));
        host
    }

    /// Opens a connection to `host`, or shares one that was opened in the meantime: unless the host is
    /// known to speak HTTP/1.1, one request connects and the others wait for it.
    pub(super) async fn open(&self, host: &HostPool) -> Result<Checkout, SendError> {
        if host.is_http1.load(Ordering::Relaxed) {
            return self.open_new(host).await;
        }
        if let Ok(_first) = host.connecting.try_lock() {
            return self.open_new(host).await;
        }
        drop(host.connecting.lock().await);
        match host.stream() {
            Some(stream) => Ok(Checkout::Http2(stream)),
            // The other request failed to connect, or its connection can't be shared. All that waited
            // connect at once.
            None => self.open_new(host).await,
        }
    }

    /// Opens a new connection to `host` for one request.
    pub(super) async fn open_new(&self, host: &HostPool) -> Result<Checkout, SendError> {
        let opened = self.connect(host).await?;
        host.is_http1.store(!opened.is_http2(), Ordering::Relaxed);
        if opened.is_http2() {
            return self.share(host, opened).await.map(Checkout::Http2);
        }
        let NewConnection { stream, absolute_form, open } = opened;
        let http = http1::Connection::new(TokioIo::new(stream), absolute_form);
        let connection = Box::new(Http1 { http, _open: open });
        Ok(Checkout::Http1 { connection, reused: false })
    }

    /// A stream to `host` for a request that only HTTP/2 can carry. A cleartext host is expected to
    /// speak HTTP/2 without negotiation.
    pub(super) async fn stream(&self, host: &HostPool) -> Result<http2::Stream, SendError> {
        if let Some(stream) = host.stream() {
            return Ok(stream);
        }
        let _first = host.connecting.lock().await;
        if let Some(stream) = host.stream() {
            return Ok(stream);
        }
        let opened = self.connect(host).await?;
        if !opened.is_http2() && host.uri.scheme() != Some(&Scheme::HTTP) {
            return Err(SendError::Connect("the upstream does not speak HTTP/2".into()));
        }
        self.share(host, opened).await
    }

    /// Starts HTTP/2 on a new connection, for this request and later ones.
    async fn share(
        &self,
        host: &HostPool,
        opened: NewConnection,
    ) -> Result<http2::Stream, SendError> {
        let floods = host.floods.with_label_values(&["frames"]);
        let metered = Metered::new(opened.stream, floods);
        let connection = Box::pin(http2::Connection::new(metered, opened.open)).await;
        let connection = connection.map_err(|error| SendError::Connect(Box::new(error)))?;
        let connection = Arc::new(connection);
        let stream = connection.stream().ok_or_else(|| SendError::Connect(no_streams()))?;
        host.shared.lock().push(connection);
        self.start_sweeping(host);
        Ok(stream)
    }

    /// Drops all connections from the pool; those in use are closed when their requests end.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            shard.lock().clear();
        }
    }

    /// Closes the idle HTTP/1.1 connections to free their file descriptors. Returns whether there were
    /// any.
    pub(super) fn close_idle(&self) -> bool {
        let mut closed = false;
        for shard in &self.shards {
            let hosts: Vec<_> = shard.lock().values().map(Arc::clone).collect();
            for host in hosts {
                let idle = std::mem::take(&mut *host.idle.lock());
                closed |= !idle.is_empty();
            }
        }
        closed
    }

    async fn connect(&self, host: &HostPool) -> Result<NewConnection, SendError> {
        let opened = self.connector.open(host.uri.clone()).await;
        match opened {
            // Idle connections to other hosts may free a descriptor.
            Err(error) if is_caused_by_exhaustion(&*error) && self.close_idle() => {
                self.connector.open(host.uri.clone()).await
            }
            opened => opened,
        }
        .map_err(SendError::Connect)
    }

    /// Starts the task that sweeps the pool, unless it runs.
    fn start_sweeping(&self, host: &HostPool) {
        if self.is_sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let pool = Weak::clone(&host.pool);
        tokio::spawn(async move {
            loop {
                sleep(SWEEP_INTERVAL).await;
                let Some(pool) = pool.upgrade() else { return };
                if pool.sweep(Instant::now()) {
                    continue;
                }
                pool.is_sweeping.store(false, Ordering::Relaxed);
                // A connection that was checked in just now has seen this task as running.
                if !pool.has_connections() || pool.is_sweeping.swap(true, Ordering::Relaxed) {
                    return;
                }
            }
        });
    }

    /// Closes what is dead or was idle for too long. Returns whether any connection is left.
    fn sweep(&self, now: Instant) -> bool {
        for shard in &self.shards {
            // Sockets are polled without the shard's lock, which requests of that thread take.
            let hosts: Vec<_> = shard.lock().values().map(Arc::clone).collect();
            hosts.iter().for_each(|host| host.sweep(now, self.idle_timeout));
            drop(hosts);
            let is_used =
                |host: &Arc<HostPool>| host.has_connections() || Arc::strong_count(host) > 1;
            shard.lock().retain(|_, host| is_used(host));
        }
        self.has_connections()
    }

    fn has_connections(&self) -> bool {
        self.shards.iter().any(|shard| shard.lock().values().any(|host| host.has_connections()))
    }
}

fn no_streams() -> BoxError {
    "the upstream takes no streams".into()
}

impl HostPool {
    fn new(pool: &Arc<ConnectionPool>, origin: &Origin) -> HostPool {
        let uri = origin.uri(PathAndQuery::from_static("/"));
        HostPool {
            pool: Arc::downgrade(pool),
            floods: pool.connector.floods().clone(),
            authorization: pool.proxies.authorization(&uri),
            max_idle: pool.max_idle,
            idle: Mutex::default(),
            shared: Mutex::default(),
            is_http1: AtomicBool::new(uri.scheme() == Some(&Scheme::HTTP)),
            connecting: tokio::sync::Mutex::default(),
            uri,
        }
    }

    /// Adds the credentials for a proxy that forwards the request.
    pub(super) fn authorize(&self, headers: &mut HeaderMap) {
        let authorization = self.authorization.clone();
        headers.extend(authorization.map(|it| (PROXY_AUTHORIZATION, it)));
    }

    /// Counts a connection that the upstream has flooded with something of this kind.
    pub(super) fn count_flood(&self, kind: &str) {
        self.floods.with_label_values(&[kind]).inc();
    }

    /// An idle connection, or a stream of a shared one.
    pub(super) fn check_out(&self) -> Option<Checkout> {
        if !self.is_http1.load(Ordering::Relaxed)
            && let Some(stream) = self.stream()
        {
            return Some(Checkout::Http2(stream));
        }
        loop {
            let Idle { mut connection, .. } = self.idle.lock().pop()?;
            // The upstream may have closed it since.
            if connection.http.is_alive() {
                return Some(Checkout::Http1 { connection, reused: true });
            }
        }
    }

    /// Keeps a connection whose response has ended for the next request, if it may have one.
    pub(super) fn check_in(&self, connection: Box<Http1>) {
        if self.max_idle == 0 || !connection.http.is_reusable() {
            return;
        }
        let Some(pool) = self.pool.upgrade() else { return };
        let mut idle = self.idle.lock();
        if idle.len() < self.max_idle {
            idle.push(Idle { connection, since: Instant::now() });
        }
        drop(idle);
        pool.start_sweeping(self);
    }

    fn stream(&self) -> Option<http2::Stream> {
        self.shared.lock().iter().find_map(http2::Connection::stream)
    }

    /// Closes what is dead or was idle for too long. The lock is held for one connection at a time:
    /// requests check out and check in at the end of the list, which leaves earlier indices valid.
    fn sweep(&self, now: Instant, timeout: Duration) {
        let mut at = 0;
        loop {
            let mut idle = self.idle.lock();
            let Some(Idle { connection, since }) = idle.get_mut(at) else { break };
            if now.duration_since(*since) < timeout && connection.http.is_alive() {
                at += 1;
                continue;
            }
            let closed = idle.remove(at);
            drop(idle);
            drop(closed);
        }
        self.shared.lock().retain(|connection| connection.should_keep(now, timeout));
    }

    fn has_connections(&self) -> bool {
        !self.idle.lock().is_empty() || !self.shared.lock().is_empty()
    }
}
