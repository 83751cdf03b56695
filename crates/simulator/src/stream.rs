//! Bodies as scripts: what is sent, when, and where it breaks.
//!
//! An answer becomes a lazy sequence of [`Step`]s, a fault rewrites that sequence, and the body
//! plays it to the connection while it keeps the log and the quota's reservation up to date.
//! Streams are event streams, or server-sent events in the APIs of OpenAI and Anthropic.

use std::convert::Infallible;
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};

use super::apis::ErrorEvents;
use super::fault::Fault;
use super::log::{Ending, Record};
use super::quota::Reservation;
use super::wire::{ConnectionFault, Wire};
use sluice_bedrock::event_stream;

/// The body of every response.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One step of a body's script.
#[derive(Debug)]
pub(super) enum Step {
    /// Waits.
    Wait(Duration),
    /// Sends bytes, which end so many frames and output tokens.
    Send { bytes: Bytes, frames: u64, tokens: u64 },
    /// Ends the connection.
    Break(ConnectionFault),
    /// Sends nothing more, and keeps the connection open.
    Stall,
}

/// The steps of a body, in order.
pub(super) type Script = Box<dyn Iterator<Item = Step> + Send>;

/// A body sent at once; `tokens` are its output tokens.
pub(super) fn whole(bytes: impl Into<Bytes>, tokens: u64) -> Script {
    Box::new(std::iter::once(Step::Send { bytes: bytes.into(), frames: 0, tokens }))
}

/// The script as a fault leaves it. Faults of the head leave it as it is. `events` writes the errors of
/// server-sent events; an event stream has none.
pub(super) fn with_fault(script: Script, fault: &Fault, events: Option<ErrorEvents>) -> Script {
    let Some(events) = events else { return with_fault_in_frames(script, fault.clone()) };
    let (frame, event, goes_on) = match fault {
        Fault::ExceptionFirstFrame { name } => (1, events.error(name, 1), false),
        Fault::ExceptionFrame { name, frame } => (*frame, events.error(name, *frame), false),
        Fault::ResponseFailed { name, frame } => (*frame, events.failed(name, *frame), false),
        Fault::ErrorFrame { frame } => (*frame, ErrorEvents::unknown_error(), false),
        Fault::BadCrcFrame { frame } => (*frame, ErrorEvents::garbage(), true),
        fault => return with_fault_in_frames(script, fault.clone()),
    };
    at(script, frame, goes_on, move |_| vec![frame_of(event.clone())])
}

fn with_fault_in_frames(script: Script, fault: Fault) -> Script {
    match fault {
        Fault::ShortBody => cut(script, 1, Some(ConnectionFault::Close)),
        Fault::ResetMidBody => cut(script, 1, Some(ConnectionFault::Reset)),
        Fault::TruncatedFrame { frame } => cut(script, frame, None),
        Fault::ResetAfterFrames { frames } => {
            after(script, frames, || Some(Step::Break(ConnectionFault::Reset)))
        }
        Fault::CloseAfterFrames { frames } => {
            after(script, frames, || Some(Step::Break(ConnectionFault::Close)))
        }
        Fault::EndAfterFrames { frames } => after(script, frames, || None),
        Fault::StallAfterFrames { frames } => after(script, frames, || Some(Step::Stall)),
        Fault::ExceptionFirstFrame { name } => at(script, 1, false, exception(name)),
        Fault::ExceptionFrame { name, frame } | Fault::ResponseFailed { name, frame } => {
            at(script, frame, false, exception(name))
        }
        Fault::ErrorFrame { frame } => at(script, frame, false, |_| vec![frame_of(error_frame())]),
        Fault::BadCrcFrame { frame } => at(script, frame, true, |step| match step {
            Step::Send { bytes, frames, tokens } => {
                let mut bytes = Vec::from(bytes);
                if let Some(last) = bytes.last_mut() {
                    *last ^= 0xff;
                }
                vec![Step::Send { bytes: bytes.into(), frames, tokens }]
            }
            other => vec![other],
        }),
        Fault::SlowTrickle { bytes, ms } => trickle(script, bytes.max(1), ms),
        Fault::EmptyStream => Box::new(std::iter::empty()),
        Fault::EndBeforeLastFrame => without_last(script),
        _ => script,
    }
}

/// Plays a script as a response's body.
pub(super) fn play(
    script: Script,
    reservation: Option<Reservation>,
    record: Record,
    wire: Arc<Wire>,
) -> Body {
    let mut playing = Playing { script: script.peekable(), reservation, record, wire };
    if playing.script.peek().is_none() {
        playing.finish();
    }
    StreamBody::new(stream::unfold(playing, Playing::next)).boxed_unsync()
}

struct Playing {
    script: Peekable<Script>,
    reservation: Option<Reservation>,
    record: Record,
    wire: Arc<Wire>,
}

