//! An upstream that gives every POST the same answer, for `bench/run`.
//!
//! It reads the request body to its end and answers 1 KiB of JSON, in the form of Converse for that
//! operation and else of Anthropic's Messages with Bedrock's token-count headers; or, for the
//! streaming operations, an event stream whose frames come one by one at a fixed interval, as a
//! model's tokens do. The interval keeps frames apart on the wire: what passes them on can't save
//! work by falling behind and taking many at once. Each frame carries the time at which it was
//! written, so that its reader knows how long it was under way.
//!
//! A request with the header `x-bench-frames` gets so many frames. One with `x-bench-check` shows whether bytes pass unchanged: its answer is its
//! own body, or a stream without times.

#![allow(clippy::disallowed_methods, reason = "its timers stand beside nothing that is hostile")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use http::header::HeaderValue;
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
/// Asks for an answer that tells whether bytes pass unchanged.
const CHECK: &str = "x-bench-check";
/// Says how many frames a stream is to have.
const FRAMES: &str = "x-bench-frames";

/// Answers every POST with fixed bytes.
#[derive(Clone, Copy, Debug, Parser)]
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
    /// Frames after which a stream is silent and stays open.
    #[arg(long)]
    silent_after: Option<usize>,
}

/// What is answered; made once.
#[derive(Clone)]
struct Answers {
    message: Bytes,
    converse: Bytes,
    last: Bytes,
    args: Args,
}

type Answer = Response<Either<Full<Bytes>, Frames>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let answers = Answers {
        message: padded(
            r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":""#,
            r#""}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":250,"output_tokens":200}}"#,
        ),
        converse: padded(
            r#"{"output":{"message":{"role":"assistant","content":[{"text":""#,
            r#""}]}},"stopReason":"end_turn","usage":{"inputTokens":250,"outputTokens":200,"totalTokens":450},"metrics":{"latencyMs":1000}}"#,
        ),
        last: event_stream::event(
            "metadata",
            r#"{"metrics":{"latencyMs":1000},"usage":{"inputTokens":250,"outputTokens":199,"totalTokens":449}}"#,
        ),
        args,
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
    let checks = head.headers.contains_key(CHECK);
    let mut received = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if checks && let Some(data) = frame.data_ref() {
            received.extend_from_slice(data);
        }
    }
    let path = head.uri.path();
    if path.ends_with("/converse-stream") || path.ends_with("-response-stream") {
        let asked = head.headers.get(FRAMES).and_then(|it| it.to_str().ok()?.parse().ok());
        let frames = asked.unwrap_or(answers.args.frames);
        let mut response = Response::new(Either::Right(Frames::new(answers, frames, checks)));
        set(&mut response, &[("content-type", event_stream::CONTENT_TYPE)]);
        return Ok(response);
    }
    let body = match (checks, path.ends_with("/converse")) {
        (true, _) => received.into(),
        (false, true) => answers.converse,
        (false, false) => answers.message,
    };
    let mut response = Response::new(Either::Left(Full::new(body)));
    set(
        &mut response,
        &[
            ("content-type", "application/json"),
            ("x-amzn-bedrock-input-token-count", "250"),
            ("x-amzn-bedrock-output-token-count", "200"),
            ("x-amzn-bedrock-invocation-latency", "1000"),
        ],
    );
    Ok(response)
}

fn set(response: &mut Answer, headers: &[(&'static str, &'static str)]) {
    let headers = headers.iter().chain(&[("x-amzn-requestid", REQUEST_ID)]);
    for (name, value) in headers {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
}

const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

/// An answer with as much text between its ends as [`UNARY_BYTES`] leave.
fn padded(before: &str, after: &str) -> Bytes {
    let text = "x".repeat(UNARY_BYTES.saturating_sub(before.len() + after.len()));
    format!("{before}{text}{after}").into()
}

/// A frame with one token and the time, in nanoseconds since 1970, where Bedrock has its padding.
fn token(at: SystemTime) -> Bytes {
    let nanos = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let delta =
        format!(r#"{{"contentBlockIndex":0,"delta":{{"text":" token"}},"p":"{nanos:020}"}}"#);
    event_stream::event("contentBlockDelta", delta)
}

/// A stream's frames: the first at once, each of the others when its time has come.
struct Frames {
    answers: Answers,
    frames: usize,
    without_times: bool,
    sent: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Frames {
    fn new(answers: Answers, frames: usize, without_times: bool) -> Frames {
        Frames { answers, frames, without_times, sent: 0, timer: None }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let args = self.answers.args;
        if self.sent == self.frames {
            return Poll::Ready(None);
        }
        if Some(self.sent) == args.silent_after {
            return Poll::Pending;
        }
        let interval = Duration::from_millis(args.frame_interval_ms);
        match &mut self.timer {
            Some(timer) => {
                std::task::ready!(timer.as_mut().poll(cx));
                timer.as_mut().reset(Instant::now() + interval);
            }
            none => *none = Some(Box::pin(sleep(interval))),
        }
        self.sent += 1;
        let frame = if self.sent == self.frames {
            self.answers.last.clone()
        } else {
            token(if self.without_times { UNIX_EPOCH } else { SystemTime::now() })
        };
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }
}
