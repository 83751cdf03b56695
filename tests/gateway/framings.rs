//! No failure looks like an end, however the end of an answer is told: by chunks, by a length, by
//! HTTP/2's frames, or by the end of the connection, as HTTP/1.0 has it and proxies that speak it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sluice::bedrock::event_stream::{self, Frame, Kind};
use sluice::simulator::{Fault, FaultRule};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::support::patience::{LONG, within};
use crate::support::raw::header;
use crate::support::upstream::{BareUpstream, UpstreamAction};
use crate::support::{Ask, Authority, Config, Dialer, Gateway, Simulator, bodies, http};

/// How a client speaks HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    /// HTTP/1.0, as nginx does to its upstreams by default.
    Http10,
    /// HTTP/1.0 with `connection: keep-alive`.
    Http10KeepAlive,
    Http11,
    /// HTTP/1.1 with `connection: close`.
    Http11Close,
    Http2,
}

const ALL: [Speaks; 5] =
    [Speaks::Http10, Speaks::Http10KeepAlive, Speaks::Http11, Speaks::Http11Close, Speaks::Http2];

/// How an answer ended for a client that believes what it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In order, by a reader that looks at lengths and chunks.
    Whole,
    /// The connection was closed in order, but the length or the last chunk is missing.
    Cut,
    /// By a reset of the connection or of the stream.
    Reset,
}

#[derive(Debug)]
struct Answer {
    head: String,
    body: Vec<u8>,
    end: End,
}

impl Answer {
    /// The number of events, and the exception behind them.
    fn events(&self) -> (usize, Option<String>) {
        let (mut events, mut rest) = (0, &self.body[..]);
        while let Ok(Some(frame)) = Frame::read(rest) {
            match frame.kind() {
                Kind::Event(_) => events += 1,
                Kind::Exception(name) | Kind::Error(name) => {
                    return (events, Some(name.to_owned()));
                }
                Kind::Other => panic!("a frame of no kind"),
            }
            rest = &rest[frame.len..];
        }
        (events, None)
    }
}

async fn sent(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads an answer by HTTP/1 until it is whole, or its connection has ended.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut all = Vec::new();
    let end = within(LONG, "the end of an answer", async {
        loop {
            let mut some = [0; 4096];
            let count = match stream.read(&mut some).await {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return End::Reset,
                Err(error) => panic!("{error}"),
            };
            all.extend_from_slice(&some[..count]);
            if is_whole(&all, count == 0) {
                return End::Whole;
            }
            if count == 0 {
                return End::Cut;
            }
        }
    })
    .await;
    let end_of_head = head_of(&all).map_or(all.len(), str::len);
    let mut body = all.split_off(end_of_head);
    let head = String::from_utf8(all).unwrap();
    if header(&head, "transfer-encoding") == Some("chunked") {
        body = unchunked(&body);
    }
    Answer { head, body, end }
}

fn head_of(bytes: &[u8]) -> Option<&str> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    std::str::from_utf8(&bytes[..end]).ok()
}

fn is_whole(bytes: &[u8], is_closed: bool) -> bool {
    let Some(head) = head_of(bytes) else { return false };
    let body = &bytes[head.len()..];
    if header(head, "transfer-encoding") == Some("chunked") {
        body.ends_with(b"\r\n0\r\n\r\n")
    } else if let Some(length) = header(head, "content-length") {
        body.len() >= length.parse().unwrap()
    } else {
        is_closed
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let data = &bytes[line + 2..];
        body.extend_from_slice(&data[..size.min(data.len())]);
        bytes = data.get(size + 2..).unwrap_or_default();
    }
    body
}

