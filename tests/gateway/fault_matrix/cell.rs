//! One cell: a request, and its effects as seen from outside.

use std::fmt;

use bytes::Bytes;
use sluice::bedrock::event_stream::{Frame, Kind, frame_len};

use crate::support::bodies;
use crate::support::http::{self, Response};

/// How the messages begin that the gateway writes into an exception frame of its own.
pub(super) const OWN_MESSAGES: [&str; 3] = [
    "\"the upstream's answer stalled",
    "\"the upstream closed the connection",
    "\"the upstream's stream has an event that is not JSON",
];

/// The number from which events are not counted further: how many an answer has differs by operation.
pub(super) const MANY: usize = 5;

/// The operations of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Invoke,
    InvokeStream,
    Converse,
    ConverseStream,
}

impl Operation {
    pub(super) const ALL: [Operation; 4] = [
        Operation::Invoke,
        Operation::InvokeStream,
        Operation::Converse,
        Operation::ConverseStream,
    ];

    pub(super) fn is_stream(self) -> bool {
        matches!(self, Operation::InvokeStream | Operation::ConverseStream)
    }

    /// Its name in the page.
    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Invoke => "InvokeModel",
            Operation::InvokeStream => "InvokeModelWithResponseStream",
            Operation::Converse => "Converse",
            Operation::ConverseStream => "ConverseStream",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Operation::Invoke => "invoke",
            Operation::InvokeStream => "invoke-with-response-stream",
            Operation::Converse => "converse",
            Operation::ConverseStream => "converse-stream",
        }
    }

    fn body(self) -> String {
        match self {
            Operation::Invoke | Operation::InvokeStream => bodies::messages("hello", 20),
            Operation::Converse | Operation::ConverseStream => {
                bodies::conversation("hello", 20).to_string()
            }
        }
    }
}

/// The author of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    First,
    Second,
    Gateway,
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Author::First => "the first",
            Author::Second => "the second",
            Author::Gateway => "the gateway",
        })
    }
}

/// The client's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientResult {
    /// A complete answer.
    Answer(Author),
    /// An error with this status and name.
    Error(u16, String, Author),
    /// An answer that breaks off after so many events.
    Broken(usize, Author),
    /// A stream that ends without an error after so many events, before its last one.
    Ends(usize, Author),
    /// A stream with an exception after so many events.
    Raises(usize, String, Author),
}

impl fmt::Display for ClientResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = |count: &usize| match count {
            0 => String::new(),
            1 => "1 event, then ".to_owned(),
            count if *count >= MANY => format!("{MANY} or more events, then "),
            count => format!("{count} events, then "),
        };
        match self {
            ClientResult::Answer(who) => write!(f, "the answer of {who}"),
            ClientResult::Error(status, name, who) => write!(f, "{status} {name} of {who}"),
            ClientResult::Broken(count, who) => {
                write!(f, "{}a broken body of {who}", events(count))
            }
            ClientResult::Ends(count, who) => write!(f, "{}an early end of {who}", events(count)),
            ClientResult::Raises(count, name, who) => {
                write!(f, "{}`{name}` of {who}", events(count))
            }
        }
    }
}

/// All effects that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) gets: ClientResult,
    pub(super) attempts: usize,
    pub(super) outcome: String,
    /// Whether the first and the second target are out.
    pub(super) out: [bool; 2],
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let out = match self.out {
            [false, false] => "none",
            [true, false] => "the first",
            [false, true] => "the second",
            [true, true] => "both",
        };
        write!(f, "{} | {} | `{}` | {out}", self.gets, self.attempts, self.outcome)
    }
}

/// The effects of a request.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) request_id: String,
    pub(super) gets: ClientResult,
    pub(super) attempts: usize,
    pub(super) outcome: String,
    pub(super) out: [bool; 2],
}

