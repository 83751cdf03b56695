//! Titan's embeddings: one text in, one vector out.

use serde_json::{Map, Value, json};

use super::super::{Invalid, Prompt, Schema};
use super::{check_members, malformed, names, required, size, text, vector};
use crate::produced::Produced;

/// The longest text, in characters.
const MAX_CHARACTERS: usize = 50_000;
/// The longest text, in tokens.
const MAX_TOKENS: u64 = 8_192;

/// The versions, which take different members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum TitanEmbed {
    /// Text only, of one size.
    First,
    /// Text, with a choice of size.
    Second,
    /// Texts and images.
    Multimodal,
}

impl TitanEmbed {
    /// The version of a model.
    pub(in super::super) fn of(base: Option<&str>) -> &'static TitanEmbed {
        match base.unwrap_or_default() {
            id if id.contains("embed-image") => &TitanEmbed::Multimodal,
            id if id.contains("text-v1") || id.contains("g1-text") => &TitanEmbed::First,
            _ => &TitanEmbed::Second,
        }
    }

    fn read_multimodal(body: &Value) -> Result<Prompt, Invalid> {
        check_members(body, "#", &["embeddingConfig", "inputImage", "inputText"])?;
        if let Some(config) = body.get("embeddingConfig") {
            check_members(config, "#/embeddingConfig", &["outputEmbeddingLength"])?;
            size(config, "outputEmbeddingLength", &[256, 384, 1024])?;
        }
        let there = |name: &str| body.get(name).filter(|value| !value.is_null());
        if let Some(image) = there("inputImage") {
            text(image, "#/inputImage", usize::MAX)?;
        }
        match there("inputText") {
            Some(input) => Ok(prompt(text(input, "#/inputText", MAX_CHARACTERS)?)),
            None if there("inputImage").is_some() => Ok(prompt("")),
            None => Err(malformed("#: required key [inputText] not found")),
        }
    }
}

impl Schema for TitanEmbed {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        match self {
            TitanEmbed::First => check_members(body, "#", &["inputText"])?,
            TitanEmbed::Second => {
                let known = ["dimensions", "embeddingTypes", "inputText", "normalize"];
                check_members(body, "#", &known)?;
            }
            TitanEmbed::Multimodal => return Self::read_multimodal(body),
        }
        let input = text(required(body, "#", "inputText")?, "#/inputText", MAX_CHARACTERS)?;
        size(body, "dimensions", &[256, 512, 1024])?;
        names(body, "embeddingTypes", &["float", "binary"])?;
        if body.get("normalize").is_some_and(|it| !it.is_boolean()) {
            return Err(malformed("#/normalize: expected type: Boolean"));
        }
        let prompt = prompt(input);
        let tokens = prompt.input_tokens();
        if tokens > MAX_TOKENS {
            return Err(Invalid::new(format!(
                "400 Bad Request: Too many input tokens. Max input tokens: {MAX_TOKENS}, request \
                 input token count: {tokens} "
            )));
        }
        Ok(prompt)
    }

    fn whole(&self, produced: &Produced, _latency_ms: u64) -> Value {
        let request = &produced.answer.request;
        let tokens = produced.answer.usage.input;
        let of = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
        let length = request.get("dimensions").and_then(Value::as_u64);
        match self {
            TitanEmbed::First => {
                json!({"embedding": vector(of("inputText"), 1536), "inputTextTokenCount": tokens})
            }
            TitanEmbed::Multimodal => {
                let length = request.pointer("/embeddingConfig/outputEmbeddingLength");
                let length = length.and_then(Value::as_u64).unwrap_or(1024);
                let input = format!("{}{}", of("inputText"), of("inputImage"));
                let vector = vector(&input, length);
                json!({"embedding": vector, "inputTextTokenCount": tokens, "message": null})
            }
            TitanEmbed::Second => {
                let mut vector = vector(of("inputText"), length.unwrap_or(1024));
                if request.get("normalize") == Some(&Value::Bool(false)) {
                    vector.iter_mut().for_each(|number| *number *= 10.0);
                }
                let asked = names(request, "embeddingTypes", &["float", "binary"]);
                let asked = asked.unwrap_or_default();
                let mut by_type = Map::new();
                let mut answer = json!({"inputTextTokenCount": tokens});
                if asked.contains(&"binary") {
                    let bits: Vec<u8> = vector.iter().map(|n| u8::from(*n > 0.0)).collect();
                    by_type.insert("binary".to_owned(), bits.into());
                }
                if asked.is_empty() || asked.contains(&"float") {
                    by_type.insert("float".to_owned(), vector.clone().into());
                    if let Some(members) = answer.as_object_mut() {
                        members.insert("embedding".to_owned(), vector.into());
                    }
                }
                if let Some(members) = answer.as_object_mut() {
                    members.insert("embeddingsByType".to_owned(), by_type.into());
                }
                answer
            }
        }
    }
}

fn prompt(text: &str) -> Prompt {
    let mut prompt =
        Prompt { last_text: text.to_owned(), max_output: Some(0), ..Prompt::default() };
    prompt.read_text(text);
    prompt
}
