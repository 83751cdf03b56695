//! One request to a location: the name is resolved once, each address is checked, and the connection goes to one
//! that was checked. Certificate, server name and `Host` are those of the location. No proxy is used, and nothing
//! of the client is sent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::Host;

use super::address::is_public;
use super::error::MediaError;
use super::location::Location;
use crate::config::Trust;
use crate::system::descriptors::Shares;
use crate::system::time::timeout;
use crate::upstream::tls_config;

/// Most addresses of a host that are tried.
const MAX_ADDRESSES: usize = 4;

/// How long one address has for the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Most bytes of an answer's head.
const MAX_HEAD: usize = 64 * 1024;

/// A place among what is fetched at once.
pub(super) type Slot = Arc<OwnedSemaphorePermit>;

/// Opens connections.
pub(super) struct Connector {
    tls: TlsConnector,
    /// Addresses that are allowed although they are not public.
    allowed: Vec<IpNet>,
    shares: Shares,
}

/// An answer whose body is still to come.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// Drives the connection.
    _driver: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(trust: &Trust, allowed: Vec<IpNet>) -> Connector {
        let mut tls = tls_config(trust);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Connector { tls: TlsConnector::from(Arc::new(tls)), allowed, shares: Shares::now() }
    }

    /// Asks for what is at a location.
    ///
    /// # Errors
    /// If there is no connection to an allowed address, or no answer.
    pub(super) async fn get(&self, location: &Location, slot: &Slot) -> Result<Answer, MediaError> {
        let name = match location.host() {
            Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()),
            Host::Ipv4(address) => Ok(ServerName::from(IpAddr::V4(*address))),
            Host::Ipv6(address) => Ok(ServerName::from(IpAddr::V6(*address))),
        };
        let name = name.map_err(|_| MediaError::Address)?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = Uri::from(location.path()?);
        let host = HeaderValue::try_from(location.authority()).map_err(|_| MediaError::Address)?;
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static("sluice"));

        let stream = self.connect(location, slot).await?;
        let stream = self.tls.connect(name, stream).await.map_err(|_| MediaError::Unreachable)?;
        let handshake =
            http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|_| MediaError::Unreachable)?;
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        let driver = AbortOnDropHandle::new(driver);
        let response = sender.send_request(request).await.map_err(|_| MediaError::Unreachable)?;
        Ok(Answer { response, _driver: driver })
    }

    /// A connection to the first allowed address that takes one.
    async fn connect(&self, location: &Location, slot: &Slot) -> Result<TcpStream, MediaError> {
        let addresses = resolve(location, slot).await;
        let allowed = addresses.into_iter().filter(|address| self.is_allowed(address.ip()));
        for address in allowed.take(MAX_ADDRESSES) {
            if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                if !self.shares.has_room_for_upstream(&stream) {
                    return Err(MediaError::Busy);
                }
                return Ok(stream);
            }
        }
        Err(MediaError::Unreachable)
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        is_public(address) || self.allowed.iter().any(|block| block.contains(&address))
    }
}

/// The addresses of a location's host; none if there is no such host.
async fn resolve(location: &Location, slot: &Slot) -> Vec<SocketAddr> {
    let port = location.port();
    match location.host() {
        Host::Ipv4(address) => vec![SocketAddr::from((*address, port))],
        Host::Ipv6(address) => vec![SocketAddr::from((*address, port))],
        Host::Domain(name) => {
            // The system's resolver goes on when nobody waits for it any more, and keeps the slot until it ends.
            let (name, slot) = (name.clone(), Arc::clone(slot));
            let resolving = tokio::spawn(async move {
                let found = lookup_host((name.as_str(), port)).await;
                drop(slot);
                found.map(Iterator::collect::<Vec<_>>).unwrap_or_default()
            });
            resolving.await.unwrap_or_default()
        }
    }
}
