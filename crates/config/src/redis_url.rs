//! The URL of Redis, as text or by reference.
//!
//! User name and password come by reference only. No message repeats a URL, since it may hold a
//! password where it should not.

use redis::IntoConnectionInfo;

use super::reference::is_reference;
#[cfg(test)]
use super::units::schema_of;

/// The schema of a URL, or of several with commas between them.
#[cfg(test)]
pub(super) struct RedisUrl;

#[cfg(test)]
schema_of!(RedisUrl, {
    "type": "string",
    "format": super::schema::REDIS_FORMAT,
    "pattern": r"^\s*((env|file):.+|rediss?://[^@]+)$",
    "examples": ["env:REDIS_URL", "redis://localhost:6379/0"],
});

/// Checks URLs that are written out. The error is a phrase for a person.
pub(super) fn check(text: &str) -> Result<(), String> {
    if is_reference(text) {
        return Ok(());
    }
    if text.contains('@') {
        return Err("takes no user name and no password; write \"env:NAME\" or \"file:PATH\" and \
                    put the URL there"
            .to_owned());
    }
    if !text.split(',').all(is_redis_url) {
        return Err(
            "is not a URL such as \"redis://localhost:6379/0\", nor a reference to one".to_owned()
        );
    }
    Ok(())
}

/// The URLs that a reference names. The error is a phrase for a person.
pub(super) fn read_named(urls: &str) -> Result<String, String> {
    if !urls.split(',').all(is_redis_url) {
        return Err("names something that is not a URL such as \"redis://localhost:6379/0\", or \
                    several with commas between them"
            .to_owned());
    }
    Ok(urls.trim().to_owned())
}

/// Whether a text is one URL of Redis.
pub(super) fn is_redis_url(url: &str) -> bool {
    let url = url.trim();
    let scheme = ["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme));
    scheme && url.into_connection_info().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_written_out_or_named() {
        for url in ["redis://localhost:6379/0", "rediss://cache.example.com", "redis://[::1]/2"] {
            assert_eq!(check(url), Ok(()));
            assert_eq!(read_named(url), Ok(url.to_owned()));
        }
        let secret = "rediss://:hush@cache.example.com:6380/1";
        assert_eq!(read_named(&format!(" {secret}\n")), Ok(secret.to_owned()));
        assert_eq!(check("env:MISSING"), Ok(()), "a reference is looked up when it is read");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_url() {
        for (text, expected) in [
            ("redis://:hush@localhost", "write \"env:NAME\""),
            ("redis://hush@localhost", "write \"env:NAME\""),
            ("hush:hush@", "write \"env:NAME\""),
            ("localhost/hush", "is not a URL such as"),
            ("http://localhost/hush", "is not a URL such as"),
            ("redis://localhost/hush", "is not a URL such as"),
            ("unix:///hush", "is not a URL such as"),
            ("", "is not a URL such as"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hush"), "{text}: {error}");
        }
        let error = read_named("http://:hush@localhost").unwrap_err();
        assert!(error.contains("names something that is not a URL"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
