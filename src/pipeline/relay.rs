//! Relays answers to the client: bytes as they arrive, with backpressure.
//!
//! A tap reads token counts and the end of the stream from the bytes as they pass; nothing is
//! buffered for it. A body that breaks at the upstream breaks at the client, so that its SDK raises an
//! error: no failure in the middle looks like an end. If a stream breaks, or its time is over, at a
//! frame's end, the gateway adds an exception frame of its own, because a proxy on the way to the
//! client may turn a broken body into a complete one.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::context::{Guards, Outcome, RequestContext};
use super::event_tap::{EventError, failure_message};
use super::events_error;
use super::headers::strip_for_client;
use super::keeping::Keeping;
use super::own_headers::add_own_headers;
use super::responses::IdSealer;
use super::rewritten_body::{Change, RewriteError};
use super::translated_answer::TranslatedAnswer;
use super::usage_tap::{TapError, UsageTap};
use crate::api::errors;
use crate::bedrock::dialect::DialectError;
use crate::bedrock::{Api, ErrorKind, Operation, ServiceTier, Usage, event_stream};
use crate::bridge::AnswerError;
use crate::catalogue::Mode;
use crate::limits::OverBudget;
use crate::quota::Overloaded;
use crate::routing::{ActiveReservation, OutageCause, OutageReason, RequestSize};
use crate::system::time::{Sleep, sleep_until};
use crate::upstream::{self, Success};

/// The body of an answer; `B` is the upstream's.
#[derive(Debug)]
pub struct ResponseBody<B = upstream::Body>(Inner<B>);

#[derive(Debug)]
enum Inner<B> {
    /// In memory; the record, if there is one, ends with it.
    Buffered { bytes: Bytes, _context: Option<Box<RequestContext>> },
    /// Relayed as it comes.
    Relayed(Pin<Box<Relay<B>>>),
    /// What was relayed, all of it in memory. The record ends with it.
    Held { bytes: Bytes, relay: Pin<Box<Relay<B>>> },
}

/// Of an answer so many bytes may be held without counting as in flight, since the bound on requests bounds them.
pub(super) const ORDINARY_HELD: usize = 16 * 1024;

/// Past the deadline: if the relay last saw the upstream idle longer ago than this, the client is the
/// slow side.
const STALL_THRESHOLD: Duration = Duration::from_millis(500);

/// Why what must be held of an answer can't be: it is too long, or too much else is in flight.
pub(super) const TOO_LONG: &str = "too_long";
pub(super) const NO_ROOM: &str = "no_room";

/// When an answer must have ended: an extension of answers whose deadline is not that of every
/// request.
#[derive(Clone, Copy, Debug)]
pub struct ResponseDeadline(pub Instant);

/// Why the body of an answer breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The upstream's body broke off, or ended within a frame.
    #[error("the upstream closed the connection before its answer was complete")]
    Broken,
    /// The upstream was silent for too long.
    #[error("the upstream's answer stalled")]
    Idle,
    /// The client's events broke off, or are not what its client signed.
    #[error("the client's events ended early")]
    Events,
    /// The client's budget is used up.
    #[error("the client's budget is used up")]
    OverBudget,
    /// The time for the whole request is over.
    #[error("the request took too long")]
    Deadline,
    /// The gateway failed on it.
    #[error("the gateway failed")]
    Panic,
}

/// How the body of a success is relayed.
#[derive(Debug, Default)]
pub(super) struct RelayPlan {
    /// The API whose form it has.
    pub(super) api: Api,
    /// Whether it is a stream.
    pub(super) streams: bool,
    /// How a JSON answer is changed.
    pub(super) change: Option<Change>,
    /// Whether the chunk of a stream that has only the usage is left out.
    pub(super) hides_usage: bool,
    /// What translates it, if it is translated.
    pub(super) translated: Option<Box<TranslatedAnswer>>,
    /// What seals the ids of stored responses.
    pub(super) ids: Option<IdSealer>,
    /// The beta flags that were left out, with commas between them.
    pub(super) dropped_betas: Option<Box<str>>,
}

impl RelayPlan {
    /// Whether what translates the answer holds the request until its end.
    pub(super) fn holds_request(&self) -> bool {
        self.translated.as_ref().is_some_and(|answer| answer.holds_request())
    }
}

