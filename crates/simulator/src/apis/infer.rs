//! Runs a model: is the request one that the model takes, is there quota, and then its answer in the form of
//! the API, whole or as a stream.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::State;
use super::super::log::Record;
use super::super::model::{latency, tier_in_header};
use super::super::reply::{Accepted, Failure, Reply};
use super::super::settings::Latency;
use super::asked::{self, Asked, invalid, member};
use super::chat_completions::{self, ChatCompletions};
use super::messages::{self, Messages};
use super::model::{self, Model};
use super::produced::Produced;
use super::responses::{self, ResponseWriter, Stored, Wanted};
use super::writer::{self, Writer};
use super::{ApiCall, betas};
use sluice_bedrock::{Api, Dialect, ErrorKind, ModelId, Operation, Usage, sse};
use sluice_catalogue::Endpoint;

/// The longest wait before an answer.
const MAX_WAIT: Duration = Duration::from_secs(3_600);

impl ApiCall<'_> {
    /// Answers a request that names a model.
    pub(super) async fn infer(
        &self,
        shared: &State,
        region: &str,
        request: &Accepted<'_>,
        record: &Record,
    ) -> Result<Reply, Failure> {
        let body = self.body.as_ref().ok_or_else(|| {
            let message = "We could not parse the JSON body of your request.";
            Failure::new(ErrorKind::Validation, message)
        })?;
        let before = self.previous(shared, region, body)?;
        let id = self.model_id(body, before.as_ref())?;
        let endpoint = self.endpoint.unwrap_or_default();
        let model = Model::find(shared, endpoint, &id, region, self.place.dialect())?;
        model.check_surface(self.call.operation.api(), self.place.prefix)?;
        let wanted = self.wanted(body, &id, &model, before.as_ref(), request)?;
        let asked = &wanted.asked;
        if self.call.operation.counts_tokens() {
            return Ok(Reply::json(&json!({"input_tokens": asked.prompt.input_tokens()}), 0));
        }
        let tier = tier(&model, request, body)?;
        let names = model::names(endpoint, id.as_str());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let scripted = shared.answers.of(&names);
        let produced =
            Produced::to(asked, scripted.as_ref(), &model.name, model.cap(), request.seq);
        let usage = produced.answer.usage;
        let maximum = asked.prompt.max_output.unwrap_or_else(|| model.cap());
        let reservation = shared.quotas.take(&model.quota, usage, maximum)?;
        record.note_usage(Usage { output: 0, ..usage });

        let mut rng = request.rng.clone();
        let latency = latency(shared, &model.settings, &asked.prompt);
        let mut wait = latency.before_head(&mut rng);
        if !asked.stream {
            wait += latency.for_tokens(usage.output, &mut rng);
        }
        let wait = wait.min(MAX_WAIT);
        let complete_at = wanted.background.then(|| Instant::now() + wait);
        if !wait.is_zero() && complete_at.is_none() {
            tokio::time::sleep(wait).await;
        }
        let storing = wanted.store.then(|| Stored {
            id: String::new(),
            region: region.to_owned(),
            endpoint,
            model: id.to_string(),
            response: Value::Null,
            characters: asked.prompt.characters,
            input: wanted.input.clone(),
            open_calls: Vec::new(),
            complete_at,
            is_cancelled: false,
        });
        let storing = storing.map(|stored| (shared.responses.clone(), stored));
        let ready = Ready { wanted, produced, tier, latency, rng };
        let mut reply = match self.call.operation.api() {
            Api::ChatCompletions => ready.chat_completion(),
            Api::Responses => ready.response(body, storing),
            _ => ready.message(),
        };
        reply.reservation = Some(reservation);
        Ok(reply)
    }

    /// Reads a request in the form of its API.
    fn wanted(
        &self,
        body: &Value,
        id: &ModelId,
        model: &Model,
        before: Option<&Stored>,
        request: &Accepted<'_>,
    ) -> Result<Wanted, Failure> {
        match self.call.operation.api() {
            Api::ChatCompletions => chat_completions::read(body, model).map(Wanted::from),
            Api::Responses => {
                check_responses(model.endpoint, id, request)?;
                responses::read(body, model, before)
            }
            _ => {
                check_head(model.endpoint, request)?;
                betas::check_members(body, &request.head.headers)?;
                let is_count = self.call.operation.counts_tokens();
                messages::read(body, model, is_count).map(Wanted::from)
            }
        }
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

/// An answer that is ready to be written.
struct Ready {
    wanted: Wanted,
    produced: Produced,
    tier: Option<String>,
    latency: Latency,
    rng: fastrand::Rng,
}

impl Ready {
    fn chat_completion(self) -> Reply {
        let writer = ChatCompletions {
            created: seconds_since_1970(),
            include_usage: self.wanted.asked.include_usage,
            tier: self.tier.clone().unwrap_or_else(|| "default".to_owned()),
        };
        match self.wanted.asked.stream {
            true => self.stream(writer),
            false => self.whole(&writer.whole(&self.produced)),
        }
    }

    fn response(self, body: &Value, storing: Option<(responses::Responses, Stored)>) -> Reply {
        let mut writer = ResponseWriter {
            unique: uuid::Uuid::new_v4().simple().to_string(),
            created: seconds_since_1970(),
            tier: self.tier.clone().unwrap_or_else(|| "default".to_owned()),
            encrypted: self.wanted.encrypted,
            body: body.clone(),
            storing,
            sequence: 0,
        };
        if self.wanted.asked.stream {
            return self.stream(writer);
        }
        let mut response = writer.whole(&self.produced);
        // A request in the background is answered before the model runs.
        if let (true, Some(members)) = (self.wanted.background, response.as_object_mut()) {
            let begun =
                [("status", json!("queued")), ("output", json!([])), ("usage", Value::Null)];
            members.extend(begun.map(|(name, value)| (name.to_owned(), value)));
        }
        self.whole(&response)
    }

    fn message(self) -> Reply {
        // Anthropic has a name of its own for the default tier.
        let tier = self.tier.clone().filter(|tier| tier != "default" && tier != "standard_only");
        let writer = Messages { tier: Some(tier.unwrap_or_else(|| "standard".to_owned())) };
        match self.wanted.asked.stream {
            true => self.stream(writer),
            false => self.whole(&writer.whole(&self.produced)),
        }
    }

    fn whole(&self, answer: &Value) -> Reply {
        Reply::json(answer, self.produced.answer.usage.output)
    }

    fn stream(self, writer: impl Writer + 'static) -> Reply {
        Reply {
            status: StatusCode::OK,
            headers: vec![(CONTENT_TYPE, HeaderValue::from_static(sse::CONTENT_TYPE))],
            script: writer::events(writer, self.produced, self.latency, self.rng),
            length: None,
            reservation: None,
        }
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
    if !is_date(version.as_bytes()) {
        let version = String::from_utf8_lossy(version.as_bytes());
        let message = format!("anthropic-version: \"{version}\" is not a valid version");
        return Err(Failure::new(ErrorKind::Validation, message));
    }
    betas::check(endpoint, &request.head.headers)
}

/// Whether a text has the form of a date, which every version of Messages has.
fn is_date(text: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| match at {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 10 && text.iter().enumerate().all(fits)
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

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
