//! The operations of the Bedrock Runtime API and what a gateway must know of each.

use http::Method;
use serde::{Deserialize, Serialize};

/// An operation of the Bedrock Runtime API (service model 2023-09-30). Serialized by its name.
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
}

impl Operation {
    /// How many have a path with a model; they are the first ones.
    pub const WITH_MODEL: usize = Operation::CountTokens as usize + 1;

    /// Every operation, for tables and metrics.
    pub const ALL: [Operation; 15] = [
        Operation::InvokeModel,
        Operation::InvokeModelWithResponseStream,
        Operation::InvokeModelWithBidirectionalStream,
        Operation::Converse,
        Operation::ConverseStream,
        Operation::CountTokens,
        Operation::ApplyGuardrail,
        Operation::InvokeGuardrailChecks,
        Operation::StartAsyncInvoke,
        Operation::ListAsyncInvokes,
        Operation::GetAsyncInvoke,
        Operation::ListInferenceProfiles,
        Operation::GetInferenceProfile,
        Operation::ListFoundationModels,
        Operation::GetFoundationModel,
    ];

    /// The operation's name in the service model.
    pub fn name(self) -> &'static str {
        match self {
            Operation::InvokeModel => "InvokeModel",
            Operation::InvokeModelWithResponseStream => "InvokeModelWithResponseStream",
            Operation::InvokeModelWithBidirectionalStream => "InvokeModelWithBidirectionalStream",
            Operation::Converse => "Converse",
            Operation::ConverseStream => "ConverseStream",
            Operation::CountTokens => "CountTokens",
            Operation::ApplyGuardrail => "ApplyGuardrail",
            Operation::InvokeGuardrailChecks => "InvokeGuardrailChecks",
            Operation::StartAsyncInvoke => "StartAsyncInvoke",
            Operation::ListAsyncInvokes => "ListAsyncInvokes",
            Operation::GetAsyncInvoke => "GetAsyncInvoke",
            Operation::ListInferenceProfiles => "ListInferenceProfiles",
            Operation::GetInferenceProfile => "GetInferenceProfile",
            Operation::ListFoundationModels => "ListFoundationModels",
            Operation::GetFoundationModel => "GetFoundationModel",
        }
    }

    /// The operation's HTTP method.
    pub fn method(self) -> Method {
        match self {
            Operation::ListAsyncInvokes | Operation::GetAsyncInvoke => Method::GET,
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
        )
    }

    /// Whether a success is an event stream (`application/vnd.amazon.eventstream`).
    pub fn is_stream(self) -> bool {
        matches!(
            self,
            Operation::InvokeModelWithResponseStream
                | Operation::InvokeModelWithBidirectionalStream
                | Operation::ConverseStream
        )
    }

    /// Whether the path names a model and another model may answer in its place.
    pub fn is_routed(self) -> bool {
        self.model_suffix().is_some() && self != Operation::InvokeModelWithBidirectionalStream
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
