//! Upstreams that never stop to send, and such whose bytes might be taken for the answer to another
//! request.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::h2::{Http2, block, flag, frame, kind, post, settings};
use crate::support::patience::{LONG, eventually, within};
use crate::support::raw::Connection;
use crate::support::upstream::{BareUpstream, UpstreamAction};
use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator, http};

async fn start(simulator: &Simulator, endpoint: &str) -> Gateway {
    let config = Config::models(simulator, 1)
        .set("upstream.endpoint_url", endpoint)
        .set("upstream.first_byte_timeout", "1s")
        .set("upstream.idle_timeout", "1s")
        .set("server.request_timeout", "2s")
        .set("server.worker_threads", 1)
        .set("retry.attempts", 1)
        .set("fallback.eject_after", 1_000_000)
        .set("fallback.eject_below_success_rate", 0.0);
    Gateway::start(&config).await
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n\
                      transfer-encoding: chunked\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_never_stops_sending_holds_no_request() {
    const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    const FAILED: &str = "HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n";
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a-rather-long-path-of-a-style-sheet>; \
                         rel=preload; as=style\r\nlink: </and-another>; rel=preload\r\n\r\n";
    let simulator = Simulator::start().await;
    for (what, first, again, is_stream) in [
        ("interim answers", "", "HTTP/1.1 100 Continue\r\n\r\n", false),
        ("interim answers before a stream", "", HINTS, true),
        ("interim answers, after a pause", "HTTP/1.1 10", "0 A\r\n\r\nHTTP/1.1 10", false),
        ("a head", "HTTP/1.1 200 OK\r\n", "x: y\r\n", false),
        ("a field", "HTTP/1.1 200 OK\r\nx: ", "y", false),
        ("a body", "HTTP/1.1 200 OK\r\n\r\n", "y", false),
        ("small chunks", CHUNKS, "1\r\ny\r\n", false),
        (
            "a chunk's extension",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;",
            "y",
            false,
        ),
        (
            "trailers",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            "x: y\r\n",
            false,
        ),
        ("a failure", FAILED, "1\r\ny\r\n", false),
        ("what is no stream", "HTTP/1.1 200 OK\r\n\r\n", "y", true),
        ("a first frame", STREAM, "1\r\n\0\r\n", true),
    ] {
        let upstream =
            BareUpstream::start(move |_, _| UpstreamAction::Flood { first, again }).await;
        let gateway = start(&simulator, &upstream.url()).await;
        // Several, so that none of them has the thread for itself.
        let mut asked = JoinSet::new();
        for _ in 0..4 {
            let ask = Ask::new(&gateway, "hello");
            let ask = if is_stream { ask.stream() } else { ask }.into_http1();
            let address = gateway.address();
            asked.spawn(async move {
                let mut connection = Connection::open(address).await;
                let ask = ask.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                connection.send(ask.as_bytes()).await;
                connection.ends().await;
            });
        }
        within(LONG, what, async { asked.join_all().await }).await;
        let idle = async || gateway.metrics().await.sum("sluice_in_flight_requests", &[]);
        eventually(what, idle, |count| *count == 0.0).await;
        gateway.is_healthy().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_interim_answers_is_a_failure_of_the_target() {
    let simulator = Simulator::start().await;
    let flood = UpstreamAction::Flood { first: "", again: "HTTP/1.1 103 Early Hints\r\n\r\n" };
    let upstream = BareUpstream::start(move |_, _| flood).await;
    let gateway = start(&simulator, &upstream.url()).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("interim answers"), "{}", answer.text());
    let metrics = gateway.metrics().await;
    let interim = [("kind", "interim")];
    assert_eq!(metrics.sum("sluice_upstream_floods_total", &interim), 1.0);
    let failed = [("outcome", "transient")];
    assert_eq!(metrics.sum("sluice_attempts_total", &failed), 1.0);
}

/// An upstream that speaks HTTP/2: the settings that every connection begins with, then this without
/// an end.
async fn flooding_by_http2(flood: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let flood = flood.repeat(1 + 16_384 / flood.len());
            tokio::spawn(async move {
                let (mut reading, mut writing) = stream.into_split();
                let _ = writing.write_all(&settings(&[])).await;
                // Until the request is there, so that its stream is known.
                let mut got = [0; 4096];
                let mut count = 0;
                while count < 300 {
                    match reading.read(&mut got).await {
                        Ok(read) if read > 0 => count += read,
                        _ => return,
                    }
                }
                tokio::spawn(async move {
                    let mut sink = [0; 4096];
                    while reading.read(&mut sink).await.is_ok_and(|read| read > 0) {}
                });
                while writing.write_all(&flood).await.is_ok() {}
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_floods_by_http2_holds_no_request_either() {
    let simulator = Simulator::start().await;
    let interim = block(&[(":status", "103"), ("link", "</style>; rel=preload")]);
    for (what, flood, is_counted) in [
        ("PING", frame(kind::PING, 0, 0, b"and now?"), true),
        ("SETTINGS", settings(&[]), true),
        ("interim HEADERS", frame(kind::HEADERS, flag::END_HEADERS, 1, &interim), true),
        ("unknown", frame(0xfa, 0, 0, b"whatever"), true),
        ("WINDOW_UPDATE", frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()), true),
        ("CONTINUATION", frame(kind::CONTINUATION, 0, 1, b""), false),
    ] {
        let upstream = flooding_by_http2(flood).await;
        let gateway = start(&simulator, &format!("http://{upstream}")).await;
        let mut client = Http2::open(gateway.address(), &[]).await;
        let path = format!("/model/{PRIMARY}/invoke-with-bidirectional-stream");
        client.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &post(&path))).await;
        let is_answer = |frame: &crate::support::h2::Frame| {
            frame.stream == 1 && [kind::HEADERS, kind::RST_STREAM].contains(&frame.kind)
        };
        let answer = client.find(LONG, is_answer).await;
        assert_eq!(answer.expect(what).kind, kind::HEADERS, "{what}");
        let connections = async || {
            gateway.metrics().await.sum("sluice_upstream_connections", &[("state", "open")])
        };
        eventually("it is ended", connections, |open| *open == 0.0).await;
        let frames = [("kind", "frames")];
        let floods = gateway.metrics().await.sum("sluice_upstream_floods_total", &frames);
        assert_eq!(floods >= 1.0, is_counted, "{what}: {floods}");
        gateway.is_healthy().await;
    }
}

const ANSWER: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// The connections on which two requests came, one after the other, of which the first is answered so.
async fn connections(simulator: &Simulator, first: &'static str) -> (http::Response, Vec<usize>) {
    let upstream = BareUpstream::start(move |connection, request| {
        let is_first = (connection, request) == (1, 1);
        UpstreamAction::Send(if is_first { first } else { ANSWER })
    })
    .await;
    let gateway = start(simulator, &upstream.url()).await;
    let answer = Ask::new(&gateway, "one").send().await;
    // What comes late has come when the next request does.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let next = Ask::new(&gateway, "two").send().await;
    assert_eq!((next.status, next.text().as_str()), (200, "{}"), "{first:?}");
    assert!(next.header("x-late").is_none(), "{first:?}");
    (answer, upstream.seen().iter().map(|seen| seen.connection).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_another_requests() {
    let simulator = Simulator::start().await;
    for good in [
        ANSWER,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let (_, connections) = connections(&simulator, good).await;
        assert_eq!(connections, [1, 1], "{good:?}");
    }
    for (status, doubtful) in [
        (204, "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"),
        (204, "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n"),
        (503, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
        (503, "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n"),
        (
            200,
            "HTTP/1.1 103 Early Hints\r\ncontent-length: 40\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ),
        (200, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}"),
        (
            200,
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\n{}\r\n0\r\n\r\n",
        ),
        (200, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"),
        (200, "HTTP/1.1 200 OK\r\nconnection: keep-alive, Close\r\ncontent-length: 2\r\n\r\n{}"),
        (200, "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}"),
        (
            200,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}\
             HTTP/1.1 200 OK\r\nx-late: 1\r\ncontent-length: 4\r\n\r\nlate",
        ),
        (
            204,
            "HTTP/1.1 204 No Content\r\ncontent-length: 69\r\n\r\n\
             HTTP/1.1 200 OK\r\nx-late: 1\r\ncontent-length: 4\r\n\r\nlate",
        ),
        (503, "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
        (503, "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (503, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
        (503, "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\n{}"),
        (503, "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}"),
    ] {
        let (answer, connections) = connections(&simulator, doubtful).await;
        assert_eq!((answer.status, connections.as_slice()), (status, &[1, 2][..]), "{doubtful:?}");
        assert!(answer.headers.get_all("content-length").iter().count() <= 1, "{doubtful:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_answers_before_the_request_is_not_reused() {
    let simulator = Simulator::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for number in 1.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let tell = tell.clone();
            tokio::spawn(async move {
                // The beginning is enough for it; the rest is read, too.
                let mut some = vec![0; 4096];
                while stream.read(&mut some).await.is_ok_and(|count| count > 0) {
                    if some.starts_with(b"POST ") {
                        tell.send(number).unwrap();
                        stream.write_all(ANSWER.as_bytes()).await.unwrap();
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    }
                }
            });
        }
    });
    let gateway = start(&simulator, &format!("http://{address}")).await;
    let long = format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        "x".repeat(12_000_000)
    );
    assert_eq!(Ask::new(&gateway, "").body(long).send().await.status, 200);
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    assert_eq!((told.recv().await, told.recv().await), (Some(1), Some(2)));
}
