//! Detects requests from web pages of other sites. If callers need no key, such a page only needs a browser
//! that can reach the gateway.
//!
//! A request of such a page has one of two signs. With DNS rebinding, the page's host name points to this
//! address, and the request's host is that name. Across sites, the browser sends the page's origin; other
//! clients send none. This module determines the host of a request for all listeners.

use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Version};

/// The relation between the sites of the page and of the request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Allows any name.
const ANY: &str = "*";

/// A request does not name exactly one valid host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The request must name exactly one valid host: its Host is missing, repeated, malformed, or differs from the :authority."
)]
pub struct BadHost;

/// Why a request without authentication is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// The request names no valid host.
    #[error(transparent)]
    Host(#[from] BadHost),
    /// The request names a host that is not allowed, as DNS rebinding does.
    #[error(
        "Without [[clients]] this gateway answers to its addresses and to localhost alone. Add the name of the host that was asked for to server.allowed_hosts to allow it."
    )]
    Name,
    /// A browser sent the request for a page of another site.
    #[error(
        "Without [[clients]] this gateway does not answer a browser that asks for a page of another site, whatever server.allowed_hosts allows."
    )]
    Page,
}

/// The host that a request is for, and perhaps a port: HTTP/2's `:authority`, HTTP/1.1's absolute
/// request target (RFC 9112, section 3.2.2), or else its `host`. HTTP/1.0 need not name any.
///
/// # Errors
/// The host is missing, repeated, malformed, or two names of it differ.
pub fn authority(head: &Parts) -> Result<Option<&str>, BadHost> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let host = host.map(|value| text(value).filter(|host| is_host(host)).ok_or(BadHost));
    let (host, None) = (host.transpose()?, another) else { return Err(BadHost) };
    let target = head.uri.authority().map(Authority::as_str);
    if target.is_some_and(|target| target.is_empty() || !is_host(target)) {
        return Err(BadHost);
    }
    let is_http2 = head.version >= Version::HTTP_2;
    match (target, host) {
        // RFC 9113, section 8.3.1. By HTTP/1.1 the target takes precedence over `host`.
        (Some(target), Some(host)) if is_http2 && !is_same(target, host, head.uri.scheme()) => {
            Err(BadHost)
        }
        (_, None) if head.version == Version::HTTP_11 => Err(BadHost),
        (None, None) if is_http2 => Err(BadHost),
        (target, host) => Ok(target.or(host)),
    }
}

/// Checks a request without authentication: its host must be an address, `localhost` or one of these names,
/// and no page of another site may have sent it.
///
/// # Errors
/// The reason for a refusal.
pub fn check(head: &Parts, allowed: &[String]) -> Result<(), OriginError> {
    if !is_for_us(head, allowed)? {
        return Err(OriginError::Name);
    }
    if is_of_own_page(head)? { Ok(()) } else { Err(OriginError::Page) }
}

/// Whether a request's host is an address, `localhost` or one of these names. With DNS rebinding the host
/// is a name of the other site.
///
/// # Errors
/// The request names no valid host.
pub fn is_for_us(head: &Parts, allowed: &[String]) -> Result<bool, BadHost> {
    let Some(authority) = authority(head)? else { return Ok(true) };
    let (host, _) = split(authority);
    let is_address = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()),
        None => host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
    };
    // A dot at the end marks a fully qualified name.
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_allowed = |it: &String| it == ANY || it.eq_ignore_ascii_case(name);
    Ok(is_address || name.eq_ignore_ascii_case("localhost") || allowed.iter().any(is_allowed))
}

/// Whether no page of another site has sent a request. Browsers send the page's site in one of two headers,
/// or in both. A page of the same host at another port is of another site, too.
///
/// # Errors
/// The request names no valid host.
pub fn is_of_own_page(head: &Parts) -> Result<bool, BadHost> {
    let host = authority(head)?;
    let is_own = |origin: &HeaderValue| {
        let from = text(origin).and_then(|origin| origin.split_once("://"));
        from.zip(host).is_some_and(|((_, from), host)| from.eq_ignore_ascii_case(host))
    };
    let mut sites = head.headers.get_all(SEC_FETCH_SITE).iter();
    Ok(head.headers.get_all(ORIGIN).iter().all(is_own) && sites.all(|site| site == "same-origin"))
}

