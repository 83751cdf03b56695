//! The URL of Redis, as text or by reference.
//!
//! User name and password come by reference only. No message repeats a URL, since it may hold a
//! password where it should not.

use std::path::Path;

use redis::IntoConnectionInfo;

use super::environment::Env;
#[cfg(test)]
use super::reference::Kind;
use super::reference::{Reference, is_reference, read_reference};
use super::secret::Secret;

/// The URL of Redis.
#[derive(Clone)]
pub(super) struct RedisUrl;

/// A URL, or a reference to one.
pub(super) type RedisUrlText = Reference<RedisUrl>;

impl RedisUrlText {
    /// Checks a URL that is written out, without looking up a reference. The error is a phrase for
    /// a person.
    pub(super) fn check(&self) -> Result<(), String> {
        if is_reference(self.text()) { Ok(()) } else { literal(self.text()).map(drop) }
    }

    /// Reads the URL, or what the reference names. A relative `file:` path starts at `base`. The
    /// error is a phrase for a person.
    pub(super) fn read(&self, env: &Env, base: Option<&Path>) -> Result<Secret, String> {
        match read_reference(self.text(), env, base) {
            Some(secret) => {
                let secret = Secret::from(secret?);
                let url = secret.expose().trim();
                if is_redis_url(url) {
                    Ok(url.into())
                } else {
                    Err("names something that is not a URL such as \"redis://localhost:6379/0\""
                        .to_owned())
                }
            }
            None => literal(self.text()),
        }
    }

    /// The same for several URLs with commas between them.
    pub(super) fn read_all(&self, env: &Env, base: Option<&Path>) -> Result<Secret, String> {
        let (text, is_reference) = match read_reference(self.text(), env, base) {
            Some(secret) => (Secret::from(secret?), true),
            None => (self.text().into(), false),
        };
        let text = text.expose().trim();
        for url in text.split(',') {
            if !is_reference {
                literal(url)?;
            } else if !is_redis_url(url.trim()) {
                return Err("names something that is not a URL such as \
                            \"redis://localhost:6379/0\", or several with commas between them"
                    .to_owned());
            }
        }
        Ok(text.into())
    }
}

#[cfg(test)]
impl Kind for RedisUrl {
    fn schema() -> serde_json::Value {
        serde_json::json!({
            "format": super::schema::URL_FORMAT,
            "pattern": r"^\s*((env|file):.+|rediss?://[^@]+)$",
            "examples": ["env:REDIS_URL", "redis://localhost:6379/0"],
        })
    }
}

fn literal(text: &str) -> Result<Secret, String> {
    let url = text.trim();
    if url.contains('@') {
        return Err("takes no user name and no password; write \"env:NAME\" or \"file:PATH\" and \
                    put the URL there"
            .to_owned());
    }
    if !is_redis_url(url) {
        return Err(
            "is not a URL such as \"redis://localhost:6379/0\", nor a reference to one".to_owned()
        );
    }
    Ok(url.into())
}

fn is_redis_url(url: &str) -> bool {
    let scheme = ["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme));
    scheme && url.into_connection_info().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, variable: &str) -> Result<String, String> {
        let env: Env = [("URL", variable)].into_iter().collect();
        let text = RedisUrlText::from(text);
        assert!(!format!("{text:?}").contains("redis"));
        text.check()?;
        text.read(&env, None).map(|url| url.expose().to_owned())
    }

    #[test]
    fn a_url_is_written_out_or_named() {
        for url in ["redis://localhost:6379/0", "rediss://cache.example.com", "redis://[::1]/2"] {
            assert_eq!(read(url, ""), Ok(url.to_owned()));
            assert_eq!(read("env:URL", url), Ok(url.to_owned()));
        }
        let secret = "rediss://:hush@cache.example.com:6380/1";
        assert_eq!(read("env:URL", &format!(" {secret}\n")), Ok(secret.to_owned()));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_url() {
        for (text, variable, expected) in [
            ("redis://:hush@localhost", "", "write \"env:NAME\""),
            ("redis://hush@localhost", "", "write \"env:NAME\""),
            ("hush:hush@", "", "write \"env:NAME\""),
            ("localhost/hush", "", "is not a URL such as"),
            ("http://localhost/hush", "", "is not a URL such as"),
            ("redis://localhost/hush", "", "is not a URL such as"),
            ("unix:///hush", "", "is not a URL such as"),
            ("", "", "is not a URL such as"),
            ("env:URL", "http://:hush@localhost", "names something that is not a URL"),
            ("env:URL", "", "which is not set or empty"),
        ] {
            let error = read(text, variable).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hush"), "{text}: {error}");
        }
    }

    #[test]
    fn a_reference_is_looked_up_only_when_it_is_read() {
        assert_eq!(RedisUrlText::from("env:MISSING").check(), Ok(()));
    }
}
