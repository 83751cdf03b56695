//! Answers on their way to the client: bytes as they come, with the pace of the slower side.
//!
//! What passes is watched for token counts and for the end of the stream; nothing is held back
//! for it. A body that breaks off at the upstream breaks off at the client, so that its SDK
//! raises: no failure in the middle looks like an end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::exchange::{Exchange, Outcome, millis};
use super::prepare::{value, without_hop_by_hop};
use super::refusal::{Refusal, Refused};
use super::watch::Watch;
use crate::bedrock::{Operation, Usage};
use crate::clients::{OverBudget, usd};
use crate::routing::{Size, Spending, Target};
use crate::upstream::{Failure, Success};

const MODEL: HeaderName = HeaderName::from_static("x-sluice-model");
const REGION: HeaderName = HeaderName::from_static("x-sluice-region");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-sluice-attempts");
const QUEUED: HeaderName = HeaderName::from_static("x-sluice-queued-ms");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-sluice-request-id");
const BUDGET: HeaderName = HeaderName::from_static("x-sluice-budget-remaining-usd");
const AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The body of an answer.
#[derive(Debug)]
pub struct ResponseBody(Inner);

#[derive(Debug)]
enum Inner {
    /// In memory; the record ends with it.
    Whole { bytes: Bytes, _exchange: Box<Exchange> },
    /// Relayed as it comes.
    Relayed(Pin<Box<Relay>>),
}

/// Why the body of an answer breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The upstream's body broke off, or ended within a frame.
    #[error("the upstream's answer broke off")]
    Broken,
    /// The upstream was silent for too long.
    #[error("the upstream's answer stalled")]
    Idle,
    /// The time for the whole request is over.
    #[error("the request took too long")]
    Deadline,
}

/// The answer that relays a success of `target`.
pub(super) fn success(
    mut exchange: Box<Exchange>,
    operation: Operation,
    success: Success,
    spending: Spending,
    size: Size,
    deadline: Instant,
) -> Response<ResponseBody> {
    let Success { status, headers, held, body } = success;
    let idle = spending.target().idle_timeout;
    exchange.answered_by = Some(Arc::clone(spending.target()));
    exchange.answering(status, None);
    exchange.spent(spending.input(), 0);
    let mut head = without_hop_by_hop(&headers);
    add_own_headers(&mut head, &exchange);
    let watch = if operation.is_stream() {
        Watch::stream()
    } else {
        Watch::unary(Usage::from_headers(&headers))
    };
    let relay = Relay {
        body,
        held: held.into_iter(),
        watch,
        exchange,
        spending: Some(spending),
        size,
        idle,
        deadline,
        timer: tokio::time::sleep_until(deadline),
        is_timing: false,
        is_over: false,
        broken: None,
    };
    respond(status, head, Inner::Relayed(Box::pin(relay)))
}

/// The answer that relays a failure as it came.
pub(super) fn failure(
    mut exchange: Box<Exchange>,
    failure: Failure,
    target: Arc<Target>,
) -> Response<ResponseBody> {
    exchange.answering(failure.status, failure.reported.name.as_deref());
    exchange.ended(if failure.class.is_clients() {
        Outcome::ClientError
    } else {
        Outcome::UpstreamError
    });
    let mut head = without_hop_by_hop(&failure.headers);
    head.remove(CONTENT_LENGTH);
    if failure.from_upstream {
        exchange.answered_by = Some(target);
    }
    whole(failure.status, head, failure.body, exchange)
}

/// The answer to a request that the gateway refuses.
pub(super) fn refuse(refused: Refused) -> Response<ResponseBody> {
    let Refused { refusal, mut exchange } = refused;
    exchange.answering(refusal.kind().status(), Some(refusal.kind().name()));
    exchange.ended(refusal.outcome());
    match &refusal {
        Refusal::Limited(limited) => exchange.limited_by = Some(limited.limit),
        Refusal::OverBudget(over @ OverBudget::Held(_)) => {
            exchange.limited_by = Some(over.policy());
        }
        Refusal::OverBudget(over) => exchange.denied_by = Some(over.policy()),
        Refusal::Denied(denied) => exchange.denied_by = Some(denied.policy()),
        _ => {}
    }
    let (head, body) = refusal.into_response().into_parts();
    whole(head.status, head.headers, body, exchange)
}

fn whole(
    status: StatusCode,
    mut head: HeaderMap,
    bytes: Bytes,
    mut exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    exchange.response_bytes = bytes.len() as u64;
    add_own_headers(&mut head, &exchange);
    respond(status, head, Inner::Whole { bytes, _exchange: exchange })
}

fn respond(status: StatusCode, head: HeaderMap, body: Inner) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody(body));
    *response.status_mut() = status;
    *response.headers_mut() = head;
    response
}

