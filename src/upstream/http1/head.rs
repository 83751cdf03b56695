//! Heads of HTTP/1.1 messages: writes those of requests and reads those of responses (RFC 9112).
//!
//! A response's head decides where its body ends and whether the connection can be reused. Ambiguous or
//! unknown framing is refused, since a body with a wrong end would be read as the next response.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, request};

use super::field_names;
use super::framing::Framing;

/// Longest head of a response, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Most headers of a response.
const MAX_HEADERS: usize = 100;

/// Most interim responses (100, 103) before the final one, and most bytes of all their heads.
pub(super) const MAX_INTERIM: usize = 16;
pub(super) const MAX_HEADS: usize = 2 * MAX_HEAD;

/// Most bytes that method, version and spaces add to a request's path.
const REQUEST_LINE: usize = 32;

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The headers, without a `content-length` that is not the body's.
    pub headers: HeaderMap,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the connection can be reused.
    pub keeps_alive: bool,
    /// The length of the head, in bytes.
    pub len: usize,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is not HTTP.
    #[error("the upstream's answer is not HTTP: {0}")]
    Syntax(httparse::Error),
    /// The head is too long.
    #[error("the head of the upstream's answer is longer than {MAX_HEAD} bytes")]
    TooLong,
    /// Too many interim responses came before the final one.
    #[error(
        "the upstream sent more than {MAX_INTERIM} interim answers, or {MAX_HEADS} bytes of them, \
         before its answer"
    )]
    Interim,
    /// The status is invalid, or switches to a protocol that was not requested.
    #[error("the upstream's answer has the unexpected status {0}")]
    Status(u16),
    /// A header is invalid, or the framing is ambiguous or unknown.
    #[error("the upstream's answer has an unusable header: {0}")]
    Header(&'static str),
}

/// Writes the head of a request whose body has `length` bytes, and reserves room for `extra` bytes after
/// it. In absolute form, for a proxy, the request line has the whole URI.
pub(super) fn write(
    head: &request::Parts,
    length: usize,
    absolute_form: bool,
    extra: usize,
) -> Vec<u8> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut out = Vec::with_capacity(max_len(head, absolute_form) + extra);
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    if absolute_form {
        write_origin(&mut out, &head.uri);
    }
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &head.headers {
        // The framing follows below.
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if length > 0 || !matches!(head.method, Method::GET | Method::HEAD) {
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The most bytes that the head of a request may take.
fn max_len(head: &request::Parts, absolute_form: bool) -> usize {
    let path = head.uri.path_and_query().map_or(1, |path| path.as_str().len());
    let fields: usize = head.headers.iter().map(|(name, value)| line_len(name, value)).sum();
    let authority = head.uri.authority().map_or(0, |it| it.as_str().len());
    let origin = if absolute_form { authority + "https://".len() } else { 0 };
    REQUEST_LINE + path + origin + fields + length_line().len()
}

fn line_len(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + ": \r\n".len()
}

/// The longest `content-length` line, and the empty line after it.
fn length_line() -> &'static str {
    "content-length: 18446744073709551615\r\n\r\n"
}

fn write_origin(out: &mut Vec<u8>, uri: &Uri) {
    if let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) {
        out.extend_from_slice(scheme.as_bytes());
        out.extend_from_slice(b"://");
        out.extend_from_slice(authority.as_str().as_bytes());
    }
}

