//! Requests and responses on a connection whose other end is the test.

use std::time::Duration;

use http::{Request, StatusCode};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// A connection, and the upstream's end of it.
fn connection() -> (Connection<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(256 * 1024);
    (Connection::new(ours, false), theirs)
}

fn begin(connection: &mut Connection<DuplexStream>, body: impl Into<Bytes>) {
    let request = Request::post("http://h/model/m/invoke").header("host", "h").body(()).unwrap();
    connection.start(&request.into_parts().0, body.into());
}

async fn body(connection: &mut Connection<DuplexStream>) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(data) = poll_fn(|cx| connection.poll_data(cx)).await {
        body.extend_from_slice(&data?);
    }
    Ok(body)
}

#[tokio::test]
async fn a_connection_carries_one_request_after_another() {
    let (mut connection, mut upstream) = connection();
    for (answer, wanted) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "hi"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", ""),
    ] {
        begin(&mut connection, "question");
        upstream.write_all(answer.as_bytes()).await.unwrap();
        let head = connection.head(&Method::POST).await.unwrap();
        assert!(head.status.is_success());
        assert_eq!(body(&mut connection).await.unwrap(), wanted.as_bytes());
        assert!(connection.is_reusable() && connection.is_alive());
        let mut sent = vec![0; 1024];
        let count = upstream.read(&mut sent).await.unwrap();
        let sent = std::str::from_utf8(&sent[..count]).unwrap();
        assert!(sent.starts_with("POST /model/m/invoke HTTP/1.1\r\n"), "{sent}");
        assert!(sent.ends_with("content-length: 8\r\n\r\nquestion"), "{sent}");
    }
}

#[tokio::test]
async fn a_connection_is_not_reused_after_an_ambiguous_response() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi and more",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ] {
        let (mut connection, mut upstream) = connection();
        begin(&mut connection, "");
        upstream.write_all(answer.as_bytes()).await.unwrap();
        connection.head(&Method::POST).await.unwrap();
        assert_eq!(body(&mut connection).await.unwrap(), b"hi");
        assert!(!connection.is_reusable(), "{answer}");
    }
    let (mut connection, mut upstream) = connection();
    assert!(connection.is_alive());
    upstream.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    assert!(!connection.is_alive(), "an answer that nobody asked for");
}

#[tokio::test]
async fn a_body_ends_with_its_connection_only_without_other_framing() {
    let (mut connection, mut upstream) = connection();
    begin(&mut connection, "");
    upstream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it").await.unwrap();
    drop(upstream);
    connection.head(&Method::POST).await.unwrap();
    assert_eq!(body(&mut connection).await.unwrap(), b"all of it");
    assert!(!connection.is_reusable());
    for cut_off in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall of",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nall of it\r\n",
    ] {
        let (mut connection, mut upstream) = self::connection();
        begin(&mut connection, "");
        upstream.write_all(cut_off.as_bytes()).await.unwrap();
        drop(upstream);
        connection.head(&Method::POST).await.unwrap();
        assert!(matches!(body(&mut connection).await, Err(Error::Ended)), "{cut_off}");
    }
}

#[tokio::test]
async fn a_stale_connection_is_one_without_a_byte_of_a_response() {
    for (sent, has_received) in [("", false), ("HTTP/1.1 2", true)] {
        let (mut connection, mut upstream) = connection();
        begin(&mut connection, "");
        upstream.write_all(sent.as_bytes()).await.unwrap();
        drop(upstream);
        connection.head(&Method::POST).await.unwrap_err();
        assert_eq!(connection.has_received(), has_received);
    }
}

/// A request's length, and what is read of it at least after its answer began.
const LONG: usize = 64 * 1024;
const MOST: usize = LONG - 100;

/// What comes of a request that does not fit between the two ends if `answer` is there first.
async fn early(answer: &str, reads_on: bool) -> (StatusCode, Vec<u8>, bool, usize) {
    let (ours, mut upstream) = duplex(1024);
    let mut connection = Connection::new(ours, false);
    begin(&mut connection, vec![b'x'; LONG]);
    let answer = answer.to_owned();
    let other = tokio::spawn(async move {
        let mut start = [0; 100];
        upstream.read_exact(&mut start).await.unwrap();
        upstream.write_all(answer.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        if reads_on {
            while rest.len() < MOST {
                upstream.read_buf(&mut rest).await.unwrap();
            }
            upstream.write_all(b"2\r\nhi\r\n0\r\n\r\n").await.unwrap();
        }
        (upstream, rest.len())
    });
    let head = connection.head(&Method::POST).await.unwrap();
    let body = tokio::time::timeout(Duration::from_secs(5), body(&mut connection)).await;
    let (_upstream, read) = other.await.unwrap();
    (head.status, body.unwrap().unwrap(), connection.is_reusable(), read)
}

#[tokio::test]
async fn a_response_may_come_before_the_request_is_written() {
    let refused = "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
    let (status, body, is_reusable, _) = early(refused, false).await;
    assert_eq!((status.as_u16(), body.as_slice()), (413, &b"no"[..]));
    assert!(!is_reusable, "the rest of the request would be read as the next one");
    let begun = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (status, body, is_reusable, read) = early(begun, true).await;
    assert_eq!((status.as_u16(), body.as_slice()), (200, &b"hi"[..]));
    assert!(read >= MOST, "all of the request goes out while the answer comes");
    assert!(!is_reusable, "it may have been the answer to something else");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_response_is_the_same_however_its_bytes_are_split(
        cuts in prop::collection::vec(1usize..40, 0..40),
        length in 0usize..400,
        is_chunked: bool,
    ) {
        let text: Vec<u8> = (0..length).map(|at| b'a' + (at % 26) as u8).collect();
        let mut answer = b"HTTP/1.1 200 OK\r\nx-amzn-requestid: r\r\n".to_vec();
        if is_chunked {
            answer.extend(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in text.chunks(37) {
                answer.extend(format!("{:X}\r\n", chunk.len()).bytes());
                answer.extend(chunk);
                answer.extend(b"\r\n");
            }
            answer.extend(b"0\r\n\r\n");
        } else {
            answer.extend(format!("content-length: {length}\r\n\r\n").bytes());
            answer.extend(&text);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(async {
            let (mut connection, mut upstream) = connection();
            begin(&mut connection, "q");
            let feed = async {
                let mut rest = answer.as_slice();
                for cut in cuts.iter().copied().chain([usize::MAX]) {
                    let (piece, after) = rest.split_at(cut.min(rest.len()));
                    upstream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                    rest = after;
                }
                // The end of the connection is none of the answer.
                std::future::pending::<()>().await;
            };
            let read = async {
                let head = connection.head(&Method::POST).await.unwrap();
                (head.headers, body(&mut connection).await.unwrap(), connection.is_reusable())
            };
            tokio::select! {
                got = read => got,
                () = feed => unreachable!(),
            }
        });
        prop_assert_eq!(&got.0["x-amzn-requestid"], "r");
        prop_assert_eq!(got.1, text);
        prop_assert!(got.2);
    }
}