/// The answer that relays a success of `target`.
pub(super) fn success<B>(
    mut context: Box<RequestContext>,
    operation: Operation,
    plan: RelayPlan,
    success: Success<B>,
    reservation: ActiveReservation,
    size: RequestSize,
    deadline: Instant,
) -> Response<ResponseBody<B>> {
    let Success { status, headers: mut head, buffered, body, is_close_delimited } = success;
    let idle = reservation.target().endpoint.idle_timeout;
    context.answer.target = Some(reservation.target().clone());
    context.record_response_head(status, None);
    context.record_tokens(reservation.input(), 0);
    let upstream_idle_since =
        context.timing.started + context.timing.first_byte.unwrap_or_default();
    let RelayPlan { api, streams, change, hides_usage, translated, ids, dropped_betas } = plan;
    let is_translated = translated.is_some();
    context.answer.dropped_betas = dropped_betas;
    let usage_tap = if let Some(answer) = translated {
        UsageTap::translated(*answer)
    } else if streams && api != Api::Bedrock {
        UsageTap::events(api, hides_usage, ids)
    } else if let Some(change) = change.or(ids.map(Change::SealIds)) {
        UsageTap::rewritten(api, change)
    } else if operation.is_stream() {
        if context.consumption.bound.is_some() {
            UsageTap::stream_with_initial_usage()
        } else {
            UsageTap::stream()
        }
    } else {
        // Embeddings and images are large and report no cache tokens.
        let known = reservation.target().model_info.as_ref();
        let is_chat = known.and_then(|facts| facts.mode).is_none_or(|mode| mode == Mode::Chat);
        UsageTap::unary(api, Usage::from_headers(&head), is_chat || is_close_delimited)
    };
    context.consumption.served_tier = ServiceTier::in_headers(&head);
    strip_for_client(&mut head);
    add_own_headers(&mut head, &context);
    if usage_tap.changes_length() {
        head.remove(CONTENT_LENGTH);
    }
    // A stream of events that lacks the one that ends it has failed, however its body ends.
    let is_of_events = streams && (is_translated || api != Api::Bedrock);
    let check_completeness =
        is_of_events || is_close_delimited && (operation.is_stream() || is_json(&head));
    // For all other operations the maximum cost is reserved before the attempt.
    let is_metered = operation == Operation::InvokeModelWithBidirectionalStream;
    let relay = Relay {
        api,
        body,
        buffered: buffered.into_iter(),
        usage_tap,
        context,
        reservation: Some(reservation),
        size,
        idle,
        deadline,
        timer: sleep_until(deadline),
        is_timer_armed: false,
        upstream_idle_since,
        is_metered,
        check_completeness,
        over_budget: None,
        keeping: None,
        is_over: false,
        pending_error: None,
    };
    respond(status, head, ResponseBody(Inner::Relayed(Box::pin(relay))))
}

/// An answer of these parts.
pub(super) fn respond<B>(
    status: StatusCode,
    head: HeaderMap,
    body: ResponseBody<B>,
) -> Response<ResponseBody<B>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = head;
    response
}

fn is_json(head: &HeaderMap) -> bool {
    const JSON: &[u8] = b"application/json";
    let value = head.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    value.get(..JSON.len()).is_some_and(|start| start.eq_ignore_ascii_case(JSON))
}

pin_project_lite::pin_project! {
    /// A body under way.
    #[derive(Debug)]
    struct Relay<B> {
        // The API whose form the stream's error events have.
        api: Api,
        #[pin]
        body: B,
        // What was read to classify the first frame; relayed first.
        buffered: std::vec::IntoIter<Bytes>,
        usage_tap: UsageTap,
        context: Box<RequestContext>,
        // What the answer holds of its target's quota, until it is settled.
        reservation: Option<ActiveReservation>,
        size: RequestSize,
        idle: Duration,
        deadline: Instant,
        #[pin]
        timer: Sleep,
        is_timer_armed: bool,
        // When the upstream last had nothing to give.
        upstream_idle_since: Instant,
        // Whether the client's budget is charged while the stream runs.
        is_metered: bool,
        // Whether only the content shows that the body is complete.
        check_completeness: bool,
        // The budget that was used up meanwhile.
        over_budget: Option<OverBudget>,
        // The response is complete and is being kept.
        keeping: Option<Keeping>,
        is_over: bool,
        pending_error: Option<RelayError>,
    }

    impl<B> PinnedDrop for Relay<B> {
        fn drop(this: Pin<&mut Self>) {
            if !this.is_over {
                // What was relayed is known, so it is counted although the client left early.
                let is_late = Instant::now() >= this.deadline;
                this.end(if is_late { Outcome::ClientStalled } else { Outcome::ClientGone });
            }
        }
    }
}

