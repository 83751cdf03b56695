//! What Converse sends, as serde reads it: whole answers, and the events of streams, which have the same parts.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use sluice_bedrock::ErrorKind;

use crate::answer::AnswerError;
use crate::conversation::Json;
use crate::fields;

pub(super) use crate::value::Unescaped as Text;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    pub(super) output: Output<'a>,
    #[serde(borrow)]
    pub(super) stop_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) additional_model_response_fields: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) service_tier: Option<Tier<'a>>,
    #[serde(borrow)]
    pub(super) metrics: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) trace: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) performance_config: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Output<'a> {
    #[serde(borrow)]
    pub(super) message: Message<'a>,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) content: Vec<Block<'a>>,
}

/// The tier that served a request.
#[derive(Debug, Deserialize)]
pub(super) struct Tier<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) name: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tool_use: Option<ToolUse<'a>>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<Reasoning<'a>>,
    #[serde(borrow)]
    pub(super) citations_content: Option<Citations<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolUse<'a> {
    #[serde(borrow)]
    pub(super) tool_use_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reasoning<'a> {
    #[serde(borrow)]
    pub(super) reasoning_text: Option<ReasoningText<'a>>,
    #[serde(borrow)]
    pub(super) redacted_content: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ReasoningText<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) signature: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Citations<'a> {
    #[serde(borrow, default)]
    pub(super) content: Vec<CitedPart<'a>>,
    #[serde(borrow, default)]
    pub(super) citations: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct CitedPart<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockStart<'a> {
    #[serde(borrow)]
    pub(super) start: StartOf<'a>,
    pub(super) content_block_index: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartOf<'a> {
    #[serde(borrow)]
    pub(super) tool_use: Option<ToolStart<'a>>,
    #[serde(borrow)]
    pub(super) tool_result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) image: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolStart<'a> {
    #[serde(borrow)]
    pub(super) tool_use_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockDelta<'a> {
    #[serde(borrow)]
    pub(super) delta: DeltaOf<'a>,
    pub(super) content_block_index: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeltaOf<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tool_use: Option<ToolDelta<'a>>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<ReasoningDelta<'a>>,
    #[serde(borrow)]
    pub(super) citation: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct ToolDelta<'a> {
    #[serde(borrow)]
    pub(super) input: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReasoningDelta<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) signature: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) redacted_content: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockStop {
    pub(super) content_block_index: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageStop<'a> {
    #[serde(borrow)]
    pub(super) stop_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) additional_model_response_fields: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) service_tier: Option<Tier<'a>>,
    #[serde(borrow)]
    pub(super) metrics: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) trace: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) performance_config: Option<&'a RawValue>,
}

/// What Claude tells beside Converse's answer.
#[derive(Debug, Default)]
pub(super) struct AdditionalFields<'a> {
    pub(super) stop_sequence: Option<Cow<'a, str>>,
    pub(super) reasoning_tokens: Option<u64>,
}

impl<'a> AdditionalFields<'a> {
    /// Reads `additionalModelResponseFields`; what is not known is left out.
    pub(super) fn of(fields: &'a RawValue) -> AdditionalFields<'a> {
        let Some(members) = fields::members(fields.into()) else {
            return AdditionalFields::default();
        };
        // By the path that was asked for: nested, or the last name alone.
        let usage = members.get("usage").and_then(fields::members);
        let nested = usage.as_ref().and_then(|usage| usage.get("output_tokens_details"));
        let details = nested.or_else(|| members.get("output_tokens_details"));
        let details = details.and_then(fields::members);
        let count = |name| details.as_ref()?.get(name).and_then(fields::count);
        AdditionalFields {
            stop_sequence: members.get("stop_sequence").and_then(fields::text),
            reasoning_tokens: count("thinking_tokens").or_else(|| count("reasoning_tokens")),
        }
    }
}

/// The members that are there, as they were written.
pub(super) fn as_written<'a, const N: usize>(
    members: [(&'static str, Option<&'a RawValue>); N],
) -> Vec<(&'static str, Json<'a>)> {
    let written =
        |(name, value): (_, Option<&'a RawValue>)| Some((name, fields::json(value?.into())));
    members.into_iter().filter_map(written).collect()
}

/// The payload of an event.
pub(super) fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, AnswerError> {
    serde_json::from_slice(payload)
        .map_err(|_| AnswerError::Unreadable("an event is not what Converse promises"))
}

/// The modelled exception of a stream.
pub(super) fn exception(name: &str, payload: &[u8]) -> AnswerError {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Exception {
        #[serde(alias = "Message")]
        message: Option<String>,
        original_message: Option<String>,
    }
    let exception: Exception = serde_json::from_slice(payload).unwrap_or_default();
    let message = exception.message.or(exception.original_message);
    AnswerError::Exception {
        kind: ErrorKind::from_name(name).unwrap_or(ErrorKind::InternalServer),
        message: message.unwrap_or_else(|| name.to_owned()),
    }
}
