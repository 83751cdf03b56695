//! The expected result of each cell, row by row: most faults have the result of their class.

use sluice::simulator::Fault;

use super::cell::{Author, ClientResult, MANY, Operation, Seen};
use super::{Scope, describe};
use Author::{First, Gateway, Second};
use ClientResult::{Answer, Broken, Ends, Error, Raises};

/// The cells of one kind of answer: at the first target, at all.
type Pair = [Seen; 2];

/// A fault and its cells.
pub(super) struct Row {
    pub(super) fault: Fault,
    /// `None` if the fault affects streams only.
    whole: Option<Pair>,
    stream: Pair,
    /// The only operation with this result; `None` if all have it.
    only: Option<Operation>,
}

impl Row {
    pub(super) fn name(&self) -> String {
        let fault = describe(&self.fault);
        self.only.map_or_else(|| fault.clone(), |only| format!("{fault} of {}", only.name()))
    }

    /// An operation with this result, streamed or not.
    pub(super) fn operation(&self, is_stream: bool) -> Operation {
        self.only.unwrap_or(if is_stream { Operation::InvokeStream } else { Operation::Invoke })
    }

    /// The expected result of a cell; `None` if the fault can't occur there.
    pub(super) fn wanted(&self, operation: Operation, scope: Scope) -> Option<&Seen> {
        if self.only.is_some_and(|only| only != operation) {
            return None;
        }
        let pair = if operation.is_stream() { Some(&self.stream) } else { self.whole.as_ref() };
        pair.map(|[first, all]| if scope == Scope::First { first } else { all })
    }
}

fn seen(gets: ClientResult, attempts: usize, outcome: &str, out: [bool; 2]) -> Seen {
    Seen { gets, attempts, outcome: outcome.to_owned(), out }
}

fn error(status: u16, name: &str, who: Author) -> ClientResult {
    Error(status, name.to_owned(), who)
}

fn raises(events: usize, name: &str) -> ClientResult {
    Raises(events, name.to_owned(), First)
}

const IN: [bool; 2] = [false, false];

/// A throttle cools the target, and the request moves to the next one at once.
fn throttled() -> Pair {
    let all = error(429, "ThrottlingException", Gateway);
    [seen(Answer(Second), 2, "success", [true, false]), seen(all, 2, "throttled", [true, true])]
}

/// Another try, then the next target, then the first target's failure as the answer.
fn transient(last: ClientResult) -> Pair {
    [seen(Answer(Second), 3, "success", IN), seen(last, 4, "upstream_error", IN)]
}

/// The next target without another try, then the first target's failure as the answer.
fn left(last: ClientResult, outcome: &str) -> Pair {
    [seen(Answer(Second), 2, "success", IN), seen(last, 2, outcome, IN)]
}

/// The first target's failure is the answer at once.
fn relayed(gets: ClientResult, outcome: &str) -> Pair {
    [(); 2].map(|()| seen(gets.clone(), 1, outcome, IN))
}

/// The gateway's error for an upstream without a response.
fn unavailable() -> Pair {
    transient(error(503, "ServiceUnavailableException", Gateway))
}

/// A fault that occurs before a response begins, for any operation.
fn any(fault: Fault, pair: Pair) -> Row {
    Row { fault, whole: Some(pair.clone()), stream: pair, only: None }
}

fn stream(fault: Fault, pair: Pair) -> Row {
    Row { fault, whole: None, stream: pair, only: None }
}

/// A fault that has another result for each operation.
fn only(operation: Operation, fault: Fault, pair: Pair) -> Row {
    Row { only: Some(operation), ..stream(fault, pair) }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = errors();
    rows.extend(connections());
    rows.extend(streams());
    rows
}

/// Errors in the form of Bedrock's, or similar.
fn errors() -> Vec<Row> {
    let client = |status, name| relayed(error(status, name, First), "client_error");
    let last = |status, name| left(error(status, name, First), "upstream_error");
    let again = |status, name| transient(error(status, name, First));
    let other = |name: &str, status| {
        let message = "no more than this".to_owned();
        Fault::Error { name: name.to_owned(), status, message }
    };
    let in_body = Fault::ErrorAsTypeInBody { name: "ThrottlingException".to_owned(), status: 429 };
    vec![
        any(Fault::Throttle, throttled()),
        any(Fault::ThrottleTokens, throttled()),
        any(Fault::ThrottleDaily, throttled()),
        any(Fault::ServiceQuotaExceeded, throttled()),
        any(in_body, throttled()),
        any(other("ThrottledException", 400), throttled()),
        any(Fault::ModelNotReady, again(429, "ModelNotReadyException")),
        any(Fault::ServiceUnavailable, again(503, "ServiceUnavailableException")),
        any(Fault::Internal, again(500, "InternalServerException")),
        any(Fault::Html502, again(503, "ServiceUnavailableException")),
        any(other("SomethingNew", 599), again(599, "SomethingNew")),
        any(Fault::ModelTimeout, last(408, "ModelTimeoutException")),
        // The gateway's own credentials, which another target may have better ones of.
        any(Fault::ExpiredToken, last(403, "ExpiredTokenException")),
        any(Fault::InvalidSignature, last(403, "InvalidSignatureException")),
        any(Fault::ModelError, client(424, "ModelErrorException")),
        any(Fault::Validation, client(400, "ValidationException")),
        any(Fault::AccessDenied, client(403, "AccessDeniedException")),
        // What the config has put there can't be used.
        any(Fault::NotFound, last(404, "ResourceNotFoundException")),
        any(other("ConflictException", 400), client(400, "ConflictException")),
        any(other("SomethingNew", 418), client(418, "SomethingNew")),
    ]
}

