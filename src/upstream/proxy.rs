//! Decides which proxy, if any, a connection to an endpoint goes through.
//!
//! hyper-util's matcher has the rules. This adds ports in `NO_PROXY`, and bypasses the proxy for
//! endpoints on this machine unless the config names a proxy for them.

use std::net::IpAddr;

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::config;

/// The proxies of a config.
#[derive(Debug)]
pub(super) struct Proxies {
    rules: Matcher,
    /// The rules for each port that `NO_PROXY` names.
    ports: Vec<(u16, Matcher)>,
    loopback: bool,
}

impl Proxies {
    pub(super) fn new(config: &config::Proxies) -> Proxies {
        let exceptions: Vec<NoProxyEntry> =
            config.bypass.split(',').map(NoProxyEntry::read).collect();
        let rules = |port: Option<u16>| {
            let mut rules = Matcher::builder();
            if let Some(url) = &config.http {
                rules = rules.http(url.expose());
            }
            if let Some(url) = &config.https {
                rules = rules.https(url.expose());
            }
            let applies = |it: &&NoProxyEntry| it.port.is_none() || it.port == port;
            let hosts = exceptions.iter().filter(applies).map(|it| it.host.as_str());
            rules.no(hosts.collect::<Vec<_>>().join(",")).build()
        };
        let mut named: Vec<u16> = exceptions.iter().filter_map(|it| it.port).collect();
        named.sort_unstable();
        named.dedup();
        Proxies {
            rules: rules(None),
            ports: named.into_iter().map(|port| (port, rules(Some(port)))).collect(),
            loopback: config.loopback,
        }
    }

    /// The proxy for a URI.
    pub(super) fn proxy_for(&self, uri: &Uri) -> Option<Intercept> {
        if !self.loopback && is_loopback(uri.host()?) {
            return None;
        }
        let plain = uri.scheme() == Some(&Scheme::HTTP);
        let port = uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
        let own = self.ports.iter().find(|(named, _)| *named == port);
        own.map_or(&self.rules, |(_, rules)| rules).intercept(uri)
    }

    /// The credentials for the proxy of a cleartext URI, which go with each request. A tunnel gets its
    /// credentials when it is opened.
    pub(super) fn authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        if uri.scheme() != Some(&Scheme::HTTP) {
            return None;
        }
        self.proxy_for(uri)?.basic_auth().cloned()
    }
}

/// One entry of `NO_PROXY`.
struct NoProxyEntry {
    host: String,
    port: Option<u16>,
}

impl NoProxyEntry {
    fn read(entry: &str) -> NoProxyEntry {
        let entry = entry.trim();
        let (host, port) = match entry.rsplit_once(':') {
            // An IPv6 address has colons of its own, unless it is in brackets.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                port.parse().map_or((entry, None), |port| (host, Some(port)))
            }
            _ => (entry, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // "*.example.com" means the same as ".example.com".
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        // The matcher's star covers every name, but no address.
        let host = if host == "*" { "*,0.0.0.0/0,::/0" } else { host };
        NoProxyEntry { host: host.to_owned(), port }
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(bypass: &str, loopback: bool) -> Proxies {
        Proxies::new(&config::Proxies {
            http: Some("http://plain.example:3128".into()),
            https: Some("http://user:p%40ss@tunnel.example:3128".into()),
            bypass: bypass.to_owned(),
            loopback,
        })
    }

    fn way(proxies: &Proxies, uri: &str) -> Option<String> {
        let found = proxies.proxy_for(&uri.parse().unwrap())?;
        Some(found.uri().host().unwrap().to_owned())
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let proxies = proxies("", false);
        assert_eq!(way(&proxies, "https://a.example").as_deref(), Some("tunnel.example"));
        assert_eq!(way(&proxies, "http://a.example").as_deref(), Some("plain.example"));
        let none = Proxies::new(&config::Proxies::default());
        assert_eq!(way(&none, "https://a.example"), None);
    }

    #[test]
    fn exceptions_are_hosts_suffixes_networks_and_ports() {
        for (bypass, past, through) in [
            ("a.example", "https://a.example", "https://b.example"),
            ("a.example", "https://x.a.example:8443", "https://xa.example"),
            (".a.example", "https://x.a.example", "https://b.example"),
            ("*.a.example", "https://x.a.example", "https://b.example"),
            ("b, A.Example", "https://a.example", "https://c"),
            ("10.0.0.0/8", "https://10.1.2.3", "https://11.1.2.3"),
            ("2001:db8::/32", "https://[2001:db8::1]", "https://[2001:db9::1]"),
            ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443", "https://[2001:db8::1]"),
            ("2001:db8::1", "https://[2001:db8::1]", "https://[2001:db8::2]"),
            ("a.example:8443", "https://a.example:8443", "https://a.example"),
            ("a.example:443", "https://a.example", "https://a.example:8443"),
            ("a.example:8443,b.example", "https://b.example:8443", "https://c.example:8443"),
            ("10.0.0.0/8:8443", "https://10.1.2.3:8443", "https://10.1.2.3"),
        ] {
            let proxies = proxies(bypass, false);
            assert_eq!(way(&proxies, past), None, "{bypass}: {past}");
            assert!(way(&proxies, through).is_some(), "{bypass}: {through}");
        }
        for everything in ["https://a.example", "http://10.1.2.3:80", "https://[2001:db8::1]"] {
            assert_eq!(way(&proxies("a,*", false), everything), None, "{everything}");
        }
        let one_port = proxies("*:8443", false);
        assert_eq!(way(&one_port, "https://10.1.2.3:8443"), None);
        assert!(way(&one_port, "https://10.1.2.3").is_some());
    }

    #[test]
    fn loopback_bypasses_the_proxy_unless_one_is_configured_for_it() {
        for own in ["http://localhost:1", "https://127.0.0.1:1", "http://[::1]:1"] {
            assert_eq!(way(&proxies("", false), own), None, "{own}");
            assert!(way(&proxies("", true), own).is_some(), "{own}");
            assert_eq!(way(&proxies("localhost,127.0.0.0/8,::1", true), own), None, "{own}");
        }
    }

    #[test]
    fn only_cleartext_requests_carry_proxy_credentials() {
        let all = Proxies::new(&config::Proxies {
            http: Some("http://user:p%40ss@proxy.example".into()),
            https: Some("http://user:p%40ss@proxy.example".into()),
            ..config::Proxies::default()
        });
        let shown = |uri: &str| all.authorization(&uri.parse().unwrap());
        assert_eq!(shown("http://a.example").unwrap(), "Basic dXNlcjpwQHNz");
        assert!(shown("http://a.example").unwrap().is_sensitive());
        assert_eq!(shown("https://a.example"), None);
        assert!(!format!("{all:?}").contains("p%40ss"));
    }
}
