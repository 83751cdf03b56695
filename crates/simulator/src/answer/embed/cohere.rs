//! Cohere's embeddings: many texts in, as many vectors out, by type if types are asked for.

use serde_json::{Map, Value, json};

use super::super::{Invalid, Prompt, Schema};
use super::{check_members, malformed, name, names, required, size, text, vector};
use crate::produced::Produced;

/// The most inputs of a request.
const MAX_INPUTS: usize = 96;
/// The longest text of version 3, in characters.
const MAX_CHARACTERS: usize = 2048;
const TYPES: [&str; 5] = ["float", "int8", "uint8", "binary", "ubinary"];
const INPUT_TYPES: [&str; 5] =
    ["search_document", "search_query", "classification", "clustering", "image"];

/// The versions, which take different members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum CohereEmbed {
    Third,
    Fourth,
}

impl CohereEmbed {
    /// The version of a model.
    pub(in super::super) fn of(base: Option<&str>) -> &'static CohereEmbed {
        match base.is_some_and(|id| id.starts_with("cohere.embed-v4")) {
            true => &CohereEmbed::Fourth,
            false => &CohereEmbed::Third,
        }
    }

    /// The inputs of a body, each as a text: images and mixed inputs as their JSON.
    fn inputs(self, body: &Value) -> Result<Vec<String>, Invalid> {
        let kinds = match self {
            CohereEmbed::Third => &["texts", "images"][..],
            CohereEmbed::Fourth => &["texts", "images", "inputs"][..],
        };
        let there = |name: &&&str| body.get(**name).is_some_and(|it| !it.is_null());
        let given: Vec<&&str> = kinds.iter().filter(there).collect();
        let [kind] = given.as_slice() else {
            return Err(malformed(match given.is_empty() {
                true => "#: required key [texts] not found",
                false => "#: only one of the inputs may be given",
            }));
        };
        let path = format!("#/{kind}");
        let inputs = required(body, "#", kind)?.as_array();
        let inputs =
            inputs.ok_or_else(|| malformed(&format!("{path}: expected type: JSONArray")))?;
        match inputs.len() {
            0 => {
                return Err(malformed(&format!(
                    "{path}: expected minimum item count: 1, found: 0"
                )));
            }
            count if count > MAX_INPUTS => {
                return Err(malformed(&format!(
                    "{path}: expected maximum item count: {MAX_INPUTS}, found: {count}"
                )));
            }
            _ => {}
        }
        if **kind == "inputs" {
            return Ok(inputs.iter().map(Value::to_string).collect());
        }
        let longest = match (self, **kind) {
            (CohereEmbed::Third, "texts") => MAX_CHARACTERS,
            _ => usize::MAX,
        };
        let places = inputs.iter().enumerate();
        places.map(|(at, it)| Ok(text(it, &format!("{path}/{at}"), longest)?.to_owned())).collect()
    }
}

impl Schema for CohereEmbed {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        let (known, truncations) = match self {
            CohereEmbed::Third => (
                &["embedding_types", "images", "input_type", "texts", "truncate"][..],
                ["NONE", "START", "END"],
            ),
            CohereEmbed::Fourth => (
                &[
                    "embedding_types",
                    "images",
                    "input_type",
                    "inputs",
                    "max_tokens",
                    "output_dimension",
                    "texts",
                    "truncate",
                ][..],
                ["NONE", "LEFT", "RIGHT"],
            ),
        };
        check_members(body, "#", known)?;
        required(body, "#", "input_type")?;
        name(body, "input_type", &INPUT_TYPES)?;
        name(body, "truncate", &truncations)?;
        names(body, "embedding_types", &TYPES)?;
        size(body, "output_dimension", &[256, 512, 1024, 1536])?;
        let mut prompt = Prompt { max_output: Some(0), ..Prompt::default() };
        for input in self.inputs(body)? {
            prompt.read_text(&input);
            prompt.last_text = input;
        }
        Ok(prompt)
    }

    fn whole(&self, produced: &Produced, _latency_ms: u64) -> Value {
        let request = &produced.answer.request;
        let usual = match self {
            CohereEmbed::Third => 1024,
            CohereEmbed::Fourth => 1536,
        };
        let length = request.get("output_dimension").and_then(Value::as_u64).unwrap_or(usual);
        let inputs = self.inputs(request).unwrap_or_default();
        let vectors: Vec<Vec<f64>> = inputs.iter().map(|input| vector(input, length)).collect();
        let asked = names(request, "embedding_types", &TYPES).unwrap_or_default();
        let (embeddings, form) = match asked.is_empty() {
            true => (json!(vectors), "embeddings_floats"),
            false => {
                let of_type = |name: &&str| {
                    let each: Vec<Value> = vectors.iter().map(|it| as_type(it, name)).collect();
                    ((*name).to_owned(), Value::from(each))
                };
                let by_type: Map<String, Value> = asked.iter().map(of_type).collect();
                (Value::Object(by_type), "embeddings_by_type")
            }
        };
        let mut answer = json!({
            "id": format!("{:032}", produced.answer.number),
            "embeddings": embeddings,
            "response_type": form,
        });
        if let (Some(texts), Some(members)) = (request.get("texts"), answer.as_object_mut()) {
            members.insert("texts".to_owned(), texts.clone());
        }
        answer
    }
}

/// A vector in one of the types: bytes, or a bit for each number, eight in a byte.
fn as_type(vector: &[f64], name: &str) -> Value {
    let signed = |number: &f64| (number * 127.0).round() as i64;
    let bits =
        |bits: &[f64]| bits.iter().fold(0_i64, |byte, bit| byte << 1 | i64::from(*bit > 0.0));
    match name {
        "int8" => vector.iter().map(signed).collect(),
        "uint8" => vector.iter().map(|number| signed(number) + 128).collect(),
        "binary" => vector.chunks(8).map(|chunk| bits(chunk) - 128).collect(),
        "ubinary" => vector.chunks(8).map(bits).collect(),
        _ => json!(vector),
    }
}
