//! The APIs of OpenAI and Anthropic as Bedrock serves them, on both of its endpoints.
//!
//! `place` tells what a request is for, `model` whether the endpoint has that model. `chat_completions`,
//! `responses` and `messages` each read and refuse requests, and write answers in their own form. What a model
//! answers is in `produced`; `writer` plays it as server-sent events.

mod asked;
mod betas;
mod chat_completions;
mod error_events;
mod messages;
mod model;
mod models;
mod place;
mod produced;
mod responses;
mod writer;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::asked::{Asked, invalid, member};
use self::chat_completions::ChatCompletions;
use self::messages::Messages;
use self::model::Model;
use self::produced::Produced;
use self::responses::{ResponseWriter, Stored, Wanted, input_items};
use super::State;
use super::log::Record;
use super::model::{latency, tier_in_header};
use super::reply::{Accepted, Failure, Reply};
use super::stream::Script;
use sluice_bedrock::path::{Call, Resource};
use sluice_bedrock::{Api, Dialect, ErrorKind, ModelId, Operation, Usage, sse};
use sluice_catalogue::Endpoint;

pub(super) use error_events::ErrorEvents;
pub(super) use place::{Place, chosen_endpoint};
pub(super) use responses::Responses;

/// A call of one of these APIs, and what is known of it before it is checked.
pub(super) struct ApiCall<'a> {
    place: Place<'a>,
    call: Call,
    /// The endpoint, if the settings, the host, the path or the model tells it.
    endpoint: Option<Endpoint>,
    body: Option<Value>,
}

