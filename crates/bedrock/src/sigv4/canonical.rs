//! The canonical form of a request, made from what is on the wire.
//!
//! Signer and verifier share it. A proxy between the two may have changed what is not signed, so
//! nothing but the signed headers is looked at. Dot segments of a path are not folded: no operation has any.

use http::{HeaderMap, HeaderValue, Method};

use super::{AUTHORITY, PayloadHash, PayloadHasher, SignedHeaders};

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
pub struct MissingSignedHeader(pub String);

/// The canonical request but for its last line, the hash of the payload: hashed as it is made, so
/// that its length takes no memory.
#[derive(Clone, Debug)]
pub struct CanonicalHead {
    /// With the path encoded once more.
    encoded: PayloadHasher,
    /// With the path as it is on the wire, where that is another.
    verbatim: Option<PayloadHasher>,
}

impl CanonicalHead {
    /// The canonical form of a request of which these headers are signed.
    ///
    /// # Errors
    /// When a signed header is not there.
    pub fn of(
        request: &Received<'_>,
        signed: SignedHeaders<'_>,
    ) -> Result<CanonicalHead, MissingSignedHeader> {
        let wire_path = wire_path(request);
        let verbatim = (!is_unreserved(wire_path)).then(Hashing::new);
        let mut both = (Hashing::new(), verbatim);
        method_into(&mut both, request);
        encode_into(&mut both.0, wire_path, b"/");
        if let Some(verbatim) = &mut both.1 {
            verbatim.put(wire_path);
        }
        rest_into(&mut both, request, signed)?;
        let (encoded, verbatim) = both;
        Ok(CanonicalHead { encoded: encoded.end(), verbatim: verbatim.map(Hashing::end) })
    }

    /// Whether the path is the same in both forms.
    pub fn has_one_form(&self) -> bool {
        self.verbatim.is_none()
    }

    /// The hash of the canonical request with this payload hash, or what stands for one.
    pub fn hash(&self, form: PathForm, payload: &str) -> PayloadHash {
        let head = match (form, &self.verbatim) {
            (PathForm::Verbatim, Some(verbatim)) => verbatim,
            _ => &self.encoded,
        };
        let mut hasher = head.clone();
        hasher.update(payload.as_bytes());
        hasher.finish()
    }
}

/// The canonical request with this payload hash, the path encoded once more, to be shown.
///
/// # Errors
/// When a signed header is not there.
pub fn canonical_text(
    request: &Received<'_>,
    signed: SignedHeaders<'_>,
    payload: &str,
) -> Result<String, MissingSignedHeader> {
    let mut text = Vec::new();
    method_into(&mut text, request);
    encode_into(&mut text, wire_path(request), b"/");
    rest_into(&mut text, request, signed)?;
    text.put(payload.as_bytes());
    Ok(String::from_utf8(text).unwrap_or_else(|bad| bad.utf8_error().to_string()))
}

fn wire_path<'a>(request: &Received<'a>) -> &'a [u8] {
    if request.path.is_empty() { "/" } else { request.path }.as_bytes()
}

fn method_into(out: &mut impl Sink, request: &Received<'_>) {
    out.put(request.method.as_str().as_bytes());
    out.put(b"\n");
}

/// All that comes between the path and the payload's hash.
fn rest_into(
    out: &mut impl Sink,
    request: &Received<'_>,
    signed: SignedHeaders<'_>,
) -> Result<(), MissingSignedHeader> {
    out.put(b"\n");
    query_into(out, request.query);
    out.put(b"\n");
    for name in signed.names() {
        signed_into(out, request, name)?;
    }
    out.put(b"\n");
    out.put(signed.as_str().as_bytes());
    out.put(b"\n");
    Ok(())
}

/// What a canonical form is written to.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for (Hashing, Option<Hashing>) {
    fn put(&mut self, bytes: &[u8]) {
        self.0.put(bytes);
        if let Some(other) = &mut self.1 {
            other.put(bytes);
        }
    }
}

/// A hasher that takes small pieces together.
struct Hashing {
    hasher: PayloadHasher,
    pieces: Vec<u8>,
}

impl Hashing {
    /// Most bytes that wait to be hashed: those of a usual request.
    const MAX_PIECES: usize = 1024;

    fn new() -> Hashing {
        let pieces = Vec::with_capacity(Hashing::MAX_PIECES);
        Hashing { hasher: PayloadHasher::new(), pieces }
    }

    fn end(mut self) -> PayloadHasher {
        self.hasher.update(&self.pieces);
        self.hasher
    }
}

impl Sink for Hashing {
    fn put(&mut self, bytes: &[u8]) {
        if self.pieces.len() + bytes.len() > Hashing::MAX_PIECES {
            self.hasher.update(&self.pieces);
            self.pieces.clear();
        }
        if bytes.len() > Hashing::MAX_PIECES {
            self.hasher.update(bytes);
        } else {
            self.pieces.extend_from_slice(bytes);
        }
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
fn query_into(out: &mut impl Sink, query: &str) {
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
            out.put(b"&");
        }
        out.put(name);
        out.put(b"=");
        out.put(value);
    }
}

/// Decodes and encodes again, so that every spelling of a value has one canonical form.
fn encode_anew(raw: &str) -> Vec<u8> {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(raw).collect();
    let mut out = Vec::with_capacity(raw.len());
    encode_into(&mut out, &decoded, b"");
    out
}

/// Whether a path is the same when it is encoded once more.
fn is_unreserved(path: &[u8]) -> bool {
    path.iter().all(|byte| *byte == b'/' || is_unreserved_byte(*byte))
}

fn is_unreserved_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// Percent-encodes all but the unreserved characters and those in `kept`.
fn encode_into(out: &mut impl Sink, bytes: &[u8], kept: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let stays = |byte: &u8| is_unreserved_byte(*byte) || kept.contains(byte);
    let mut rest = bytes;
    loop {
        let (run, after) = rest.split_at(rest.iter().take_while(|byte| stays(byte)).count());
        out.put(run);
        let Some((byte, after)) = after.split_first() else { return };
        out.put(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        rest = after;
    }
}

/// A header that a request lists as signed.
fn signed_into(
    out: &mut impl Sink,
    request: &Received<'_>,
    name: &str,
) -> Result<(), MissingSignedHeader> {
    let mut values = request.headers.get_all(name).iter().map(HeaderValue::as_bytes).peekable();
    if values.peek().is_some() {
        field_into(out, name, values);
        return Ok(());
    }
    let (AUTHORITY | "host", Some(authority)) = (name, request.authority) else {
        return Err(MissingSignedHeader(name.to_owned()));
    };
    out.put(name.as_bytes());
    out.put(b":");
    out.put(authority.as_bytes());
    out.put(b"\n");
    Ok(())
}

/// A header's name and its values in their order, joined by commas, each without blanks at its ends
/// and with runs of blanks made one.
fn field_into<'v>(out: &mut impl Sink, name: &str, values: impl Iterator<Item = &'v [u8]>) {
    out.put(name.as_bytes());
    out.put(b":");
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.put(b",");
        }
        fold_into(out, value);
    }
    out.put(b"\n");
}

fn fold_into(out: &mut impl Sink, value: &[u8]) {
    if memchr::memchr2(b' ', b'\t', value).is_none() {
        return out.put(value);
    }
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.put(b" ");
        }
        out.put(word);
    }
}
