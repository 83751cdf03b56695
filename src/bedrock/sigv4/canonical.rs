//! The canonical form of a request, made from what is on the wire.
//!
//! Signer and verifier share it. A proxy between the two may have changed what is not signed, so
//! nothing but the signed headers is looked at. Dot segments of a path are not folded: no operation has any.

use std::ops::Range;

use http::{HeaderMap, HeaderValue, Method};

use super::{AUTHORITY, PayloadHash, PayloadHasher};

/// A request as it is on the wire, less its body.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The HTTP method.
    pub method: &'a Method,
    /// The path, nothing decoded, without the query.
    pub path: &'a str,
    /// What stands after `?`, raw.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The `:authority` of an HTTP/2 request, which has no `host` header.
    pub authority: Option<&'a str>,
}

impl<'a> Received<'a> {
    /// The request with this head.
    pub fn of(head: &'a http::request::Parts) -> Received<'a> {
        Received {
            method: &head.method,
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            authority: head.uri.authority().map(http::uri::Authority::as_str),
        }
    }
}

/// How the path on the wire becomes canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathForm {
    /// Percent-encoded once more, as every service but S3 has it.
    Encoded,
    /// As it is.
    Verbatim,
}

/// A header is said to be signed and is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is a 'SignedHeader' in the AWS Authorization, but the request does not have it.")]
pub struct NotThere(pub String);

/// The canonical request but for its last line, the hash of the payload.
#[derive(Clone, Debug)]
pub struct CanonicalHead {
    /// With the path encoded once more, and where that stands.
    text: Vec<u8>,
    path: Range<usize>,
    /// The path as it is on the wire, where that is another.
    wire_path: Option<Box<[u8]>>,
}

impl CanonicalHead {
    /// The canonical form of a request of which these headers are signed: lower-case names between
    /// semicolons.
    ///
    /// # Errors
    /// When a signed header is not there.
    pub fn of(request: &Received<'_>, signed_headers: &str) -> Result<CanonicalHead, NotThere> {
        let wire_path = if request.path.is_empty() { "/" } else { request.path }.as_bytes();
        let mut text = Vec::with_capacity(1024);
        text.extend_from_slice(request.method.as_str().as_bytes());
        text.push(b'\n');
        let start = text.len();
        encode_into(&mut text, wire_path, b"/");
        let path = start..text.len();
        text.push(b'\n');
        query_into(&mut text, request.query);
        text.push(b'\n');
        for name in signed_headers.split(';') {
            signed_into(&mut text, request, name)?;
        }
        text.push(b'\n');
        text.extend_from_slice(signed_headers.as_bytes());
        text.push(b'\n');
        let has_one_form = text.get(path.clone()) == Some(wire_path);
        let wire_path = (!has_one_form).then(|| wire_path.into());
        Ok(CanonicalHead { text, path, wire_path })
    }

    /// Whether the path is the same in both forms.
    pub fn has_one_form(&self) -> bool {
        self.wire_path.is_none()
    }

    /// The hash of the canonical request with this payload hash, or what stands for one.
    pub fn hash(&self, form: PathForm, payload: &str) -> PayloadHash {
        let mut hasher = PayloadHasher::new();
        for part in self.parts(form) {
            hasher.update(part);
        }
        hasher.update(payload.as_bytes());
        hasher.finish()
    }

    /// The canonical request with this payload hash, to be shown.
    pub fn text(&self, form: PathForm, payload: &str) -> String {
        let bytes = self.parts(form).chain([payload.as_bytes()]).flatten().copied().collect();
        String::from_utf8(bytes).unwrap_or_else(|bad| bad.utf8_error().to_string())
    }

    fn parts(&self, form: PathForm) -> impl Iterator<Item = &[u8]> {
        let (before, path, after) = match (form, &self.wire_path) {
            (PathForm::Verbatim, Some(wire)) => {
                let (before, after) =
                    (self.text.get(..self.path.start), self.text.get(self.path.end..));
                (before, Some(&**wire), after)
            }
            _ => (Some(&*self.text), None, None),
        };
        [before, path, after].into_iter().flatten()
    }
}

/// The hash of a request's canonical form with this payload hash, or what stands for one; the path
/// is encoded once more. `signed` are its signed headers, sorted by name, each value of one apart;
/// `names` are their names between semicolons.
pub fn canonical_hash(
    request: &Received<'_>,
    signed: &[(&str, &HeaderValue)],
    names: &str,
    payload: &str,
) -> PayloadHash {
    let mut text = Vec::with_capacity(1024);
    text.extend_from_slice(request.method.as_str().as_bytes());
    text.push(b'\n');
    encode_into(&mut text, request.path.as_bytes(), b"/");
    text.push(b'\n');
    query_into(&mut text, request.query);
    text.push(b'\n');
    for values in signed.chunk_by(|(one, _), (other, _)| one == other) {
        let name = values.first().map_or("", |(name, _)| name);
        field_into(&mut text, name, values.iter().map(|(_, value)| value.as_bytes()));
    }
    text.push(b'\n');
    text.extend_from_slice(names.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(payload.as_bytes());
    PayloadHash::of(&text)
}

/// Parameters sorted by encoded name, then value.
fn query_into(out: &mut Vec<u8>, query: &str) {
    if query.is_empty() {
        return;
    }
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = parameters
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (encode_anew(name), encode_anew(value))
        })
        .collect();
    pairs.sort_unstable();
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// Decodes and encodes again, so that every spelling of a value has one canonical form.
fn encode_anew(raw: &str) -> Vec<u8> {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(raw).collect();
    let mut out = Vec::with_capacity(raw.len());
    encode_into(&mut out, &decoded, b"");
    out
}

/// Percent-encodes all but the unreserved characters and those in `kept`.
fn encode_into(out: &mut Vec<u8>, bytes: &[u8], kept: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let stays = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~')
            || kept.contains(byte)
    };
    let mut rest = bytes;
    loop {
        let (run, after) = rest.split_at(rest.iter().take_while(|byte| stays(byte)).count());
        out.extend_from_slice(run);
        let Some((byte, after)) = after.split_first() else { return };
        out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        rest = after;
    }
}

/// A header that a request says is signed.
fn signed_into(out: &mut Vec<u8>, request: &Received<'_>, name: &str) -> Result<(), NotThere> {
    let mut values = request.headers.get_all(name).iter().map(HeaderValue::as_bytes).peekable();
    if values.peek().is_some() {
        field_into(out, name, values);
        return Ok(());
    }
    let (AUTHORITY | "host", Some(authority)) = (name, request.authority) else {
        return Err(NotThere(name.to_owned()));
    };
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    out.extend_from_slice(authority.as_bytes());
    out.push(b'\n');
    Ok(())
}

/// A header's name and its values in their order, joined by commas, each without blanks at its ends
/// and with runs of blanks made one.
fn field_into<'v>(out: &mut Vec<u8>, name: &str, values: impl Iterator<Item = &'v [u8]>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        fold_into(out, value);
    }
    out.push(b'\n');
}

fn fold_into(out: &mut Vec<u8>, value: &[u8]) {
    if memchr::memchr2(b' ', b'\t', value).is_none() {
        return out.extend_from_slice(value);
    }
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}
