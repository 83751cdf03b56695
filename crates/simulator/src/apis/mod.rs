//! The APIs of OpenAI and Anthropic as Bedrock serves them, on both of its endpoints.
//!
//! `place` tells what a request is for, `model` whether the endpoint has that model. `infer` runs it:
//! `chat_completions`, `responses` and `messages` each read and refuse requests, and write answers in
//! their own form. What a model answers is in `produced`; `writer` plays it as server-sent events.

mod asked;
mod betas;
mod chat_completions;
mod error_events;
mod infer;
mod messages;
mod model;
mod models;
mod place;
mod responses;
#[cfg(test)]
mod tests;

use serde_json::Value;

use self::asked::Asked;
use self::responses::input_items;
use super::State;
use super::log::Record;
use super::reply::{Accepted, Failure, Reply};
use super::{produced, writer};
use sluice_bedrock::path::{Call, Resource};
use sluice_bedrock::{ErrorKind, ModelId, Operation};
use sluice_catalogue::Endpoint;

pub(super) use error_events::ErrorEvents;
pub(super) use messages::Messages;
pub(super) use place::{Place, chosen_endpoint};
pub(super) use responses::Responses;

/// Reads a body of Messages that InvokeModel, or a count of its tokens, carries.
///
/// # Errors
/// What Bedrock refuses.
pub(super) fn read_invoked_message(
    shared: &State,
    id: &ModelId,
    body: &Value,
    is_count: bool,
) -> Result<Asked, Failure> {
    messages::read(body, &model::Model::invoked(shared, id), is_count)
}

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
}