impl<B: Body<Data = Bytes>> Relay<B> {
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, RelayError>>> {
        loop {
            let this = self.as_mut().project();
            if *this.is_over {
                return Poll::Ready(this.pending_error.take().map(Err));
            }
            if let Some(keeping) = this.keeping {
                let is_kept = ready!(Pin::new(keeping).poll(cx));
                *this.keeping = None;
                this.usage_tap.set_stored(is_kept);
                return self.last();
            }
            if let Some(chunk) = this.buffered.next() {
                match self.as_mut().pass(chunk) {
                    Ok(passed) if passed.is_empty() => continue,
                    passed => return Poll::Ready(Some(passed)),
                }
            }
            if let Some(over) = this.over_budget.filter(|_| !this.usage_tap.is_within_frame()) {
                return Poll::Ready(Some(self.budget_exceeded(over)));
            }
            match this.body.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    *this.is_timer_armed = false;
                    // Bedrock sends no trailers; drop any.
                    let Ok(chunk) = frame.into_data() else { continue };
                    match self.as_mut().pass(chunk) {
                        // Nothing of it can be passed on yet.
                        Ok(passed) if passed.is_empty() => continue,
                        passed => return Poll::Ready(Some(passed)),
                    }
                }
                // After the event that ends a stream nothing is missing.
                Poll::Ready(Some(Err(_))) if !this.usage_tap.has_ended() => {
                    return self.fail_broken(cx);
                }
                Poll::Ready(None)
                    if this.usage_tap.is_within_frame()
                        || *this.check_completeness && this.usage_tap.is_incomplete() =>
                {
                    return self.fail_broken(cx);
                }
                Poll::Ready(None | Some(Err(_))) => {
                    *this.keeping = this.usage_tap.begin_to_keep();
                    if this.keeping.is_some() {
                        continue;
                    }
                    return self.last();
                }
                Poll::Pending => {}
            }
            // Silence is timed from when it begins, which costs nothing while bytes flow.
            if !*this.is_timer_armed {
                let now = Instant::now();
                // The client does not read; the connection's own deadline ends the answer.
                if now >= *this.deadline && now - *this.upstream_idle_since > STALL_THRESHOLD {
                    return Poll::Pending;
                }
                *this.is_timer_armed = true;
                *this.upstream_idle_since = now;
                this.timer.reset((now + *this.idle).min(*this.deadline));
            }
            return match self.as_mut().project().timer.poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => Poll::Ready(Some(self.out_of_time())),
            };
        }
    }

    /// Ends a body that is complete, and passes on what of it was held back, if there is something.
    fn last(self: Pin<&mut Self>) -> Poll<Option<Result<Bytes, RelayError>>> {
        let rest = self.finish();
        let is_empty = rest.as_ref().is_ok_and(Bytes::is_empty);
        Poll::Ready((!is_empty).then_some(rest))
    }

    /// Reads a chunk and returns what is passed on.
    fn pass(mut self: Pin<&mut Self>, chunk: Bytes) -> Result<Bytes, RelayError> {
        let this = self.as_mut().project();
        let passed = match this.usage_tap.pass(chunk) {
            Ok(passed) => passed,
            Err(error) => return self.unusable(error),
        };
        let held = this.usage_tap.held_bytes();
        if let Err(overloaded) = hold(&mut this.context.guards, held) {
            let is_translated = this.usage_tap.is_translated();
            if !is_translated && !this.usage_tap.holds_all() {
                return Ok(self.end_with_event(&passed, &EventError::NoRoom(overloaded)));
            }
            this.context.answer.bytes += passed.len() as u64;
            let end = self.unusable(RewriteError::NoRoom(overloaded).into())?;
            return Ok([passed, end].concat().into());
        }
        // If the client leaves, the request costs what was relayed.
        if let (Some(reservation), Some(output)) =
            (this.reservation.as_mut(), this.usage_tap.tokens())
        {
            reservation.observe_output(output);
            this.context.consumption.initial_usage = this.usage_tap.initial_usage();
            this.context.record_tokens(reservation.input(), output);
            if *this.is_metered {
                *this.over_budget = this.context.charge_so_far(this.usage_tap.usage()).err();
            }
        }
        this.context.answer.bytes += passed.len() as u64;
        if let Some(error) = this.usage_tap.take_error() {
            return Ok(self.end_with_event(&passed, &error));
        }
        if this.usage_tap.ends_here() {
            self.finish()?;
            return Ok(passed);
        }
        // A body of known length is not polled again after its last byte.
        if this.buffered.len() == 0
            && this.body.is_end_stream()
            && !this.usage_tap.is_within_frame()
            && !this.usage_tap.changes_length()
        {
            // Of what is not changed nothing is held back.
            self.finish()?;
        }
        Ok(passed)
    }

    /// Ends a body that is complete, and returns what of it was held back.
    fn finish(mut self: Pin<&mut Self>) -> Result<Bytes, RelayError> {
        let rest = match self.as_mut().project().usage_tap.finish() {
            Ok(rest) => rest,
            Err(error) => return self.unusable(error),
        };
        self.as_mut().project().context.answer.bytes += rest.len() as u64;
        // A bidirectional stream, which is metered, ends when its client ends it.
        let outcome = if self.usage_tap.saw_exception() {
            Outcome::StreamException
        } else if !self.is_metered && self.usage_tap.lacks_stop_event() {
            Outcome::Incomplete
        } else {
            Outcome::Success
        };
        self.end(outcome);
        Ok(rest)
    }

    /// Ends a stream with an error event behind what was passed on of it.
    fn end_with_event(mut self: Pin<&mut Self>, passed: &[u8], error: &EventError) -> Bytes {
        let error_event = error.in_dialect();
        self.as_mut().project().context.set_client_message(&error_event.message);
        let id = self.context.request_id.to_string();
        let event = errors::stream_event(self.api, &error_event, &id);
        self.as_mut().project().context.answer.bytes += event.len() as u64;
        let (outcome, reason) = match error {
            EventError::Foreign(_) => (Outcome::StreamException, None),
            EventError::TooLong => (Outcome::StreamBroken, Some(TOO_LONG)),
            EventError::NoRoom(_) => (Outcome::Overloaded, Some(NO_ROOM)),
            EventError::Id => (Outcome::StreamBroken, None),
            EventError::Unreadable => {
                self.as_mut().report_stall(RelayError::Broken);
                (Outcome::StreamBroken, None)
            }
        };
        self.count_unheld(reason);
        self.end(outcome);
        Bytes::from([passed, &event].concat())
    }

    /// Ends a body that can't be relayed any further.
    fn unusable(mut self: Pin<&mut Self>, error: TapError) -> Result<Bytes, RelayError> {
        let message = match &error {
            TapError::Answer(AnswerError::Exception { kind, message }) => {
                failure_message(Some(*kind), message)
            }
            _ => error.to_string(),
        };
        self.as_mut().project().context.set_client_message(&message);
        let unavailable = ErrorKind::ServiceUnavailable;
        let (kind, outcome, reason) = match &error {
            TapError::Rewrite(RewriteError::TooLong) => {
                (unavailable, Outcome::StreamBroken, Some(TOO_LONG))
            }
            TapError::Rewrite(RewriteError::NoRoom(_)) => {
                (unavailable, Outcome::Overloaded, Some(NO_ROOM))
            }
            TapError::Rewrite(RewriteError::Id | RewriteError::Count) => {
                (unavailable, Outcome::StreamBroken, None)
            }
            TapError::Answer(error) => {
                if matches!(error, AnswerError::Unreadable(_) | AnswerError::Incomplete) {
                    self.as_mut().report_stall(RelayError::Broken);
                }
                let outcome = match error {
                    AnswerError::Exception { .. }
                    | AnswerError::Malformed
                    | AnswerError::NotJson => Outcome::StreamException,
                    _ => Outcome::StreamBroken,
                };
                let is_too_long = matches!(error, AnswerError::TooLong(_));
                (error.kind(), outcome, is_too_long.then_some(TOO_LONG))
            }
        };
        self.count_unheld(reason);
        let frame = self.as_mut().error_frame(kind, &message);
        self.end_with_frame(frame, RelayError::Broken, outcome)
    }

    /// Counts an answer that ends because the gateway can't hold what it must hold of it.
    fn count_unheld(&self, reason: Option<&'static str>) {
        let metrics = &self.context.gateway().metrics;
        if let Some(reason) = reason {
            metrics.unheld_answers.with_label_values(&[reason]).inc();
        }
    }

    /// Ends a body that ended early: with an exception frame, where the client can take one. Else
    /// returns the error one poll later, because hyper discards unflushed data on an error but
    /// flushes it on `Pending`.
    fn fail_broken(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, RelayError>>> {
        let by_client = self.context.guards.events.as_ref().and_then(|events| events.error());
        let (frame, error, outcome) = match by_client.cloned() {
            Some(error) => {
                let kind = events_error::kind(&error);
                let frame = self.as_mut().refusal(kind, &error.to_string());
                (frame, RelayError::Events, events_error::outcome(&error))
            }
            None => {
                self.as_mut().report_stall(RelayError::Broken);
                let frame = self.as_mut().exception(RelayError::Broken);
                (frame, RelayError::Broken, Outcome::StreamBroken)
            }
        };
        if self.accepts_frame() {
            return Poll::Ready(Some(self.end_with_frame(frame, error, outcome)));
        }
        self.as_mut().end(outcome);
        *self.project().pending_error = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends a body whose time is over: with an exception, where the client can take one.
    fn out_of_time(mut self: Pin<&mut Self>) -> Result<Bytes, RelayError> {
        let (error, outcome) = if Instant::now() >= self.deadline {
            (RelayError::Deadline, Outcome::RequestTimeout)
        } else {
            // In a conversation the model may have nothing to say.
            if !self.is_metered {
                self.as_mut().report_stall(RelayError::Idle);
            }
            (RelayError::Idle, Outcome::StreamIdle)
        };
        let frame = self.as_mut().exception(error);
        self.end_with_frame(frame, error, outcome)
    }

    /// Ends a body whose client has used up its budget.
    fn budget_exceeded(mut self: Pin<&mut Self>, over: OverBudget) -> Result<Bytes, RelayError> {
        self.as_mut().project().context.caller.denied_by = Some(over.policy());
        let frame = self.as_mut().refusal(ErrorKind::AccessDenied, &over.to_string());
        self.end_with_frame(frame, RelayError::OverBudget, Outcome::ClientDenied)
    }

    /// Ends a body with this frame, where the client can take one, else with the error.
    fn end_with_frame(
        mut self: Pin<&mut Self>,
        frame: Bytes,
        error: RelayError,
        outcome: Outcome,
    ) -> Result<Bytes, RelayError> {
        let accepts_frame = self.accepts_frame();
        self.as_mut().end(outcome);
        if !accepts_frame {
            return Err(error);
        }
        self.project().context.answer.bytes += frame.len() as u64;
        Ok(frame)
    }

    /// Whether the client can take a frame of the gateway's own.
    fn accepts_frame(&self) -> bool {
        let has_length =
            self.body.size_hint().exact().is_some() && !self.usage_tap.changes_length();
        self.usage_tap.accepts_frame() && !has_length
    }

    /// The frame that ends a body with this error, whose message is noted.
    fn exception(mut self: Pin<&mut Self>, error: RelayError) -> Bytes {
        let limit = match error {
            RelayError::Idle => self.idle,
            _ => self.deadline.saturating_duration_since(self.context.timing.started),
        };
        let limit = humantime::format_duration(limit);
        let message = match error {
            RelayError::Idle => format!("the upstream's answer stalled: nothing came for {limit}"),
            RelayError::Broken => error.to_string(),
            _ => format!("the request was not answered within {limit}"),
        };
        self.as_mut().project().context.set_client_message(&message);
        let kind = match error {
            RelayError::Broken => ErrorKind::ServiceUnavailable,
            _ => ErrorKind::ModelTimeout,
        };
        self.error_frame(kind, &message)
    }

    /// The frame or event that ends a body with this error, whose message is noted. An event stream of Bedrock has
    /// one exception for all that its client did.
    fn refusal(mut self: Pin<&mut Self>, kind: ErrorKind, message: &str) -> Bytes {
        self.as_mut().project().context.set_client_message(message);
        let is_clients = kind.status().is_client_error();
        if !is_clients || self.api != Api::Bedrock || self.usage_tap.is_translated() {
            return self.error_frame(kind, message);
        }
        let payload = serde_json::json!({ "message": message });
        event_stream::exception("validationException", payload.to_string())
    }

    /// A frame or an event with an error, in the form of the stream.
    fn error_frame(mut self: Pin<&mut Self>, kind: ErrorKind, message: &str) -> Bytes {
        let request_id = self.context.request_id;
        if self.usage_tap.is_translated() {
            let error = DialectError::new(kind, message);
            let id = request_id.to_string();
            return self.as_mut().project().usage_tap.fail(&error, &id).unwrap_or_default();
        }
        if self.api != Api::Bedrock {
            let error = DialectError::new(kind, message);
            return errors::stream_event(self.api, &error, &request_id.to_string());
        }
        let payload = serde_json::json!({
            "message": message,
            "originalStatusCode": kind.status().as_u16(),
            "originalMessage": message,
        });
        event_stream::exception("modelStreamErrorException", payload.to_string())
    }
}

/// Counts what is held of an answer as in flight.
fn hold(guards: &mut Guards, bytes: usize) -> Result<(), Overloaded> {
    let Some(share) = &mut guards.in_flight else { return Ok(()) };
    if bytes > ORDINARY_HELD {
        return share.reserve_bytes(bytes);
    }
    share.release_body();
    Ok(())
}

impl<B> Relay<B> {
    /// Ends a body whose poll panicked. What was recorded before still counts.
    fn panicked(self: Pin<&mut Self>) {
        let this = self.project();
        *this.is_over = true;
        this.context.record_panic();
        drop(this.reservation.take());
    }

    /// Reports to the target that its answer broke off or stalled.
    fn report_stall(self: Pin<&mut Self>, error: RelayError) {
        let this = self.project();
        if let Some(reservation) = this.reservation {
            reservation.stalled(&OutageCause {
                reason: OutageReason::Stalled,
                message: error.to_string(),
                request_id: Some(this.context.request_id),
            });
        }
    }

    fn end(self: Pin<&mut Self>, outcome: Outcome) {
        let this = self.project();
        *this.is_over = true;
        this.context.set_outcome(outcome);
        let usage = this.usage_tap.usage();
        this.context.consumption.report(usage, this.context.call.operation);
        if let Some(mut reservation) = this.reservation.take() {
            if outcome == Outcome::Success {
                reservation.completed();
            }
            if let Some(usage) = usage {
                reservation.settle(&usage, this.size);
            }
        }
    }
}

impl<B> ResponseBody<B> {
    /// A body in memory. The record, if there is one, ends with it.
    pub(super) fn buffered(bytes: Bytes, context: Option<Box<RequestContext>>) -> ResponseBody<B> {
        ResponseBody(Inner::Buffered { bytes, _context: context })
    }

    /// Whether nothing of it goes out before all of it is there.
    pub(super) fn holds_all(&self) -> bool {
        matches!(&self.0, Inner::Relayed(relay) if relay.usage_tap.holds_all())
    }

    /// Of an answer that has ended, these bytes in its place.
    pub(super) fn with_held(self, bytes: Bytes) -> ResponseBody<B> {
        ResponseBody(match self.0 {
            Inner::Relayed(relay) | Inner::Held { relay, .. } => Inner::Held { bytes, relay },
            Inner::Buffered { _context, .. } => Inner::Buffered { bytes, _context },
        })
    }

    /// The record of a request whose answer is relayed.
    pub(super) fn context_mut(&mut self) -> Option<&mut RequestContext> {
        match &mut self.0 {
            Inner::Relayed(relay) | Inner::Held { relay, .. } => {
                Some(&mut **relay.as_mut().project().context)
            }
            Inner::Buffered { .. } => None,
        }
    }

    /// Whether it may break off before its end.
    pub fn may_still_fail(&self) -> bool {
        matches!(&self.0, Inner::Relayed(relay) if !relay.is_over)
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        match &mut self.0 {
            Inner::Buffered { bytes, .. } | Inner::Held { bytes, .. } if bytes.is_empty() => {
                Poll::Ready(None)
            }
            Inner::Buffered { bytes, .. } | Inner::Held { bytes, .. } => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Inner::Relayed(relay) => {
                let polled = catch_unwind(AssertUnwindSafe(|| relay.as_mut().poll(cx)));
                let chunk = polled.unwrap_or_else(|_| {
                    relay.as_mut().panicked();
                    Poll::Ready(Some(Err(RelayError::Panic)))
                });
                chunk.map(|chunk| chunk.map(|result| result.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Buffered { bytes, .. } | Inner::Held { bytes, .. } => bytes.is_empty(),
            Inner::Relayed(relay) => relay.is_over && relay.pending_error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Buffered { bytes, .. } | Inner::Held { bytes, .. } => {
                SizeHint::with_exact(bytes.len() as u64)
            }
            Inner::Relayed(relay)
                if relay.buffered.len() == 0 && !relay.usage_tap.changes_length() =>
            {
                relay.body.size_hint()
            }
            Inner::Relayed(_) => SizeHint::default(),
        }
    }
}