impl Cell {
    pub(super) fn seen(&self) -> Seen {
        Seen {
            gets: self.gets.clone(),
            attempts: self.attempts,
            outcome: self.outcome.clone(),
            out: self.out,
        }
    }
}

/// Asks the first of two models.
pub(super) async fn ask(url: &str, operation: Operation, models: [&str; 2]) -> Cell {
    let url = format!("{url}/model/{}/{}", models[0], operation.suffix());
    let response = http::post(&url, &[], operation.body()).await;
    Cell {
        request_id: response.header("x-sluice-request-id").unwrap().to_owned(),
        attempts: response.header("x-sluice-attempts").unwrap().parse().unwrap(),
        gets: gets(&response, models),
        outcome: String::new(),
        out: [false; 2],
    }
}

/// The target that answered, or the gateway.
pub(super) fn author(response: &Response, models: [&str; 2]) -> Author {
    match response.header("x-sluice-model") {
        Some(model) if model == models[0] => Author::First,
        Some(model) if model == models[1] => Author::Second,
        Some(other) => panic!("answered by {other}"),
        None => Author::Gateway,
    }
}

fn gets(response: &Response, models: [&str; 2]) -> ClientResult {
    let who = author(response, models);
    if response.status != 200 {
        assert!(!response.broken);
        let name = response.header("x-amzn-errortype").map_or_else(
            || named_in_body(&response.body),
            |name| name.split(':').next().unwrap().to_owned(),
        );
        return ClientResult::Error(response.status, name, who);
    }
    let streams = response.header("content-type") == Some("application/vnd.amazon.eventstream");
    if !streams {
        if response.broken {
            return ClientResult::Broken(0, who);
        }
        assert!(response.json()["usage"].is_object(), "{response:?}");
        assert!(response.text().contains("hello"));
        return ClientResult::Answer(who);
    }
    let (events, exception) = events(&response.body);
    let count = events.len().min(MANY);
    match (exception, response.broken) {
        // An exception of the gateway's own is told from one of the upstream's by what it says.
        (Some((name, true)), false) => ClientResult::Raises(count, name, Author::Gateway),
        (Some((name, false)), false) => ClientResult::Raises(count, name, who),
        (Some(exception), true) => panic!("{exception:?} and a broken body"),
        (None, true) => ClientResult::Broken(count, who),
        (None, false) if events.last().is_some_and(is_last) => ClientResult::Answer(who),
        (None, false) => ClientResult::Ends(count, who),
    }
}

/// The name of an error that only its body has.
fn named_in_body(body: &Bytes) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let name = body["__type"].as_str().map(|name| name.rsplit('#').next().unwrap().to_owned());
    name.unwrap_or_else(|| "without a name".to_owned())
}

/// The name of an event, and its payload.
type Event = (String, String);

/// Whether an event is the last one of a complete answer.
fn is_last((name, payload): &Event) -> bool {
    use base64::Engine as _;
    if name != "chunk" {
        return name == "metadata";
    }
    let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
    let bytes = payload["bytes"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).unwrap();
    String::from_utf8_lossy(&bytes).contains("invocationMetrics")
}

/// The events of a stream, and the exception after them with its author.
fn events(body: &Bytes) -> (Vec<Event>, Option<(String, bool)>) {
    let (mut events, mut rest) = (Vec::new(), &body[..]);
    while let Ok(Some(length)) = frame_len(rest) {
        let Ok(Some(frame)) = Frame::read(rest) else { break };
        let payload = String::from_utf8(frame.payload.to_vec()).unwrap();
        match frame.kind() {
            Kind::Event(name) => events.push((name.to_owned(), payload)),
            Kind::Exception(name) | Kind::Error(name) => {
                let is_own = OWN_MESSAGES.iter().any(|own| payload.contains(own));
                return (events, Some((name.to_owned(), is_own)));
            }
            Kind::Other => panic!("a frame of no kind"),
        }
        rest = &rest[length..];
    }
    (events, None)
}
