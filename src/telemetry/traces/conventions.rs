//! OpenTelemetry's semantic conventions for generative AI, as of November 2026: how spans are named,
//! and which attributes describe an operation and its usage
//! (<https://github.com/open-telemetry/semantic-conventions-genai>).

use super::span::{Attributes, truncate};
use crate::bedrock::{Family, ModelId, Operation, Usage};

/// The name of a span: `{gen_ai.operation.name} {gen_ai.request.model}`, as far as both are known.
pub(super) fn span_name(operation: Option<Operation>, model: Option<&str>) -> String {
    let Some(operation) = operation else { return "request".to_owned() };
    match (operation_name(operation, model), model) {
        (Some(name), Some(model)) => format!("{name} {}", truncate(model)),
        _ => operation.name().to_owned(),
    }
}

/// Adds the attributes of an operation on a model, which `streams` its answer or not.
pub(super) fn add_operation(
    attributes: &mut Attributes,
    operation: Option<Operation>,
    model: Option<&str>,
    streams: bool,
) {
    attributes.add("gen_ai.provider.name", "aws.bedrock");
    let Some(operation) = operation else { return };
    attributes.add_known("gen_ai.operation.name", operation_name(operation, model));
    attributes.add_known("gen_ai.request.model", model.map(str::to_owned));
    if streams {
        attributes.add("gen_ai.request.stream", true);
    }
    attributes.add("sluice.api", operation.api().name());
    attributes.add("sluice.operation", operation.name());
}

/// Adds the tokens of a response. The convention counts tokens that were read from a cache, or
/// written to one, as input, too.
pub(super) fn add_usage(attributes: &mut Attributes, usage: &Usage) {
    let Usage { input, output, cache_read, cache_write, .. } = *usage;
    let all_input = input.saturating_add(cache_read).saturating_add(cache_write);
    let positive = |tokens: u64| Some(tokens).filter(|tokens| *tokens > 0);
    attributes.add("gen_ai.usage.input_tokens", all_input);
    attributes.add("gen_ai.usage.output_tokens", output);
    attributes.add_known("gen_ai.usage.cache_read.input_tokens", positive(cache_read));
    attributes.add_known("gen_ai.usage.cache_write.input_tokens", positive(cache_write));
}

/// The convention's name of an operation; `None` if the operation generates nothing.
fn operation_name(operation: Operation, model: Option<&str>) -> Option<&'static str> {
    let model = || ModelId::new(model?).ok().map(|model| (model.family(), model));
    match operation {
        Operation::Converse
        | Operation::ConverseStream
        | Operation::CreateChatCompletion
        | Operation::CreateResponse
        | Operation::CreateMessage => Some("chat"),
        Operation::InvokeModel | Operation::InvokeModelWithResponseStream => match model() {
            Some((Family::TitanEmbed, _)) => Some("embeddings"),
            Some((_, model)) if model.as_str().contains("embed") => Some("embeddings"),
            Some((Family::TitanText, _)) => Some("text_completion"),
            _ => Some("chat"),
        },
        Operation::CreateEmbeddings => Some("embeddings"),
        Operation::InvokeModelWithBidirectionalStream | Operation::StartAsyncInvoke => {
            Some("generate_content")
        }
        Operation::CountTokens
        | Operation::CountMessageTokens
        | Operation::ApplyGuardrail
        | Operation::InvokeGuardrailChecks
        | Operation::ListAsyncInvokes
        | Operation::GetAsyncInvoke
        | Operation::ListInferenceProfiles
        | Operation::GetInferenceProfile
        | Operation::ListFoundationModels
        | Operation::GetFoundationModel
        | Operation::GetResponse
        | Operation::CancelResponse
        | Operation::DeleteResponse
        | Operation::ListInputItems
        | Operation::ListModels
        | Operation::GetModel => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_named_by_the_convention() {
        let name = |operation, model| span_name(Some(operation), model);
        let claude = Some("anthropic.claude-3-haiku-20240307-v1:0");
        assert_eq!(
            name(Operation::Converse, claude).as_str(),
            "chat anthropic.claude-3-haiku-20240307-v1:0"
        );
        assert_eq!(name(Operation::InvokeModel, Some("m")), "chat m");
        for embedding in ["amazon.titan-embed-text-v2:0", "cohere.embed-english-v3"] {
            let wanted = format!("embeddings {embedding}");
            assert_eq!(name(Operation::InvokeModel, Some(embedding)), wanted);
        }
        assert_eq!(name(Operation::CountTokens, claude), "CountTokens");
        assert_eq!(name(Operation::ApplyGuardrail, None), "ApplyGuardrail");
        assert_eq!(span_name(None, None), "request");
    }
}