/// Reads the head that `bytes` begins with; `None` if it is incomplete. `method` is that of the request.
/// Reads heads of interim responses (100, 103), too.
///
/// # Errors
/// The head is invalid, too long or ambiguous.
pub fn read(bytes: &Bytes, method: &Method) -> Result<Option<Head>, HeadError> {
    let mut buffer = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let len = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut buffer) {
        Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD => len,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => return Ok(None),
        Ok(_) => return Err(HeadError::TooLong),
        Err(error) => return Err(HeadError::Syntax(error)),
    };
    let code = parsed.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| HeadError::Status(code))?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(HeadError::Status(code));
    }
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut fields = HeadFields::new(version);
    for field in parsed.headers.iter() {
        let name = field_names::parse(field.name.as_bytes());
        let name = name.map_err(|_| HeadError::Header("a name"))?;
        if !fields.note(&name, field.value)? {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        headers.append(name, value.map_err(|_| HeadError::Header("a value"))?);
    }
    let framing = fields.framing(status, method);
    // An intermediary may have taken the other of two framings; and a server that announces a body
    // where none is allowed may send it.
    let is_ambiguous = fields.is_chunked && fields.length.is_some() || fields.is_repeated;
    let is_announced = fields.is_chunked || fields.length.is_some_and(|length| length > 0);
    let may_follow = framing == Framing::Length(0) && is_announced;
    if fields.is_chunked || may_follow {
        headers.remove(CONTENT_LENGTH);
    }
    let keeps_alive =
        fields.keeps_alive && framing != Framing::Close && !is_ambiguous && !may_follow;
    Ok(Some(Head { status, headers, framing, keeps_alive, len }))
}

/// The header fields that decide about framing and reuse.
struct HeadFields {
    length: Option<u64>,
    /// Whether there is more than one `content-length`.
    is_repeated: bool,
    is_chunked: bool,
    keeps_alive: bool,
    version: Version,
}

impl HeadFields {
    fn new(version: Version) -> HeadFields {
        let keeps_alive = version == Version::HTTP_11;
        HeadFields { length: None, is_repeated: false, is_chunked: false, keeps_alive, version }
    }

    /// Notes a field. Returns whether it belongs among the headers, as a repeated length does not.
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, HeadError> {
        if name == CONTENT_LENGTH {
            let length = read_length(value).ok_or(HeadError::Header("content-length"))?;
            match self.length.replace(length) {
                Some(before) if before != length => {
                    return Err(HeadError::Header("content-length"));
                }
                Some(_) => {
                    self.is_repeated = true;
                    return Ok(false);
                }
                None => {}
            }
        } else if name == TRANSFER_ENCODING {
            let is_known = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
            if self.is_chunked || !is_known || self.version == Version::HTTP_10 {
                return Err(HeadError::Header("transfer-encoding"));
            }
            self.is_chunked = true;
        } else if name == CONNECTION {
            for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    self.keeps_alive = false;
                }
            }
        }
        Ok(true)
    }

    /// RFC 9112, section 6.3.
    fn framing(&self, status: StatusCode, method: &Method) -> Framing {
        let has_none = status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
            || method == Method::HEAD;
        match self.length {
            _ if has_none => Framing::Length(0),
            _ if self.is_chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        }
    }
}

