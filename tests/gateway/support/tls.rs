//! TLS from both sides: a client with settings of its own that reports the handshake, and a server that
//! terminates TLS in front of a plain one.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use sluice::config::crypto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificates::{Authority, Issued};
use super::raw::Connection;

/// A client's TLS settings.
#[derive(Clone, Debug)]
pub struct Dialer {
    config: ClientConfig,
}

/// A connection and the result of its handshake.
#[derive(Debug)]
pub struct Dialed {
    /// The encrypted stream.
    pub connection: Connection,
    /// The protocol that ALPN selected.
    pub protocol: Option<String>,
    /// The server's certificate.
    pub certificate: Vec<u8>,
}

impl Dialer {
    /// Settings that trust this authority, without a client certificate and without ALPN.
    pub fn trusting(authority: &Authority) -> Dialer {
        let builder = ClientConfig::builder_with_provider(crypto());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(authority.roots());
        Dialer { config: builder.with_no_client_auth() }
    }

    /// The same with a client certificate.
    pub fn showing(authority: &Authority, issued: &Issued) -> Dialer {
        let builder = ClientConfig::builder_with_provider(crypto());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(authority.roots());
        let own = builder.with_client_auth_cert(vec![issued.der()], issued.private_key());
        Dialer { config: own.unwrap() }
    }

    /// The same with TLS 1.2 alone.
    pub fn tls12(authority: &Authority) -> Dialer {
        let builder = ClientConfig::builder_with_provider(crypto());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
        let builder = builder.with_root_certificates(authority.roots());
        Dialer { config: builder.with_no_client_auth() }
    }

    /// The same with these ALPN protocols.
    pub fn offering(mut self, protocols: &[&str]) -> Dialer {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().into()).collect();
        self
    }

    /// The settings themselves.
    pub fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Makes a connection.
    pub async fn dial(&self, address: SocketAddr) -> std::io::Result<Dialed> {
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        let stream = connector.connect(name, socket).await?;
        let (_, session) = stream.get_ref();
        let protocol =
            session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        let certificate = session.peer_certificates().unwrap()[0].to_vec();
        Ok(Dialed { connection: Connection::over(stream), protocol, certificate })
    }
}

/// Terminates TLS and forwards the plain bytes, stopped when dropped.
#[derive(Debug)]
pub struct Terminator {
    address: SocketAddr,
    agreed: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Terminator {
    /// Starts a terminator in front of `to` that accepts these ALPN protocols.
    pub async fn start(issued: &Issued, protocols: &[&str], to: SocketAddr) -> Terminator {
        let builder = ServerConfig::builder_with_provider(crypto());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth();
        let mut config = config.with_single_cert(vec![issued.der()], issued.private_key()).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().into()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        // On every address, since some tests need one that is not loopback.
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let agreed = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&agreed);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(socket).await else { return };
                    let protocol = client.get_ref().1.alpn_protocol().unwrap_or_default();
                    let protocol = String::from_utf8_lossy(protocol).into_owned();
                    noted.lock().push(protocol);
                    let mut server = TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Terminator { address, agreed, serving }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its loopback address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port()))
    }

    /// The protocols that ALPN selected, one for each connection.
    pub fn agreed(&self) -> Vec<String> {
        self.agreed.lock().clone()
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
