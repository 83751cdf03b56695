//! `sluice healthcheck`: asks a running gateway for its health, for images without curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::{ConfigFile, runtime};

const LIMIT: Duration = Duration::from_secs(3);

/// Arguments of `sluice healthcheck`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Ask whether it is ready for traffic, not just alive.
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    let address = reachable(super::load(&arguments.config.source())?.config.server.admin_listen);
    let path = if arguments.ready { "readyz" } else { "healthz" };
    let uri: http::Uri = format!("http://{address}/{path}")
        .parse()
        .map_err(|error| format!("{address} makes no URL: {error}"))?;
    runtime(Some(1))?.block_on(async {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        match timeout(LIMIT, client.get(uri)).await {
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(format!("{address}/{path} says {}", response.status())),
            Ok(Err(error)) => Err(format!("{address} does not answer: {error}")),
            Err(_) => Err(format!("{address} does not answer within {LIMIT:?}")),
        }
    })
}

/// A listener on every address is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