fn add_own_headers(head: &mut HeaderMap, exchange: &Exchange) {
    let request_id = value(&exchange.request_id);
    if !head.contains_key(&AMZN_REQUEST_ID) {
        head.insert(AMZN_REQUEST_ID, request_id.clone());
    }
    head.insert(REQUEST_ID, request_id);
    head.insert(ATTEMPTS, HeaderValue::from(exchange.attempts.len()));
    head.insert(QUEUED, HeaderValue::from(millis(exchange.queued)));
    if let Some(left) = exchange.account.as_ref().and_then(|account| account.little_left()) {
        head.insert(BUDGET, value(&usd(left).to_string()));
    }
    if let Some(target) = &exchange.answered_by {
        if exchange.requested_model.is_some() {
            head.insert(MODEL, value(target.model.as_str()));
        }
        head.insert(REGION, value(&target.region));
    }
}

pin_project_lite::pin_project! {
    /// A body under way.
    #[derive(Debug)]
    struct Relay {
        #[pin]
        body: Incoming,
        // What was read to see the first frame goes out first.
        held: std::vec::IntoIter<Bytes>,
        watch: Watch,
        exchange: Box<Exchange>,
        // What the answer holds of its target's quota, until it is settled.
        spending: Option<Spending>,
        size: Size,
        idle: Duration,
        deadline: Instant,
        #[pin]
        timer: Sleep,
        is_timing: bool,
        is_over: bool,
        broken: Option<RelayError>,
    }
}

impl Relay {
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, RelayError>>> {
        loop {
            let this = self.as_mut().project();
            if *this.is_over {
                return Poll::Ready(this.broken.take().map(Err));
            }
            if let Some(chunk) = this.held.next() {
                return Poll::Ready(Some(Ok(self.pass(chunk))));
            }
            match this.body.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    *this.is_timing = false;
                    // Trailers are not Bedrock's and end here.
                    let Ok(chunk) = frame.into_data() else { continue };
                    return Poll::Ready(Some(Ok(self.pass(chunk))));
                }
                Poll::Ready(Some(Err(_))) => return self.broke(cx),
                Poll::Ready(None) if this.watch.is_within_frame() => return self.broke(cx),
                Poll::Ready(None) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            // Silence is timed from when it begins, which costs nothing while bytes flow.
            if !*this.is_timing {
                *this.is_timing = true;
                let quiet_until = Instant::now() + *this.idle;
                this.timer.reset(quiet_until.min(*this.deadline));
            }
            return match self.as_mut().project().timer.poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) if Instant::now() >= self.deadline => {
                    Poll::Ready(Some(Err(self.fail(RelayError::Deadline, Outcome::RequestTimeout))))
                }
                Poll::Ready(()) => {
                    Poll::Ready(Some(Err(self.fail(RelayError::Idle, Outcome::StreamIdle))))
                }
            };
        }
    }

    fn pass(mut self: Pin<&mut Self>, chunk: Bytes) -> Bytes {
        let this = self.as_mut().project();
        this.watch.pass(&chunk);
        // Should the client go away, what has passed is what it cost.
        if let (Some(spending), Some(events)) = (this.spending.as_mut(), this.watch.events()) {
            spending.seen(events);
            this.exchange.spent(spending.input(), events);
        }
        this.exchange.response_bytes += chunk.len() as u64;
        // A body of known length is not asked again when it is all there.
        if this.held.len() == 0 && this.body.is_end_stream() && !this.watch.is_within_frame() {
            self.finish();
        }
        chunk
    }

    fn finish(self: Pin<&mut Self>) {
        let outcome =
            if self.watch.saw_exception() { Outcome::StreamException } else { Outcome::Success };
        self.end(outcome);
    }

    /// Ends a body that broke off. The error is given a poll later: the connection drops what it
    /// holds when it gets one, and flushes what came before when it must wait.
    fn broke(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, RelayError>>> {
        let error = self.as_mut().fail(RelayError::Broken, Outcome::StreamBroken);
        *self.project().broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn fail(self: Pin<&mut Self>, error: RelayError, outcome: Outcome) -> RelayError {
        self.end(outcome);
        error
    }

    fn end(self: Pin<&mut Self>, outcome: Outcome) {
        let this = self.project();
        *this.is_over = true;
        this.exchange.ended(outcome);
        let usage = this.watch.usage();
        this.exchange.usage = usage;
        if let Some(spending) = this.spending.take() {
            match outcome {
                Outcome::StreamBroken | Outcome::StreamIdle => spending.stalled(),
                Outcome::Success => spending.completed(),
                _ => {}
            }
            if let Some(usage) = usage {
                spending.settle(&usage, this.size);
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        match &mut self.0 {
            Inner::Whole { bytes, .. } if bytes.is_empty() => Poll::Ready(None),
            Inner::Whole { bytes, .. } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Relayed(relay) => {
                relay.as_mut().poll(cx).map(|chunk| chunk.map(|result| result.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole { bytes, .. } => bytes.is_empty(),
            Inner::Relayed(relay) => relay.is_over && relay.broken.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Inner::Relayed(relay) if relay.held.len() == 0 => relay.body.size_hint(),
            Inner::Relayed(_) => SizeHint::default(),
        }
    }
}
