//! Answers that are translated back into the client's API.
//!
//! A whole answer is held until it is complete, within a bound, and translated before anything of it goes out:
//! if it can't be, another target may answer. A stream has begun once the client gets a byte of it; before that,
//! another target may answer, too. Token counts are read from what the upstream sends.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::offload::{LARGE_TRANSLATION, Offload};
use super::relay::{NO_ROOM, ORDINARY_HELD, TOO_LONG};
use super::translated_stream::TranslatedStream;
use super::translations::{Back, Translated};
use crate::bedrock::event_stream;
use crate::bedrock::{Api, ErrorKind, Usage, sse};
use crate::bridge::invoke::to_claude;
use crate::bridge::{AnswerContext, AnswerError, Source, Stamp};
use crate::quota::{InFlightGuard, Overloaded};
use crate::system::time::timeout_at;
use crate::telemetry::UpstreamRequestId;
use crate::upstream::{Body, Failure, FailureClass, Reply, Success};

/// Longest answer that is held, in bytes.
const MAX_BODY: usize = 32 << 20;

/// What came of an attempt.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) reply: Reply,
    /// What goes with a success that is translated.
    pub(super) answer: Option<Box<TranslatedAnswer>>,
    /// Why the gateway can't hold what it must hold of a success.
    pub(super) unheld: Option<Unheld>,
}

impl From<Reply> for Sent {
    fn from(reply: Reply) -> Sent {
        Sent { reply, answer: None, unheld: None }
    }
}

/// Why what must be held of an answer is not held.
#[derive(Debug)]
pub(super) enum Unheld {
    /// It is longer than the gateway holds of any answer. Another target's may be shorter.
    TooLong,
    /// Too much else is in flight. The upstream has answered well, and another target's answer would find no more
    /// room.
    NoRoom(Overloaded),
}

impl Unheld {
    /// Its name in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Unheld::TooLong => TOO_LONG,
            Unheld::NoRoom(_) => NO_ROOM,
        }
    }
}

/// A success that is translated.
#[derive(Debug)]
pub(super) enum TranslatedAnswer {
    /// The bytes that go out are the success's.
    Whole {
        /// What the upstream reported.
        usage: Option<Usage>,
        /// The answer's share of what may be in flight.
        _held: InFlightGuard,
    },
    /// It goes on.
    Stream(Box<TranslatedStream>),
}

impl TranslatedAnswer {
    /// What the upstream reported of a whole answer.
    pub(super) fn usage(&self) -> Option<Usage> {
        match self {
            TranslatedAnswer::Whole { usage, .. } => *usage,
            TranslatedAnswer::Stream(_) => None,
        }
    }

    /// Whether it holds the request, to keep the response at its end.
    pub(super) fn holds_request(&self) -> bool {
        matches!(self, TranslatedAnswer::Stream(stream) if stream.is_to_be_kept())
    }
}

/// What reads an answer.
pub(super) struct Receiver<'a> {
    pub(super) translated: &'a Translated,
    pub(super) stamp: Stamp,
    /// Longest silence.
    pub(super) idle: Duration,
    pub(super) deadline: Instant,
    /// Counts what is held.
    pub(super) held: InFlightGuard,
    /// Translates large answers.
    pub(super) offload: Offload,
}

