//! The proxies on the way to the upstream: those of the environment, none, or one that is named.
//!
//! The URL of a proxy may hold a password. Written out it must not; from a variable or a file it
//! may. No message repeats a URL.

use std::path::Path;

use http::Uri;
use http::uri::Scheme;

use super::environment::Env;
use super::error::{Location, Problem};
use super::model::Proxies;
use super::reference::read_reference;
use super::secret::Secret;
#[cfg(test)]
use super::units::schema_of;

/// The variables that name proxies and exceptions. The first that is set counts.
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const BYPASS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The schema of `env`, `off`, a URL, or a reference to one.
#[cfg(test)]
pub(super) struct ProxyUrl;

#[cfg(test)]
schema_of!(ProxyUrl, {
    "type": "string",
    "format": "proxy-reference",
    "examples": ["env", "off", "http://proxy.example.com:3128", "env:PROXY_URL"],
});

/// Reads the proxies. A relative `file:` path starts at `base`.
///
/// # Errors
/// A problem for each URL that is wrong; `own` makes one of the text itself.
pub(super) fn read(
    text: &str,
    env: &Env,
    base: Option<&Path>,
    own: impl Fn(&str) -> Problem,
) -> Result<Proxies, Vec<Problem>> {
    let bypass = first(env, BYPASS).map_or("", |(_, value)| value).to_owned();
    match text.trim() {
        "off" => Ok(Proxies::default()),
        "env" => {
            let (http, https) = (variable(env, HTTP), variable(env, HTTPS));
            match (http, https) {
                (Ok(http), Ok(https)) => Ok(Proxies { http, https, bypass, loopback: false }),
                (http, https) => Err(http.err().into_iter().chain(https.err()).collect()),
            }
        }
        text => {
            let url = named(text, env, base).map_err(|why| vec![own(&why)])?;
            Ok(Proxies { http: Some(url.clone()), https: Some(url), bypass, loopback: true })
        }
    }
}

fn named(text: &str, env: &Env, base: Option<&Path>) -> Result<Secret, String> {
    match read_reference(text, env, base) {
        Some(secret) => {
            let secret = Secret::from(secret?);
            let url = secret.expose().trim();
            check(url).map_err(|why| format!("names something that {why}"))?;
            Ok(url.into())
        }
        None => {
            let user = text.rsplit_once('@').map_or("", |(before, _)| before);
            if user.trim_start_matches("http://").trim_start_matches("https://").contains(':') {
                return Err("takes no password; write \"env:NAME\" or \"file:PATH\" and put \
                            the URL there"
                    .to_owned());
            }
            check(text)?;
            Ok(text.into())
        }
    }
}

fn variable(env: &Env, names: [&'static str; 2]) -> Result<Option<Secret>, Problem> {
    let Some((name, value)) = first(env, names) else { return Ok(None) };
    let url = value.trim();
    match check(url) {
        Ok(()) => Ok(Some(url.into())),
        Err(why) => Err(Problem::new(
            Location::Variable(name.to_owned()),
            format!("{why}; upstream.proxy = \"off\" takes no notice of it"),
        )),
    }
}

fn first<'e>(env: &'e Env, names: [&'static str; 2]) -> Option<(&'static str, &'e str)> {
    names.into_iter().find_map(|name| Some((name, env.get(name)?)))
}

/// Whether a text is the URL of a proxy that can be used. The error is a phrase for a person.
fn check(url: &str) -> Result<(), &'static str> {
    const NOT_A_URL: &str = "is not the URL of a proxy such as \"http://proxy.example.com:3128\"";
    let parts = url.parse::<Uri>().map_err(|_| NOT_A_URL)?.into_parts();
    if parts.scheme.is_some_and(|scheme| scheme != Scheme::HTTP && scheme != Scheme::HTTPS) {
        return Err("is not an http or https proxy, and no others are spoken to");
    }
    let host = parts.authority.ok_or(NOT_A_URL)?;
    let path = parts.path_and_query.as_ref().map_or("", |path| path.as_str());
    if host.host().is_empty() || !matches!(path, "" | "/") {
        return Err(NOT_A_URL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Proxies, String> {
        let env: Env = variables.iter().copied().collect();
        let own = |message: &str| Problem::new(Location::Default, message);
        super::read(text, &env, None, own).map_err(|problems| {
            problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn the_environment_names_proxies_in_capitals_or_small_letters() {
        let variables = [
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "http://lower:1"),
            ("http_proxy", "proxy:8080"),
            ("no_proxy", "internal"),
        ];
        let proxies = read("env", &variables).unwrap();
        assert_eq!(proxies.https, Some("http://upper:1".into()));
        assert_eq!(proxies.http, Some("proxy:8080".into()));
        assert_eq!((proxies.bypass.as_str(), proxies.loopback), ("internal", false));
        assert_eq!(read("off", &variables), Ok(Proxies::default()));
        assert_eq!(read("env", &[("HTTPS_PROXY", "")]), Ok(Proxies::default()));
    }

    #[test]
    fn a_named_proxy_is_for_everything_but_the_exceptions() {
        let variables =
            [("HTTPS_PROXY", "http://other"), ("NO_PROXY", "a,b"), ("P", "https://u:hush@p:1\n")];
        let proxies = read("env:P", &variables).unwrap();
        assert_eq!(proxies.https, Some("https://u:hush@p:1".into()));
        assert_eq!(proxies.http, proxies.https);
        assert_eq!((proxies.bypass.as_str(), proxies.loopback), ("a,b", true));
        assert!(!format!("{proxies:?}").contains("hush"));
        for literal in ["http://proxy:3128", "https://proxy", "proxy:3128", "http://user@proxy/"] {
            assert_eq!(read(literal, &[]).unwrap().https, Some(literal.into()));
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_url() {
        for (text, variable, expected) in [
            ("http://u:hush@proxy", "", "takes no password"),
            ("u:hush@proxy:1", "", "takes no password"),
            ("socks5://hush", "", "no others are spoken to"),
            ("http://hush/path", "", "is not the URL of a proxy"),
            ("hush hush", "", "is not the URL of a proxy"),
            ("", "", "is not the URL of a proxy"),
            ("env:P", "ftp://hush", "names something that is not an http or https proxy"),
            ("env:P", "", "which is not set or empty"),
        ] {
            let error = read(text, &[("P", variable)]).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hush"), "{text}: {error}");
        }
        let both = [("HTTPS_PROXY", "socks5://hush"), ("http_proxy", "hush hush")];
        let error = read("env", &both).unwrap_err();
        assert!(error.contains("environment variable HTTPS_PROXY: "), "{error}");
        assert!(error.contains("environment variable http_proxy: "), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
