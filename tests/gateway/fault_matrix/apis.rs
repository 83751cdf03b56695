//! The same faults at OpenAI's and Anthropic's APIs. What each cell must never be is written here; what it is,
//! in the page.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sluice::simulator::{Fault, FaultRule, ModelSettings};

use super::cell::{Author, Cell, ClientResult, MANY, OWN_MESSAGES, author};
use super::expected::rows;
use super::page::{Part, is_written};
use super::{ALONE, AT_ONCE, Scope, base_config, describe, outcomes, states};
use crate::support::http::{self, Response};
use crate::support::{Gateway, Simulator};

/// The APIs of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    ChatCompletions,
    Responses,
    Messages,
}

impl Api {
    const ALL: [Api; 3] = [Api::ChatCompletions, Api::Responses, Api::Messages];

    /// Its name in the config.
    fn name(self) -> &'static str {
        match self {
            Api::ChatCompletions => "chat_completions",
            Api::Responses => "responses",
            Api::Messages => "messages",
        }
    }

    /// Its name in the page.
    fn title(self) -> &'static str {
        match self {
            Api::ChatCompletions => "Chat Completions",
            Api::Responses => "Responses",
            Api::Messages => "Messages",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Api::ChatCompletions => "/openai/v1/chat/completions",
            Api::Responses => "/openai/v1/responses",
            Api::Messages => "/anthropic/v1/messages",
        }
    }

    fn body(self, model: &str, is_stream: bool) -> String {
        let messages = json!([{"role": "user", "content": "hello"}]);
        let mut body = match self {
            Api::ChatCompletions => json!({"max_completion_tokens": 20, "messages": messages}),
            Api::Responses => json!({"max_output_tokens": 20, "store": false, "input": "hello"}),
            Api::Messages => json!({"max_tokens": 20, "messages": messages}),
        };
        body["model"] = model.into();
        if is_stream {
            body["stream"] = true.into();
        }
        body.to_string()
    }

    /// Whether this event says that the answer is complete.
    fn is_end(self, data: &str) -> bool {
        let json: Value = serde_json::from_str(data).unwrap_or_default();
        match self {
            Api::ChatCompletions => data == "[DONE]",
            Api::Responses => json["type"] == "response.completed",
            Api::Messages => json["type"] == "message_stop",
        }
    }

    /// The name of the error that an event is, by which a client of this API tells errors apart.
    fn error(self, event: &str, data: &str) -> Option<String> {
        let json: Value = serde_json::from_str(data).unwrap_or_default();
        let error = match self {
            Api::Responses if json["type"] == "response.failed" => &json["response"]["error"],
            Api::Responses if json["type"] == "error" && !json["error"].is_object() => &json,
            _ if json["error"].is_object() => &json["error"],
            _ if event.lines().any(|line| line == "event: error") => &json,
            _ => return None,
        };
        Some(self.name_of(error))
    }

    /// The code of an error, or its type if it has none.
    fn name_of(self, error: &Value) -> String {
        let name = match self {
            Api::Messages => &error["type"],
            _ if error["code"].is_string() => &error["code"],
            _ => &error["type"],
        };
        name.as_str().unwrap_or("an error without a name").to_owned()
    }

    fn gets(self, response: &Response, is_stream: bool, models: [&str; 2]) -> ClientResult {
        let who = author(response, models);
        if response.status != 200 {
            assert!(!response.broken);
            let body = response.json();
            assert_eq!(response.header("content-type"), Some("application/json"));
            assert!(response.header("x-amzn-errortype").is_none(), "{body}");
            assert_eq!(body["type"] == "error", self == Api::Messages, "{body}");
            assert!(body["error"]["message"].is_string(), "{body}");
            return ClientResult::Error(response.status, self.name_of(&body["error"]), who);
        }
        if !is_stream {
            if response.broken {
                return ClientResult::Broken(0, who);
            }
            assert!(response.json()["usage"].is_object(), "{response:?}");
            assert!(response.text().contains("hello"));
            return ClientResult::Answer(who);
        }
        assert_eq!(response.header("content-type"), Some("text/event-stream"));
        self.gets_stream(response, who)
    }

    fn gets_stream(self, response: &Response, who: Author) -> ClientResult {
        let text = response.text();
        let (whole, rest) = text.rsplit_once("\n\n").unwrap_or(("", &text));
        assert!(rest.is_empty() || response.broken, "a part of an event: {text}");
        let events: Vec<&str> = whole.split("\n\n").filter(|event| !event.is_empty()).collect();
        let data = |event: &str| {
            let lines = event.lines().filter_map(|line| line.strip_prefix("data: "));
            lines.collect::<Vec<_>>().join("\n")
        };
        let failed = events.iter().position(|event| self.error(event, &data(event)).is_some());
        let ended = events.iter().position(|event| self.is_end(&data(event)));
        let count = failed.unwrap_or(events.len()).min(MANY);
        match (failed, ended, response.broken) {
            (Some(at), None, false) => {
                assert_eq!(at + 1, events.len(), "events after an error: {text}");
                let name = self.error(events[at], &data(events[at])).unwrap();
                let is_own = OWN_MESSAGES.iter().any(|own| events[at].contains(own));
                ClientResult::Raises(count, name, if is_own { Author::Gateway } else { who })
            }
            (None, Some(at), false) => {
                assert_eq!(at + 1, events.len(), "events after the end: {text}");
                ClientResult::Answer(who)
            }
            (None, None, true) => ClientResult::Broken(count, who),
            (None, None, false) => ClientResult::Ends(count, who),
            other => panic!("{other:?}: {text}"),
        }
    }
}

