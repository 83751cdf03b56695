//! An upstream that gives every POST the same answer, for `bench/run`.
//!
//! It reads the request body to its end and answers 1 KiB of JSON, in the form of Converse or of Chat
//! Completions for these, and else of Anthropic's Messages with Bedrock's token-count headers. For the
//! streaming operations it answers an event stream, and for Chat Completions and Messages with the header
//! `x-bench-frames` server-sent events. Their frames come one by one at a fixed interval, as a model's
//! tokens do, between the events that begin and end an answer. The interval keeps frames apart on the wire: what passes them on can't save
//! work by falling behind and taking many at once. Each frame carries the time at which it was
//! written, so that its reader knows how long it was under way.
//!
//! A request with the header `x-bench-frames` gets so many frames, or events. One with `x-bench-check` shows
//! whether bytes pass unchanged: its answer is its own body, or a stream without times.

#![allow(clippy::disallowed_methods, reason = "its timers stand beside nothing that is hostile")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
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
use sluice::bedrock::{event_stream, sse};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
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
    /// Threads that serve connections.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// What is answered; made once.
#[derive(Clone)]
struct Answers {
    message: Bytes,
    converse: Bytes,
    chat: Bytes,
    streams: [Arc<Stream>; 3],
    args: Args,
}

type Answer = Response<Either<Full<Bytes>, Frames>>;

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut runtime = match args.threads {
        0 | 1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    runtime.worker_threads(args.threads.max(1)).enable_all().build()?.block_on(serve(args))
}

async fn serve(args: Args) -> Result<(), Box<dyn Error>> {
    let answers = Answers {
        message: padded(
            r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":""#,
            r#""}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":250,"output_tokens":200}}"#,
        ),
        converse: padded(
            r#"{"output":{"message":{"role":"assistant","content":[{"text":""#,
            r#""}]}},"stopReason":"end_turn","usage":{"inputTokens":250,"outputTokens":200,"totalTokens":450},"metrics":{"latencyMs":1000}}"#,
        ),
        chat: padded(
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":""#,
            r#""}}],"usage":{"prompt_tokens":250,"completion_tokens":200,"total_tokens":450}}"#,
        ),
        streams: [Form::Native, Form::Chat, Form::Messages].map(|form| Arc::new(Stream::new(form))),
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
    let asked = head.headers.get(FRAMES).and_then(|it| it.to_str().ok()?.parse().ok());
    if let Some(form) = Form::of(path, asked.is_some()) {
        let frames = asked.unwrap_or(answers.args.frames);
        let [native, chat, messages] = &answers.streams;
        let (stream, content_type) = match form {
            Form::Native => (native, event_stream::CONTENT_TYPE),
            Form::Chat => (chat, sse::CONTENT_TYPE),
            Form::Messages => (messages, sse::CONTENT_TYPE),
        };
        let frames = Frames::new(Arc::clone(stream), answers.args, frames, checks);
        let mut response = Response::new(Either::Right(frames));
        set(&mut response, &[("content-type", content_type)]);
        return Ok(response);
    }
    let body = match path {
        _ if checks => received.into(),
        _ if path.ends_with("/converse") => answers.converse,
        _ if path.ends_with("/chat/completions") => answers.chat,
        _ => answers.message,
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

/// The form of a stream.
#[derive(Clone, Copy)]
enum Form {
    /// That of ConverseStream.
    Native,
    /// That of Chat Completions.
    Chat,
    /// That of Messages.
    Messages,
}

impl Form {
    /// The form of the stream that a request asks for; `None` if it asks for a whole answer.
    fn of(path: &str, has_frames: bool) -> Option<Form> {
        match path {
            _ if path.ends_with("/converse-stream") => Some(Form::Native),
            _ if path.ends_with("-response-stream") => Some(Form::Native),
            _ if path.ends_with("/chat/completions") && has_frames => Some(Form::Chat),
            _ if path.ends_with("/messages") && has_frames => Some(Form::Messages),
            _ => None,
        }
    }

    /// A frame with one token and the time, in nanoseconds since 1970, where Bedrock has its padding.
    fn token(self, at: SystemTime) -> Bytes {
        let nanos = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        match self {
            Form::Native => {
                let delta = format!(
                    r#"{{"contentBlockIndex":0,"delta":{{"text":" token"}},"p":"{nanos:020}"}}"#
                );
                event_stream::event("contentBlockDelta", delta)
            }
            Form::Chat => sse::event(
                None,
                &format!(
                    r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":" token"}},"finish_reason":null}}],"p":"{nanos:020}"}}"#
                ),
            ),
            Form::Messages => sse::event(
                Some("content_block_delta"),
                &format!(
                    r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":" token"}},"p":"{nanos:020}"}}"#
                ),
            ),
        }
    }
}

/// What every stream of one form begins and ends with; its tokens come between.
struct Stream {
    form: Form,
    first: Vec<Bytes>,
    last: Vec<Bytes>,
}

impl Stream {
    fn new(form: Form) -> Stream {
        let named = |name, data: &str| sse::event(Some(name), data);
        let (first, last) = match form {
            Form::Native => (
                vec![event_stream::event("messageStart", r#"{"role":"assistant"}"#)],
                vec![
                    event_stream::event("contentBlockStop", r#"{"contentBlockIndex":0}"#),
                    event_stream::event("messageStop", r#"{"stopReason":"end_turn"}"#),
                    event_stream::event(
                        "metadata",
                        r#"{"metrics":{"latencyMs":1000},"usage":{"inputTokens":250,"outputTokens":196,"totalTokens":446}}"#,
                    ),
                ],
            ),
            Form::Chat => (
                vec![],
                vec![
                    sse::event(
                        None,
                        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
                    ),
                    sse::event(
                        None,
                        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":250,"completion_tokens":197,"total_tokens":447}}"#,
                    ),
                    sse::event(None, sse::DONE),
                ],
            ),
            Form::Messages => (
                vec![
                    named(
                        "message_start",
                        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":250,"output_tokens":1}}}"#,
                    ),
                    named(
                        "content_block_start",
                        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                    ),
                ],
                vec![
                    named("content_block_stop", r#"{"type":"content_block_stop","index":0}"#),
                    named(
                        "message_delta",
                        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":195}}"#,
                    ),
                    named("message_stop", r#"{"type":"message_stop"}"#),
                ],
            ),
        };
        Stream { form, first, last }
    }

    /// Frame `number` of so many.
    fn frame(&self, number: usize, frames: usize, at: SystemTime) -> Bytes {
        let from_last = (frames - number).checked_sub(1);
        let last = from_last.and_then(|it| self.last.iter().rev().nth(it));
        let fixed = self.first.get(number).or(last);
        fixed.cloned().unwrap_or_else(|| self.form.token(at))
    }
}

/// A stream's frames: the first at once, each of the others when its time has come.
struct Frames {
    stream: Arc<Stream>,
    args: Args,
    frames: usize,
    without_times: bool,
    sent: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Frames {
    fn new(stream: Arc<Stream>, args: Args, frames: usize, without_times: bool) -> Frames {
        Frames { stream, args, frames, without_times, sent: 0, timer: None }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let args = self.args;
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
        let at = if self.without_times { UNIX_EPOCH } else { SystemTime::now() };
        let frame = self.stream.frame(self.sent, self.frames, at);
        self.sent += 1;
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }
}
