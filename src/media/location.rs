//! An address from which may be fetched: https, without credentials, of a host and a port that the config allows.
//!
//! It is read once, by the rules that browsers have, and only what was read is used, so that no other reading can
//! lead elsewhere.

use http::uri::PathAndQuery;
use url::{Host, Url};

use super::error::MediaError;
use crate::config::RemoteMediaSettings;

/// Longest address, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// An address that the config allows.
#[derive(Clone, Debug)]
pub(super) struct Location {
    url: Url,
    /// The host as it stands in the address: a name in lower case, or an IP address.
    host: Host<String>,
    port: u16,
}

impl Location {
    /// Reads an address.
    ///
    /// # Errors
    /// If the text is no address, or the config does not allow the address.
    pub(super) fn read(text: &str, settings: &RemoteMediaSettings) -> Result<Location, MediaError> {
        if text.len() > MAX_BYTES {
            return Err(MediaError::Address);
        }
        Location::of(Url::parse(text).map_err(|_| MediaError::Address)?, settings)
    }

    /// Where a redirection leads to, which may be relative.
    ///
    /// # Errors
    /// As [`Location::read`].
    pub(super) fn redirected(
        &self,
        to: &str,
        settings: &RemoteMediaSettings,
    ) -> Result<Location, MediaError> {
        if to.len() > MAX_BYTES {
            return Err(MediaError::Address);
        }
        Location::of(self.url.join(to).map_err(|_| MediaError::Address)?, settings)
    }

    fn of(url: Url, settings: &RemoteMediaSettings) -> Result<Location, MediaError> {
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        if url.scheme() != "https" || has_credentials {
            return Err(MediaError::Address);
        }
        let host = url.host().ok_or(MediaError::Address)?.to_owned();
        let name = match &host {
            Host::Domain(name) => name.strip_suffix('.').unwrap_or(name).to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        if !settings.allows_host(&name) {
            return Err(MediaError::Host);
        }
        let port = url.port_or_known_default().ok_or(MediaError::Address)?;
        if !settings.ports.contains(&port) {
            return Err(MediaError::Port);
        }
        Ok(Location { url, host, port })
    }

    /// Its host.
    pub(super) fn host(&self) -> &Host<String> {
        &self.host
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Host and port, as the header `Host` has them.
    pub(super) fn authority(&self) -> String {
        match self.port {
            443 => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// What a request asks for: path and query.
    ///
    /// # Errors
    /// If HTTP does not take it.
    pub(super) fn path(&self) -> Result<PathAndQuery, MediaError> {
        let path = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        path.parse().map_err(|_| MediaError::Address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(hosts: &[&str], ports: &[u16]) -> RemoteMediaSettings {
        RemoteMediaSettings {
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            ports: ports.to_vec(),
            ..RemoteMediaSettings::default()
        }
    }

    fn read(text: &str, settings: &RemoteMediaSettings) -> Result<String, MediaError> {
        let it = Location::read(text, settings)?;
        Ok(format!("{} {}", it.authority(), it.path()?))
    }

    #[test]
    fn an_address_is_read_as_browsers_read_it() {
        let any = settings(&["*"], &[443]);
        for (text, wanted) in [
            ("https://Example.COM/a b?x=1#part", "example.com /a%20b?x=1"),
            ("https://example.com:443", "example.com /"),
            ("HTTPS:\\\\example.com\\a", "example.com /a"),
            ("https://0x7f.1/", "127.0.0.1 /"),
            ("https://2130706433/", "127.0.0.1 /"),
            ("https://[::FFFF:127.0.0.1]/", "[::ffff:7f00:1] /"),
            ("https://exa\tmple.com/\u{e4}", "example.com /%C3%A4"),
            ("https://b\u{fc}cher.example/", "xn--bcher-kva.example /"),
            ("https://example.com./", "example.com. /"),
        ] {
            assert_eq!(read(text, &any).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn other_schemes_and_credentials_are_refused() {
        let any = settings(&["*"], &[443]);
        let long = format!("https://example.com/{}", "a".repeat(MAX_BYTES));
        for text in [
            "http://example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://user@example.com/",
            "https://user:secret@example.com/",
            "https://:secret@example.com/",
            "https://",
            "https://a b/",
            "https://[::1/",
            "example.com",
            "",
            &long,
        ] {
            assert_eq!(read(text, &any), Err(MediaError::Address), "{text}");
        }
        assert!(read("https://@example.com/", &any).is_ok(), "there is no user");
    }

    #[test]
    fn only_hosts_and_ports_of_the_config_are_allowed_also_by_redirection() {
        let some = settings(&["images.example.com", "*.cdn.example", "10.0.0.5"], &[443, 8443]);
        for text in [
            "https://images.example.com/a",
            "https://IMAGES.example.com./a",
            "https://a.b.cdn.example:8443/",
            "https://10.0.0.5/",
        ] {
            assert!(read(text, &some).is_ok(), "{text}");
        }
        for text in [
            "https://example.com/",
            "https://cdn.example/",
            "https://ximages.example.com/",
            "https://images.example.com.evil.example/",
            "https://notcdn.example/",
            "https://10.0.0.6/",
            "https://[::1]/",
        ] {
            assert_eq!(read(text, &some), Err(MediaError::Host), "{text}");
        }
        assert_eq!(read("https://images.example.com:22/", &some), Err(MediaError::Port));
        let from = Location::read("https://images.example.com/a/b", &some).unwrap();
        let to = |to| from.redirected(to, &some).map(|it| it.url.to_string());
        assert_eq!(to("../c?d").as_deref(), Ok("https://images.example.com/c?d"));
        assert_eq!(to("//x.cdn.example/").as_deref(), Ok("https://x.cdn.example/"));
        assert_eq!(to("//evil.example/"), Err(MediaError::Host));
        assert_eq!(to("http://images.example.com/"), Err(MediaError::Address));
        assert_eq!(to("https://u:p@images.example.com/"), Err(MediaError::Address));
    }
}
