//! The gateway's HTTP/1.1 client against hyper's: for the same bytes of an upstream it gives the same
//! head, body and end, or is stricter.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body;
use http_body_util::Full;
use hyper::client::conn::http1 as hyper_client;
use hyper_util::rt::TokioIo;
use sluice::upstream::http1::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Polls without progress after which nothing more can come.
const STALLED: usize = 8;

/// An upstream that responds with these bytes, in pieces, once it has got a request.
#[derive(Debug)]
struct Upstream {
    bytes: Vec<u8>,
    at: usize,
    piece: usize,
    closes: bool,
    has_request: bool,
}

impl AsyncRead for Upstream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_over = self.at == self.bytes.len();
        if !self.has_request || is_over && !self.closes {
            return Poll::Pending;
        }
        let end = self.bytes.len().min(self.at + self.piece.min(buf.remaining()));
        buf.put_slice(&self.bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_request = true;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    /// It may go on: the upstream has neither ended nor closed.
    Open,
    Failed,
}

#[derive(Debug)]
struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    end: End,
    /// Whether the client would send another request on the connection.
    is_reusable: bool,
}

/// Polls a future until it is ready, or until it makes no more progress.
fn run<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    (0..STALLED).find_map(|_| match future.as_mut().poll(&mut cx) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

fn upstream(bytes: &[u8], piece: usize, closes: bool) -> Upstream {
    Upstream { bytes: bytes.to_vec(), at: 0, piece, closes, has_request: false }
}

/// What the gateway's client makes of the bytes; `None` if it has no head, or refuses it.
fn own(upstream: Upstream, method: &Method) -> Option<Response> {
    let mut connection = Connection::new(upstream, false);
    let request = Request::builder().method(method).uri("http://h/").body(()).unwrap();
    connection.start(&request.into_parts().0, Bytes::new());
    let head = run(connection.head(method))?.ok()?;
    let mut body = Vec::new();
    let end = loop {
        match run(poll_fn(|cx| connection.poll_data(cx))) {
            Some(Some(Ok(data))) => body.extend_from_slice(&data),
            Some(Some(Err(_))) => break End::Failed,
            Some(None) => break End::Complete,
            None => break End::Open,
        }
    };
    let is_reusable = end == End::Complete && connection.is_reusable() && connection.is_alive();
    Some(Response { status: head.status, headers: head.headers, body, end, is_reusable })
}

/// What hyper's client makes of the bytes, with its connection driven by the same task.
fn hypers(upstream: Upstream, method: &Method) -> Option<Response> {
    let (mut sender, connection) =
        run(hyper_client::handshake::<_, Full<Bytes>>(TokioIo::new(upstream)))?.ok()?;
    let mut connection = Box::pin(connection);
    let mut is_over = false;
    let mut drive = |cx: &mut Context<'_>| {
        is_over = is_over || connection.as_mut().poll(cx).is_ready();
    };
    let request = Request::builder().method(method).uri("/").header("host", "h");
    let mut sent = pin!(sender.send_request(request.body(Full::default()).unwrap()));
    let response = run(poll_fn(|cx| {
        drive(cx);
        sent.as_mut().poll(cx)
    }));
    let (head, mut incoming) = response?.ok()?.into_parts();
    let mut body = Vec::new();
    let end = loop {
        let frame = run(poll_fn(|cx| {
            drive(cx);
            Pin::new(&mut incoming).poll_frame(cx)
        }));
        match frame {
            Some(Some(Ok(frame))) => body.extend(frame.into_data().unwrap_or_default()),
            Some(Some(Err(_))) => break End::Failed,
            Some(None) => break End::Complete,
            None => break End::Open,
        }
    };
    run(poll_fn(|cx| {
        drive(cx);
        Poll::<()>::Pending
    }));
    let is_reusable = sender.is_ready();
    Some(Response { status: head.status, headers: head.headers, body, end, is_reusable })
}

/// How a response comes: for a request of which method, in pieces of which length, and whether the upstream closes the
/// connection after it. The first byte of an input chooses.
fn circumstances(choice: u8) -> (Method, usize, bool) {
    let method = if choice & 1 == 0 { Method::POST } else { Method::HEAD };
    let piece = match choice >> 2 {
        0 => usize::MAX,
        length => usize::from(length),
    };
    (method, piece, choice & 2 == 0)
}

/// A response that is as HTTP has it is refused by neither: both read this body, and the own client keeps the
/// connection if it may.
pub fn well_formed(input: &[u8], body: &[u8], is_reusable: bool) {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let (method, piece, closes) = circumstances(choice);
    let own = own(upstream(bytes, piece, closes), &method).expect("it is not refused");
    let hypers = hypers(upstream(bytes, piece, closes), &method).expect("hyper does not refuse it");
    assert_eq!((&*own.body, own.end), (body, End::Complete), "{own:?}");
    assert_eq!((&*hypers.body, hypers.end), (body, End::Complete), "{hypers:?}");
    assert_eq!(own.is_reusable, is_reusable && !closes, "{own:?}");
}

/// Compares the two clients.
pub fn hyper_oracle(input: &[u8]) {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let (method, piece, closes) = circumstances(choice);
    let Some(own) = own(upstream(bytes, piece, closes), &method) else { return };
    let hypers = hypers(upstream(bytes, piece, closes), &method);
    assert!(hypers.is_some(), "hyper refuses the head of {own:?}");
    let Some(hypers) = hypers else { return };
    let both = || format!("\n{own:?}\n{hypers:?}");
    assert_eq!(own.status, hypers.status, "{}", both());
    // The own client drops a length that is repeated, or not the body's.
    let fields = |headers: &HeaderMap| {
        let mut headers = headers.clone();
        headers.remove(CONTENT_LENGTH);
        headers
    };
    assert_eq!(fields(&own.headers), fields(&hypers.headers), "{}", both());
    for length in own.headers.get_all(CONTENT_LENGTH) {
        assert!(hypers.headers.get_all(CONTENT_LENGTH).iter().any(|it| it == length), "{}", both());
    }
    match own.end {
        End::Complete => {
            assert_eq!((&own.body, own.end), (&hypers.body, hypers.end), "{}", both());
        }
        End::Open => {
            assert_eq!(&own.body, &hypers.body, "{}", both());
            assert_ne!(hypers.end, End::Complete, "{}", both());
        }
        // A stricter client may fail earlier, or notice later.
        End::Failed => {
            let (own, hypers) = (&own.body, &hypers.body);
            assert!(own.starts_with(hypers) || hypers.starts_with(own), "{}", both());
        }
    }
    assert!(!own.is_reusable || hypers.is_reusable, "{}", both());
}
