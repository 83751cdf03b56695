//! Fetches images and documents from addresses that clients name, for targets that take bytes alone.
//!
//! A client must not reach through the gateway what it can't reach itself. So each address, also that of a
//! redirection, is https, of a host and a port that the config allows (`location.rs`), and the gateway connects
//! only to a public address of the host, or one that the config names (`address.rs`, `connection.rs`). What comes
//! is bounded in size, time and number, and must be what it is said to be. Errors do not tell whether an address
//! of a private network exists.

mod address;
mod connection;
mod error;
mod location;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prometheus::IntCounterVec;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::connection::{Connector, Slot};
pub use self::error::MediaError;
use self::location::Location;
use crate::bridge::remote_media::{FetchedMedia, RemoteKind, RemoteMedia};
use crate::config::{RemoteMediaSettings, Trust};
use crate::quota::InFlightGuard;
use crate::system::time::timeout_at;

/// Most redirections that are followed for one address.
const MAX_REDIRECTS: usize = 3;

/// Bytes in memory for each byte that is fetched: as it came, in base64, and in the body for the target.
const HELD_FOR_BYTE: usize = 4;

/// Fetches media within the bounds of a config. Clones share them.
#[derive(Clone, Debug)]
pub struct MediaFetcher(Arc<Fetcher>);

#[derive(Debug)]
struct Fetcher {
    settings: RemoteMediaSettings,
    trust: Trust,
    connector: Connector,
    /// What may be fetched at once.
    slots: Arc<Semaphore>,
    /// Counts what was fetched, by outcome.
    fetched: IntCounterVec,
}

/// What was fetched, and its share of what may be in flight.
#[derive(Debug)]
pub struct HeldMedia {
    /// The media.
    pub media: FetchedMedia,
    /// Released when it is dropped.
    pub held: InFlightGuard,
}

impl MediaFetcher {
    /// A fetcher by these settings, which trusts the same authorities as connections to upstreams; `previous` if
    /// nothing has changed. `None`: nothing is fetched.
    pub fn new(
        settings: &RemoteMediaSettings,
        trust: &Trust,
        fetched: &IntCounterVec,
        previous: Option<&MediaFetcher>,
    ) -> Option<MediaFetcher> {
        if settings.hosts.is_empty() {
            return None;
        }
        let is_same =
            |other: &&MediaFetcher| other.0.settings == *settings && other.0.trust == *trust;
        if let Some(same) = previous.filter(is_same) {
            return Some(same.clone());
        }
        Some(MediaFetcher(Arc::new(Fetcher {
            settings: settings.clone(),
            trust: trust.clone(),
            connector: Connector::new(trust, settings.allow_addresses.clone()),
            slots: Arc::new(Semaphore::new(settings.max_concurrent)),
            fetched: fetched.clone(),
        })))
    }

    /// Most addresses that one request may name.
    pub fn max_per_request(&self) -> usize {
        self.0.settings.max_per_request
    }

    /// Fetches what is at an address, until `deadline` at the latest. `held` reserves room for it.
    ///
    /// # Errors
    /// If it may not be fetched, does not come, or is not what it should be.
    pub async fn fetch(
        &self,
        wanted: &RemoteMedia,
        held: InFlightGuard,
        deadline: Instant,
    ) -> Result<HeldMedia, MediaError> {
        let fetched = self.0.fetch(wanted, held, deadline).await;
        let outcome = fetched.as_ref().map_or_else(MediaError::outcome, |_| "fetched");
        self.0.fetched.with_label_values(&[outcome]).inc();
        fetched
    }
}

impl Fetcher {
    async fn fetch(
        &self,
        wanted: &RemoteMedia,
        mut held: InFlightGuard,
        deadline: Instant,
    ) -> Result<HeldMedia, MediaError> {
        let limit: Duration = self.settings.timeout;
        let until = (Instant::now() + limit).min(deadline);
        let location = Location::read(&wanted.url, &self.settings)?;
        let slot = timeout_at(until, Arc::clone(&self.slots).acquire_owned()).await;
        let slot: Slot = Arc::new(slot.ok().and_then(Result::ok).ok_or(MediaError::Busy)?);
        let got = timeout_at(until, self.get(location, wanted.kind, &mut held, &slot)).await;
        let (format, bytes) = got.unwrap_or(Err(MediaError::TooSlow(limit)))?;
        let media = FetchedMedia {
            url: wanted.url.clone(),
            kind: wanted.kind,
            format,
            base64: STANDARD.encode(&bytes),
        };
        Ok(HeldMedia { media, held })
    }

    /// The format and the bytes of what is at a location, or where it redirects to.
    async fn get(
        &self,
        mut location: Location,
        kind: RemoteKind,
        held: &mut InFlightGuard,
        slot: &Slot,
    ) -> Result<(&'static str, Vec<u8>), MediaError> {
        for _ in 0..=MAX_REDIRECTS {
            let mut answer = self.connector.get(&location, slot).await?;
            let status = answer.response.status();
            let headers = answer.response.headers();
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let to = headers.get(LOCATION).and_then(|to| to.to_str().ok());
                let to = to.ok_or(MediaError::Status(status.as_u16()))?;
                location = location.redirected(to, &self.settings)?;
                continue;
            }
            if status != http::StatusCode::OK {
                return Err(MediaError::Status(status.as_u16()));
            }
            let headers = headers.clone();
            let is_identity =
                |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
            if !headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
                return Err(MediaError::Encoded);
            }
            let bytes = self.read(answer.response.body_mut(), &headers, held).await?;
            let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let format = kind.format_of(content_type.unwrap_or_default(), &bytes);
            return Ok((format.ok_or(MediaError::Type(kind.name()))?, bytes));
        }
        Err(MediaError::Redirects)
    }

    async fn read(
        &self,
        body: &mut Incoming,
        headers: &HeaderMap,
        held: &mut InFlightGuard,
    ) -> Result<Vec<u8>, MediaError> {
        let limit = self.settings.max_size;
        let announced =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: u64| length > limit as u64) {
            return Err(MediaError::TooLong(limit));
        }
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| MediaError::Broken)?;
            let chunk: Bytes = frame.into_data().unwrap_or_default();
            let length = bytes.len().saturating_add(chunk.len());
            if length > limit {
                return Err(MediaError::TooLong(limit));
            }
            held.reserve_bytes(length.saturating_mul(HELD_FOR_BYTE))?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}