impl<'a> ApiCall<'a> {
    /// Reads what tells where a call is for.
    pub(super) fn read(
        place: Place<'a>,
        call: Call,
        chosen: Option<Endpoint>,
        body: &[u8],
    ) -> ApiCall<'a> {
        let body = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object);
        let mut read = ApiCall { place, call, endpoint: chosen, body };
        if chosen.is_none() {
            let id = read.model().and_then(|id| ModelId::new(id).ok());
            let by_model = id.map(|id| place::endpoint_of(&id));
            read.endpoint = place.only_endpoint(read.call.operation).or(by_model);
        }
        read
    }

    /// What it asks for.
    pub(super) fn operation(&self) -> Operation {
        self.call.operation
    }

    /// The model that the body names.
    pub(super) fn model(&self) -> Option<&str> {
        self.body.as_ref()?.get("model")?.as_str()
    }

    /// The name of the endpoint.
    pub(super) fn endpoint_name(&self) -> Option<&'static str> {
        self.endpoint.map(Endpoint::name)
    }

    /// The names by which faults know the model.
    pub(super) fn names(&self) -> Vec<String> {
        let endpoint = self.endpoint.unwrap_or_default();
        self.model().map(|id| model::names(endpoint, id)).unwrap_or_default()
    }

    /// Whether the answer is to be a stream.
    pub(super) fn is_stream(&self) -> bool {
        let makes_answer =
            self.call.operation.has_model_in_body() && !self.call.operation.counts_tokens();
        let stream = self.body.as_ref().and_then(|body| body.get("stream"));
        makes_answer && stream == Some(&Value::Bool(true))
    }

    /// What writes the errors of its stream.
    pub(super) fn error_events(&self, request_id: &str) -> ErrorEvents {
        let api = self.call.operation.api();
        ErrorEvents { api, request_id: request_id.to_owned() }
    }

    /// Answers it. `region` is that of its credentials.
    pub(super) async fn answer(
        &self,
        shared: &State,
        region: &str,
        request: &Accepted<'_>,
        record: &Record,
    ) -> Result<Reply, Failure> {
        let operation = self.call.operation;
        if self.endpoint == Some(Endpoint::Runtime)
            && self.place.only_endpoint(operation) == Some(Endpoint::Mantle)
        {
            return Err(Failure::new(ErrorKind::UnknownOperation, "Unknown operation."));
        }
        let query = request.head.uri.query().unwrap_or_default();
        let responses = &shared.responses;
        let value = match (&self.call.resource, operation) {
            (Resource::Response(id), Operation::GetResponse) => {
                responses.get(id, region, self.endpoint)?.now()
            }
            (Resource::Response(id), Operation::DeleteResponse) => {
                responses.delete(id, region, self.endpoint)?
            }
            (Resource::Response(id), Operation::CancelResponse) => {
                responses.cancel(id, region, self.endpoint)?
            }
            (Resource::Response(id), _) => {
                input_items(&responses.get(id, region, self.endpoint)?, query)?
            }
            (Resource::Listed(id), _) => models::get(id)?,
            (Resource::None, _) => models::list(),
            _ => return self.infer(shared, region, request, record).await,
        };
        Ok(Reply::json(&value, 0))
    }

    async fn infer(
        &self,
        shared: &State,
        region: &str,
        request: &Accepted<'_>,
        record: &Record,
    ) -> Result<Reply, Failure> {
        let api = self.call.operation.api();
        let dialect = self.place.dialect();
        let body = self.body.as_ref().ok_or_else(|| {
            let message = "We could not parse the JSON body of your request.";
            Failure::new(ErrorKind::Validation, message)
        })?;
        let before = self.previous(shared, region, body)?;
        let id = self.model_id(body, before.as_ref())?;
        let endpoint = self.endpoint.unwrap_or_default();
        let model = Model::find(shared, endpoint, &id, region, dialect)?;
        model.check_surface(api, self.place.prefix)?;
        if api == Api::Messages {
            check_head(endpoint, request)?;
        }
        let is_count = self.call.operation.counts_tokens();
        let wanted = match api {
            Api::ChatCompletions => chat_completions::read(body, &model).map(Wanted::from)?,
            Api::Responses => {
                check_responses(endpoint, &id, request)?;
                responses::read(body, &model, before.as_ref())?
            }
            _ => messages::read(body, &model, is_count).map(Wanted::from)?,
        };
        let asked = &wanted.asked;
        if is_count {
            return Ok(Reply::json(&json!({"input_tokens": asked.prompt.input_tokens()}), 0));
        }
        let tier = tier(&model, request, body)?;
        let names = model::names(endpoint, id.as_str());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let scripted = shared.answers.of(&names);
        let produced = Produced::to(asked, scripted.as_deref(), &model, request.seq);
        let usage = produced.answer.usage;
        let maximum = asked.prompt.max_output.unwrap_or_else(|| model.cap());
        let reservation = shared.quotas.take(&model.quota, usage, maximum)?;
        record.note_usage(Usage { output: 0, ..usage });

        let mut rng = request.rng.clone();
        let latency = latency(shared, &model.settings, &asked.prompt);
        let mut wait = latency.before_head(&mut rng);
        let in_background = wanted.background && !asked.stream;
        if !asked.stream {
            wait += latency.for_tokens(usage.output, &mut rng);
        }
        let wait = wait.min(Duration::from_secs(3_600));
        let complete_at = wanted.background.then(|| Instant::now() + wait);
        if !wait.is_zero() && !in_background {
            tokio::time::sleep(wait).await;
        }

        let created = seconds_since_1970();
        let stream = asked.stream;
        let events = |writer: Box<dyn writer::Writer>, produced| {
            writer::events(writer, produced, latency, rng)
        };
        let output = usage.output;
        let mut reply = match api {
            Api::ChatCompletions => {
                let tier = tier.unwrap_or_else(|| "default".to_owned());
                let include_usage = asked.include_usage;
                let writer = ChatCompletions { created, include_usage, tier };
                match stream {
                    true => of_events(events(Box::new(writer), produced)),
                    false => Reply::json(&writer.whole(&produced), output),
                }
            }
            Api::Responses => {
                let mut writer = ResponseWriter {
                    unique: uuid::Uuid::new_v4().simple().to_string(),
                    created,
                    tier: tier.unwrap_or_else(|| "default".to_owned()),
                    encrypted: wanted.encrypted,
                    body: body.clone(),
                    storing: None,
                    sequence: 0,
                };
                writer.storing = wanted.store.then(|| {
                    let stored = Stored {
                        id: writer.id(),
                        region: region.to_owned(),
                        endpoint,
                        model: id.to_string(),
                        response: Value::Null,
                        characters: asked.prompt.characters,
                        input: wanted.input.clone(),
                        open_calls: Vec::new(),
                        complete_at,
                        is_cancelled: false,
                    };
                    (shared.responses.clone(), stored)
                });
                match stream {
                    true => of_events(events(Box::new(writer), produced)),
                    false => {
                        let response = writer.whole(&produced);
                        let begun = json!({"status": "queued", "output": [], "usage": null});
                        Reply::json(
                            &if in_background { with(response, begun) } else { response },
                            output,
                        )
                    }
                }
            }
            _ => {
                let tier = tier.filter(|tier| !matches!(tier.as_str(), "default" | "auto"));
                let writer = Messages { tier: tier.unwrap_or_else(|| "standard".to_owned()) };
                match stream {
                    true => of_events(events(Box::new(writer), produced)),
                    false => Reply::json(&writer.whole(&produced), output),
                }
            }
        };
        reply.reservation = Some(reservation);
        Ok(reply)
    }

    /// The response that a request goes on from.
    fn previous(
        &self,
        shared: &State,
        region: &str,
        body: &Value,
    ) -> Result<Option<Stored>, Failure> {
        let id = member(body, "previous_response_id").and_then(Value::as_str);
        let Some(id) = id.filter(|_| self.call.operation == Operation::CreateResponse) else {
            return Ok(None);
        };
        let found = shared.responses.get(id, region, self.endpoint);
        let found = found.map_err(|failure| {
            failure.about("previous_response_id").with_code("previous_response_not_found")
        })?;
        Ok(Some(found))
    }

    /// The model of a request. At mantle a request that goes on from a response need not name it.
    fn model_id(&self, body: &Value, before: Option<&Stored>) -> Result<ModelId, Failure> {
        let dialect = self.place.dialect();
        let named = member(body, "model").map(|model| model.as_str().unwrap_or_default());
        let before = before.filter(|_| self.endpoint == Some(Endpoint::Mantle));
        let named = named.or(before.map(|before| before.model.as_str()));
        let named = named.ok_or_else(|| match dialect {
            Dialect::Anthropic => Failure::new(ErrorKind::Validation, "model: Field required"),
            _ => invalid("model", "Missing required parameter: 'model'.")
                .with_code("missing_required_parameter"),
        })?;
        ModelId::new(named).map_err(|_| model::unknown(named, dialect))
    }
}

