//! Embeddings: Titan's and Cohere's. Vectors are made from the text alone, so that the same text
//! always has the same vector.

use serde_json::{Value, json};

use super::{Invalid, Prompt, Schema, number_at, required_text};
use crate::produced::Produced;

pub(super) struct TitanEmbed;

impl Schema for TitanEmbed {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        let text = required_text(body, "inputText")?;
        if let Some(size) = number_at(body, &["dimensions"])
            && ![256, 384, 512, 1024].contains(&size)
        {
            return Err(Invalid::new(format!(
                "Malformed input request: #/dimensions: {size} is not a valid enum value, please \
                 reformat your input and try again."
            )));
        }
        let mut prompt =
            Prompt { last_text: text.to_owned(), max_output: Some(0), ..Prompt::default() };
        prompt.read_text(text);
        Ok(prompt)
    }

    fn whole(&self, produced: &Produced, _latency_ms: u64) -> Value {
        let old = produced.answer.model.contains("embed-text-v1")
            || produced.answer.model.contains("embed-g1-text");
        let usual = if old { 1536 } else { 1024 };
        let size = number_at(&produced.answer.request, &["dimensions"]).unwrap_or(usual);
        let text =
            produced.answer.request.get("inputText").and_then(Value::as_str).unwrap_or_default();
        let vector = vector(text, size);
        json!({
            "embedding": vector,
            "embeddingsByType": {"float": vector},
            "inputTextTokenCount": produced.answer.usage.input,
        })
    }
}

pub(super) struct CohereEmbed;

impl Schema for CohereEmbed {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        let texts = body.get("texts").and_then(Value::as_array);
        let texts = texts.filter(|texts| (1..=96).contains(&texts.len())).ok_or_else(|| {
            Invalid::new(
                "Malformed input request: #/texts: expected 1 to 96 items, please reformat your \
                 input and try again.",
            )
        })?;
        let mut prompt = Prompt { max_output: Some(0), ..Prompt::default() };
        for text in texts.iter().filter_map(Value::as_str) {
            prompt.read_text(text);
            prompt.last_text = text.to_owned();
        }
        Ok(prompt)
    }

    fn whole(&self, produced: &Produced, _latency_ms: u64) -> Value {
        let texts = produced.answer.request.get("texts").and_then(Value::as_array);
        let texts: Vec<&str> = texts.into_iter().flatten().filter_map(Value::as_str).collect();
        let vectors: Vec<Vec<f64>> = texts.iter().map(|text| vector(text, 1024)).collect();
        json!({
            "id": format!("{:032}", produced.answer.number),
            "embeddings": vectors,
            "texts": texts,
            "response_type": "embeddings_floats",
        })
    }
}

/// A unit vector of `size` numbers, made from the text.
fn vector(text: &str, size: u64) -> Vec<f64> {
    let seed = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rng = fastrand::Rng::with_seed(seed);
    let numbers: Vec<f64> = (0..size).map(|_| rng.f64() * 2.0 - 1.0).collect();
    let norm = numbers.iter().map(|n| n * n).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    numbers.into_iter().map(|n| n / norm).collect()
}
