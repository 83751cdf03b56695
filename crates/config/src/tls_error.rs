//! Errors of TLS in plain words, for operators and clients.
//!
//! Most texts of the library are names of its own variants. Each is a few words here, without the name
//! of a Rust type.

use std::error::Error;
use std::fmt::Debug;
use std::io;

use rustls::{CertificateError, InvalidMessage};

/// The text of a TLS error, if `error` is one or wraps one.
pub fn tls_error(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(in_words(tls));
    }
    // What an I/O error wraps is no source of it.
    let wrapped: &(dyn Error + 'static) = error.downcast_ref::<io::Error>()?.get_ref()?;
    tls_error(wrapped)
}

/// Whether the peer answered the TLS handshake with bytes that are not TLS.
pub fn is_plain_port(error: &(dyn Error + 'static)) -> bool {
    let plain = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
    match error.downcast_ref::<rustls::Error>() {
        Some(tls) => *tls == plain,
        None => {
            let io = error.downcast_ref::<io::Error>();
            io.and_then(io::Error::get_ref).is_some_and(|wrapped| is_plain_port(wrapped))
        }
    }
}

/// A TLS error in plain words.
pub fn in_words(error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(error) => of_certificate(error),
        Tls::AlertReceived(alert) => format!("the other side sent the alert {}", words(alert, '_')),
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the port does not speak TLS".to_owned()
        }
        Tls::InvalidMessage(what) => {
            format!("the other side sent a message that is not valid: {}", words(what, ' '))
        }
        Tls::InappropriateMessage { .. } | Tls::InappropriateHandshakeMessage { .. } => {
            "the other side sent an unexpected message".to_owned()
        }
        Tls::PeerIncompatible(why) => format!("the two sides do not fit: {}", words(why, ' ')),
        Tls::PeerMisbehaved(how) => {
            format!("the other side broke the protocol: {}", words(how, ' '))
        }
        Tls::InvalidCertRevocationList(why) => {
            format!("a revocation list is not valid: {}", words(why, ' '))
        }
        Tls::InvalidEncryptedClientHello(why) => {
            format!("encrypted client hello failed: {}", words(why, ' '))
        }
        Tls::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
        Tls::General(text) => text.clone(),
        Tls::Other(other) => of_other(&other.0),
        // The library has words for the rest.
        other => other.to_string(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            format!(
                "certificate is for {}",
                presented.iter().map(bare_name).collect::<Vec<_>>().join(", ")
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate is for another name".to_owned()
        }
        // The signature is bad, too, if an unknown authority has the name of a known one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate is from an unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not valid yet".to_owned()
        }
        CertificateError::Revoked => "certificate was revoked".to_owned(),
        CertificateError::BadEncoding => "certificate can't be read".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not for this use (extended key usage)".to_owned()
        }
        // The library of certificates has no public type for it here.
        CertificateError::Other(other) if of_other(&other.0) == CA_AS_SERVER => {
            "certificate is that of an authority (CA), which can't be a server's own".to_owned()
        }
        CertificateError::Other(other) => {
            format!("certificate is not valid: {}", of_other(&other.0))
        }
        other => format!("certificate is not valid: {}", words(other, ' ')),
    }
}

/// The words of the library's `CaUsedAsEndEntity`.
const CA_AS_SERVER: &str = "ca used as end entity";

/// The text of another library's error, which is prose or the name of a variant.
fn of_other(error: &dyn Error) -> String {
    match error.to_string() {
        text if text.contains(' ') && !text.contains(['(', '{']) => text,
        text => split(&text, ' '),
    }
}

/// The name of an error's variant in words: `UnknownCA` is `unknown ca`. What the variant contains is
/// left out.
fn words(error: &impl Debug, separator: char) -> String {
    split(&format!("{error:?}"), separator)
}

fn split(name: &str, separator: char) -> String {
    let name: Vec<char> = name.chars().take_while(char::is_ascii_alphanumeric).collect();
    let mut text = String::with_capacity(name.len() + 8);
    for (index, letter) in name.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| name.get(index));
        let begins_word = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                let next = name.get(index + 1);
                !before.is_ascii_uppercase() || next.is_some_and(char::is_ascii_lowercase)
            });
        if begins_word {
            text.push(separator);
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// The name in the library's `DnsName("host")` and `IpAddress(127.0.0.1)`.
fn bare_name(presented: &String) -> &str {
    let name = presented.split_once('(').map_or(&**presented, |(_, name)| name);
    name.trim_end_matches(')').trim_matches('"')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{AlertDescription, OtherError, PeerIncompatible, PeerMisbehaved};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{self:?}")]
    enum Library {
        CaUsedAsEndEntity,
        MaximumSignatureChecksExceeded,
    }

    fn certificate(error: Library) -> rustls::Error {
        CertificateError::Other(OtherError(Arc::new(error))).into()
    }

    #[test]
    fn an_error_is_told_in_words_and_not_by_its_variant() {
        use rustls::Error as Tls;
        for (error, wanted) in [
            (
                certificate(Library::CaUsedAsEndEntity),
                "certificate is that of an authority (CA), which can't be a server's own",
            ),
            (
                certificate(Library::MaximumSignatureChecksExceeded),
                "certificate is not valid: maximum signature checks exceeded",
            ),
            (
                CertificateError::UnhandledCriticalExtension.into(),
                "certificate is not valid: unhandled critical extension",
            ),
            (
                Tls::InvalidMessage(InvalidMessage::InvalidContentType),
                "the port does not speak TLS",
            ),
            (
                Tls::InvalidMessage(InvalidMessage::MissingData("ServerName")),
                "the other side sent a message that is not valid: missing data",
            ),
            (
                Tls::AlertReceived(AlertDescription::UnknownCA),
                "the other side sent the alert unknown_ca",
            ),
            (
                Tls::AlertReceived(AlertDescription::UnknownPSKIdentity),
                "the other side sent the alert unknown_psk_identity",
            ),
            (
                Tls::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                "the two sides do not fit: no cipher suites in common",
            ),
            (
                Tls::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments),
                "the other side broke the protocol: too many empty fragments",
            ),
        ] {
            let wrapped = io::Error::other(io::Error::other(error));
            assert_eq!(tls_error(&wrapped).as_deref(), Some(wanted));
        }
        assert_eq!(tls_error(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
    }

    #[test]
    fn a_port_without_tls_is_told_from_others() {
        let of = |what| io::Error::other(rustls::Error::InvalidMessage(what));
        assert!(is_plain_port(&of(InvalidMessage::InvalidContentType)));
        assert!(!is_plain_port(&of(InvalidMessage::MessageTooShort)));
    }
}
