//! The banner of `sluice serve` on a terminal: what the gateway runs on, and where it listens.

use std::net::SocketAddr;

use super::{describe, reachable};
use crate::config::Summary;

/// The addresses of a gateway that listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) api: SocketAddr,
    pub(super) admin: SocketAddr,
    /// Whether the listener of the API speaks TLS.
    pub(super) tls: bool,
}

/// The banner, of several lines. `config` is the name of the config file.
pub(super) fn banner(config: &str, summary: Summary, addresses: Addresses) -> String {
    let Addresses { api, admin, tls } = addresses;
    let scheme = |is_tls: bool| if is_tls { "https" } else { "http" };
    let (api_scheme, admin_scheme) = (scheme(tls), scheme(tls && api == admin));
    let (api, admin) = (reachable(api), reachable(admin));
    [
        format!("Sluice {}", env!("CARGO_PKG_VERSION")),
        format!("  Config       {config}: {}", describe(summary)),
        format!("  Bedrock API  {api_scheme}://{api}"),
        format!("  Status page  {admin_scheme}://{admin}/status"),
        format!("  Metrics      {admin_scheme}://{admin}/metrics"),
        "  Ctrl-C stops it.".to_owned(),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_has_urls_that_can_be_opened() {
        let summary = Summary { targets: 2, routes: 1, clients: 0 };
        let api: SocketAddr = "0.0.0.0:8443".parse().unwrap();
        let admin: SocketAddr = "127.0.0.1:9090".parse().unwrap();
        let text = banner("config.toml", summary, Addresses { api, admin, tls: true });
        for line in [
            "  Config       config.toml: 2 targets, 1 route, 0 clients",
            "  Bedrock API  https://127.0.0.1:8443",
            "  Status page  http://127.0.0.1:9090/status",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
        let one = banner("config.toml", summary, Addresses { api, admin: api, tls: true });
        assert!(one.contains("https://127.0.0.1:8443/status"), "{one}");
    }
}
