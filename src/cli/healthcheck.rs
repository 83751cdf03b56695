//! `sluice healthcheck`: checks a running gateway, for images without curl.
//!
//! Health may share a port with the API and its TLS. The certificate is not verified then: the
//! connection stays on this machine, and the request carries no secret.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ask::{BoxError, Stream, ask};
use super::tls::{self, Accepted};
use super::{ConfigFile, reachable, runtime};
use crate::config::{Env, Listening};
use crate::system::time::timeout;
use crate::telemetry::in_words;

const LIMIT: Duration = Duration::from_secs(3);

/// Arguments of `sluice healthcheck`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Check whether it is ready for traffic, not only whether it is alive.
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    let listening = Listening::load(&arguments.config.source(), &Env::of_process())
        .map_err(|error| error.to_string())?;
    let address = reachable(listening.admin_listen);
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    let tls = by_tls(&listening).then(|| tls::client(Accepted::Any)).transpose()?;
    if tls.is_some() && listening.wants_certificates && arguments.ready {
        return Err(format!(
            "{address} requires a client certificate; set admin_listen to a separate port to check \
             for readiness"
        ));
    }
    runtime(Some(1))?.block_on(async {
        let asked = async {
            let socket = TcpStream::connect(address).await?;
            let Some(tls) = tls else { return get(Stream::Left(socket), address, path).await };
            let connector = TlsConnector::from(Arc::new(tls));
            let stream = connector.connect(address.ip().into(), socket).await?;
            // The gateway is alive, but requires a client certificate for a request.
            if listening.wants_certificates {
                return Ok(());
            }
            get(Stream::Right(Box::new(stream)), address, path).await
        };
        match timeout(LIMIT, asked).await {
            Ok(asked) => {
                asked.map_err(|error| format!("{address} does not answer: {}", in_words(&*error)))
            }
            Err(_) => Err(format!("{address} does not answer within {LIMIT:?}")),
        }
    })
}

/// Asks for a path on a connection; an answer that is no success is an error too.
async fn get(stream: Stream, address: SocketAddr, path: &str) -> Result<(), BoxError> {
    let request = Request::get(path).header(HOST, address.to_string());
    let status = ask(stream, request.body(Full::<Bytes>::default())?).await?.status();
    if status.is_success() { Ok(()) } else { Err(format!("{path} answered {status}").into()) }
}

/// The listener of health speaks TLS only where it is that of the API.
fn by_tls(listening: &Listening) -> bool {
    listening.tls && listening.listen == listening.admin_listen
}
