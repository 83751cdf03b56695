//! The smallest request that a target answers, by a surface that it has.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::bedrock::{Api, Family, Operation};
use crate::catalogue::{Surface, Surfaces};

/// The least maximum of output that a model which thinks takes by OpenAI's APIs, in tokens.
const OPENAI_MAX: u32 = 16;

/// What such a request says.
const TEXT: &str = "hi";

/// One request to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) operation: Operation,
    pub(super) body: Bytes,
}

impl Probe {
    /// The probe of a model with these surfaces. Converse comes first, since its form is the same for all
    /// models; a model with InvokeModel alone is asked by it if the form of its bodies is known.
    pub(super) fn new(surfaces: Surfaces, family: Family, model: &str) -> Probe {
        let invoked =
            invoke_body(family, model).filter(|_| surfaces.contains(Surface::InvokeModel));
        let (operation, body) = match () {
            () if surfaces.contains(Surface::Converse) => (Operation::Converse, converse_body()),
            () if surfaces.contains(Surface::Messages) => {
                (Operation::CreateMessage, message_body(model))
            }
            () if surfaces.contains(Surface::ChatCompletions) => {
                (Operation::CreateChatCompletion, chat_body(model))
            }
            () if surfaces.contains(Surface::Responses) => {
                (Operation::CreateResponse, response_body(model))
            }
            () => match invoked {
                Some(body) => (Operation::InvokeModel, body),
                None => (Operation::Converse, converse_body()),
            },
        };
        Probe { operation, body: body.to_string().into() }
    }

    /// The header that the operation needs beside those of every request.
    pub(super) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let version = || {
            (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"))
        };
        (self.operation.api() == Api::Messages).then(version)
    }

    /// How the target was asked, unless that is the usual way.
    pub(super) fn way(&self) -> String {
        match self.operation {
            Operation::Converse => String::new(),
            operation => format!("by {}", operation.name()),
        }
    }
}

fn converse_body() -> Value {
    json!({
        "messages": [{ "role": "user", "content": [{ "text": TEXT }] }],
        "inferenceConfig": { "maxTokens": 1 },
    })
}

fn message_body(model: &str) -> Value {
    json!({
        "model": model,
        "max_tokens": 1,
        "messages": [{ "role": "user", "content": TEXT }],
    })
}

fn chat_body(model: &str) -> Value {
    json!({
        "model": model,
        "max_completion_tokens": OPENAI_MAX,
        "messages": [{ "role": "user", "content": TEXT }],
    })
}

fn response_body(model: &str) -> Value {
    json!({ "model": model, "max_output_tokens": OPENAI_MAX, "input": TEXT, "store": false })
}

/// The body of InvokeModel, for the families whose models need not have Converse.
fn invoke_body(family: Family, model: &str) -> Option<Value> {
    Some(match family {
        Family::Anthropic => json!({
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 1,
            "messages": [{ "role": "user", "content": TEXT }],
        }),
        Family::TitanEmbed => json!({ "inputText": TEXT }),
        Family::Cohere if model.contains("embed") => {
            json!({ "texts": [TEXT], "input_type": "search_document" })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(surfaces: &[Surface], family: Family) -> Probe {
        Probe::new(surfaces.iter().copied().collect(), family, "m")
    }

    #[test]
    fn a_target_is_asked_by_a_surface_that_it_has() {
        let all: Vec<Surface> = Surface::ALL.to_vec();
        for (surfaces, family, operation) in [
            (&all[..], Family::Unknown, Operation::Converse),
            (
                &[Surface::Responses, Surface::ChatCompletions],
                Family::OpenAi,
                Operation::CreateChatCompletion,
            ),
            (&[Surface::Responses], Family::OpenAi, Operation::CreateResponse),
            (
                &[Surface::Messages, Surface::CountTokens],
                Family::Anthropic,
                Operation::CreateMessage,
            ),
            (&[Surface::InvokeModel], Family::TitanEmbed, Operation::InvokeModel),
            // Nothing better is known.
            (&[Surface::InvokeModel], Family::Unknown, Operation::Converse),
        ] {
            let probe = probe(surfaces, family);
            assert_eq!(probe.operation, operation, "{surfaces:?}");
            let body: Value = serde_json::from_slice(&probe.body).unwrap();
            let names_model = body.get("model").is_some();
            assert_eq!(names_model, operation.has_model_in_body(), "{body}");
        }
    }

    #[test]
    fn a_message_has_the_version_of_its_api() {
        let header = |surface| probe(&[surface], Family::Unknown).header();
        assert_eq!(header(Surface::Messages).unwrap().0, "anthropic-version");
        assert_eq!(header(Surface::ChatCompletions), None);
    }

    #[test]
    fn only_another_way_than_converse_is_told() {
        assert_eq!(probe(&[Surface::Converse], Family::Unknown).way(), "");
        assert_eq!(probe(&[Surface::Responses], Family::Unknown).way(), "by CreateResponse");
    }
}
