//! Who may ask the admin surface for what.
//!
//! Health is anybody's, since probes have no key. All else takes the admin key where the config has
//! one, and off this machine it takes one in any case. What changes something takes the key always:
//! a page in a browser on this machine can send a request to loopback, too, but knows no key.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, StatusCode};

use crate::clients::admin_key;
use crate::config::Server;

/// What a path takes of whoever asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Nothing.
    Anybody,
    /// The key, unless the config opens it.
    Metrics,
    /// The key, where there is one.
    Reader,
    /// The key.
    Changer,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The key is missing or another one.
    #[error("this path needs the admin key: authorization: Bearer, or x-sluice-admin-key")]
    NeedsKey,
    /// There is no key that would open it.
    #[error("this path needs server.admin_key, which the config does not have")]
    HasNone,
    /// It was sent to this machine by a name, as a page of another site in a browser would.
    #[error("without server.admin_key this path is for localhost by its address alone")]
    ByName,
}

impl Refused {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Refused::NeedsKey => StatusCode::UNAUTHORIZED,
            Refused::HasNone | Refused::ByName => StatusCode::FORBIDDEN,
        }
    }
}

/// Whether a request with these headers may have what is guarded so. `is_local` says whether the
/// listener is on loopback.
pub(super) fn check(
    guard: Guard,
    headers: &HeaderMap,
    config: &Server,
    is_local: bool,
) -> Result<(), Refused> {
    let is_open = match guard {
        Guard::Anybody => return Ok(()),
        Guard::Metrics => config.open_metrics,
        Guard::Reader | Guard::Changer => false,
    };
    if is_open {
        return Ok(());
    }
    match &config.admin_key {
        Some(key) if admin_key::is_presented(key, headers) => Ok(()),
        Some(_) => Err(Refused::NeedsKey),
        None if guard == Guard::Changer || !is_local => Err(Refused::HasNone),
        // A scraper on this machine may well use a name.
        None if guard == Guard::Reader && !is_for_loopback(headers) => Err(Refused::ByName),
        None => Ok(()),
    }
}

/// Whether the request names its host by an address or as `localhost`, which no other site can have
/// a browser do: a name of its own that leads here is another name. HTTP/2 has no `host`.
fn is_for_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    hosts.all(|host| {
        let authority = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
        authority.is_some_and(|authority| {
            let host = authority.host();
            let address = host.trim_start_matches('[').trim_end_matches(']');
            host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Env};

    fn server(lines: &str) -> Server {
        let env: Env = [("KEY", "an-admin-key-0123456789")].into_iter().collect();
        let text = format!("[server]\n{lines}");
        Config::from_toml(&text, "config.toml", &env).unwrap().config.server
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    const ALL: [Guard; 4] = [Guard::Anybody, Guard::Metrics, Guard::Reader, Guard::Changer];

    fn open(server: &Server, headers: &HeaderMap, is_local: bool) -> Vec<Guard> {
        ALL.into_iter().filter(|guard| check(*guard, headers, server, is_local).is_ok()).collect()
    }

    #[test]
    fn without_a_key_there_is_reading_on_this_machine_and_health_elsewhere() {
        let (server, none) = (server(""), headers(&[]));
        assert_eq!(open(&server, &none, true), ALL[..3]);
        assert_eq!(open(&server, &none, false), ALL[..1]);
        let any = headers(&[("authorization", "Bearer "), ("x-sluice-admin-key", "")]);
        assert_eq!(open(&server, &any, false), ALL[..1]);
    }

    #[test]
    fn with_a_key_it_opens_all_and_nothing_else_does() {
        let server = server("admin_key = 'env:KEY'");
        for is_local in [true, false] {
            for name in ["x-sluice-admin-key", "authorization"] {
                let prefix = if name == "authorization" { "Bearer " } else { "" };
                let with = |key: &str| {
                    let value = format!("{prefix}{key}");
                    [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect()
                };
                assert_eq!(open(&server, &with("an-admin-key-0123456789"), is_local), ALL);
                assert_eq!(open(&server, &with("an-admin-key-012345678"), is_local), ALL[..1]);
            }
            assert_eq!(open(&server, &headers(&[]), is_local), ALL[..1]);
        }
    }

    #[test]
    fn metrics_can_be_opened() {
        let none = headers(&[]);
        assert_eq!(open(&server("open_metrics = true"), &none, false), ALL[..2]);
        let server = server("open_metrics = true\nadmin_key = 'env:KEY'");
        assert_eq!(open(&server, &none, true), ALL[..2]);
    }

    #[test]
    fn a_name_that_leads_to_this_machine_is_not_this_machine() {
        let server = server("");
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090", "[::1]"] {
            let named = [(HOST, host.parse().unwrap())].into_iter().collect();
            assert_eq!(open(&server, &named, true), ALL[..3], "{host}");
        }
        for host in ["evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            let named = [(HOST, host.parse().unwrap())].into_iter().collect();
            assert_eq!(open(&server, &named, true), ALL[..2], "{host}");
        }
    }
}