impl Receiver<'_> {
    /// Translates a success, or as much of it as shows that it goes out.
    pub(super) async fn receive(mut self, mut success: Success) -> Sent {
        let request_id = success.request_id();
        let received = match self.translated.operation.is_stream() {
            true => {
                let stream = self.stream(&mut success).await;
                stream.map(|stream| TranslatedAnswer::Stream(Box::new(stream)))
            }
            false => {
                let whole = self.whole(&mut success).await;
                whole.map(|usage| TranslatedAnswer::Whole { usage, _held: self.held })
            }
        };
        match received {
            Ok(answer) => {
                let reply = Reply::Success(Box::new(success));
                Sent { reply, answer: Some(Box::new(answer)), unheld: None }
            }
            Err(NotReceived::NoRoom(overloaded)) => {
                let reply = Reply::Success(Box::new(success));
                Sent { reply, answer: None, unheld: Some(Unheld::NoRoom(overloaded)) }
            }
            Err(NotReceived::Unusable(unusable)) => {
                let unheld = unusable.is_too_long().then_some(Unheld::TooLong);
                let reply = Reply::Failure(Box::new(unusable.failure(request_id)));
                Sent { reply, answer: None, unheld }
            }
        }
    }

    async fn whole(&mut self, success: &mut Success) -> Result<Option<Usage>, NotReceived> {
        let mut whole = BytesMut::new();
        for chunk in success.buffered.drain(..) {
            whole.extend_from_slice(&chunk);
        }
        while let Some(chunk) = next(&mut success.body, self.idle, self.deadline).await? {
            let length = whole.len().saturating_add(chunk.len());
            if length > MAX_BODY {
                return Err(AnswerError::TooLong(MAX_BODY).into());
            }
            self.held.reserve_bytes(length).map_err(NotReceived::NoRoom)?;
            whole.extend_from_slice(&chunk);
        }
        let headers = &mut success.headers;
        let of_body = Usage::from_api_body(Api::Bedrock, &whole);
        let usage = of_body.or_else(|| Usage::from_headers(headers));
        let whole = whole.freeze();
        let answer = match &self.translated.back {
            Back::Converse(context) => {
                self.translate(context, whole).await.map_err(Unusable::Answer)?
            }
            Back::Claude => to_claude::answer(whole),
        };
        headers.insert(CONTENT_LENGTH, answer.len().into());
        set_content_type(headers, self.source(), false);
        // Clients of InvokeModel find the counts there, whatever the model's body is like.
        if let Some(usage) = usage.filter(|_| self.source() == Source::InvokeClaude) {
            usage.set_headers(headers);
        }
        success.buffered = vec![answer];
        success.is_close_delimited = false;
        Ok(usage)
    }

    /// Translates a whole answer; a large one on another thread.
    async fn translate(&self, context: &AnswerContext, whole: Bytes) -> Result<Bytes, AnswerError> {
        if whole.len() <= LARGE_TRANSLATION {
            return context.answer(&whole, &self.stamp).map(Bytes::from);
        }
        let (context, stamp) = (context.clone(), self.stamp.clone());
        let translating = self
            .offload
            .translate(whole.len(), move || context.answer(&whole, &stamp).map(Bytes::from));
        translating.await
    }

    async fn stream(&mut self, success: &mut Success) -> Result<TranslatedStream, NotReceived> {
        let stamp = std::mem::take(&mut self.stamp);
        let mut stream = TranslatedStream::new(&self.translated.back, stamp);
        for chunk in success.buffered.drain(..) {
            stream.read(&chunk)?;
        }
        while !stream.has_begun() {
            match next(&mut success.body, self.idle, self.deadline).await? {
                Some(chunk) => {
                    stream.read(&chunk)?;
                    let held = stream.held_bytes();
                    if held > ORDINARY_HELD {
                        self.held.reserve_bytes(held).map_err(NotReceived::NoRoom)?;
                    }
                }
                None => {
                    stream.finish()?;
                    break;
                }
            }
        }
        let headers = &mut success.headers;
        headers.remove(CONTENT_LENGTH);
        set_content_type(headers, self.source(), true);
        // What has been translated goes out with the first chunk.
        success.buffered = vec![Bytes::new()];
        Ok(stream)
    }
}

impl Receiver<'_> {
    /// The form that the client expects.
    fn source(&self) -> Source {
        match &self.translated.back {
            Back::Converse(context) => context.source,
            Back::Claude => Source::Messages,
        }
    }
}

/// Why nothing of a success goes out.
enum Unusable {
    Answer(AnswerError),
    /// The upstream fell silent for so long.
    Idle(Duration),
    Broken,
}

/// Why there is nothing to go out.
enum NotReceived {
    Unusable(Unusable),
    /// There is no room to hold it.
    NoRoom(Overloaded),
}

impl From<Unusable> for NotReceived {
    fn from(unusable: Unusable) -> NotReceived {
        NotReceived::Unusable(unusable)
    }
}

impl From<AnswerError> for NotReceived {
    fn from(error: AnswerError) -> NotReceived {
        Unusable::Answer(error).into()
    }
}

impl Unusable {
    fn is_too_long(&self) -> bool {
        matches!(self, Unusable::Answer(AnswerError::TooLong(_)))
    }

    fn failure(self, id: Option<UpstreamRequestId>) -> Failure {
        let broken = |message| {
            let class = FailureClass::Transient;
            Failure::of_success(class, ErrorKind::ServiceUnavailable, message, id)
        };
        match self {
            Unusable::Answer(AnswerError::Exception { kind, message }) => {
                Failure::of_exception(kind, message, id)
            }
            Unusable::Answer(error @ AnswerError::Incomplete) => broken(error.to_string()),
            Unusable::Answer(error) => {
                let class = FailureClass::Untranslatable;
                Failure::of_success(class, error.kind(), error.to_string(), id)
            }
            Unusable::Idle(limit) => {
                let limit = humantime::format_duration(limit);
                let message = format!("the upstream's answer stalled: nothing came for {limit}");
                Failure::of_success(FailureClass::Slow, ErrorKind::ModelTimeout, message, id)
            }
            Unusable::Broken => broken("the upstream's answer broke off".to_owned()),
        }
    }
}

/// The next bytes of a body; `None` at its end.
async fn next(
    body: &mut Body,
    idle: Duration,
    deadline: Instant,
) -> Result<Option<Bytes>, Unusable> {
    loop {
        let until = (Instant::now() + idle).min(deadline);
        match timeout_at(until, body.frame()).await {
            Err(_) => return Err(Unusable::Idle(idle)),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Unusable::Broken),
            Ok(Some(Ok(frame))) => {
                // Bedrock sends no trailers.
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
        }
    }
}

/// Sets the content type of an answer in the form of `source`.
fn set_content_type(headers: &mut HeaderMap, source: Source, streams: bool) {
    let content_type = match (streams, source) {
        (false, _) => "application/json",
        (true, Source::Converse | Source::InvokeClaude) => event_stream::CONTENT_TYPE,
        (true, _) => sse::CONTENT_TYPE,
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if streams && source == Source::InvokeClaude {
        let json = HeaderValue::from_static("application/json");
        headers.insert("x-amzn-bedrock-content-type", json);
    }
}
