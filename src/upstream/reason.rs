//! Why an attempt failed, in one short line for operators.
//!
//! The line names the cause alone, such as `connection refused`, and not the layers of software that
//! passed the error on. It contains no secret: what an upstream says is left out if it seems to quote
//! credentials.

use std::error::Error;
use std::io::{self, ErrorKind};

use super::classify::refuses_credentials;
use super::connect::{ProxyConnectError, ResolveError};
use crate::bedrock::error::{Reported, plain_text};
use crate::config::tls_error;

/// Longest line, in characters.
pub(super) const MAX_REASON: usize = 200;

/// Words of a text that quotes credentials.
const SECRET_WORDS: [&str; 7] =
    ["authorization", "aws4-", "bearer ", "basic ", "security-token", "securitytoken", "cookie"];

/// What a client gets in place of an upstream's message about the gateway's own credentials.
pub(super) const REFUSED_CREDENTIALS: &str =
    "The upstream has refused the credentials of this gateway.";

/// Whether a text seems to quote credentials.
pub(super) fn quotes_credentials(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| lower.contains(word))
}

/// The message of an error in an upstream's stream as a client may see it; empty if it seems to quote credentials.
/// One that refuses the gateway's credentials may quote what was signed with them in any words.
pub fn message_for_client(kind: Option<crate::bedrock::ErrorKind>, message: &str) -> &str {
    match kind {
        Some(kind) if refuses_credentials(kind) => REFUSED_CREDENTIALS,
        _ if quotes_credentials(message) => "",
        _ => message,
    }
}

/// What an upstream has reported: the error's name, and the beginning of its message.
pub(super) fn of_answer(reported: &Reported) -> String {
    let name = reported.name.as_deref().unwrap_or_default();
    let message = if quotes_credentials(&reported.message) { "" } else { &*reported.message };
    let text = match (name, message) {
        (name, "") => name.to_owned(),
        ("", message) => message.to_owned(),
        (name, message) => format!("{name}: {message}"),
    };
    plain_text(&text, MAX_REASON)
}

/// Why no connection was opened; `None` if the error does not show it.
pub(super) fn of_connect(error: &(dyn Error + 'static)) -> Option<String> {
    let causes = || std::iter::successors(Some(error), |&error| error.source());
    let through_proxy = causes().find_map(|cause| cause.downcast_ref::<ProxyConnectError>());
    let found = causes().find_map(of_cause).or_else(|| through_proxy.map(of_proxy))?;
    let text = match through_proxy {
        Some(failed) if !found.starts_with("proxy ") => format!("proxy {}: {found}", failed.proxy),
        _ => found,
    };
    Some(plain_text(&text, MAX_REASON))
}

/// What a proxy has answered. The library shows that by its text alone.
fn of_proxy(failed: &ProxyConnectError) -> String {
    match failed.source.to_string() {
        text if text.ends_with("proxy authorization required") => "proxy answered 407".to_owned(),
        text if text.ends_with("unsuccessful") => "proxy refused the tunnel".to_owned(),
        text => format!("proxy {}: {text}", failed.proxy),
    }
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    if let Some(failed) = cause.downcast_ref::<ResolveError>() {
        return Some(of_resolve(failed));
    }
    if let Some(tls) = tls_error(cause) {
        return Some(format!("TLS: {tls}"));
    }
    let io = cause.downcast_ref::<io::Error>()?;
    // What an I/O error wraps is no source of it, and may be another one.
    if let Some(inner) = io.get_ref()
        && let Some(reason) = of_cause(inner)
    {
        return Some(reason);
    }
    let text = match io.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset",
        ErrorKind::ConnectionAborted => "connection aborted",
        ErrorKind::HostUnreachable => "host unreachable",
        ErrorKind::NetworkUnreachable => "network unreachable",
        ErrorKind::UnexpectedEof => "connection closed during the handshake",
        _ => return None,
    };
    Some(text.to_owned())
}

fn of_resolve(failed: &ResolveError) -> String {
    let text = failed.source.to_string();
    // The texts of glibc and musl for a name that does not exist.
    let is_unknown = ["not known", "No address associated", "does not resolve"];
    if is_unknown.iter().any(|known| text.contains(known)) {
        return format!("no such host: {}", failed.host);
    }
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    format!("cannot resolve {}: {text}", failed.host)
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;
    use rustls::pki_types::ServerName;

    use super::*;

    fn reason(error: impl Into<Box<dyn Error + Send + Sync>>) -> Option<String> {
        of_connect(&*error.into())
    }

    #[test]
    fn the_cause_of_a_failed_connection_is_named() {
        let expected = ServerName::try_from("bedrock.example").unwrap();
        let presented = vec!["DnsName(\"other.example\")".to_owned()];
        let name = CertificateError::NotValidForNameContext { expected, presented };
        let lookup = |text: &str| ResolveError {
            host: "bedrock.example".to_owned(),
            source: io::Error::other(format!("failed to lookup address information: {text}"))
                .into(),
        };
        for (error, wanted) in [
            (io::Error::from(ErrorKind::ConnectionRefused), "connection refused"),
            (
                io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(name))),
                "TLS: certificate is for other.example",
            ),
            (
                io::Error::other(rustls::Error::AlertReceived(
                    rustls::AlertDescription::HandshakeFailure,
                )),
                "TLS: the other side sent the alert handshake_failure",
            ),
        ] {
            assert_eq!(reason(error).as_deref(), Some(wanted));
        }
        let unknown = reason(lookup("Name or service not known"));
        assert_eq!(unknown.as_deref(), Some("no such host: bedrock.example"));
        let failed = reason(lookup("Temporary failure in name resolution"));
        let wanted = "cannot resolve bedrock.example: Temporary failure in name resolution";
        assert_eq!(failed.as_deref(), Some(wanted));
        assert_eq!(reason("something else"), None);
    }

    #[test]
    fn a_proxy_is_told_from_the_upstream() {
        let through = |source: Box<dyn Error + Send + Sync>| {
            reason(ProxyConnectError { proxy: "proxy.example:3128".to_owned(), source })
        };
        let refused = through("tunnel error: proxy authorization required".into());
        assert_eq!(refused.as_deref(), Some("proxy answered 407"));
        let down = through(io::Error::from(ErrorKind::ConnectionRefused).into());
        assert_eq!(down.as_deref(), Some("proxy proxy.example:3128: connection refused"));
    }

    #[test]
    fn an_answer_is_named_with_the_beginning_of_its_message() {
        let reported = |name: Option<&str>, message: String| {
            of_answer(&Reported { name: name.map(str::to_owned), message, ..Reported::default() })
        };
        let throttled = reported(Some("ThrottlingException"), "Too many\ntokens".to_owned());
        assert_eq!(throttled, "ThrottlingException: Too many tokens");
        assert_eq!(reported(Some("X"), "x".repeat(500)).chars().count(), MAX_REASON);
        let secret = "Credential=AKID in Authorization: AWS4-HMAC-SHA256".to_owned();
        assert_eq!(reported(Some("AccessDenied"), secret), "AccessDenied");
    }
}
