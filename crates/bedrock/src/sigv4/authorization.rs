//! The `authorization` header of a signed request.

use std::fmt;

use super::{ALGORITHM, AUTHORITY};

/// The content of an `authorization` header, which is not verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// The id of the key pair.
    pub access_key_id: &'a str,
    /// The scope of the signing key.
    pub scope: Scope<'a>,
    /// The names of the signed headers.
    pub signed_headers: SignedHeaders<'a>,
    /// The signature as sent.
    pub signature: &'a str,
}

/// The names of signed headers: in lower case, separated by semicolons, in ascending order. No name occurs
/// twice, so the canonical form of the headers is not longer than the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedHeaders<'a>(&'a str);

impl<'a> SignedHeaders<'a> {
    /// Reads the names; `None` if they are not in this form.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut names = text.split(';');
        let is_ascending = names.clone().zip(names.clone().skip(1)).all(|(one, next)| one < next);
        (is_ascending && names.all(is_name)).then_some(Self(text))
    }

    /// The names, separated by semicolons.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The names in their order.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        self.0.split(';')
    }
}

/// Whether a header may have this name: a token (RFC 9110, section 5.6.2) in lower case, or the
/// pseudo-header that stands for the host.
fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    name == AUTHORITY || !name.is_empty() && name.bytes().all(is_token)
}

/// The scope that a signing key is derived for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The day, `20261123`.
    pub date: &'a str,
    /// The region.
    pub region: &'a str,
    /// The service.
    pub service: &'a str,
    /// The terminator of the scope.
    pub terminator: &'a str,
}

/// Why an `authorization` header is malformed. The messages are those of AWS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The header names another algorithm, or is not a signature.
    #[error(
        "Unsupported AWS 'algorithm' in the Authorization header: only '{ALGORITHM}' is taken."
    )]
    Algorithm,
    /// A parameter is missing.
    #[error("Authorization header requires '{0}' parameter.")]
    Lacks(&'static str),
    /// A parameter is repeated or unknown.
    #[error("Authorization header has a parameter that is unknown, double, or no key=value pair.")]
    Parameter,
    /// The names of the signed headers are not in their form.
    #[error(
        "SignedHeaders must be names of headers in lower case, in ascending order, each of them once."
    )]
    SignedHeaders,
    /// The credential has not the five parts that it must have.
    #[error(
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
    )]
    Credential,
}

impl<'a> Authorization<'a> {
    /// Reads `AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...`, with or without
    /// blanks after the commas, the parameters in any order.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: &'a str) -> Result<Self, Malformed> {
        let (algorithm, parameters) = value.trim().split_once(' ').ok_or(Malformed::Algorithm)?;
        if algorithm != ALGORITHM {
            return Err(Malformed::Algorithm);
        }
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',') {
            let (name, value) = parameter.trim().split_once('=').ok_or(Malformed::Parameter)?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return Err(Malformed::Parameter),
            };
            if place.replace(value).is_some() {
                return Err(Malformed::Parameter);
            }
        }
        let require = |found: Option<&'a str>, name| {
            found.filter(|value| !value.is_empty()).ok_or(Malformed::Lacks(name))
        };
        let credential = require(credential, "Credential")?;
        let signed_headers = require(headers, "SignedHeaders")?;
        let signature = require(signature, "Signature")?;
        let signed_headers =
            SignedHeaders::parse(signed_headers).ok_or(Malformed::SignedHeaders)?;
        let mut parts = credential.split('/');
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or(Malformed::Credential);
        let access_key_id = part()?;
        let scope = Scope { date: part()?, region: part()?, service: part()?, terminator: part()? };
        if parts.next().is_some() {
            return Err(Malformed::Credential);
        }
        Ok(Self { access_key_id, scope, signed_headers, signature })
    }

    /// Whether a header is among the signed ones.
    pub fn signs(&self, header: &str) -> bool {
        self.signed_headers.names().any(|name| name == header)
    }
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope { date, region, service, terminator } = self;
        write!(f, "{date}/{region}/{service}/{terminator}")
    }
}
