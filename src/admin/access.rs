//! Who may act through the admin API.
//!
//! With `server.admin_key`, who has it. Without, who is on this machine; but not a page that some
//! other site put into a browser on this machine, which sends along where it came from, or reaches
//! the listener by a name of its own.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;

use crate::clients::{Peer, bearer};
use crate::config::Secret;

/// Carries the admin key where `authorization` does not.
const ADMIN_KEY: HeaderName = HeaderName::from_static("x-sluice-admin-key");

/// Names the site of the page that asks, relative to the one that is asked.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why somebody may not act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// Not with this key, or without one.
    #[error("this takes the admin key: 'authorization: Bearer KEY' or 'x-sluice-admin-key: KEY'")]
    Key,
    /// Not from there.
    #[error("without server.admin_key in the config, this is for this machine alone")]
    Elsewhere,
    /// Not for another site.
    #[error("another site may not act here")]
    OtherSite,
}

/// Who acts, for the log; or why they may not.
pub(super) fn actor(
    head: &Parts,
    peer: &Peer,
    key: Option<&Secret>,
) -> Result<&'static str, Denied> {
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(key) = key {
        let given = text(ADMIN_KEY).or_else(|| text(AUTHORIZATION).and_then(bearer));
        let is_right = given.is_some_and(|given| key.matches(given));
        return if is_right { Ok("admin key") } else { Err(Denied::Key) };
    }
    if !peer.address.ip().to_canonical().is_loopback() {
        return Err(Denied::Elsewhere);
    }
    let host = text(HOST).and_then(|host| host.parse::<Authority>().ok());
    let host = host.or_else(|| head.uri.authority().cloned());
    let is_own_name = host.as_ref().is_some_and(|host| is_of_this_machine(host.host()));
    let is_same = |origin: &str| {
        let from = origin.split_once("://").and_then(|(_, from)| from.parse::<Authority>().ok());
        from.is_some() && from == host
    };
    // Browsers name the site that asks, in one way or in both.
    let site = text(SEC_FETCH_SITE);
    let is_own_page =
        text(ORIGIN).is_none_or(is_same) && site.is_none_or(|site| site == "same-origin");
    if is_own_name && is_own_page { Ok("this machine") } else { Err(Denied::OtherSite) }
}

fn is_of_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &str = "an-admin-key-of-some-length";

    fn ask(
        peer: &str,
        headers: &[(&str, &str)],
        key: Option<&str>,
    ) -> Result<&'static str, Denied> {
        let mut request = Request::post("/admin/targets/a/drain");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let peer = Peer::from(peer.parse::<std::net::SocketAddr>().unwrap());
        let key = key.map(|key| Secret::from(secrecy::SecretString::from(key)));
        actor(&head, &peer, key.as_ref())
    }

    #[test]
    fn a_key_is_asked_for_wherever_one_comes_from() {
        for peer in ["127.0.0.1:1", "10.0.0.1:1"] {
            let ask = |headers: &[(&str, &str)]| ask(peer, headers, Some(KEY));
            let bearer = format!("Bearer {KEY}");
            assert_eq!(ask(&[("authorization", &bearer)]), Ok("admin key"));
            assert_eq!(ask(&[("x-sluice-admin-key", KEY)]), Ok("admin key"));
            assert_eq!(ask(&[("x-sluice-admin-key", "another")]), Err(Denied::Key));
            assert_eq!(ask(&[]), Err(Denied::Key));
        }
    }

    #[test]
    fn without_one_only_this_machine_acts_and_no_other_site_in_its_browser() {
        let ask = |peer, headers: &[(&str, &str)]| ask(peer, headers, None);
        let host = ("host", "127.0.0.1:9090");
        assert_eq!(ask("127.0.0.1:1", &[host]), Ok("this machine"));
        assert_eq!(ask("[::1]:1", &[("host", "[::1]:9090")]), Ok("this machine"));
        assert_eq!(ask("[::ffff:127.0.0.1]:1", &[("host", "localhost:9090")]), Ok("this machine"));
        assert_eq!(ask("10.0.0.1:1", &[host]), Err(Denied::Elsewhere));
        let own = ("origin", "http://127.0.0.1:9090");
        assert_eq!(ask("127.0.0.1:1", &[host, own]), Ok("this machine"));
        for headers in [
            &[host, ("origin", "https://evil.example")][..],
            &[host, ("origin", "null")],
            &[host, ("sec-fetch-site", "cross-site")],
            // A name that its owner has pointed here.
            &[("host", "evil.example:9090"), ("origin", "http://evil.example:9090")],
            &[],
        ] {
            assert_eq!(ask("127.0.0.1:1", headers), Err(Denied::OtherSite), "{headers:?}");
        }
    }
}
