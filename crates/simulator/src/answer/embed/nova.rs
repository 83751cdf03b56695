//! Nova's multimodal embeddings: one input of any kind, one vector.

use serde_json::{Value, json};

use super::super::{Invalid, Prompt, Schema};
use super::{check_members, malformed, name, required, size, text, vector};
use crate::produced::Produced;

/// The longest text, in characters.
const MAX_CHARACTERS: usize = 8_192;
const VERSION: &str = "nova-multimodal-embed-v1";
const PURPOSES: [&str; 9] = [
    "GENERIC_INDEX",
    "GENERIC_RETRIEVAL",
    "TEXT_RETRIEVAL",
    "IMAGE_RETRIEVAL",
    "VIDEO_RETRIEVAL",
    "DOCUMENT_RETRIEVAL",
    "AUDIO_RETRIEVAL",
    "CLASSIFICATION",
    "CLUSTERING",
];
const KINDS: [&str; 4] = ["text", "image", "audio", "video"];

pub(in super::super) struct NovaEmbed;

impl Schema for NovaEmbed {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        check_members(body, "#", &["schemaVersion", "singleEmbeddingParams", "taskType"])?;
        name(body, "schemaVersion", &[VERSION])?;
        required(body, "#", "taskType")?;
        name(body, "taskType", &["SINGLE_EMBEDDING"])?;
        let params = required(body, "#", "singleEmbeddingParams")?;
        let path = "#/singleEmbeddingParams";
        let known = ["audio", "embeddingDimension", "embeddingPurpose", "image", "text", "video"];
        check_members(params, path, &known)?;
        required(params, path, "embeddingPurpose")?;
        name(params, "embeddingPurpose", &PURPOSES)?;
        size(params, "embeddingDimension", &[256, 384, 1024, 3072])?;
        let (kind, input) = input(params)?;
        let mut prompt = Prompt { max_output: Some(0), ..Prompt::default() };
        if kind == "text" {
            let path = "#/singleEmbeddingParams/text";
            check_members(input, path, &["source", "truncationMode", "value"])?;
            required(input, path, "truncationMode")?;
            name(input, "truncationMode", &["START", "END", "NONE"])?;
            if input.get("source").is_none() {
                let value = required(input, path, "value")?;
                let value = text(value, &format!("{path}/value"), MAX_CHARACTERS)?;
                prompt.read_text(value);
                value.clone_into(&mut prompt.last_text);
            }
        } else {
            required(input, &format!("#/singleEmbeddingParams/{kind}"), "source")?;
        }
        Ok(prompt)
    }

    fn whole(&self, produced: &Produced, _latency_ms: u64) -> Value {
        let params = produced.answer.request.get("singleEmbeddingParams").unwrap_or(&Value::Null);
        let length = params.get("embeddingDimension").and_then(Value::as_u64).unwrap_or(3072);
        let (kind, input) = input(params).unwrap_or(("text", &Value::Null));
        let of = input.get("value").and_then(Value::as_str).map(str::to_owned);
        let vector = vector(&of.unwrap_or_else(|| input.to_string()), length);
        json!({"embeddings": [{"embeddingType": kind.to_uppercase(), "embedding": vector}]})
    }
}

/// The one input, and its kind.
fn input(params: &Value) -> Result<(&'static str, &Value), Invalid> {
    let there = |kind: &'static str| Some((kind, params.get(kind).filter(|it| !it.is_null())?));
    let mut inputs = KINDS.into_iter().filter_map(there);
    match (inputs.next(), inputs.next()) {
        (Some(input), None) => Ok(input),
        _ => Err(malformed(
            "#/singleEmbeddingParams: exactly one of [text, image, audio, video] must be given",
        )),
    }
}
