//! Which connection a request goes out on: one that is kept, or a new one.
//!
//! Of HTTP/1.1 the connection that was used last is taken first, so that those that a burst has
//! opened grow old and are closed. Connections of HTTP/2 are shared; another one is opened when
//! all have as many streams as the upstream takes. What is unused for too long, or was closed by
//! the upstream, is swept away once a second for as long as anything is kept.
//!
//! Threads that serve connections keep theirs apart, so that none waits for another.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper_util::rt::TokioIo;
use prometheus::IntCounterVec;
use tokio::time::Instant;

use super::connect::{BoxError, Connector, Opened};
use super::meter::Metered;
use super::proxy::Proxies;
use super::{Origin, SendError, http1, http2};
use crate::system::descriptors::is_caused_by_exhaustion;
use crate::system::time::sleep;

/// How often what is kept is looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// How many threads keep their connections apart. Beyond that some share them.
const SHARDS: usize = 64;

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// Keeps the connections that this thread opens apart from those of threads with other numbers.
pub fn keep_apart(number: usize) {
    SHARD.set(number % SHARDS);
}

/// The connections of one thread, or of all that are not apart.
type Shard = Mutex<HashMap<Key, Arc<Place>, BuildHasherDefault<Hashed>>>;

/// A connection that speaks HTTP/1.1.
pub(super) type Http1 = http1::Connection<TokioIo<Opened>>;

/// The connections to all places.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    proxies: Arc<Proxies>,
    shards: [Shard; SHARDS],
    max_idle: usize,
    idle_timeout: Duration,
    is_swept: AtomicBool,
}

/// Who is at the other end of a connection: scheme and authority, and their hash, which is made once.
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

/// Takes the hash of a [`Key`] for what it is.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
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

/// What a request goes out on.
#[derive(Debug)]
pub(super) enum Way {
    /// A connection for it alone.
    Http1 {
        connection: Box<Http1>,
        /// Whether it was there before the request.
        was_kept: bool,
    },
    /// Its part of a connection.
    Http2(http2::Stream),
}

/// The connections to one place.
#[derive(Debug)]
pub(super) struct Place {
    pool: Weak<Pool>,
    /// Counts the connections that the upstream has flooded.
    floods: IntCounterVec,
    uri: Uri,
    /// What a proxy that passes requests on wants to see with each.
    authorization: Option<HeaderValue>,
    max_idle: usize,
    /// Those of HTTP/1.1 that wait for a request, the last used at the end.
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<Vec<Arc<http2::Connection>>>,
    /// Whether each request that finds no connection opens its own, as by HTTP/1.1.
    opens_freely: AtomicBool,
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Http1>,
    since: Instant,
}

impl Pool {
    /// Without connections. `max_idle` of HTTP/1.1 are kept for a place, and each for `idle_timeout`
    /// without use.
    pub(super) fn new(
        connector: Connector,
        proxies: Arc<Proxies>,
        max_idle: usize,
        idle_timeout: Duration,
    ) -> Pool {
        let is_swept = AtomicBool::new(false);
        let shards = std::array::from_fn(|_| Shard::default());
        Pool { connector, proxies, shards, max_idle, idle_timeout, is_swept }
    }

    /// The connections to one place.
    pub(super) fn place(self: &Arc<Self>, origin: &Origin) -> Arc<Place> {
        let shard = self.shards.get(SHARD.get()).unwrap_or(&self.shards[0]);
        let mut places = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(&origin.key) {
            return Arc::clone(place);
        }
        let place = Arc::new(Place::new(self, origin));
        places.insert(origin.key.clone(), Arc::clone(&place));
        place
    }