impl Playing {
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Infallible>, Self)> {
        loop {
            match self.script.next()? {
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Send { bytes, frames, tokens } => {
                    if let Some(reservation) = &mut self.reservation {
                        reservation.generated(tokens);
                    }
                    self.record.note(|entry| {
                        entry.frames += frames;
                        entry.output_tokens += tokens;
                    });
                    // A body of known length is not asked again after its last byte, so that the
                    // end is noted with the last step.
                    if self.script.peek().is_none() {
                        self.finish();
                    }
                    return Some((Ok(Frame::data(bytes)), self));
                }
                Step::Break(how) => {
                    self.reservation = None;
                    self.record.end(Ending::Broken);
                    self.wire.break_connection(how);
                    std::future::pending::<()>().await;
                }
                Step::Stall => std::future::pending::<()>().await,
            }
        }
    }

    fn finish(&mut self) {
        self.reservation = None;
        self.record.end(Ending::Finished);
    }
}

fn frame_of(bytes: Bytes) -> Step {
    Step::Send { bytes, frames: 1, tokens: 0 }
}

/// Puts other steps in the place of the `nth` sending (from 1), and ends there unless `go_on`.
fn at(
    script: Script,
    nth: u64,
    go_on: bool,
    change: impl Fn(Step) -> Vec<Step> + Send + 'static,
) -> Script {
    let (mut sent, mut ended) = (0, false);
    Box::new(
        script
            .map_while(move |step| {
                if ended {
                    return None;
                }
                sent += u64::from(matches!(step, Step::Send { .. }));
                if sent == nth && matches!(step, Step::Send { .. }) {
                    ended = !go_on;
                    return Some(change(step));
                }
                Some(vec![step])
            })
            .flatten(),
    )
}

/// Ends the script after `frames` sendings, with one step more.
fn after(script: Script, frames: u64, last: impl Fn() -> Option<Step> + Send + 'static) -> Script {
    if frames == 0 {
        return Box::new(last().into_iter());
    }
    at(script, frames, false, move |step| [Some(step), last()].into_iter().flatten().collect())
}

/// Cuts the `nth` sending in its middle and ends there, the connection as `fault` says.
fn cut(script: Script, nth: u64, fault: Option<ConnectionFault>) -> Script {
    at(script, nth, false, move |step| {
        let mut steps = Vec::new();
        if let Step::Send { mut bytes, .. } = step {
            bytes.truncate(bytes.len() / 2);
            steps.push(Step::Send { bytes, frames: 0, tokens: 0 });
        }
        steps.extend(fault.map(Step::Break));
        steps
    })
}

/// The script up to its last sending.
fn without_last(script: Script) -> Script {
    let mut held: Option<Step> = None;
    Box::new(script.flat_map(move |step| match step {
        Step::Send { .. } => held.replace(step),
        other => Some(other),
    }))
}

fn trickle(script: Script, size: usize, ms: u64) -> Script {
    let pause = Duration::from_millis(ms.min(3_600_000));
    Box::new(script.flat_map(move |step| match step {
        Step::Send { mut bytes, frames, tokens } => {
            let mut steps = Vec::new();
            while !bytes.is_empty() {
                let piece = bytes.split_to(size.min(bytes.len()));
                let last = bytes.is_empty();
                steps.push(Step::Wait(pause));
                steps.push(Step::Send {
                    bytes: piece,
                    frames: if last { frames } else { 0 },
                    tokens: if last { tokens } else { 0 },
                });
            }
            steps
        }
        other => vec![other],
    }))
}

fn exception(name: String) -> impl Fn(Step) -> Vec<Step> + Send + 'static {
    move |_| {
        let message = match name.as_str() {
            "throttlingException" => "Too many requests, please wait before trying again.",
            "modelTimeoutException" => "The model timed out while it streamed its answer.",
            "serviceUnavailableException" => "Bedrock is unable to process your request.",
            "validationException" => "The request is not valid.",
            _ => "The system encountered an unexpected error during processing. Try again.",
        };
        let mut payload = json!({ "message": message });
        if let (true, Some(object)) = (name == "modelStreamErrorException", payload.as_object_mut())
        {
            object.insert("originalStatusCode".to_owned(), Value::from(500));
            object.insert("originalMessage".to_owned(), Value::from("The model failed."));
        }
        vec![frame_of(event_stream::exception(&name, payload.to_string()))]
    }
}

/// A message of type `error`, which no service model describes.
fn error_frame() -> Bytes {
    let text = |text: &'static str| HeaderValue::String(text.into());
    let message = Message::new(Bytes::new())
        .add_header(Header::new(":message-type", text("error")))
        .add_header(Header::new(":error-code", text("InternalFailure")))
        .add_header(Header::new(":error-message", text("An internal server error occurred.")));
    let mut frame = Vec::new();
    // Fails only for messages far larger than this one.
    let _ = write_message_to(&message, &mut frame);
    frame.into()
}
