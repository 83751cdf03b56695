//! The operations of the APIs and what a gateway must know of each.

use http::Method;
use serde::{Deserialize, Serialize};

use super::api::Api;

/// An operation: of the Bedrock Runtime API (service model 2023-09-30), of its control plane, or of the
/// APIs of OpenAI and Anthropic that Bedrock serves. Serialized by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// One request, one JSON answer in the model's own schema.
    InvokeModel,
    /// As [`Operation::InvokeModel`], the answer as an event stream of `chunk` events.
    InvokeModelWithResponseStream,
    /// Event streams both ways over HTTP/2.
    InvokeModelWithBidirectionalStream,
    /// One request, one JSON answer in Bedrock's model-independent schema.
    Converse,
    /// As [`Operation::Converse`], the answer as an event stream.
    ConverseStream,
    /// Counts the input tokens of a request without running it.
    CountTokens,
    /// `POST /chat/completions`: one request, one JSON answer or a stream of server-sent events.
    CreateChatCompletion,
    /// `POST /responses`, likewise.
    CreateResponse,
    /// `POST /messages`, likewise.
    CreateMessage,
    /// `POST /messages/count_tokens`: counts the input tokens of a message without running it.
    CountMessageTokens,
    /// Checks a text against a guardrail.
    ApplyGuardrail,
    /// Checks a text against guardrail checks given in the request.
    InvokeGuardrailChecks,
    /// Starts an invocation that writes its answer to S3.
    StartAsyncInvoke,
    /// Lists such invocations.
    ListAsyncInvokes,
    /// Describes one such invocation.
    GetAsyncInvoke,
    /// Lists inference profiles. This and what follows are calls of the control plane, the service
    /// beside Bedrock Runtime.
    ListInferenceProfiles,
    /// Describes one.
    GetInferenceProfile,
    /// Lists models.
    ListFoundationModels,
    /// Describes one.
    GetFoundationModel,
    /// `GET /responses/{id}`: reads a stored response. This and the next three concern what an upstream has
    /// stored.
    GetResponse,
    /// `POST /responses/{id}/cancel`.
    CancelResponse,
    /// `DELETE /responses/{id}`.
    DeleteResponse,
    /// `GET /responses/{id}/input_items`.
    ListInputItems,
    /// `GET /models`: the models that the client may call.
    ListModels,
    /// `GET /models/{id}`.
    GetModel,
    /// `POST /embeddings`: vectors of texts. The gateway sends them on as one or more [`Operation::InvokeModel`].
    CreateEmbeddings,
}

impl Operation {
    /// How many are sent to a model; they are the first ones.
    pub const WITH_MODEL: usize = Operation::CountMessageTokens as usize + 1;

    /// Every operation, for tables and metrics.
    pub const ALL: [Operation; 26] = [
        Operation::InvokeModel,
        Operation::InvokeModelWithResponseStream,
        Operation::InvokeModelWithBidirectionalStream,
        Operation::Converse,
        Operation::ConverseStream,
        Operation::CountTokens,
        Operation::CreateChatCompletion,
        Operation::CreateResponse,
        Operation::CreateMessage,
        Operation::CountMessageTokens,
        Operation::ApplyGuardrail,
        Operation::InvokeGuardrailChecks,
        Operation::StartAsyncInvoke,
        Operation::ListAsyncInvokes,
        Operation::GetAsyncInvoke,
        Operation::ListInferenceProfiles,
        Operation::GetInferenceProfile,
        Operation::ListFoundationModels,
        Operation::GetFoundationModel,
        Operation::GetResponse,
        Operation::CancelResponse,
        Operation::DeleteResponse,
        Operation::ListInputItems,
        Operation::ListModels,
        Operation::GetModel,
        Operation::CreateEmbeddings,
    ];

    /// The API that it belongs to.
    pub fn api(self) -> Api {
        match self {
            Operation::CreateChatCompletion => Api::ChatCompletions,
            Operation::CreateResponse
            | Operation::GetResponse
            | Operation::CancelResponse
            | Operation::DeleteResponse
            | Operation::ListInputItems => Api::Responses,
            Operation::CreateMessage | Operation::CountMessageTokens => Api::Messages,
            Operation::ListModels | Operation::GetModel => Api::Models,
            Operation::CreateEmbeddings => Api::Embeddings,
            _ => Api::Bedrock,
        }
    }