/// Whether two texts name the same host (RFC 3986, section 6.2).
fn is_same(one: &str, other: &str, scheme: Option<&Scheme>) -> bool {
    let usual = if scheme == Some(&Scheme::HTTPS) { "443" } else { "80" };
    let ((one, port), (other, other_port)) = (split(one), split(other));
    one.eq_ignore_ascii_case(other) && port.unwrap_or(usual) == other_port.unwrap_or(usual)
}

/// Host and port; an address of IPv6 keeps its brackets.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port).filter(|it| !it.is_empty())),
        _ => (authority, None),
    }
}

/// Whether a text is a name, an address or empty, with or without a port.
fn is_host(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%:[]!$&'()*+,;=".contains(&byte))
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn head(version: Version, uri: &str, fields: &[(&'static str, &str)]) -> Parts {
        let request = Request::builder().version(version).uri(uri);
        let request = fields.iter().fold(request, |it, (name, value)| it.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn by_http1(fields: &[(&'static str, &str)]) -> Parts {
        head(Version::HTTP_11, "/chat", fields)
    }

    fn allowed() -> Vec<String> {
        vec!["sluice".to_owned(), "sluice.apps.svc".to_owned()]
    }

    #[test]
    fn the_host_is_the_one_that_the_protocol_says() {
        let (h1, h2) = (Version::HTTP_11, Version::HTTP_2);
        let host = ("host", "127.0.0.1:8080");
        let absolute = "http://evil.example/chat";
        for (version, uri, fields, said) in [
            (h1, "/chat", &[host][..], Ok(Some("127.0.0.1:8080"))),
            (h1, "/chat", &[("host", "")], Ok(Some(""))),
            (h1, "/chat", &[], Err(BadHost)),
            (h1, "/chat", &[host, host], Err(BadHost)),
            (h1, "/chat", &[("host", "a b")], Err(BadHost)),
            (h1, "/chat", &[("host", "me@127.0.0.1")], Err(BadHost)),
            (h1, "/chat", &[("host", "127.0.0.1/evil")], Err(BadHost)),
            // The target counts, and the field must be there all the same.
            (h1, absolute, &[host], Ok(Some("evil.example"))),
            (h1, absolute, &[], Err(BadHost)),
            (h1, absolute, &[host, host], Err(BadHost)),
            (h1, "http://evil.example@127.0.0.1/", &[host], Err(BadHost)),
            (Version::HTTP_10, "/chat", &[], Ok(None)),
            (Version::HTTP_10, "/chat", &[host], Ok(Some("127.0.0.1:8080"))),
            (Version::HTTP_10, absolute, &[host], Ok(Some("evil.example"))),
            (h2, absolute, &[], Ok(Some("evil.example"))),
            (h2, absolute, &[host], Err(BadHost)),
            (h2, absolute, &[("host", "EVIL.example:80")], Ok(Some("evil.example"))),
            (h2, absolute, &[("host", "evil.example:8080")], Err(BadHost)),
            (h2, "https://a/", &[("host", "a:443")], Ok(Some("a"))),
            (h2, "https://a/", &[("host", "a:80")], Err(BadHost)),
            (h2, "/chat", &[host], Ok(Some("127.0.0.1:8080"))),
            (h2, "/chat", &[host, host], Err(BadHost)),
            (h2, "/chat", &[], Err(BadHost)),
        ] {
            let head = head(version, uri, fields);
            assert_eq!(authority(&head), said, "{version:?} {uri} {fields:?}");
        }
    }

    #[test]
    fn an_address_localhost_and_what_is_allowed_are_for_us() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "10.0.0.7:80",
            "0.0.0.0",
            "[::1]",
            "[::1]:8080",
            "[2001:DB8::7]:1",
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "localhost.:8080",
            "sluice",
            "SLUICE:8080",
            "sluice.",
            "sluice.apps.svc:80",
        ] {
            let head = by_http1(&[("host", host)]);
            assert_eq!(is_for_us(&head, &allowed()), Ok(true), "{host}");
            assert_eq!(is_for_us(&head, &["*".to_owned()]), Ok(true), "{host}");
        }
        for host in [
            "",
            ":8080",
            ".",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost..",
            "sluice..",
            "x.sluice",
            "sluice.apps",
            "127.1",
            "0x7f000001",
            "2130706433",
            "::1",
            "[127.0.0.1]",
            "[::1",
            "[::1]evil.example",
            "[fe80::1%25eth0]",
            "*",
            "*:1",
            "xn--lcalhost-54a",
            "localhost%00",
            "localhost%2eevil.example",
            "127.0.0.1:80:80",
        ] {
            let head = by_http1(&[("host", host)]);
            assert_eq!(is_for_us(&head, &allowed()), Ok(false), "{host}");
        }
        let any = ["*".to_owned()];
        assert_eq!(is_for_us(&by_http1(&[("host", "evil.example:1")]), &any), Ok(true));
        assert_eq!(is_for_us(&by_http1(&[]), &any), Err(BadHost));
    }

    #[test]
    fn a_page_is_our_own_by_its_host_and_port() {
        let page = |host: &str, fields: &[(&'static str, &str)]| {
            is_of_own_page(&by_http1(&[&[("host", host)], fields].concat()))
        };
        for (host, origin) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("Localhost:8080", "http://localhost:8080"),
            ("sluice.internal", "https://sluice.internal"),
        ] {
            assert_eq!(page(host, &[("origin", origin)]), Ok(true), "{origin}");
            assert_eq!(page(host, &[]), Ok(true));
            assert_eq!(page(host, &[("sec-fetch-site", "same-origin")]), Ok(true));
        }
        for origin in [
            "https://evil.example",
            "http://127.0.0.1",
            "http://127.0.0.1:3000",
            "http://localhost:8080",
            "http://127.0.0.1:8080.evil.example",
            "http://evil.example@127.0.0.1:8080",
            "null",
            "",
            "127.0.0.1:8080",
            "file://",
            "chrome-extension://abcdef",
        ] {
            assert_eq!(page("127.0.0.1:8080", &[("origin", origin)]), Ok(false), "{origin}");
        }
        for site in ["cross-site", "same-site", "none", "", "SAME-ORIGIN"] {
            assert_eq!(page("localhost", &[("sec-fetch-site", site)]), Ok(false), "{site}");
        }
        // Not one of several may be another's.
        let own = ("origin", "http://localhost");
        let other = ("origin", "http://evil.example");
        assert_eq!(page("localhost", &[own, other]), Ok(false));
        let sites = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
        assert_eq!(page("localhost", &sites), Ok(false));
        // A name that is allowed makes no page our own.
        let rebound = by_http1(&[("host", "sluice"), ("origin", "http://evil.example")]);
        assert_eq!(check(&rebound, &["*".to_owned()]), Err(OriginError::Page));
        assert_eq!(
            check(&by_http1(&[("host", "evil.example")]), &allowed()),
            Err(OriginError::Name)
        );
        assert_eq!(check(&by_http1(&[]), &allowed()), Err(OriginError::Host(BadHost)));
    }

    proptest! {
        /// No host name that a browser can send counts as an address.
        #[test]
        fn no_name_is_an_address(
            name in "[a-z0-9.-]{0,30}[a-z-]\\.?", port in proptest::option::of(0..=65_535_u16),
        ) {
            prop_assume!(name.trim_end_matches('.') != "localhost");
            let host = port.map_or(name.clone(), |port| format!("{name}:{port}"));
            prop_assert_eq!(is_for_us(&by_http1(&[("host", &host)]), &[]), Ok(false));
        }

        #[test]
        fn any_host_and_origin_are_judged(host in "[ -~]{0,40}", origin in "[ -~]{0,40}") {
            let _ = check(&by_http1(&[("host", &host), ("origin", &origin)]), &allowed());
        }
    }
}
