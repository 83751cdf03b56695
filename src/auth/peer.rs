//! The peer of a connection: its address and its certificate.
//!
//! The listener has verified the certificate against the configured authorities. Each name of the
//! certificate has a form that can't be mistaken for another kind of name.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use x509_parser::der_parser::asn1_rs::Oid;
use x509_parser::der_parser::oid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

/// The peer of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address.
    pub address: SocketAddr,
    /// The client's certificate. `None` without TLS, or if the client sent none.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer { address, certificate: None }
    }
}

/// The names in a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject in the form of RFC 4514, `CN=team-a,O=Example`. May be empty.
    pub subject: String,
    /// The common name in the subject, as `CN:team-a`. `None` if there is none, or more than one.
    pub common_name: Option<String>,
    /// Its further names, each with its kind: `DNS:` (in lower case), `URI:`, `IP:` or `email:`.
    /// Other kinds are left out.
    pub names: Vec<String>,
}

/// An unreadable certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's certificate can't be read")]
pub struct UnreadableCertificate;

impl ClientCertificate {
    /// Reads a certificate in DER form.
    ///
    /// # Errors
    /// When it is not a certificate, or its names are malformed.
    pub fn read(der: &[u8]) -> Result<ClientCertificate, UnreadableCertificate> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| UnreadableCertificate)?;
        let alternatives =
            certificate.subject_alternative_name().map_err(|_| UnreadableCertificate)?;
        let names = alternatives.into_iter().flat_map(|found| &found.value.general_names);
        let mut common_names = certificate.subject().iter_common_name();
        let common_name = common_names.next().filter(|_| common_names.next().is_none());
        let common_name = common_name.and_then(|name| name.as_str().ok());
        Ok(ClientCertificate {
            subject: distinguished(certificate.subject()).map_err(|_| UnreadableCertificate)?,
            common_name: common_name.map(|name| format!("CN:{name}")),
            names: names.filter_map(named).collect(),
        })
    }

    /// The names that a client can be known by: the whole subject, its common name, and the further
    /// names as they stand in the certificate.
    pub fn identities(&self) -> impl Iterator<Item = &str> {
        let further = self.names.iter().map(String::as_str);
        [self.subject.as_str()].into_iter().chain(self.common_name.as_deref()).chain(further)
    }

    /// The certificate's name in the access log: the subject, or the first of the further names.
    pub fn label(&self) -> Option<&str> {
        let subject = Some(self.subject.as_str()).filter(|subject| !subject.is_empty());
        subject.or_else(|| self.names.first().map(String::as_str))
    }
}

fn named(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{}", name.to_ascii_lowercase())),
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
            };
            Some(format!("IP:{address}"))
        }
        _ => None,
    }
}

/// A name in the form of RFC 4514: the most specific part first, and what has a meaning of its own
/// escaped.
fn distinguished(name: &X509Name<'_>) -> Result<String, fmt::Error> {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, part) in parts.into_iter().rev().enumerate() {
        for (position, attribute) in part.iter().enumerate() {
            match (index, position) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            match keyword(attribute.attr_type()) {
                Some(keyword) => text.push_str(keyword),
                None => text.push_str(&attribute.attr_type().to_id_string()),
            }
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(&mut text, value),
                // Not a text: its bytes.
                Err(_) => write!(text, "#{}", hex::encode(attribute.attr_value().data))?,
            }
        }
    }
    Ok(text)
}

fn keyword(attribute: &Oid<'_>) -> Option<&'static str> {
    let known = [
        (oid!(2.5.4.3), "CN"),
        (oid!(2.5.4.6), "C"),
        (oid!(2.5.4.7), "L"),
        (oid!(2.5.4.8), "ST"),
        (oid!(2.5.4.9), "STREET"),
        (oid!(2.5.4.10), "O"),
        (oid!(2.5.4.11), "OU"),
        (oid!(0.9.2342.19200300.100.1.1), "UID"),
        (oid!(0.9.2342.19200300.100.1.25), "DC"),
    ];
    known.into_iter().find_map(|(oid, keyword)| (oid == *attribute).then_some(keyword))
}

fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, letter) in value.chars().enumerate() {
        let special = matches!(letter, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (letter == '#' && index == 0)
            || (letter == ' ' && (index == 0 || index == last));
        if letter.is_control() {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                text.push('\\');
                text.push_str(&hex::encode([byte]));
            }
            continue;
        }
        if special {
            text.push('\\');
        }
        text.push(letter);
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(
        subject: &[(DnType, &str)],
        names: impl IntoIterator<Item = SanType>,
    ) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names.into_iter().collect();
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::read(signed.der()).unwrap()
    }

    #[test]
    fn a_subject_is_written_from_its_most_specific_part_on() {
        let subject = [
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Example"),
            (DnType::CommonName, "team-a"),
        ];
        let read = certificate(&subject, []);
        assert_eq!(read.subject, "CN=team-a,O=Example,C=DE");
        assert_eq!(read.label(), Some("CN=team-a,O=Example,C=DE"));
    }

    #[test]
    fn no_subject_can_pass_for_another() {
        let written = |name| certificate(&[(DnType::CommonName, name)], []).subject;
        assert_eq!(written("team-a,O=Other"), "CN=team-a\\,O=Other");
        assert_eq!(written("a+b=c\\d"), "CN=a\\+b=c\\\\d");
        assert_eq!(written(" # "), "CN=\\ #\\ ");
        assert_eq!(written("#1"), "CN=\\#1");
        assert_eq!(written("two\nlines"), "CN=two\\0alines");
        assert_eq!(written("Ж"), "CN=Ж");
    }

    #[test]
    fn further_names_keep_their_kind() {
        let names = [
            SanType::DnsName("team-a.example.com".try_into().unwrap()),
            SanType::URI("spiffe://example.com/team-a".try_into().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::Rfc822Name("a@example.com".try_into().unwrap()),
        ];
        let read = certificate(&[], names);
        assert_eq!(read.subject, "");
        assert_eq!(
            read.names,
            [
                "DNS:team-a.example.com",
                "URI:spiffe://example.com/team-a",
                "IP:2001:db8::1",
                "email:a@example.com"
            ]
        );
        assert_eq!(read.label(), Some("DNS:team-a.example.com"));
    }

    #[test]
    fn garbage_is_not_a_certificate() {
        assert_eq!(ClientCertificate::read(b"garbage"), Err(UnreadableCertificate));
        assert_eq!(ClientCertificate::read(b""), Err(UnreadableCertificate));
    }
}