    /// Opens a connection to `place`, or shares one that was opened meanwhile: while nobody knows
    /// which version of HTTP is spoken there, or it is one that shares, one request opens it for all.
    pub(super) async fn open(&self, place: &Place) -> Result<Way, SendError> {
        if place.opens_freely.load(Ordering::Relaxed) {
            return self.open_alone(place).await;
        }
        if let Ok(_first) = place.opening.try_lock() {
            return self.open_alone(place).await;
        }
        drop(place.opening.lock().await);
        match place.stream() {
            Some(stream) => Ok(Way::Http2(stream)),
            // The one that was waited for failed, or can't be shared. All who waited go on at once.
            None => self.open_alone(place).await,
        }
    }

    /// Opens a connection to `place`, for a request that is to have a new one.
    pub(super) async fn open_alone(&self, place: &Place) -> Result<Way, SendError> {
        let opened = self.connect(place).await?;
        place.opens_freely.store(!opened.is_http2(), Ordering::Relaxed);
        if !opened.is_http2() {
            let is_passed_on = opened.is_passed_on();
            let connection = http1::Connection::new(TokioIo::new(opened), is_passed_on);
            return Ok(Way::Http1 { connection: Box::new(connection), was_kept: false });
        }
        self.share(place, opened).await.map(Way::Http2)
    }

    /// A stream to `place` for a request that only HTTP/2 can carry. A place in cleartext speaks it
    /// although nobody has said so.
    pub(super) async fn stream(&self, place: &Place) -> Result<http2::Stream, SendError> {
        if let Some(stream) = place.stream() {
            return Ok(stream);
        }
        let _first = place.opening.lock().await;
        if let Some(stream) = place.stream() {
            return Ok(stream);
        }
        let opened = self.connect(place).await?;
        if !opened.is_http2() && place.uri.scheme() != Some(&Scheme::HTTP) {
            return Err(SendError::Connect("the upstream does not speak HTTP/2".into()));
        }
        self.share(place, opened).await
    }

    /// Speaks HTTP/2 on what was opened, for this request and those that follow.
    async fn share(&self, place: &Place, opened: Opened) -> Result<http2::Stream, SendError> {
        let floods = place.floods.with_label_values(&["frames"]);
        let metered = Metered::new(opened, floods);
        let connection = Box::pin(http2::Connection::new(metered)).await;
        let connection = connection.map_err(|error| SendError::Connect(Box::new(error)))?;
        let connection = Arc::new(connection);
        let stream = connection.stream().ok_or_else(|| SendError::Connect(no_room()))?;
        place.shared().push(connection);
        self.sweep_on(place);
        Ok(stream)
    }

