//! HTTP/2: frames that break the protocol, header blocks that mean no request, and what only
//! looks odd.

use std::time::Duration;

use super::{body, is_well, start};
use crate::support::h2::{Frame, Http2, PREFACE, block, flag, frame, kind, post, settings};
use crate::support::{Gateway, PRIMARY, Simulator};

/// What a case comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is an ordinary request after all.
    Served,
    /// An answer with this status, and this error's name if it is in Bedrock's form.
    Refused(u16, &'static str),
    /// The stream is reset with this error.
    Reset(Error),
    /// The connection is ended with this error.
    GoAway(Error),
    /// The connection is closed without a word.
    Closed,
}

/// The protocol's error codes. The library says `Protocol` for many that have one of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Error {
    Protocol,
    FlowControl,
    StreamClosed,
    FrameSize,
    Other(u32),
}

impl From<u32> for Error {
    fn from(code: u32) -> Error {
        match code {
            1 => Error::Protocol,
            3 => Error::FlowControl,
            5 => Error::StreamClosed,
            6 => Error::FrameSize,
            code => Error::Other(code),
        }
    }
}

use Error::{FlowControl, FrameSize, Protocol, StreamClosed};
use Outcome::{Closed, GoAway, Refused, Reset, Served};

const HEADERS: u8 = kind::HEADERS;
const DATA: u8 = kind::DATA;
const END: u8 = flag::END_STREAM;
const WHOLE: u8 = flag::END_HEADERS;

/// A case: what it is, its frames behind preface and settings, what it comes to.
type Case = (&'static str, Vec<u8>, Outcome);

/// Frames before a request, or none, that is as it should be.
fn before(what: &'static str, frames: Vec<u8>, outcome: Outcome) -> Case {
    (what, [frames, request(1)].concat(), outcome)
}

/// Frames, in their order.
fn frames<const N: usize>(what: &'static str, frames: [Vec<u8>; N], outcome: Outcome) -> Case {
    (what, frames.concat(), outcome)
}

/// A request with these header fields, and a body that is as it should be.
fn fields(what: &'static str, fields: &[(&str, &str)], outcome: Outcome) -> Case {
    let head = frame(HEADERS, WHOLE, 1, &block(fields));
    (what, [head, frame(DATA, END, 1, body().as_bytes())].concat(), outcome)
}

/// The same with these fields more than a request has.
fn more(what: &'static str, also: &[(&str, &str)], outcome: Outcome) -> Case {
    let head = [post(&path()), block(also)].concat();
    let head = frame(HEADERS, WHOLE, 1, &head);
    (what, [head, frame(DATA, END, 1, body().as_bytes())].concat(), outcome)
}

/// A header block of these bytes.
fn bytes(what: &'static str, bytes: &[u8], outcome: Outcome) -> Case {
    (what, frame(HEADERS, WHOLE | END, 1, bytes), outcome)
}

fn path() -> String {
    format!("/model/{PRIMARY}/invoke")
}

fn head(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &post(&path()))
}

fn data(stream: u32) -> Vec<u8> {
    frame(DATA, END, stream, body().as_bytes())
}

fn request(stream: u32) -> Vec<u8> {
    [head(stream), data(stream)].concat()
}

fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_the_connection() {
    let most = (1 << 31) - 1;
    check(vec![
        before("nothing odd", vec![], Served),
        before("an unknown frame", frame(0xfa, 0xff, 0, b"whatever"), Served),
        before("an unknown frame of a stream", frame(0xfa, 0, 9, b""), Served),
        before("an unknown setting", settings(&[(0x7777, 1)]), Served),
        before("an acknowledgement of settings", frame(kind::SETTINGS, 1, 0, b""), Served),
        before("settings of a stream", frame(kind::SETTINGS, 0, 1, b""), GoAway(Protocol)),
        before("settings of five bytes", frame(kind::SETTINGS, 0, 0, b"12345"), GoAway(Protocol)),
        before(
            "an acknowledgement with settings",
            frame(kind::SETTINGS, 1, 0, b"123456"),
            GoAway(Protocol),
        ),
        before("a push that is neither on nor off", settings(&[(2, 2)]), GoAway(Protocol)),
        before("a window of 32 bits", settings(&[(4, u32::MAX)]), GoAway(Protocol)),
        before("frames of a byte", settings(&[(5, 1)]), GoAway(Protocol)),
        before("frames of 32 bits", settings(&[(5, u32::MAX)]), GoAway(Protocol)),
        before("a ping of seven bytes", frame(kind::PING, 0, 0, b"1234567"), GoAway(Protocol)),
        before("a ping of a stream", frame(kind::PING, 0, 1, b"12345678"), GoAway(Protocol)),
        before("a reply to no ping", frame(kind::PING, 1, 0, b"12345678"), Served),
        before("a goaway of a stream", frame(kind::GOAWAY, 0, 1, &[0; 8]), GoAway(Protocol)),
        before("a goaway of four bytes", frame(kind::GOAWAY, 0, 0, &[0; 4]), GoAway(Protocol)),
        before("a window that does not grow", window(0, 0), GoAway(Protocol)),
        before(
            "a window that grows too far",
            [window(0, most), window(0, most)].concat(),
            GoAway(FlowControl),
        ),
        before(
            "a window update of three bytes",
            frame(kind::WINDOW_UPDATE, 0, 0, b"123"),
            GoAway(Protocol),
        ),
        before("a priority of four bytes", frame(kind::PRIORITY, 0, 1, b"1234"), GoAway(Protocol)),
        before(
            "a priority of the connection",
            frame(kind::PRIORITY, 0, 0, b"12345"),
            GoAway(Protocol),
        ),
        before(
            "a stream that waits for itself",
            frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 1]),
            Reset(Protocol),
        ),
        before("a push", frame(kind::PUSH_PROMISE, WHOLE, 1, &[0, 0, 0, 2]), GoAway(Protocol)),
        before("a frame above the largest", frame(0xfa, 0, 0, &[0; 16_385]), GoAway(FrameSize)),
        before("no frame", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), GoAway(FrameSize)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_a_stream() {
    let many = |n: usize| vec![0; n];
    check(vec![
        frames("a head on no stream", [head(0)], GoAway(Protocol)),
        frames("a head on the server's stream", [head(2)], GoAway(Protocol)),
        frames("a stream before the last", [head(5), request(3)], GoAway(Protocol)),
        frames(
            "a reserved bit",
            [frame(HEADERS, WHOLE, 1 << 31 | 1, &post(&path())), data(1)],
            Served,
        ),
        frames("data on no stream", [frame(DATA, END, 0, b"x")], GoAway(Protocol)),
        frames("data before a head", [data(1)], GoAway(Protocol)),
        frames("data behind the end", [request(1), data(1)], GoAway(Protocol)),
        frames(
            "data behind a reset",
            [head(1), frame(kind::RST_STREAM, 0, 1, &[0; 4]), data(1), request(3)],
            Reset(StreamClosed),
        ),
        frames(
            "more padding than data",
            [head(1), frame(DATA, flag::PADDED, 1, b"\x09x")],
            GoAway(Protocol),
        ),
        frames(
            "padding without its length",
            [head(1), frame(DATA, flag::PADDED, 1, b"")],
            GoAway(Protocol),
        ),
        frames(
            "more data than the window",
            [head(1), vec![frame(DATA, 0, 1, &many(16_384)); 65].concat()],
            GoAway(FlowControl),
        ),
        frames("a reset before a head", [frame(kind::RST_STREAM, 0, 1, &[0; 4])], GoAway(Protocol)),
        frames(
            "a reset of the connection",
            [frame(kind::RST_STREAM, 0, 0, &[0; 4])],
            GoAway(Protocol),
        ),
        frames(
            "a reset of three bytes",
            [head(1), frame(kind::RST_STREAM, 0, 1, b"123")],
            GoAway(Protocol),
        ),
        frames("a window of a stream before its head", [window(1, 1)], GoAway(Protocol)),
        frames("a window that does not grow", [head(1), window(1, 0)], GoAway(Protocol)),
        frames(
            "a window that grows too far",
            [head(1), window(1, (1 << 31) - 1)],
            Reset(FlowControl),
        ),
        frames(
            "a continuation of nothing",
            [frame(kind::CONTINUATION, WHOLE, 1, b"")],
            GoAway(Protocol),
        ),
        frames(
            "a continuation on another stream",
            [frame(HEADERS, 0, 1, &post(&path())), frame(kind::CONTINUATION, WHOLE, 3, b"")],
            GoAway(Protocol),
        ),
        frames(
            "a frame within a head",
            [frame(HEADERS, 0, 1, &post(&path())), frame(kind::PING, 0, 0, b"12345678")],
            GoAway(Protocol),
        ),
        frames(
            "a head in pieces",
            [
                frame(HEADERS, 0, 1, &post(&path())[..7]),
                frame(kind::CONTINUATION, WHOLE, 1, &post(&path())[7..]),
                data(1),
            ],
            Served,
        ),
        frames(
            "a head that waits for itself",
            [frame(
                HEADERS,
                WHOLE | flag::PRIORITY,
                1,
                &[&[0, 0, 0, 1, 1], &post(&path())[..]].concat(),
            )],
            Reset(Protocol),
        ),
        frames(
            "a head with more padding than fields",
            [frame(HEADERS, WHOLE | flag::PADDED, 1, b"\xff\x82")],
            GoAway(Protocol),
        ),
        frames("a second head", [head(1), head(1)], Reset(Protocol)),
        frames(
            "trailers",
            [
                head(1),
                frame(DATA, 0, 1, body().as_bytes()),
                frame(HEADERS, WHOLE | END, 1, &block(&[("x-a", "1")])),
            ],
            Served,
        ),
        frames(
            "trailers without an end",
            [
                head(1),
                frame(DATA, 0, 1, body().as_bytes()),
                frame(HEADERS, WHOLE, 1, &block(&[("x-a", "1")])),
            ],
            Reset(Protocol),
        ),
        frames(
            "trailers with a path",
            [
                head(1),
                frame(DATA, 0, 1, body().as_bytes()),
                frame(HEADERS, WHOLE | END, 1, &block(&[(":path", "/x")])),
            ],
            Served,
        ),
        frames("a body that does not come", [head(1)], Refused(408, "RequestTimeoutException")),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_fields() {
    let path = path();
    let (method, scheme, authority) =
        ((":method", "POST"), (":scheme", "http"), (":authority", "x"));
    let there = (":path", &*path);
    let long = "v".repeat(70_000);
    let numbers: Vec<String> = (0..90).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = numbers.iter().map(|name| (&**name, "1")).collect();
    let many_more: Vec<(&str, &str)> = many.iter().cycle().take(200).copied().collect();
    let length = body().len().to_string();
    check(vec![
        fields("no method", &[scheme, authority, there], Reset(Protocol)),
        fields("no scheme", &[method, authority, there], Reset(Protocol)),
        fields("no path", &[method, scheme, authority], Reset(Protocol)),
        fields("an empty path", &[method, scheme, authority, (":path", "")], Reset(Protocol)),
        fields(
            "a path without a slash",
            &[method, scheme, authority, (":path", "model")],
            Reset(Protocol),
        ),
        fields(
            "a path with a space",
            &[method, scheme, authority, (":path", "/a b")],
            Reset(Protocol),
        ),
        fields(
            "an asterisk",
            &[(":method", "OPTIONS"), scheme, authority, (":path", "*")],
            Refused(404, "UnknownOperationException"),
        ),
        fields("two paths", &[method, scheme, authority, there, there], Reset(Protocol)),
        fields(
            "a field between",
            &[method, scheme, ("x-a", "1"), authority, there],
            Reset(Protocol),
        ),
        fields(
            "an unknown pseudo field",
            &[method, scheme, authority, there, (":what", "1")],
            GoAway(Protocol),
        ),
        fields(
            "a status",
            &[method, scheme, authority, there, (":status", "200")],
            Reset(Protocol),
        ),
        fields(
            "a method that is no word",
            &[(":method", "P@ST"), scheme, authority, there],
            GoAway(Protocol),
        ),
        fields(
            "a method of its own",
            &[(":method", "BREW"), scheme, authority, there],
            Refused(405, "MethodNotAllowedException"),
        ),
        fields("no authority", &[method, scheme, there], Refused(400, "ValidationException")),
        fields("a host instead", &[method, scheme, there, ("host", "x")], Served),
        fields(
            "two hosts",
            &[method, scheme, there, ("host", "x"), ("host", "y")],
            Refused(400, "ValidationException"),
        ),
        fields(
            "an authority that is none",
            &[method, scheme, (":authority", "a b"), there],
            Reset(Protocol),
        ),
        fields(
            "CONNECT",
            &[(":method", "CONNECT"), authority],
            Refused(404, "UnknownOperationException"),
        ),
        fields(
            "CONNECT with a path",
            &[(":method", "CONNECT"), scheme, authority, there],
            Reset(Protocol),
        ),
        more("a name in capitals", &[("X-A", "1")], GoAway(Protocol)),
        more("an empty name", &[("", "1")], GoAway(Protocol)),
        more("a line end in a value", &[("x-a", "1\r\nx-b: 2")], GoAway(Protocol)),
        more("a zero byte in a value", &[("x-a", "\0")], GoAway(Protocol)),
        more("connection", &[("connection", "close")], Reset(Protocol)),
        more("transfer-encoding", &[("transfer-encoding", "chunked")], Reset(Protocol)),
        more("upgrade", &[("upgrade", "h2c")], Reset(Protocol)),
        more("te: trailers", &[("te", "trailers")], Served),
        more("te: gzip", &[("te", "gzip")], Reset(Protocol)),
        more("the right length", &[("content-length", &length)], Served),
        more("more length than data", &[("content-length", "100000")], Reset(Protocol)),
        more("less length than data", &[("content-length", "2")], Reset(Protocol)),
        more(
            "two lengths",
            &[("content-length", &length), ("content-length", "2")],
            Reset(Protocol),
        ),
        more("a length in words", &[("content-length", "ten")], Reset(Protocol)),
        more("ninety fields", &many, Served),
        more(
            "two hundred fields",
            &many_more,
            Refused(431, "RequestHeaderFieldsTooLargeException"),
        ),
        more("a large value", &[("x-a", &long)], GoAway(FrameSize)),
        bytes("no field at all", b"", Reset(Protocol)),
        bytes("a field of no index", b"\x80", GoAway(Protocol)),
        bytes("a field beyond the table", b"\xfe", GoAway(Protocol)),
        bytes("half a field", b"\x00\x03x-", GoAway(Protocol)),
        bytes("a length without an end", b"\x00\xff\xff\xff\xff\xff\xff\xff\xff", GoAway(Protocol)),
        bytes("a code that is none", b"\x00\x84\xff\xff\xff\xff\x01x", GoAway(Protocol)),
        bytes("a table above the largest", b"\x3f\xff\xff\xff\x7f", GoAway(Protocol)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prefaces() {
    let simulator = Simulator::start().await;
    let gateway = start(&simulator).await;
    for (what, bytes, wanted) in [
        ("no settings", [PREFACE, &request(1)].concat(), Served),
        ("the preface twice", [PREFACE, PREFACE, &request(1)].concat(), GoAway(FrameSize)),
        ("settings before it", [&settings(&[]), PREFACE].concat(), Closed),
    ] {
        let mut connection = Http2::connect(gateway.address()).await;
        connection.send(&bytes).await;
        assert_eq!(outcome(&mut connection).await, wanted, "{what}");
        is_well(&gateway, &simulator, what).await;
    }
}

async fn check(cases: Vec<Case>) {
    let simulator = Simulator::start().await;
    let gateway = start(&simulator).await;
    let mut wrong = Vec::new();
    for (what, bytes, wanted) in cases {
        // Which window is full first, the stream's or the connection's, depends on what was read.
        let outcome = match of(&gateway, &bytes).await {
            Reset(FlowControl) if wanted == GoAway(FlowControl) => GoAway(FlowControl),
            outcome => outcome,
        };
        if outcome != wanted {
            wrong.push(format!("{what}: {outcome:?}, not {wanted:?}"));
        }
        is_well(&gateway, &simulator, what).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    gateway.is_healthy().await;
}

async fn of(gateway: &Gateway, bytes: &[u8]) -> Outcome {
    let mut connection = Http2::open(gateway.address(), &[]).await;
    connection.send(bytes).await;
    outcome(&mut connection).await
}

/// The first thing that is an outcome.
async fn outcome(connection: &mut Http2) -> Outcome {
    let limit = Duration::from_secs(5);
    let is_one =
        |frame: &Frame| matches!(frame.kind, kind::HEADERS | kind::RST_STREAM | kind::GOAWAY);
    let Some(first) = connection.find(limit, is_one).await else { return Closed };
    match first.kind {
        kind::RST_STREAM => Reset(first.code().into()),
        kind::GOAWAY => GoAway(first.code().into()),
        _ => answer(connection, &first, limit).await,
    }
}

/// What an answer is, by its body: that of an error has a message alone.
async fn answer(connection: &mut Http2, head: &Frame, limit: Duration) -> Outcome {
    let names = [
        (404, "UnknownOperationException"),
        (405, "MethodNotAllowedException"),
        (400, "ValidationException"),
        (408, "RequestTimeoutException"),
        (413, "RequestEntityTooLargeException"),
        (431, "RequestHeaderFieldsTooLargeException"),
    ];
    let status = status(head);
    if status == 200 {
        return Served;
    }
    if head.flags & END != 0 {
        return Refused(status, "nothing");
    }
    let body = connection.find(limit, |frame| frame.kind == kind::DATA).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body.payload).unwrap();
    assert!(body["message"].as_str().is_some_and(|it| !it.is_empty()), "{body}");
    let name = names.iter().find(|(it, _)| *it == status);
    Refused(status, name.map_or("unknown", |(_, name)| name))
}

/// The status, which is the first field: by index, or a literal in Huffman's code or none.
fn status(head: &Frame) -> u16 {
    let indexed = [200, 204, 206, 304, 400, 404, 500];
    match head.payload[..] {
        [first, ..] if first & 0x80 != 0 => indexed[usize::from(first & 0x7f) - 8],
        [_, length, ref rest @ ..] => {
            let text = &rest[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 {
                return String::from_utf8_lossy(text).parse().unwrap();
            }
            digits(text).parse().unwrap()
        }
        _ => panic!("no status in {head:?}"),
    }
}

/// Digits in the code of HPACK: 0 to 2 have five bits, the others six.
fn digits(coded: &[u8]) -> String {
    let bits: String = coded.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut text) = (&*bits, String::new());
    while text.len() < 3 {
        let five = u8::from_str_radix(&rest[..5], 2).unwrap();
        if five < 3 {
            text.push(char::from(b'0' + five));
            rest = &rest[5..];
        } else {
            let six = u8::from_str_radix(&rest[..6], 2).unwrap();
            text.push(char::from(b'3' + six - 0b01_1001));
            rest = &rest[6..];
        }
    }
    text
}
