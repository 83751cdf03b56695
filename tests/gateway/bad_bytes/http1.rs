//! HTTP/1.1: request lines, headers, lengths, encodings, chunks, and other protocols.

use super::{body, is_well, start};
use crate::support::raw::Connection;
use crate::support::{Gateway, PRIMARY, Simulator};

/// What a case comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is an ordinary request after all.
    Served,
    /// The same, and the connection is closed behind it, whatever else was sent.
    Last,
    /// An error in Bedrock's form with this status and name.
    Refused(u16, &'static str),
    /// The HTTP library's own answer with this status: nothing but the head, and the connection closes.
    Bare(u16),
    /// The connection is closed without an answer.
    Closed,
}

use Outcome::{Bare, Closed, Last, Refused, Served};

const NOT_HTTP: Outcome = Bare(400);
const NO_ROOM: Outcome = Bare(431);
const INVALID: Outcome = Refused(400, "ValidationException");
const SLOW: Outcome = Refused(408, "RequestTimeoutException");
const BIG_BODY: Outcome = Refused(413, "RequestEntityTooLargeException");
const NO_OPERATION: Outcome = Refused(404, "UnknownOperationException");
const METHOD: Outcome = Refused(405, "MethodNotAllowedException");

/// A request to a model that must never be called.
const SMUGGLED: &str =
    "POST /model/smuggled/invoke HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";

