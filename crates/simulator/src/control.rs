//! The control API under `/_sim/`, on the same listener and unsigned: faults, answers, quotas, the
//! account that is listed, log, books.
//!
//! It only calls what a process that embeds the simulator can call too, so that tests may drive
//! it either way.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode, request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::State;
use super::account::AccountSettings;
use super::fault::FaultRule;
use super::scripted_answers::{OddStream, ScriptedAnswer, ScriptedPart, StopReason};
use super::settings::ModelSettings;
use super::stream::Body;

/// Where the control API lives; no path of Bedrock begins so.
pub(super) const PREFIX: &str = "/_sim";
/// Most bytes of a request to the control API.
const MAX_BODY: usize = 1024 * 1024;

/// A model's name and its settings in one object.
#[derive(Deserialize)]
struct Quota {
    model: String,
    #[serde(flatten)]
    rest: Value,
}

/// A model and its scripted answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelAnswer {
    model: String,
    text: Option<String>,
    parts: Option<Vec<ScriptedPart>>,
    stop: Option<StopReason>,
    stop_sequence: Option<String>,
    odd_stream: Option<OddStream>,
}

/// Answers a request to the control API.
pub(super) async fn answer(
    shared: &State,
    head: &request::Parts,
    body: Incoming,
) -> Response<Body> {
    let (status, value) = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => {
            let query = head.uri.query().unwrap_or_default();
            route(shared, &head.method, head.uri.path(), query, &body.to_bytes())
        }
        Err(_) => refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
    };
    let mut response = Response::new(Full::from(value.to_string()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn route(
    shared: &State,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> (StatusCode, Value) {
    let number = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            .and_then(|n| n.parse::<u64>().ok())
    };
    let resource = path.strip_prefix(PREFIX).unwrap_or(path).trim_matches('/');
    match (method.as_str(), resource) {
        ("GET", "" | "health") => ok(json!({ "simulator": "ready" })),
        ("DELETE", "") => {
            shared.faults.clear();
            shared.answers.clear();
            shared.quotas.clear_limits();
            shared.quotas.clear_accounts();
            // The one that the simulator began with was small enough.
            let _ = shared.account.set(shared.settings.account.clone());
            shared.responses.clear();
            shared.log.clear();
            ok(json!({}))
        }
        ("GET", "faults") => ok(json!({ "faults": shared.faults.rules() })),
        ("POST", "faults") => add_faults(shared, body),
        ("DELETE", "faults") => {
            shared.faults.clear();
            ok(json!({ "faults": [] }))
        }
        ("GET", "answers") => ok(json!({ "answers": shared.answers.all() })),
        ("PUT", "answers") => set_answers(shared, body),
        ("DELETE", "answers") => {
            shared.answers.clear();
            ok(json!({ "answers": {} }))
        }
        ("GET", "quotas") => ok(json!({ "quotas": shared.quotas.states() })),
        ("PUT", "quotas") => set_quotas(shared, body),
        ("DELETE", "quotas") => {
            shared.quotas.clear_limits();
            ok(json!({ "quotas": {} }))
        }
        ("GET", "account") => ok(json!({ "account": *shared.account.get() })),
        ("PUT", "account") => set_account(shared, body),
        ("DELETE", "account") => {
            let _ = shared.account.set(shared.settings.account.clone());
            ok(json!({ "account": *shared.account.get() }))
        }
        ("GET", "log") => {
            let limit = number("limit").and_then(|n| usize::try_from(n).ok()).unwrap_or(1_000);
            ok(json!({ "entries": shared.log.since(number("since").unwrap_or(0), limit) }))
        }
        ("DELETE", "log") => {
            shared.log.clear();
            ok(json!({ "entries": [] }))
        }
        ("GET", "books") => ok(json!({ "models": shared.quotas.accounts() })),
        ("DELETE", "books") => {
            shared.quotas.clear_accounts();
            ok(json!({ "models": {} }))
        }
        (_, "" | "health" | "faults" | "answers" | "quotas" | "account" | "log" | "books") => {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        }
        _ => refuse(StatusCode::NOT_FOUND, "the control API has no such path"),
    }
}

fn add_faults(shared: &State, body: &[u8]) -> (StatusCode, Value) {
    let rules = match one_or_more::<FaultRule>(body) {
        Ok(rules) => rules,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, &message),
    };
    for rule in rules {
        if let Err(full) = shared.faults.add(rule) {
            return refuse(StatusCode::BAD_REQUEST, &full.to_string());
        }
    }
    ok(json!({ "faults": shared.faults.rules() }))
}

fn set_answers(shared: &State, body: &[u8]) -> (StatusCode, Value) {
    let answers = match one_or_more::<ModelAnswer>(body) {
        Ok(answers) => answers,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, &message),
    };
    for answer in answers {
        let ModelAnswer { model, text, parts, stop, stop_sequence, odd_stream } = answer;
        let is_plain = stop.is_none() && stop_sequence.is_none() && odd_stream.is_none();
        let set = match (text, parts) {
            (Some(text), None) if is_plain => shared.answers.set(&model, &text),
            (None, Some(parts)) => {
                let answer = ScriptedAnswer { parts, stop, stop_sequence, odd_stream };
                shared.answers.set_parts(&model, answer)
            }
            _ => {
                let message = "an answer has either a text or parts, and all else only with parts";
                return refuse(StatusCode::BAD_REQUEST, message);
            }
        };
        if let Err(full) = set {
            return refuse(StatusCode::BAD_REQUEST, &full.to_string());
        }
    }
    ok(json!({ "answers": shared.answers.all() }))
}

fn set_quotas(shared: &State, body: &[u8]) -> (StatusCode, Value) {
    let quotas = match one_or_more::<Quota>(body) {
        Ok(quotas) => quotas,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, &message),
    };
    let mut read = Vec::new();
    for quota in quotas {
        match serde_json::from_value::<ModelSettings>(quota.rest) {
            Ok(settings) => read.push((quota.model, settings)),
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }
    for (model, settings) in read {
        shared.quotas.set(&model, settings);
    }
    ok(json!({ "quotas": shared.quotas.states() }))
}

fn set_account(shared: &State, body: &[u8]) -> (StatusCode, Value) {
    let account = serde_json::from_slice::<AccountSettings>(body);
    let set = account
        .map_err(|error| error.to_string())
        .and_then(|account| shared.account.set(account).map_err(|error| error.to_string()));
    match set {
        Ok(()) => ok(json!({ "account": *shared.account.get() })),
        Err(message) => refuse(StatusCode::BAD_REQUEST, &message),
    }
}

fn one_or_more<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<Vec<T>, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    // Read by shape and not by trial, so that a mistake is named where it is.
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    values
        .into_iter()
        .map(|value| serde_json::from_value(value).map_err(|error| error.to_string()))
        .collect()
}

fn ok(value: Value) -> (StatusCode, Value) {
    (StatusCode::OK, value)
}

fn refuse(status: StatusCode, message: &str) -> (StatusCode, Value) {
    (status, json!({ "message": message }))
}