/// Heads and connections.
fn connections() -> Vec<Row> {
    let slow = error(408, "ModelTimeoutException", Gateway);
    let broken = || Some(relayed(Broken(0, First), "stream_broken"));
    vec![
        any(Fault::HangBeforeHead, left(slow, "first_byte_timeout")),
        any(Fault::SlowHead { ms: 50 }, relayed(Answer(First), "success")),
        any(Fault::ResetBeforeHead, unavailable()),
        any(Fault::CloseBeforeHead, unavailable()),
        any(Fault::GarbageHead, unavailable()),
        // Of a whole answer the head is out; of a stream nothing is.
        Row { whole: broken(), ..stream(Fault::ShortBody, unavailable()) },
        Row { whole: broken(), ..stream(Fault::ResetMidBody, unavailable()) },
    ]
}

fn streams() -> Vec<Row> {
    let first = |name: &str| Fault::ExceptionFirstFrame { name: name.to_owned() };
    let fourth = |name: &str| Fault::ExceptionFrame { name: name.to_owned(), frame: 4 };
    let failed =
        |frame| Fault::ResponseFailed { name: "internalServerException".to_owned(), frame };
    let again = |name| transient(raises(0, name));
    let clients = |name| relayed(raises(0, name), "client_error");
    let exception = |name| relayed(raises(3, name), "stream_exception");
    let broken = |events| relayed(Broken(events, First), "stream_broken");
    let early = |outcome| relayed(Ends(MANY, First), outcome);
    let whole = || relayed(Answer(First), "success");
    let slow = error(408, "ModelTimeoutException", Gateway);
    let too_slow = left(raises(0, "modelTimeoutException"), "upstream_error");
    let stalled = Raises(2, "modelStreamErrorException".to_owned(), Gateway);
    let told_of = || relayed(stalled.clone(), "stream_broken");
    vec![
        // It names its error where no error has its name.
        stream(Fault::Json200OnStream, unavailable()),
        stream(Fault::EmptyStream, unavailable()),
        stream(first("throttlingException"), throttled()),
        stream(first("internalServerException"), again("internalServerException")),
        stream(first("serviceUnavailableException"), again("serviceUnavailableException")),
        stream(first("modelTimeoutException"), too_slow),
        stream(first("validationException"), clients("validationException")),
        stream(first("modelStreamErrorException"), clients("modelStreamErrorException")),
        stream(Fault::ErrorFrame { frame: 1 }, again("InternalFailure")),
        stream(Fault::TruncatedFrame { frame: 1 }, unavailable()),
        stream(Fault::ResetAfterFrames { frames: 0 }, unavailable()),
        stream(Fault::CloseAfterFrames { frames: 0 }, unavailable()),
        stream(Fault::EndAfterFrames { frames: 0 }, unavailable()),
        stream(Fault::StallAfterFrames { frames: 0 }, left(slow, "first_byte_timeout")),
        // From here on the stream had begun: it is never begun again elsewhere.
        stream(fourth("throttlingException"), exception("throttlingException")),
        stream(fourth("internalServerException"), exception("internalServerException")),
        stream(fourth("modelStreamErrorException"), exception("modelStreamErrorException")),
        stream(Fault::ErrorFrame { frame: 4 }, exception("InternalFailure")),
        stream(Fault::TruncatedFrame { frame: 4 }, broken(3)),
        stream(Fault::ResetAfterFrames { frames: 2 }, told_of()),
        stream(Fault::CloseAfterFrames { frames: 2 }, told_of()),
        stream(Fault::StallAfterFrames { frames: 2 }, relayed(stalled.clone(), "stream_idle")),
        // Not the gateway's to judge.
        stream(Fault::EndAfterFrames { frames: 2 }, relayed(Ends(2, First), "incomplete")),
        // The answer of Converse is complete before the last event, which tells its usage.
        only(Operation::InvokeStream, Fault::EndBeforeLastFrame, early("incomplete")),
        only(Operation::ConverseStream, Fault::EndBeforeLastFrame, early("success")),
        // In a stream of Bedrock's own, an exception.
        stream(failed(1), again("internalServerException")),
        stream(failed(4), exception("internalServerException")),
        stream(Fault::BadCrcFrame { frame: 1 }, whole()),
        stream(Fault::BadCrcFrame { frame: 4 }, whole()),
        stream(Fault::SlowTrickle { bytes: 5, ms: 0 }, whole()),
    ]
}