async fn answer(gateway: &Gateway, speaks: Speaks, ask: Ask) -> Answer {
    let (version, extra) = match speaks {
        Speaks::Http10 => ("HTTP/1.0", ""),
        Speaks::Http10KeepAlive => ("HTTP/1.0", "connection: keep-alive\r\n"),
        Speaks::Http11 => ("HTTP/1.1", ""),
        Speaks::Http11Close => ("HTTP/1.1", "connection: close\r\n"),
        Speaks::Http2 => {
            let url = format!("{}{}", gateway.url(), ask.path());
            let answer = http::post_by_http2(&url, &[], ask.to_body()).await;
            let end = if answer.broken { End::Reset } else { End::Whole };
            return Answer { head: String::new(), body: answer.body.to_vec(), end };
        }
    };
    let request = ask.into_http1().replacen("HTTP/1.1\r\n", &format!("{version}\r\n{extra}"), 1);
    read(&mut sent(gateway.address(), &request).await).await
}

/// Each operation that streams, of twenty tokens.
fn streams(gateway: &Gateway) -> [Ask; 2] {
    let prompt = "hello sim:tokens=20";
    let converse = bodies::conversation(prompt, 20).to_string();
    let ask = Ask::new(gateway, prompt);
    [ask.clone().stream(), ask.operation("converse-stream", converse)]
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_answers_end_in_order() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 1)).await;
    for speaks in ALL {
        for ask in streams(&gateway) {
            let answer = answer(&gateway, speaks, ask.clone()).await;
            assert_eq!(answer.end, End::Whole, "{speaks:?} {ask:?}");
            let (events, exception) = answer.events();
            assert!(events > 5 && exception.is_none(), "{speaks:?}: {events} {exception:?}");
            if matches!(speaks, Speaks::Http10 | Speaks::Http10KeepAlive) {
                assert_eq!(header(&answer.head, "transfer-encoding"), None);
                assert_eq!(header(&answer.head, "content-length"), None);
            }
        }
        let answer = answer(&gateway, speaks, Ask::new(&gateway, "hello")).await;
        assert_eq!(answer.end, End::Whole, "{speaks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_ends_with_an_exception_or_a_reset() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("upstream.idle_timeout", "400ms")
        .set("fallback.eject_after", 1_000)
        .set("fallback.eject_below_success_rate", 0.0);
    let gateway = Gateway::start(&config).await;
    for speaks in ALL {
        for (fault, is_within_frame) in [
            (Fault::ResetAfterFrames { frames: 3 }, false),
            (Fault::CloseAfterFrames { frames: 3 }, false),
            (Fault::StallAfterFrames { frames: 3 }, false),
            (Fault::TruncatedFrame { frame: 4 }, true),
        ] {
            simulator.recovers();
            simulator.add(FaultRule::always(fault.clone()));
            for ask in streams(&gateway) {
                let answer = answer(&gateway, speaks, ask.clone()).await;
                let context = format!("{speaks:?} {fault:?} {ask:?}: {answer:?}");
                let (events, name) = answer.events();
                assert_eq!(events, 3, "what came before is there: {context}");
                let wanted = (!is_within_frame).then_some("modelStreamErrorException");
                assert_eq!(name.as_deref(), wanted, "{context}");
                let wanted = match speaks {
                    _ if !is_within_frame => End::Whole,
                    Speaks::Http11 | Speaks::Http11Close => End::Cut,
                    Speaks::Http10 | Speaks::Http10KeepAlive | Speaks::Http2 => End::Reset,
                };
                assert_eq!(answer.end, wanted, "{context}");
            }
        }
    }
    gateway.is_healthy().await;
}

/// A gateway before an upstream that says these bytes to each request and closes the connection.
async fn before_one_that_says(bytes: &[u8]) -> (Simulator, BareUpstream, Gateway) {
    let bytes: &'static [u8] = Box::leak(bytes.to_vec().into_boxed_slice());
    let simulator = Simulator::start().await;
    let upstream = BareUpstream::start(move |_, _| UpstreamAction::SendAndClose(bytes)).await;
    let config = Config::models(&simulator, 1)
        .set("upstream.endpoint_url", upstream.url())
        .set("fallback.eject_after", 1_000)
        .set("fallback.eject_below_success_rate", 0.0);
    let gateway = Gateway::start(&config).await;
    (simulator, upstream, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_breaks_off_is_no_document() {
    const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for (framing, cut) in [
        ("by length", "content-length: 20\r\n\r\n{\"a\":"),
        ("by chunks", "transfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n"),
        ("by the end of the connection", "\r\n{\"a\":"),
        ("by the end of the connection, at once", "\r\n"),
    ] {
        let (_simulator, _upstream, gateway) =
            before_one_that_says(format!("{JSON}{cut}").as_bytes()).await;
        for speaks in ALL {
            let answer = answer(&gateway, speaks, Ask::new(&gateway, "hello")).await;
            let context = format!("{framing} {speaks:?} {answer:?}");
            // Some clients don't compare a length with what came.
            let is_chunked = header(&answer.head, "transfer-encoding") == Some("chunked");
            let has_length = header(&answer.head, "content-length").is_some();
            let may_have_length = !answer.head.starts_with("HTTP/1.0");
            assert!(may_have_length || !has_length, "{context}");
            assert_eq!(answer.end, if is_chunked { End::Cut } else { End::Reset }, "{context}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_ends_with_its_connection_may_be_whole() {
    let (_simulator, _upstream, gateway) = before_one_that_says(
        b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"a\": [1, \"}\"]}\n",
    )
    .await;
    for speaks in ALL {
        let answer = answer(&gateway, speaks, Ask::new(&gateway, "hello")).await;
        assert_eq!(answer.end, End::Whole, "{speaks:?} {answer:?}");
        assert_eq!(answer.body, b"{\"a\": [1, \"}\"]}\n", "{speaks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_with_its_connection_is_whole_with_its_stop_event_only() {
    let frames = ["messageStart", "contentBlockDelta", "messageStop", "metadata"]
        .map(|name| event_stream::event(name, "{}"));
    let head = b"HTTP/1.0 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n\r\n";
    for (count, exception) in [(1, true), (2, true), (3, false), (4, false)] {
        let said = [&head[..], &frames[..count].concat()].concat();
        let (_simulator, _upstream, gateway) = before_one_that_says(&said).await;
        for speaks in ALL {
            let [_, converse] = streams(&gateway);
            let answer = answer(&gateway, speaks, converse).await;
            assert_eq!(answer.end, End::Whole, "{speaks:?} {answer:?}");
            let (events, name) = answer.events();
            assert_eq!(events, count, "{speaks:?}");
            let wanted = exception.then_some("modelStreamErrorException");
            assert_eq!(name.as_deref(), wanted, "{count} events, {speaks:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_within_tls() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let config = Config::models(&simulator, 1).tls(&authority.server());
    let gateway = Gateway::start(&config).await;
    let connector = TlsConnector::from(Arc::new(Dialer::trusting(&authority).config()));
    for (fault, wanted) in
        [(None, End::Whole), (Some(Fault::TruncatedFrame { frame: 4 }), End::Reset)]
    {
        fault.into_iter().for_each(|fault| simulator.add(FaultRule::always(fault)));
        for ask in streams(&gateway) {
            let request = ask.into_http1().replacen("HTTP/1.1", "HTTP/1.0", 1);
            let socket = TcpStream::connect(gateway.address()).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = connector.connect(name, socket).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            assert_eq!(read(&mut stream).await.end, wanted);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_or_stops_cuts_no_stream_short_unseen() {
    let simulator = Simulator::start().await;
    simulator.add(FaultRule::always(Fault::StallAfterFrames { frames: 3 }));
    for is_killed in [true, false] {
        let config = Config::models(&simulator, 1).set("server.drain_timeout", "200ms");
        let mut gateway = Gateway::start(&config).await;
        let [ask, _] = streams(&gateway);
        let request = ask.into_http1().replacen("HTTP/1.1", "HTTP/1.0", 1);
        let mut connection = sent(gateway.address(), &request).await;
        // Until the answer has begun.
        let mut first = [0; 12];
        connection.read_exact(&mut first).await.unwrap();
        if is_killed {
            gateway.kill().await;
        } else {
            gateway.terminate().await;
            gateway.ended().await;
        }
        assert_eq!(read(&mut connection).await.end, End::Reset, "killed: {is_killed}");
    }
}