/// The value of a `content-length`, which has digits only.
fn read_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, HeadError> {
        read(&Bytes::copy_from_slice(text.as_bytes()), &Method::POST)
    }

    fn framed(fields: &str) -> (Framing, bool) {
        let head = head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).unwrap().unwrap();
        (head.framing, head.keeps_alive)
    }

    #[test]
    fn the_head_decides_where_the_body_ends() {
        assert_eq!(framed("content-length: 5\r\n"), (Framing::Length(5), true));
        assert_eq!(
            framed("Content-Length: 5\r\ncontent-length: 5\r\n"),
            (Framing::Length(5), false)
        );
        assert_eq!(framed("transfer-encoding: Chunked\r\n"), (Framing::Chunked, true));
        assert_eq!(framed(""), (Framing::Close, false));
        let closing = "content-length: 0\r\nconnection: x, Close\r\n";
        assert_eq!(framed(closing), (Framing::Length(0), false));
        let both =
            head("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n");
        let both = both.unwrap().unwrap();
        assert_eq!((both.framing, both.keeps_alive), (Framing::Chunked, false));
        assert!(!both.headers.contains_key(CONTENT_LENGTH), "it would be relayed, and is wrong");
        for (line, method) in [
            ("HTTP/1.1 204 No Content", Method::POST),
            ("HTTP/1.1 304 Not Modified", Method::POST),
            ("HTTP/1.1 100 Continue", Method::POST),
            ("HTTP/1.1 200 OK", Method::HEAD),
        ] {
            let text = Bytes::from(format!("{line}\r\ncontent-length: 7\r\n\r\n"));
            let head = read(&text, &method).unwrap().unwrap();
            assert_eq!((head.framing, head.keeps_alive), (Framing::Length(0), false), "{line}");
            assert!(!head.headers.contains_key(CONTENT_LENGTH), "{line}");
            for fields in ["", "content-length: 0\r\n"] {
                let text = Bytes::from(format!("{line}\r\n{fields}\r\n"));
                assert!(read(&text, &method).unwrap().unwrap().keeps_alive, "{line} {fields}");
            }
            let text = Bytes::from(format!("{line}\r\ntransfer-encoding: chunked\r\n\r\n"));
            assert!(!read(&text, &method).unwrap().unwrap().keeps_alive, "{line} in chunks");
        }
        let old = head("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n").unwrap().unwrap();
        assert_eq!((old.framing, old.keeps_alive), (Framing::Length(5), false));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for fields in [
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5, 5",
            "content-length: +5",
            "content-length: -1",
            "content-length: ",
            "content-length: 0x5",
            "content-length: 99999999999999999999",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked, chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: identity",
            "content-length : 5",
            "a b: c",
        ] {
            let read = head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"));
            assert!(read.is_err(), "{fields}: {read:?}");
        }
        assert!(head("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert_eq!(head("HTTP/1.1 101 Other\r\n\r\n").unwrap_err(), HeadError::Status(101));
        assert!(head("HTTP/2 200\r\n\r\n").is_err());
        assert!(head("garbage").is_err());
    }

    #[test]
    fn a_head_is_bounded() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(MAX_HEAD));
        assert_eq!(head(&long).unwrap_err(), HeadError::TooLong);
        assert_eq!(head(&format!("{long}\r\n\r\n")).unwrap_err(), HeadError::TooLong);
        let many = "x: 1\r\n".repeat(MAX_HEADERS + 1);
        assert!(head(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).is_err());
        assert!(head("HTTP/1.1 200 OK\r\nx: 1\r\n").unwrap().is_none());
        assert!(head("").unwrap().is_none());
    }

    #[test]
    fn headers_keep_their_order_and_their_bytes() {
        let text =
            "HTTP/1.1 429 \r\nX-A: 1\r\nx-b:  two words \r\nx-a: 3\r\nx-c: \u{e9}\r\n\r\nrest";
        let head = head(text).unwrap().unwrap();
        assert_eq!(head.status, 429);
        assert_eq!(head.len, text.len() - "rest".len());
        let all: Vec<_> = head.headers.get_all("x-a").iter().collect();
        assert_eq!(all, ["1", "3"]);
        assert_eq!(head.headers["x-b"], "two words");
        assert_eq!(head.headers["x-c"].as_bytes(), "\u{e9}".as_bytes());
    }

    fn written(method: Method, uri: &str, length: usize, absolute_form: bool) -> String {
        let request = http::Request::builder().method(method).uri(uri).header("host", "h");
        let request = request.header("X-One", "1").header("content-length", "9").body(()).unwrap();
        let parts = request.into_parts().0;
        let head = write(&parts, length, absolute_form, 0);
        let reserved = max_len(&parts, absolute_form);
        assert!(head.len() <= reserved, "{} bytes in {reserved}: the buffer grew", head.len());
        String::from_utf8(head).unwrap()
    }

    #[test]
    fn a_request_head_has_the_form_of_the_protocol() {
        let uri = "http://h:1/model/a%3A0/invoke?x=1";
        assert_eq!(
            written(Method::POST, uri, 7, false),
            "POST /model/a%3A0/invoke?x=1 HTTP/1.1\r\nhost: h\r\nx-one: 1\r\ncontent-length: 7\r\n\r\n"
        );
        let passed_on = written(Method::POST, uri, 0, true);
        assert!(passed_on.starts_with(&format!("POST {uri} HTTP/1.1\r\n")), "{passed_on}");
        assert!(passed_on.ends_with("\r\ncontent-length: 0\r\n\r\n"), "{passed_on}");
        let get = written(Method::GET, "http://h/", 0, false);
        assert_eq!(get, "GET / HTTP/1.1\r\nhost: h\r\nx-one: 1\r\n\r\n");
    }
}
