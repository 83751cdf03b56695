//! Access control of the admin surface.
//!
//! Health checks need no key, because probes have none. The status page itself needs none either,
//! because it contains no data. Every other path requires the admin key if the config has one, and is
//! closed to other machines if it has none. Without a key, local callers may read and change, except
//! through a page of another site: a request of such a page has another host name or origin.

use http::StatusCode;
use http::request::Parts;

use crate::auth::admin_key::{self, PresentedKey};
use crate::auth::origin::{self, BadHost};
use crate::config::Server;

/// What a path requires of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Nothing.
    Anybody,
    /// The admin key, unless `open_metrics` is set.
    Metrics,
    /// The admin key, if one is configured.
    Reader,
    /// As `Reader`; without a key, the request must not come from a page of another site.
    Changer,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccessDenied {
    /// The key of the request is not the admin key.
    #[error("the admin key is wrong")]
    WrongKey,
    /// The admin key is missing.
    #[error("this path needs the admin key: authorization: Bearer, or x-sluice-admin-key")]
    NeedsKey,
    /// The request came from another machine, and no admin key is configured.
    #[error("this path needs server.admin_key, which the config does not have")]
    HasNone,
    /// The request names a host other than this machine, as DNS rebinding by a page of another site does.
    #[error("without server.admin_key this path is for localhost by its address alone")]
    ByName,
    /// A page of another site sent the request.
    #[error("without server.admin_key this path is not for pages of other sites")]
    OtherSite,
    /// The request names no valid host.
    #[error(transparent)]
    Host(#[from] BadHost),
}

impl AccessDenied {
    pub(super) fn status(self) -> StatusCode {
        match self {
            AccessDenied::NeedsKey | AccessDenied::WrongKey => StatusCode::UNAUTHORIZED,
            AccessDenied::Host(_) => StatusCode::BAD_REQUEST,
            AccessDenied::HasNone | AccessDenied::ByName | AccessDenied::OtherSite => {
                StatusCode::FORBIDDEN
            }
        }
    }
}

/// Checks that a request with this head passes the guard. `is_local`: the listener is on loopback.
pub(super) fn check(
    guard: Guard,
    head: &Parts,
    config: &Server,
    is_local: bool,
) -> Result<(), AccessDenied> {
    let is_open = match guard {
        Guard::Anybody => return Ok(()),
        Guard::Metrics => config.open_metrics,
        Guard::Reader | Guard::Changer => false,
    };
    if is_open {
        return Ok(());
    }
    match &config.admin_key {
        Some(key) => match admin_key::presented(key, &head.headers) {
            PresentedKey::Right => Ok(()),
            PresentedKey::Wrong | PresentedKey::OtherBearer => Err(AccessDenied::WrongKey),
            PresentedKey::Missing => Err(AccessDenied::NeedsKey),
        },
        None if !is_local => Err(AccessDenied::HasNone),
        // A local scraper may use a host name.
        None if guard == Guard::Metrics => Ok(()),
        // `allowed_hosts` holds for the API alone.
        None if !origin::is_for_us(head, &[])? => Err(AccessDenied::ByName),
        None if guard == Guard::Changer && !origin::is_of_own_page(head)? => {
            Err(AccessDenied::OtherSite)
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Version};

    use super::*;
    use crate::config::{Config, Env};

    fn server(lines: &str) -> Server {
        let env: Env = [("KEY", "an-admin-key-0123456789")].into_iter().collect();
        let text = format!("[server]\n{lines}");
        Config::from_toml(&text, "config.toml", &env).unwrap().config.server
    }

    fn head(pairs: &[(&'static str, &str)]) -> Parts {
        let request = Request::builder().uri("/admin/targets");
        let request = pairs.iter().fold(request, |it, (name, value)| it.header(*name, *value));
        let named = pairs.iter().any(|(name, _)| *name == "host");
        let request = if named { request } else { request.header("host", "127.0.0.1:9090") };
        request.body(()).unwrap().into_parts().0
    }

    const ALL: [Guard; 4] = [Guard::Anybody, Guard::Metrics, Guard::Reader, Guard::Changer];

    fn open(server: &Server, head: &Parts, is_local: bool) -> Vec<Guard> {
        ALL.into_iter().filter(|guard| check(*guard, head, server, is_local).is_ok()).collect()
    }

    #[test]
    fn without_a_key_local_callers_may_do_all_and_others_only_check_health() {
        let (server, none) = (server(""), head(&[]));
        assert_eq!(open(&server, &none, true), ALL);
        assert_eq!(open(&server, &none, false), ALL[..1]);
        let any = head(&[("authorization", "Bearer "), ("x-sluice-admin-key", "")]);
        assert_eq!(open(&server, &any, false), ALL[..1]);
    }

    #[test]
    fn with_a_key_configured_only_that_key_opens_all_paths() {
        let server = server("admin_key = 'env:KEY'");
        for is_local in [true, false] {
            for name in ["x-sluice-admin-key", "authorization"] {
                let prefix = if name == "authorization" { "Bearer " } else { "" };
                let with = |key: &str| head(&[(name, &format!("{prefix}{key}"))]);
                assert_eq!(open(&server, &with("an-admin-key-0123456789"), is_local), ALL);
                let wrong = with("an-admin-key-012345678");
                assert_eq!(open(&server, &wrong, is_local), ALL[..1]);
                let denied = check(Guard::Reader, &wrong, &server, is_local);
                assert_eq!(denied, Err(AccessDenied::WrongKey));
            }
            let denied = check(Guard::Reader, &head(&[]), &server, is_local);
            assert_eq!(denied, Err(AccessDenied::NeedsKey));
            assert_eq!(open(&server, &head(&[]), is_local), ALL[..1]);
        }
    }

    #[test]
    fn open_metrics_needs_no_key() {
        let none = head(&[]);
        assert_eq!(open(&server("open_metrics = true"), &none, false), ALL[..2]);
        let server = server("open_metrics = true\nadmin_key = 'env:KEY'");
        assert_eq!(open(&server, &none, true), ALL[..2]);
    }

    #[test]
    fn a_host_name_other_than_localhost_is_refused() {
        // `allowed_hosts` makes no difference.
        let server = server("allowed_hosts = ['*', 'evil.example']");
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090", "[::1]"] {
            assert_eq!(open(&server, &head(&[("host", host)]), true), ALL, "{host}");
        }
        for host in ["evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert_eq!(open(&server, &head(&[("host", host)]), true), ALL[..2], "{host}");
        }
        let absolute = |version| {
            let request = Request::get("http://evil.example/admin/targets").version(version);
            let request = request.header("host", "127.0.0.1:9090").body(()).unwrap();
            open(&server, &request.into_parts().0, true)
        };
        assert_eq!(absolute(Version::HTTP_11), ALL[..2]);
        assert_eq!(absolute(Version::HTTP_2), ALL[..2]);
        let two = head(&[("host", "127.0.0.1:9090"), ("host", "evil.example")]);
        assert_eq!(check(Guard::Reader, &two, &server, true), Err(AccessDenied::Host(BadHost)));
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let server = server("");
        let own = ("origin", "http://127.0.0.1:9090");
        for own in [&[][..], &[own], &[own, ("sec-fetch-site", "same-origin")]] {
            assert_eq!(open(&server, &head(own), true), ALL, "{own:?}");
        }
        for other in
            [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "none")]
        {
            assert_eq!(open(&server, &head(&[other]), true), ALL[..3], "{other:?}");
        }
    }
}