impl From<Asked> for Wanted {
    fn from(asked: Asked) -> Wanted {
        Wanted { asked, ..Wanted::default() }
    }
}

/// What a request for Messages must have in its head.
fn check_head(endpoint: Endpoint, request: &Accepted<'_>) -> Result<(), Failure> {
    let version = request.head.headers.get("anthropic-version");
    let version = version.ok_or_else(|| {
        Failure::new(ErrorKind::Validation, "anthropic-version: header is required")
    })?;
    if !["2023-06-01", "2023-01-01"].iter().any(|known| version == known) {
        let version = String::from_utf8_lossy(version.as_bytes());
        let message = format!("anthropic-version: \"{version}\" is not a valid version");
        return Err(Failure::new(ErrorKind::Validation, message));
    }
    betas::check(endpoint, &request.head.headers)
}

/// What Responses at Bedrock Runtime has not: projects, and application profiles.
fn check_responses(
    endpoint: Endpoint,
    id: &ModelId,
    request: &Accepted<'_>,
) -> Result<(), Failure> {
    if endpoint == Endpoint::Mantle {
        return Ok(());
    }
    let project = request.head.headers.get("openai-project");
    if project.is_some_and(|project| project != "default") {
        let message = "Only the project 'default' is supported here.";
        return Err(Failure::new(ErrorKind::Validation, message));
    }
    if id.as_str().starts_with("arn:") && id.base().is_none() {
        return Err(invalid("model", "Application inference profiles are not supported here."));
    }
    Ok(())
}

/// The service tier that serves a request: the model's, else the one that it asks for.
fn tier(model: &Model, request: &Accepted<'_>, body: &Value) -> Result<Option<String>, Failure> {
    let asked =
        asked::tier(body)?.filter(|tier| tier != "auto").or_else(|| tier_in_header(request));
    Ok(model.settings.service_tier.map(|tier| tier.name().to_owned()).or(asked))
}

fn of_events(script: Script) -> Reply {
    Reply {
        status: StatusCode::OK,
        headers: vec![(CONTENT_TYPE, HeaderValue::from_static(sse::CONTENT_TYPE))],
        script,
        length: None,
        reservation: None,
    }
}

/// An object with members of another.
fn with(mut object: Value, more: Value) -> Value {
    if let (Some(members), Value::Object(more)) = (object.as_object_mut(), more) {
        members.extend(more);
    }
    object
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
