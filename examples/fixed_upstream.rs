//! An upstream that answers every POST with the same bytes, for `bench/run`.
//!
//! It reads the request body to its end and answers 1 KiB of JSON in the form of Anthropic's
//! Messages, with Bedrock's token-count headers; or, for the streaming operations, an event
//! stream whose frames come one by one at a fixed interval, as a model's tokens do. The interval
//! keeps frames apart on the wire: what passes them on can't save work by falling behind and
//! taking many at once.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use clap::Parser;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sluice::bedrock::event_stream;
use tokio::net::TcpListener;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes of a unary answer.
const UNARY_BYTES: usize = 1024;

/// Answers every POST with fixed bytes.
#[derive(Debug, Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Frames of a stream.
    #[arg(long, default_value_t = 200)]
    frames: usize,
    /// Time between two frames of a stream, in milliseconds.
    #[arg(long, default_value_t = 5)]
    frame_interval_ms: u64,
}

/// What is answered; made once.
#[derive(Clone)]
struct Answers {
    unary: Bytes,
    frame: Bytes,
    last: Bytes,
    frames: usize,
    interval: Duration,
}

type Answer = Response<Either<Full<Bytes>, Frames>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let answers = Answers {
        unary: unary(),
        frame: event_stream::event(
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"text":" token"},"p":"abcdefghijklm"}"#,
        ),
        last: event_stream::event(
            "metadata",
            r#"{"metrics":{"latencyMs":1000},"usage":{"inputTokens":250,"outputTokens":199,"totalTokens":449}}"#,
        ),
        frames: args.frames,
        interval: Duration::from_millis(args.frame_interval_ms),
    };
    let listener = TcpListener::bind(args.listen).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let answers = answers.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, answers.clone()));
            // A client that goes away is no failure of the upstream.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, answers: Answers) -> Result<Answer, Infallible> {
    let (head, mut body) = request.into_parts();
    while let Some(Ok(_)) = body.frame().await {}
    let path = head.uri.path();
    let streams = path.ends_with("/converse-stream") || path.ends_with("-response-stream");
    let mut response = if streams {
        Response::new(Either::Right(Frames {
            left: answers.frames,
            timer: Box::pin(sleep(Duration::ZERO)),
            answers,
        }))
    } else {
        Response::new(Either::Left(Full::new(answers.unary)))
    };
    let content_type = if streams { event_stream::CONTENT_TYPE } else { "application/json" };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        "x-amzn-requestid",
        HeaderValue::from_static("00000000-0000-4000-8000-000000000000"),
    );
    if !streams {
        for (name, value) in [
            ("x-amzn-bedrock-input-token-count", "250"),
            ("x-amzn-bedrock-output-token-count", "200"),
            ("x-amzn-bedrock-invocation-latency", "1000"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    Ok(response)
}

/// A message padded to [`UNARY_BYTES`].
fn unary() -> Bytes {
    let (before, after) = (
        r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":""#,
        r#""}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":250,"output_tokens":200}}"#,
    );
    let text = "x".repeat(UNARY_BYTES.saturating_sub(before.len() + after.len()));
    format!("{before}{text}{after}").into()
}

/// A stream's frames, each when its time has come.
struct Frames {
    answers: Answers,
    left: usize,
    timer: Pin<Box<Sleep>>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        std::task::ready!(self.timer.as_mut().poll(cx));
        let next = Instant::now() + self.answers.interval;
        self.timer.as_mut().reset(next);
        self.left -= 1;
        let frame = if self.left == 0 { &self.answers.last } else { &self.answers.frame };
        Poll::Ready(Some(Ok(Frame::data(frame.clone()))))
    }
}