/// A case: what it is, its bytes, what it comes to.
type Case = (&'static str, Vec<u8>, Outcome);

fn case(what: &'static str, bytes: impl Into<Vec<u8>>, outcome: Outcome) -> Case {
    (what, bytes.into(), outcome)
}

/// A request with this first line, and else as it should be.
fn line(what: &'static str, line: impl Into<Vec<u8>>, outcome: Outcome) -> Case {
    let (mut bytes, body) = (line.into(), body());
    let rest = format!("\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    bytes.extend_from_slice(rest.as_bytes());
    (what, bytes, outcome)
}

/// A request with these header lines more, and else as it should be.
fn header(what: &'static str, lines: impl Into<Vec<u8>>, outcome: Outcome) -> Case {
    let (lines, body) = (lines.into(), body());
    let head = format!("POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\n");
    let rest = format!("\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    (what, [head.as_bytes(), &lines, rest.as_bytes()].concat(), outcome)
}

/// A request whose headers and body are framed like this.
fn framed(what: &'static str, framing: &str, body: &str, outcome: Outcome) -> Case {
    let head = format!("POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\n");
    (what, format!("{head}{framing}\r\n\r\n{body}").into(), outcome)
}

/// A request in chunks, of which these are the bytes.
fn chunked(what: &'static str, chunks: &str, outcome: Outcome) -> Case {
    framed(what, "transfer-encoding: chunked", chunks, outcome)
}

fn one_chunk() -> String {
    let body = body();
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn request_lines() {
    let invoke = format!("/model/{PRIMARY}/invoke");
    let post = |rest: &str| format!("POST {invoke}{rest}");
    let long = |count| format!("POST /{} HTTP/1.1", "p".repeat(count));
    check(vec![
        case("nothing but line ends", "\r\n\r\n\r\n", SLOW),
        case("line ends before a request", [b"\r\n\r\n", &good()[..]].concat(), Served),
        line("a method alone", "POST", NOT_HTTP),
        line("no version", post(""), NOT_HTTP),
        line("HTTP/0.9", "GET /", NOT_HTTP),
        line("an unknown minor version", post(" HTTP/1.2"), NOT_HTTP),
        line("HTTP/2 in words", post(" HTTP/2.0"), NOT_HTTP),
        line("HTTP/3", post(" HTTP/3.7"), NOT_HTTP),
        line("the version in lower case", post(" http/1.1"), NOT_HTTP),
        line("a word too many", post(" HTTP/1.1 please"), NOT_HTTP),
        line("two spaces", format!("POST  {invoke} HTTP/1.1"), NOT_HTTP),
        line("a tab", format!("POST\t{invoke}\tHTTP/1.1"), NOT_HTTP),
        line("a space in the path", "POST /model/a b/invoke HTTP/1.1", NOT_HTTP),
        line("a method in lower case", format!("post {invoke} HTTP/1.1"), METHOD),
        line("a method of its own", format!("BREW {invoke} HTTP/1.1"), METHOD),
        line("TRACE", format!("TRACE {invoke} HTTP/1.1"), METHOD),
        line("a method that is no word", format!("P@ST {invoke} HTTP/1.1"), NOT_HTTP),
        line("a method without an end", "M".repeat(140_000), NO_ROOM),
        line("a response", "HTTP/1.1 200 OK", NOT_HTTP),
        line("a whole URL", format!("POST http://elsewhere{invoke} HTTP/1.1"), Served),
        line("a URL of another scheme", format!("POST file://{invoke} HTTP/1.1"), NOT_HTTP),
        line("an authority", "POST example.com:443 HTTP/1.1", NO_OPERATION),
        line("an asterisk", "OPTIONS * HTTP/1.1", NO_OPERATION),
        line("CONNECT", "CONNECT example.com:443 HTTP/1.1", NO_OPERATION),
        line("no slash", "POST model HTTP/1.1", NO_OPERATION),
        line("a query", post("?x=1&%zz HTTP/1.1"), Served),
        line("a fragment", post("#x HTTP/1.1"), Served),
        line("a zero byte", "POST /model/\0/invoke HTTP/1.1", NOT_HTTP),
        line("a control character", "POST /model/\u{1}/invoke HTTP/1.1", NOT_HTTP),
        line("letters that are not ASCII", "POST /model/é/invoke HTTP/1.1", INVALID),
        line("bytes that are not UTF-8", *b"POST /model/\xff\xfe/invoke HTTP/1.1", NOT_HTTP),
        line("a long path", long(66_000), Bare(414)),
        line("a path without an end", long(140_000), NO_ROOM),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers() {
    let many = |count| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>() + "y: 1";
    check(vec![
        header("no colon", "this is no header", NOT_HTTP),
        header("no name", ": value", NOT_HTTP),
        header("a space before the colon", "x-a : 1", NOT_HTTP),
        header("a name with a space", "x a: 1", NOT_HTTP),
        header("a name with a bracket", "x(a): 1", NOT_HTTP),
        header("a name with a zero byte", "x\0a: 1", NOT_HTTP),
        header("a folded line", "x-a: 1\r\n and more", NOT_HTTP),
        header("a zero byte in a value", "x-a: \0", NOT_HTTP),
        header("a control character in a value", "x-a: \u{7f}", NOT_HTTP),
        header("a carriage return in a value", "x-a: 1\rx-b: 2", NOT_HTTP),
        header("line feeds alone", "x-a: 1\nx-b: 2", Served),
        header("a value that is not ASCII", *b"x-a: \xe9\xff", Served),
        header("an empty value", "x-a:", Served),
        header("a hundred fields and one", many(98), NO_ROOM),
        header("a thousand fields", many(1000), NO_ROOM),
        header(
            "a value of that length by itself",
            format!("x-a: {}", "v".repeat(128 << 10)),
            NO_ROOM,
        ),
        header("a large value", format!("x-a: {}", "v".repeat(140_000)), NO_ROOM),
        header("a large name", format!("{}: 1", "n".repeat(140_000)), NO_ROOM),
        header("a second host", "host: y", INVALID),
        header("the same host again", "host: x", INVALID),
        case("no host", "GET / HTTP/1.1\r\n\r\n", INVALID),
        case("no host, by HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", NO_OPERATION),
        case("a host that is none", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n", INVALID),
        case("a host with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", INVALID),
        case("an empty host", "GET / HTTP/1.1\r\nhost:\r\n\r\n", NO_OPERATION),
        case("a first line that is folded", "GET / HTTP/1.1\r\n host: x\r\n\r\n", NOT_HTTP),
        header("an upgrade to HTTP/2", "connection: upgrade\r\nupgrade: h2c", Served),
        header("an upgrade to a socket", "connection: upgrade\r\nupgrade: websocket", Served),
        header("an expectation", "expect: 100-continue", Served),
        header("an unknown expectation", "expect: miracles", Served),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_and_encodings() {
    let (body, whole) = (body(), one_chunk());
    let length = body.len();
    let smuggled = &format!("0\r\n\r\n{SMUGGLED}");
    let both = |first: &str, second: &str| format!("{first}\r\n{second}");
    let chunked = "transfer-encoding: chunked";
    check(vec![
        framed("a length in words", "content-length: ten", &body, NOT_HTTP),
        framed("a length below zero", "content-length: -1", &body, NOT_HTTP),
        framed("a length with a sign", &format!("content-length: +{length}"), &body, NOT_HTTP),
        framed("a length in hexadecimal", "content-length: 0x10", &body, NOT_HTTP),
        framed("a length with a fraction", "content-length: 1.0", &body, NOT_HTTP),
        framed("an empty length", "content-length:", &body, NOT_HTTP),
        framed("a length and a word", "content-length: 5 bytes", &body, NOT_HTTP),
        framed("a list of other lengths", "content-length: 2, 3", SMUGGLED, NOT_HTTP),
        framed("a list of one length", "content-length: 2, 2", SMUGGLED, NOT_HTTP),
        framed("two lengths", "content-length: 2\r\ncontent-length: 3", SMUGGLED, NOT_HTTP),
        framed("one length twice", "content-length: 2\r\ncontent-length: 2", SMUGGLED, INVALID),
        framed("more than 64 bits", "content-length: 99999999999999999999", &body, NOT_HTTP),
        framed("all 64 bits", "content-length: 18446744073709551615", &body, NO_ROOM),
        framed("a length above the limit", "content-length: 70000", &body, BIG_BODY),
        framed("a length far above it", "content-length: 9999999999999", &body, BIG_BODY),
        framed("more length than body", "content-length: 60000", &body, SLOW),
        framed("no length at all", "x-a: 1", "", INVALID),
        framed("a length, then chunks", &both("content-length: 4", chunked), smuggled, INVALID),
        framed("chunks, then a length", &both(chunked, "content-length: 4"), smuggled, INVALID),
        framed("chunks and their length", &both(chunked, "content-length: 200"), &whole, Last),
        framed("chunks, in capitals", "Transfer-Encoding: CHUNKED", &whole, Served),
        framed("chunks twice", "transfer-encoding: chunked, chunked", &whole, INVALID),
        framed("chunks in two lines", &both(chunked, chunked), &whole, INVALID),
        framed("gzip", "transfer-encoding: gzip", &whole, NOT_HTTP),
        framed("gzip, then chunks", "transfer-encoding: gzip, chunked", &whole, INVALID),
        framed("chunks, then gzip", "transfer-encoding: chunked, gzip", smuggled, NOT_HTTP),
        framed("identity", "transfer-encoding: identity", smuggled, NOT_HTTP),
        framed("no encoding", "transfer-encoding:", smuggled, NOT_HTTP),
        framed("an encoding like chunks", "transfer-encoding: xchunked", smuggled, NOT_HTTP),
        framed("chunks behind a tab", "transfer-encoding:\tchunked", &whole, Served),
        framed("chunks before a tab", "transfer-encoding: \u{b}chunked", smuggled, NOT_HTTP),
        framed("chunks in quotes", "transfer-encoding: \"chunked\"", smuggled, NOT_HTTP),
        case(
            "chunks by HTTP/1.0",
            format!("POST /model/{PRIMARY}/invoke HTTP/1.0\r\n{chunked}\r\n\r\n{smuggled}"),
            NOT_HTTP,
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks() {
    let (body, whole) = (body(), one_chunk());
    let length = body.len();
    let first = |size: &str| format!("{size}\r\n{body}\r\n0\r\n\r\n");
    check(vec![
        chunked("as they should be", &whole, Served),
        chunked("a size that is no number", &first("xyz"), INVALID),
        chunked("a size below zero", &first("-1"), INVALID),
        chunked("a size with a sign", &first(&format!("+{length:x}")), INVALID),
        chunked("a size with 0x", &first(&format!("0x{length:x}")), INVALID),
        chunked("a size of more than 64 bits", &first("fffffffffffffffff"), INVALID),
        chunked("an empty size", &first(""), INVALID),
        chunked("a space before the size", &first(&format!(" {length:x}")), INVALID),
        chunked("a size of too many digits", &first(&"0".repeat(100_000)), INVALID),
        chunked("a size too small", &first("2"), INVALID),
        chunked("a size too large", &first("ffff"), SLOW),
        chunked("a size above the limit", &first("fffffff"), SLOW),
        chunked("more than the limit", &format!("11170\r\n{}", "x".repeat(70_000)), BIG_BODY),
        chunked("a line feed alone", &format!("{length:x}\n{body}\r\n0\r\n\r\n"), INVALID),
        chunked("no line end behind a chunk", &format!("{length:x}\r\n{body}0\r\n\r\n"), INVALID),
        chunked("an extension", &first(&format!("{length:x};a=b")), Served),
        chunked(
            "an extension without an end",
            &first(&format!("{length:x};{}", "a".repeat(100_000))),
            INVALID,
        ),
        chunked("no last chunk", &format!("{length:x}\r\n{body}\r\n"), SLOW),
        chunked("a trailer", &format!("{length:x}\r\n{body}\r\n0\r\nx-a: 1\r\n\r\n"), Served),
        chunked(
            "a trailer that frames",
            &format!("{length:x}\r\n{body}\r\n0\r\ncontent-length: 9\r\n\r\n"),
            Served,
        ),
        chunked(
            "a trailer that is none",
            &format!("{length:x}\r\n{body}\r\n0\r\nx\r\n\r\n"),
            INVALID,
        ),
        chunked(
            "a trailer without an end",
            &format!("{length:x}\r\n{body}\r\n0\r\nx-a: {}", "v".repeat(200_000)),
            INVALID,
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n";
    check(vec![
        case("TLS", *hello, NOT_HTTP),
        case("SSH", "SSH-2.0-OpenSSH_9.6\r\n\r\n", NOT_HTTP),
        case("SOCKS", *b"\x05\x01\x00", NOT_HTTP),
        case("the PROXY protocol", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n\r\n", NOT_HTTP),
        case("a mail", "EHLO example.com\r\n\r\n", NOT_HTTP),
        case("Redis", "*1\r\n$4\r\nPING\r\n\r\n", NOT_HTTP),
        case("zero bytes", vec![0; 1000], NOT_HTTP),
        case("all bits", vec![0xff; 1000], NOT_HTTP),
        case("half of HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\n", Closed),
        case("another end of it", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", NOT_HTTP),
        case("a method of HTTP/2's", "PRI * HTTP/1.1\r\nhost: x\r\n\r\n", NO_OPERATION),
    ])
    .await;
}

fn good() -> Vec<u8> {
    line("", format!("POST /model/{PRIMARY}/invoke HTTP/1.1"), Served).1
}

async fn check(cases: Vec<Case>) {
    let simulator = Simulator::start().await;
    let gateway = start(&simulator).await;
    let mut wrong = Vec::new();
    for (what, bytes, wanted) in cases {
        let outcome = outcome(&gateway, &bytes, what).await;
        if outcome != wanted {
            wrong.push(format!("{what}: {outcome:?}, not {wanted:?}"));
        }
        is_well(&gateway, &simulator, what).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    gateway.is_healthy().await;
}

async fn outcome(gateway: &Gateway, bytes: &[u8], what: &str) -> Outcome {
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(bytes).await;
    let response = match connection.response().await {
        Some(to_go_on) if to_go_on.status == 100 => connection.response().await,
        response => response,
    };
    let Some(response) = response else { return Closed };
    let name = response.header("x-amzn-errortype").unwrap_or("none").to_owned();
    if name != "none" {
        assert_eq!(response.header("content-type"), Some("application/json"), "{what}");
        let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        assert!(body["message"].as_str().is_some_and(|it| !it.is_empty()), "{what}: {body}");
    }
    if name == "none" && response.status >= 400 {
        assert_eq!(response.header("content-length"), Some("0"), "{what}");
        assert_eq!(response.header("connection"), Some("close"), "{what}");
        assert!(connection.closes().await, "{what}: it stays open");
        return Bare(response.status);
    }
    let is_last = response.header("connection") == Some("close");
    assert!(!is_last || connection.closes().await, "{what}: said it closes, and stays open");
    if response.status == 200 {
        return if is_last { Last } else { Served };
    }
    Refused(response.status, name.leak())
}
