//! Compares the gateway's HTTP/1.1 client with hyper's, whose connection is driven by the request's own
//! task, too: without a task and a channel between a request and its socket.
//!
//! `http1_clients own|hyper ADDRESS requests N` sends N requests of 1 KB, one after the other;
//! `streams N` reads N streams of 200 frames; `hold N` opens N streams at once, reads the first frame of
//! each and prints the memory per stream. `fixed_upstream` is the other end. Run the first two under
//! `valgrind --tool=callgrind`, with two values of N: the difference is that of the requests alone.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, request};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sluice::upstream::http1::Connection;
use tokio::net::TcpStream;

type AnyError = Box<dyn Error + Send + Sync>;

/// Frames of a stream.
const FRAMES: usize = 200;

enum Client {
    Own(Box<Connection<TcpStream>>),
    Hyper(Box<Inline>),
}

/// hyper's client, with its connection beside it.
struct Inline {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: http1::Connection<TokioIo<TcpStream>, Full<Bytes>>,
    body: Option<Incoming>,
    is_over: bool,
}

impl Inline {
    fn drive(&mut self, cx: &mut Context<'_>) {
        self.is_over = self.is_over || Pin::new(&mut self.connection).poll(cx).is_ready();
    }

    fn drive_now(&mut self) {
        self.drive(&mut Context::from_waker(Waker::noop()));
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(), AnyError> {
        self.drive_now();
        let mut sent = pin!(self.sender.send_request(request));
        let (connection, is_over) = (&mut self.connection, &mut self.is_over);
        let response = poll_fn(|cx| {
            *is_over = *is_over || Pin::new(&mut *connection).poll(cx).is_ready();
            sent.as_mut().poll(cx)
        });
        self.body = Some(response.await?.into_body());
        Ok(())
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, AnyError>>> {
        let Some(mut body) = self.body.take() else { return Poll::Ready(None) };
        let mut polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            self.drive(cx);
            polled = Pin::new(&mut body).poll_frame(cx);
        }
        if matches!(polled, Poll::Ready(None)) {
            self.drive_now();
        } else {
            self.body = Some(body);
        }
        polled.map(|frame| {
            let data = frame?.map(|frame| frame.into_data().unwrap_or_default());
            Some(data.map_err(Into::into))
        })
    }
}

impl Client {
    async fn open(kind: &str, address: &str) -> Result<Client, AnyError> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        if kind == "own" {
            return Ok(Client::Own(Box::new(Connection::new(socket, false))));
        }
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        Ok(Client::Hyper(Box::new(Inline { sender, connection, body: None, is_over: false })))
    }

    async fn send(&mut self, head: request::Parts, body: Bytes) -> Result<(), AnyError> {
        match self {
            Client::Own(connection) => {
                connection.start(&head, body);
                connection.head(&Method::POST).await?;
                Ok(())
            }
            Client::Hyper(inline) => inline.send(Request::from_parts(head, Full::new(body))).await,
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, AnyError>>> {
        match self {
            Client::Own(connection) => {
                connection.poll_data(cx).map(|data| data.map(|data| data.map_err(Into::into)))
            }
            Client::Hyper(inline) => inline.poll_data(cx),
        }
    }

    async fn data(&mut self) -> Result<Option<Bytes>, AnyError> {
        poll_fn(|cx| self.poll_data(cx)).await.transpose()
    }
}

/// A request as the gateway sends it, for one answer or for a stream.
fn head(is_stream: bool) -> Result<request::Parts, AnyError> {
    let operation = if is_stream { "converse-stream" } else { "invoke" };
    let path = format!("/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/{operation}");
    let mut request = Request::post(path).body(())?;
    let headers = request.headers_mut();
    for (name, value) in [
        ("host", "127.0.0.1"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("user-agent", "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux lang/python#3.12.0"),
        ("amz-sdk-invocation-id", "00000000-0000-4000-8000-000000000000"),
        ("x-amz-date", "20261129T000000Z"),
        ("authorization", "AWS4-HMAC-SHA256 Credential=AKIDBENCH/20261129/us-east-1/bedrock"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_stream {
        headers.insert("x-bench-frames", FRAMES.into());
    }
    Ok(request.into_parts().0)
}

/// Memory of the process that is not of files, in KiB.
fn memory() -> Result<u32, AnyError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let count = line.and_then(|line| line.split_whitespace().next()).ok_or("no RssAnon")?;
    Ok(count.parse()?)
}

async fn hold(kind: &str, address: &str, count: usize) -> Result<(), AnyError> {
    let (before, ready) = (memory()?, Arc::new(AtomicUsize::new(0)));
    for _ in 0..count {
        let (kind, address, ready) = (kind.to_owned(), address.to_owned(), Arc::clone(&ready));
        tokio::spawn(async move {
            let mut client = Client::open(&kind, &address).await?;
            client.send(head(true)?, Bytes::from(vec![b'x'; 1024])).await?;
            client.data().await?;
            ready.fetch_add(1, Ordering::Relaxed);
            while client.data().await?.is_some() {}
            Ok::<_, AnyError>(())
        });
    }
    while ready.load(Ordering::Relaxed) < count {
        sluice::system::time::sleep(Duration::from_millis(10)).await;
    }
    let (used, count) = (memory()?.saturating_sub(before), u32::try_from(count)?);
    println!("{:.1} KiB per stream", f64::from(used) / f64::from(count));
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, address, what, count] = arguments.as_slice() else {
        return Err("own|hyper ADDRESS requests|streams|hold N".into());
    };
    let count = count.parse()?;
    if what == "hold" {
        return hold(kind, address, count).await;
    }
    let mut client = Client::open(kind, address).await?;
    let (head, body) = (head(what == "streams")?, Bytes::from(vec![b'x'; 1024]));
    let mut pieces = 0;
    for _ in 0..count {
        client.send(head.clone(), body.clone()).await?;
        while client.data().await?.is_some() {
            pieces += 1;
        }
    }
    println!("{pieces} pieces of {count} bodies");
    Ok(())
}
