//! An upstream that answers as the request asks it to: in the usual way, with too much, without an
//! end, slowly, or with what is no answer.

use std::net::SocketAddr;
use std::time::Duration;

use sluice::bedrock::event_stream::{CONTENT_TYPE, event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How many kinds of answers there are.
pub(crate) const KINDS: u32 = 8;

/// Most bytes of an answer without an end.
const ENDLESS: usize = 40_000_000;

pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let (streams, kind) = read_request(&mut stream, &mut bytes).await?;
        let answered = tokio::time::timeout(Duration::from_secs(15), async {
            answer(&mut stream, streams, kind).await
        });
        answered.await.ok()?.ok()?;
    }
}

/// Reads a request, and throws its body away but for its start.
async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(bool, u32)> {
    bytes.clear();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end);
    let mut left = length.saturating_sub(body.len());
    let mut some = vec![0; 64 * 1024];
    while left > 0 {
        let count = stream.read(&mut some[..left.min(64 * 1024)]).await.ok()?;
        if count == 0 {
            return None;
        }
        if body.len() < 1024 {
            body.extend_from_slice(&some[..count]);
        }
        left -= count;
    }
    let text = String::from_utf8_lossy(&body);
    let kind = text.split_once("upstream:").and_then(|(_, rest)| rest.chars().next()?.to_digit(10));
    let line = head.lines().next().unwrap_or_default();
    Some((line.contains("stream"), kind.unwrap_or(length as u32 % KINDS)))
}

async fn answer(stream: &mut TcpStream, streams: bool, kind: u32) -> std::io::Result<()> {
    let media_type = if streams { CONTENT_TYPE } else { "application/json" };
    let head = |status: u16, media_type: &str| {
        format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        )
    };
    let frame = |size: usize| {
        let text = format!("{{\"delta\":{{\"text\":\"{}\"}}}}", "x".repeat(size));
        event("contentBlockDelta", text).to_vec()
    };
    let unit = |unit: &str, count: usize| unit.repeat(count).into_bytes();
    let (head, pieces): (String, Vec<Vec<u8>>) = match (kind, streams) {
        (0..=2, true) => (
            head(200, media_type),
            vec![frame(20), event("metadata", r#"{"usage":{"inputTokens":1}}"#).to_vec()],
        ),
        (0..=2, false) => (
            head(200, media_type),
            vec![
                br#"{"content":[{"type":"text","text":"a"}],"usage":{"input_tokens":1}}"#.to_vec(),
            ],
        ),
        // Far too much, of what costs most.
        (3, false) => {
            let mut pieces = vec![b"{\"content\":[".to_vec()];
            pieces.extend(vec![unit("{\"type\":\"text\",\"text\":\"a\"},", 2000); 200]);
            pieces.push(b"0],\"usage\":{\"input_tokens\":1}}".to_vec());
            (head(200, media_type), pieces)
        }
        (4, false) => {
            let mut pieces = vec![b"{\"embedding\":[".to_vec()];
            pieces.extend(vec![unit("0.123,", 8000); ENDLESS / 48_000]);
            (head(200, media_type), pieces)
        }
        (5, _) => (head(500, "application/json"), vec![unit("{\"message\":\"", 5000); 200]),
        (6, true) => (head(200, media_type), vec![frame(4_000_000); 4]),
        (6, false) => (head(400, "text/html"), vec![unit("<p>", 20_000); 100]),
        (_, true) => (head(200, media_type), vec![frame(60_000); ENDLESS / 60_000]),
        (_, false) => (head(200, "application/json"), vec![unit("[", 60_000); 400]),
    };
    stream.write_all(head.as_bytes()).await?;
    for piece in pieces {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        stream.write_all(&piece).await?;
        stream.write_all(b"\r\n").await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}
