//! Every fault of the simulator, and exactly what the gateway makes of it.
//!
//! The first target has the fault once, the second is well. Who answered, after how many
//! attempts, or what was relayed: each row says it all.

use bytes::Bytes;
use sluice::bedrock::event_stream::{Frame, Kind, frame_len};
use sluice::simulator::Fault;

use crate::support::http::{self, Response};
use crate::support::{Config, Gateway, PRIMARY, SECOND, Simulator, bodies};

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// A whole answer of this model after so many attempts.
    Answered(&'static str, u8),
    /// The first target's own error with this status and name.
    Relayed(u16, &'static str),
    /// An answer of the first target that breaks off after so many events.
    Broken(usize),
    /// A stream of the first target that ends well after so many events.
    EndsAfter(usize),
    /// A stream of the first target with an exception (or an unmodelled error) after so many
    /// events.
    Raises(usize, &'static str),
}

use Outcome::{Answered, Broken, EndsAfter, Raises, Relayed};

#[tokio::test(flavor = "multi_thread")]
async fn of_whole_answers() {
    let mut rows = any_operation();
    rows.extend([(Fault::ShortBody, Broken(0)), (Fault::ResetMidBody, Broken(0))]);
    for (fault, outcome) in rows {
        let (response, gateway) = post("invoke", &fault).await;
        assert_eq!(seen(&response), outcome, "{fault:?}: {response:?}");
        gateway.is_healthy().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_streams() {
    let first = |name: &str| Fault::ExceptionFirstFrame { name: name.to_owned() };
    let fourth = |name: &str| Fault::ExceptionFrame { name: name.to_owned(), frame: 4 };
    let mut rows = any_operation();
    rows.extend([
        (Fault::Json200OnStream, Answered(PRIMARY, 2)),
        // Broken before anything was relayed: nothing speaks against another try.
        (Fault::ShortBody, Answered(PRIMARY, 2)),
        (Fault::ResetMidBody, Answered(PRIMARY, 2)),
        (Fault::TruncatedFrame { frame: 1 }, Answered(PRIMARY, 2)),
        (Fault::EmptyStream, Answered(PRIMARY, 2)),
        (Fault::ErrorFrame { frame: 1 }, Answered(PRIMARY, 2)),
        (Fault::ResetAfterFrames { frames: 0 }, Answered(PRIMARY, 2)),
        (first("throttlingException"), Answered(SECOND, 2)),
        (first("modelTimeoutException"), Answered(SECOND, 2)),
        (first("internalServerException"), Answered(PRIMARY, 2)),
        (first("serviceUnavailableException"), Answered(PRIMARY, 2)),
        (first("validationException"), Raises(0, "validationException")),
        (first("modelStreamErrorException"), Raises(0, "modelStreamErrorException")),
        // Broken after the beginning: the client must hear of it.
        (Fault::ResetAfterFrames { frames: 2 }, Raises(2, "modelStreamErrorException")),
        (Fault::CloseAfterFrames { frames: 2 }, Raises(2, "modelStreamErrorException")),
        (Fault::StallAfterFrames { frames: 2 }, Raises(2, "modelStreamErrorException")),
        (Fault::TruncatedFrame { frame: 4 }, Broken(3)),
        (fourth("throttlingException"), Raises(3, "throttlingException")),
        (fourth("internalServerException"), Raises(3, "internalServerException")),
        (Fault::ErrorFrame { frame: 4 }, Raises(3, "InternalFailure")),
        // Not the gateway's to judge: relayed as it is.
        (Fault::EndAfterFrames { frames: 2 }, EndsAfter(2)),
        (Fault::BadCrcFrame { frame: 4 }, Answered(PRIMARY, 1)),
        (Fault::SlowTrickle { bytes: 5, ms: 0 }, Answered(PRIMARY, 1)),
    ]);
    for (fault, outcome) in rows {
        let (response, gateway) = post("invoke-with-response-stream", &fault).await;
        assert_eq!(seen(&response), outcome, "{fault:?}: {response:?}");
        gateway.is_healthy().await;
    }
}

/// The faults that strike before an answer begins.
fn any_operation() -> Vec<(Fault, Outcome)> {
    let conflict = Fault::Error {
        name: "ConflictException".to_owned(),
        status: 400,
        message: "conflict".to_owned(),
    };
    let in_body = Fault::ErrorAsTypeInBody { name: "ThrottlingException".to_owned(), status: 429 };
    vec![
        (Fault::Throttle, Answered(SECOND, 2)),
        (Fault::ThrottleTokens, Answered(SECOND, 2)),
        (Fault::ThrottleDaily, Answered(SECOND, 2)),
        (Fault::ServiceQuotaExceeded, Answered(SECOND, 2)),
        (in_body, Answered(SECOND, 2)),
        (Fault::ModelTimeout, Answered(SECOND, 2)),
        (Fault::HangBeforeHead, Answered(SECOND, 2)),
        (Fault::ModelNotReady, Answered(PRIMARY, 2)),
        (Fault::ServiceUnavailable, Answered(PRIMARY, 2)),
        (Fault::Internal, Answered(PRIMARY, 2)),
        (Fault::Html502, Answered(PRIMARY, 2)),
        (Fault::ResetBeforeHead, Answered(PRIMARY, 2)),
        (Fault::CloseBeforeHead, Answered(PRIMARY, 2)),
        (Fault::GarbageHead, Answered(PRIMARY, 2)),
        (Fault::SlowHead { ms: 50 }, Answered(PRIMARY, 1)),
        (Fault::ModelError, Relayed(424, "ModelErrorException")),
        (Fault::Validation, Relayed(400, "ValidationException")),
        (Fault::AccessDenied, Relayed(403, "AccessDeniedException")),
        (Fault::NotFound, Relayed(404, "ResourceNotFoundException")),
        // The gateway's own credentials, which another target may have better ones of.
        (Fault::ExpiredToken, Answered(SECOND, 2)),
        (Fault::InvalidSignature, Answered(SECOND, 2)),
        (conflict, Relayed(400, "ConflictException")),
    ]
}

async fn post(suffix: &str, fault: &Fault) -> (Response, Gateway) {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2)
        .set("upstream.first_byte_timeout", "400ms")
        .set("upstream.idle_timeout", "400ms");
    let gateway = Gateway::start(&config).await;
    simulator.strikes(PRIMARY, 1, fault.clone());
    let url = format!("{}/model/{PRIMARY}/{suffix}", gateway.url());
    let response = http::post(&url, &[], bodies::messages("hello", 20)).await;
    let attempts = simulator.log().len().to_string();
    assert_eq!(response.header("x-sluice-attempts"), Some(&*attempts), "{fault:?}");
    (response, gateway)
}

fn seen(response: &Response) -> Outcome {
    if response.status != 200 {
        let name = response.header("x-amzn-errortype").unwrap().split(':').next().unwrap();
        return Relayed(response.status, leaked(name));
    }
    let streams = response.header("content-type") == Some("application/vnd.amazon.eventstream");
    let (events, exception) = if streams { frames(&response.body) } else { (Vec::new(), None) };
    if response.broken {
        return Broken(events.len());
    }
    if let Some(name) = exception {
        return Raises(events.len(), leaked(&name));
    }
    let whole = match streams {
        true => events.last().is_some_and(|last| last.contains("invocationMetrics")),
        false => response.json()["usage"].is_object(),
    };
    if !whole {
        return EndsAfter(events.len());
    }
    let model = leaked(response.header("x-sluice-model").unwrap());
    let said = if streams { events.concat() } else { response.text() };
    assert!(said.contains(model), "{model}: {said}");
    Answered(model, response.header("x-sluice-attempts").unwrap().parse().unwrap())
}

/// The events of a stream, decoded, and the exception behind them.
fn frames(body: &Bytes) -> (Vec<String>, Option<String>) {
    use base64::Engine as _;
    let (mut events, mut rest) = (Vec::new(), &body[..]);
    while let Ok(Some(length)) = frame_len(rest) {
        let Ok(Some(frame)) = Frame::read(rest) else { break };
        match frame.kind() {
            Kind::Event(_) => {
                let payload: serde_json::Value = serde_json::from_slice(frame.payload).unwrap();
                let bytes = payload["bytes"].as_str().unwrap();
                let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).unwrap();
                events.push(String::from_utf8(bytes).unwrap());
            }
            Kind::Exception(name) | Kind::Error(name) => return (events, Some(name.to_owned())),
            Kind::Other => panic!("a frame of no kind"),
        }
        rest = &rest[length..];
    }
    (events, None)
}

/// Rows are compared as constants.
fn leaked(text: &str) -> &'static str {
    text.to_owned().leak()
}