    /// Lets go of all connections; those in use end with their use.
    pub(super) fn forget(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Closes the connections of HTTP/1.1 that wait for a request, for the sake of others that need
    /// their file descriptors; whether there were any.
    pub(super) fn let_idle_go(&self) -> bool {
        let mut closed = false;
        for shard in &self.shards {
            let places = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for place in places.values() {
                let idle = std::mem::take(&mut *place.idle());
                closed |= !idle.is_empty();
            }
        }
        closed
    }

    async fn connect(&self, place: &Place) -> Result<Opened, SendError> {
        let opened = self.connector.open(place.uri.clone()).await;
        match opened {
            // Those that are kept for other places may make room.
            Err(error) if is_caused_by_exhaustion(&*error) && self.let_idle_go() => {
                self.connector.open(place.uri.clone()).await
            }
            opened => opened,
        }
        .map_err(SendError::Connect)
    }

    /// Sees to it that what `place` keeps is looked at.
    fn sweep_on(&self, place: &Place) {
        if self.is_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let pool = Weak::clone(&place.pool);
        tokio::spawn(async move {
            loop {
                sleep(SWEEP).await;
                let Some(pool) = pool.upgrade() else { return };
                if pool.sweep(Instant::now()) {
                    continue;
                }
                pool.is_swept.store(false, Ordering::Relaxed);
                // What was given back just now has seen the task that is about to end.
                if !pool.keeps_any() || pool.is_swept.swap(true, Ordering::Relaxed) {
                    return;
                }
            }
        });
    }

    /// Closes what is no longer wanted; returns whether anything is left.
    fn sweep(&self, now: Instant) -> bool {
        for shard in &self.shards {
            // Sockets are looked at without the lock, for which requests of that thread would wait.
            let places: Vec<_> = {
                let places = shard.lock().unwrap_or_else(PoisonError::into_inner);
                places.values().map(Arc::clone).collect()
            };
            places.iter().for_each(|place| place.sweep(now, self.idle_timeout));
            drop(places);
            let mut places = shard.lock().unwrap_or_else(PoisonError::into_inner);
            places.retain(|_, place| place.keeps_any() || Arc::strong_count(place) > 1);
        }
        self.keeps_any()
    }

    fn keeps_any(&self) -> bool {
        self.shards.iter().any(|shard| {
            let places = shard.lock().unwrap_or_else(PoisonError::into_inner);
            places.values().any(|place| place.keeps_any())
        })
    }
}

fn no_room() -> BoxError {
    "the upstream takes no streams".into()
}

impl Place {
    fn new(pool: &Arc<Pool>, origin: &Origin) -> Place {
        let uri = origin.uri(PathAndQuery::from_static("/"));
        Place {
            pool: Arc::downgrade(pool),
            floods: pool.connector.floods().clone(),
            authorization: pool.proxies.authorization(&uri),
            max_idle: pool.max_idle,
            idle: Mutex::default(),
            shared: Mutex::default(),
            opens_freely: AtomicBool::new(uri.scheme() == Some(&Scheme::HTTP)),
            opening: tokio::sync::Mutex::default(),
            uri,
        }
    }

    /// Adds what a proxy on the way wants to see.
    pub(super) fn authorize(&self, headers: &mut HeaderMap) {
        let authorization = self.authorization.clone();
        headers.extend(authorization.map(|it| (PROXY_AUTHORIZATION, it)));
    }

    /// Counts a connection that the upstream has flooded with something.
    pub(super) fn flooded(&self, kind: &str) {
        self.floods.with_label_values(&[kind]).inc();
    }

    /// A way that is there already.
    pub(super) fn kept(&self) -> Option<Way> {
        if !self.opens_freely.load(Ordering::Relaxed)
            && let Some(stream) = self.stream()
        {
            return Some(Way::Http2(stream));
        }
        loop {
            let Idle { mut connection, .. } = self.idle().pop()?;
            // The upstream may have closed it since.
            if connection.is_quiet() {
                return Some(Way::Http1 { connection, was_kept: true });
            }
        }
    }

    /// Takes back a connection whose exchange has ended, if it is still of use.
    pub(super) fn take_back(&self, connection: Box<Http1>) {
        if self.max_idle == 0 || !connection.is_reusable() {
            return;
        }
        let Some(pool) = self.pool.upgrade() else { return };
        let mut idle = self.idle();
        if idle.len() < self.max_idle {
            idle.push(Idle { connection, since: Instant::now() });
        }
        drop(idle);
        pool.sweep_on(self);
    }

    fn stream(&self) -> Option<http2::Stream> {
        self.shared().iter().find_map(http2::Connection::stream)
    }

    /// Closes what is no longer wanted. The lock is held for one connection at a time: requests take
    /// and give back at the end of the list, so that a place in it stays what it is.
    fn sweep(&self, now: Instant, timeout: Duration) {
        let mut at = 0;
        loop {
            let mut idle = self.idle();
            let Some(looked_at) = idle.get_mut(at) else { break };
            if now.duration_since(looked_at.since) < timeout && looked_at.connection.is_quiet() {
                at += 1;
                continue;
            }
            let closed = idle.remove(at);
            drop(idle);
            drop(closed);
        }
        self.shared().retain(|connection| connection.is_wanted(now, timeout));
    }

    fn keeps_any(&self) -> bool {
        !self.idle().is_empty() || !self.shared().is_empty()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> MutexGuard<'_, Vec<Arc<http2::Connection>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