/// One cell before its request.
struct Question {
    fault: Fault,
    is_stream: bool,
    scope: Scope,
    target: String,
}

impl Question {
    fn models(&self) -> [String; 2] {
        ["first", "second"].map(|which| format!("us.maker.{}-{which}", self.target))
    }
}

/// The questions for each API, in the order of the page.
fn questions() -> Vec<Question> {
    let mut questions = Vec::new();
    let mut faults: Vec<Fault> = rows().into_iter().map(|row| row.fault).collect();
    faults.dedup();
    let overloaded = "overloaded_error".to_owned();
    let at = faults.iter().position(|fault| *fault == Fault::ModelTimeout).unwrap();
    faults.insert(at, Fault::Error { name: overloaded, status: 529, message: String::new() });
    for is_stream in [false, true] {
        for fault in &faults {
            if fault.is_for_streams() && !is_stream {
                continue;
            }
            for scope in [Scope::First, Scope::All] {
                let target = format!("cell-{:03}", questions.len());
                questions.push(Question { fault: fault.clone(), is_stream, scope, target });
            }
        }
    }
    questions
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_for_every_api() {
    let _alone = ALONE.lock().await;
    let questions = questions();
    let mut cells = Vec::new();
    for api in Api::ALL {
        cells.push(cells_of(api, &questions).await);
    }
    let mut wrong = Vec::new();
    for (api, cells) in Api::ALL.into_iter().zip(&cells) {
        for (question, cell) in questions.iter().zip(cells) {
            if let Some(rule) = broken_rule(api, question, cell) {
                let fault = describe(&question.fault);
                wrong.push(format!("{api:?} {fault} {:?}: {rule}: {cell:?}", question.scope));
            }
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_none() {
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    is_written(Part::Apis, &document(&questions, &cells));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// All cells of one API, at one gateway.
async fn cells_of(api: Api, questions: &[Question]) -> Vec<Cell> {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator, api, questions).await;
    let url: Arc<str> = gateway.url().into();
    let asked = stream::iter(questions.iter().map(|question| {
        let (url, [first, second]) = (Arc::clone(&url), question.models());
        async move {
            let body = api.body(&first, question.is_stream);
            let response = http::post(&format!("{url}{}", api.path()), &[], body).await;
            Cell {
                request_id: response.header("x-sluice-request-id").unwrap().to_owned(),
                attempts: response.header("x-sluice-attempts").unwrap().parse().unwrap(),
                gets: api.gets(&response, question.is_stream, [&first, &second]),
                outcome: String::new(),
                out: [false; 2],
            }
        }
    }));
    let mut cells: Vec<Cell> = asked.buffered(AT_ONCE).collect().await;
    let (outcomes, states) = (outcomes(&gateway, cells.len()).await, states(&gateway).await);
    for (question, cell) in questions.iter().zip(&mut cells) {
        cell.outcome.clone_from(&outcomes[&cell.request_id]);
        cell.out =
            ["a", "b"].map(|which| states[&format!("{}-{which}", question.target)] != "available");
    }
    cells
}

async fn gateway(simulator: &Simulator, api: Api, questions: &[Question]) -> Gateway {
    let mut config = base_config(simulator);
    for question in questions {
        let targets = ["a", "b"].map(|which| format!("{}-{which}", question.target));
        let models = question.models();
        for (target, model) in targets.iter().zip(&models) {
            config = config
                .set(&format!("targets.{target}.model"), model.as_str())
                .set(&format!("targets.{target}.surfaces"), vec![api.name()]);
            simulator.limits(model, ModelSettings::default());
        }
        config = config.route(&models[0], &[&targets[0], &targets[1]]);
        let struck = if question.scope == Scope::First { &models[..1] } else { &models[..] };
        for model in struck {
            simulator.add(FaultRule::always(question.fault.clone()).on(model));
        }
    }
    Gateway::start(&config).await
}

/// Whether the fault says that a quota is used up.
fn is_throttle(api: Api, fault: &Fault) -> bool {
    match fault {
        // Messages has no place for a name that is not its own.
        Fault::Error { .. } if api == Api::Messages => false,
        Fault::Throttle
        | Fault::ThrottleTokens
        | Fault::ThrottleDaily
        | Fault::ServiceQuotaExceeded => true,
        Fault::Error { name, .. } | Fault::ErrorAsTypeInBody { name, .. } => {
            name.starts_with("Throttl")
        }
        Fault::ExceptionFirstFrame { name } => name.starts_with("throttl"),
        _ => false,
    }
}

/// The rule that a cell breaks, if it breaks one.
fn broken_rule(api: Api, question: &Question, cell: &Cell) -> Option<&'static str> {
    let is_struck = [true, question.scope == Scope::All];
    let wanted_out = if is_throttle(api, &question.fault) { is_struck } else { [false; 2] };
    if cell.out != wanted_out {
        return Some("throttles take targets out, and nothing else does at once");
    }
    let is_success = cell.outcome == "success";
    if is_success != matches!(cell.gets, ClientResult::Answer(_)) {
        return Some("only a complete answer is a success");
    }
    if question.is_stream && matches!(cell.gets, ClientResult::Ends(..) | ClientResult::Broken(..))
    {
        return Some("a stream that has begun ends whole or with an error event");
    }
    let is_mistake = matches!(question.fault, Fault::Validation);
    if is_mistake && (cell.attempts != 1 || !matches!(cell.gets, ClientResult::Error(400, ..))) {
        return Some("a client's mistake is its own, and tried nowhere else");
    }
    None
}

/// The page's part: APIs with the same result share a row.
fn document(questions: &[Question], cells: &[Vec<Cell>]) -> String {
    let mut text = String::from(include_str!("apis.md"));
    for (title, is_stream) in [("Answers of APIs in one piece", false), ("Streams of APIs", true)] {
        let _ = write!(
            text,
            "\n## {title}\n\n\
             | fault | at | API | the client gets | attempts | outcome | out afterwards |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n"
        );
        for (at, question) in questions.iter().enumerate() {
            if question.is_stream != is_stream {
                continue;
            }
            let mut results: Vec<(String, Vec<&str>)> = Vec::new();
            for (api, cells) in Api::ALL.into_iter().zip(cells) {
                let seen = cells[at].seen().to_string();
                match results.iter_mut().find(|(other, _)| *other == seen) {
                    Some((_, apis)) => apis.push(api.title()),
                    None => results.push((seen, vec![api.title()])),
                }
            }
            let scope = if question.scope == Scope::First { "the first" } else { "all" };
            for (seen, apis) in results {
                let apis =
                    if apis.len() == Api::ALL.len() { "all".into() } else { apis.join(", ") };
                let fault = describe(&question.fault);
                let _ = writeln!(text, "| {fault} | {scope} | {apis} | {seen} |");
            }
        }
    }
    text
}