    /// The operation's name: for Bedrock's own, the one in the service model.
    pub fn name(self) -> &'static str {
        match self {
            Operation::InvokeModel => "InvokeModel",
            Operation::InvokeModelWithResponseStream => "InvokeModelWithResponseStream",
            Operation::InvokeModelWithBidirectionalStream => "InvokeModelWithBidirectionalStream",
            Operation::Converse => "Converse",
            Operation::ConverseStream => "ConverseStream",
            Operation::CountTokens => "CountTokens",
            Operation::CreateChatCompletion => "CreateChatCompletion",
            Operation::CreateResponse => "CreateResponse",
            Operation::CreateMessage => "CreateMessage",
            Operation::CountMessageTokens => "CountMessageTokens",
            Operation::ApplyGuardrail => "ApplyGuardrail",
            Operation::InvokeGuardrailChecks => "InvokeGuardrailChecks",
            Operation::StartAsyncInvoke => "StartAsyncInvoke",
            Operation::ListAsyncInvokes => "ListAsyncInvokes",
            Operation::GetAsyncInvoke => "GetAsyncInvoke",
            Operation::ListInferenceProfiles => "ListInferenceProfiles",
            Operation::GetInferenceProfile => "GetInferenceProfile",
            Operation::ListFoundationModels => "ListFoundationModels",
            Operation::GetFoundationModel => "GetFoundationModel",
            Operation::GetResponse => "GetResponse",
            Operation::CancelResponse => "CancelResponse",
            Operation::DeleteResponse => "DeleteResponse",
            Operation::ListInputItems => "ListInputItems",
            Operation::ListModels => "ListModels",
            Operation::GetModel => "GetModel",
            Operation::CreateEmbeddings => "CreateEmbeddings",
        }
    }

    /// The operation's HTTP method.
    pub fn method(self) -> Method {
        match self {
            Operation::ListAsyncInvokes
            | Operation::GetAsyncInvoke
            | Operation::GetResponse
            | Operation::ListInputItems
            | Operation::ListModels
            | Operation::GetModel => Method::GET,
            Operation::DeleteResponse => Method::DELETE,
            _ if self.is_control_plane() => Method::GET,
            _ => Method::POST,
        }
    }

    /// Whether it is a call of the control plane, which has hosts of its own.
    pub fn is_control_plane(self) -> bool {
        matches!(
            self,
            Operation::ListInferenceProfiles
                | Operation::GetInferenceProfile
                | Operation::ListFoundationModels
                | Operation::GetFoundationModel
        )
    }

    /// Whether the upstream reads its query.
    pub fn has_query(self) -> bool {
        matches!(
            self,
            Operation::ListAsyncInvokes
                | Operation::ListInferenceProfiles
                | Operation::ListFoundationModels
                | Operation::GetResponse
                | Operation::ListInputItems
        )
    }

    /// Whether a success is always an event stream (`application/vnd.amazon.eventstream`).
    pub fn is_stream(self) -> bool {
        matches!(
            self,
            Operation::InvokeModelWithResponseStream
                | Operation::InvokeModelWithBidirectionalStream
                | Operation::ConverseStream
        )
    }

    /// Whether it names a model and another model may answer in its place.
    pub fn is_routed(self) -> bool {
        (self as usize) < Self::WITH_MODEL && self != Operation::InvokeModelWithBidirectionalStream
    }

    /// Whether it names its model in the request body.
    pub fn has_model_in_body(self) -> bool {
        matches!(
            self,
            Operation::CreateChatCompletion
                | Operation::CreateResponse
                | Operation::CreateMessage
                | Operation::CountMessageTokens
                | Operation::CreateEmbeddings
        )
    }

    /// Whether it only counts the tokens of a request.
    pub fn counts_tokens(self) -> bool {
        matches!(self, Operation::CountTokens | Operation::CountMessageTokens)
    }

    /// Whether it concerns a response that an upstream has stored.
    pub fn is_on_stored_response(self) -> bool {
        matches!(
            self,
            Operation::GetResponse
                | Operation::CancelResponse
                | Operation::DeleteResponse
                | Operation::ListInputItems
        )
    }

    /// Whether the request body is in the model-independent Converse schema; the Invoke
    /// operations carry the schema of the model's family.
    pub fn is_converse(self) -> bool {
        matches!(self, Operation::Converse | Operation::ConverseStream)
    }

    /// The last path segment of `/model/{modelId}/...`, for the operations that name a model.
    pub fn model_suffix(self) -> Option<&'static str> {
        Some(match self {
            Operation::InvokeModel => "invoke",
            Operation::InvokeModelWithResponseStream => "invoke-with-response-stream",
            Operation::InvokeModelWithBidirectionalStream => "invoke-with-bidirectional-stream",
            Operation::Converse => "converse",
            Operation::ConverseStream => "converse-stream",
            Operation::CountTokens => "count-tokens",
            _ => return None,
        })
    }

    /// The model operation with this last path segment.
    pub(super) fn from_model_suffix(suffix: &str) -> Option<Operation> {
        Self::ALL.into_iter().find(|operation| operation.model_suffix() == Some(suffix))
    }
}

#[cfg(test)]
mod tests {
    use super::Operation;

    #[test]
    fn the_name_in_a_config_is_the_name_in_the_service_model() {
        for operation in Operation::ALL {
            assert_eq!(serde_json::to_value(operation).unwrap(), operation.name());
        }
    }
}
