//! One question to a model and its answer, as InvokeModel carries them for Anthropic's models
//! (Bedrock user guide, "Anthropic Claude Messages API").
//!
//! Only that schema is used. For models of other families the pipeline translates it into Converse, and their
//! answers back.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::json;

use super::json::{Field, Texts};

/// The version that Bedrock requires in a body.
pub const ANTHROPIC_VERSION: &str = "bedrock-2023-05-31";

/// Most bytes of a response body that are read.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Why a response body has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoText {
    /// The body is longer than [`MAX_BODY_BYTES`].
    #[error("the model's response is longer than {MAX_BODY_BYTES} bytes")]
    TooLong,
    /// The body is not in Anthropic's schema.
    #[error("the model's response is not an Anthropic message")]
    NotAMessage,
    /// The answer has no text: the model refused, or had no tokens left after thinking.
    #[error("the model's response has no text")]
    Empty,
}

/// The prompt of one model call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question<'a> {
    /// The system prompt, if there is one.
    pub system: Option<&'a str>,
    /// The user's message.
    pub user: &'a str,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// Randomness of the answer, 0.0 to 1.0; `None` for a model that takes none.
    pub temperature: Option<f64>,
    /// Whether the models take a system prompt; else it stands before the message.
    pub takes_system: bool,
}

impl Question<'_> {
    /// The body of an InvokeModel request for a model of the Anthropic family.
    pub fn body(&self) -> Bytes {
        let (system, user) = match self.system {
            Some(system) if !self.takes_system => {
                (None, Cow::Owned(format!("{system}\n\n{}", self.user)))
            }
            system => (system, Cow::Borrowed(self.user)),
        };
        let mut body = json!({
            "anthropic_version": ANTHROPIC_VERSION,
            "max_tokens": self.max_tokens,
            "messages": [{"role": "user", "content": [{"type": "text", "text": user}]}],
        });
        if let Some(object) = body.as_object_mut() {
            let temperature = self.temperature.map(|it| ("temperature", it.into()));
            let system = system.map(|it| ("system", it.into()));
            let given = [temperature, system].into_iter().flatten();
            object.extend(given.map(|(key, value)| (key.to_owned(), value)));
        }
        body.to_string().into()
    }
}

/// The text of an InvokeModel response body of an Anthropic model: its text blocks, joined as they
/// are. Blocks of other types (thinking, tool use, and what is to come) are passed over.
///
/// # Errors
/// The body is too long, in another schema, or without text.
pub fn text(body: &[u8]) -> Result<String, NoText> {
    if body.len() > MAX_BODY_BYTES {
        return Err(NoText::TooLong);
    }
    let message: Message = serde_json::from_slice(body).map_err(|_| NoText::NotAMessage)?;
    let text = message.content.0;
    if text.trim().is_empty() { Err(NoText::Empty) } else { Ok(text) }
}

#[derive(Deserialize)]
struct Message {
    content: Blocks,
}

/// The texts of a list of blocks, joined.
struct Blocks(String);

impl<'de> Deserialize<'de> for Blocks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blocks, D::Error> {
        deserializer.deserialize_seq(ReadBlocks)
    }
}

struct ReadBlocks;

impl<'de> Visitor<'de> for ReadBlocks {
    type Value = Blocks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of blocks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<Blocks, A::Error> {
        let mut all = String::new();
        let block = Texts([("type", TEXT.len() + 1), ("text", MAX_BODY_BYTES)]);
        while let Some(block) = blocks.next_element_seed(block)? {
            if let Some([Field::Text(kind), Field::Text(text)]) = block
                && kind == TEXT
            {
                all.push_str(&text);
            }
        }
        Ok(Blocks(all))
    }
}

/// The type of a block that is part of the answer.
const TEXT: &str = "text";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::bedrock::body::peek;
    use crate::bedrock::{Family, Operation};

    const QUESTION: Question<'_> = Question {
        system: Some("Be brief."),
        user: "Hi \"you\"",
        max_tokens: 99,
        temperature: Some(0.7),
        takes_system: true,
    };

    #[test]
    fn a_question_is_asked_in_anthropics_schema() {
        let body: Value = serde_json::from_slice(&QUESTION.body()).unwrap();
        assert_eq!(
            body,
            json!({
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 99,
                "temperature": 0.7,
                "system": "Be brief.",
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Hi \"you\""}]},
                ],
            })
        );
        let found = peek(Operation::InvokeModel, Family::Anthropic, &QUESTION.body()).unwrap();
        assert_eq!(found.max_output_tokens(), Some(99), "the gateway can clamp it");
    }

    #[test]
    fn without_a_system_prompt_there_is_none_in_the_body() {
        let body: Value =
            serde_json::from_slice(&Question { system: None, ..QUESTION }.body()).unwrap();
        assert_eq!(body.get("system"), None);
    }

    #[test]
    fn where_a_model_takes_no_system_prompt_it_stands_before_the_message() {
        let asked = Question { takes_system: false, ..QUESTION };
        let body: Value = serde_json::from_slice(&asked.body()).unwrap();
        assert_eq!(body.get("system"), None);
        assert_eq!(body["messages"][0]["content"][0]["text"], "Be brief.\n\nHi \"you\"");
    }

    fn said(content: &Value) -> Result<String, NoText> {
        text(json!({"role": "assistant", "content": content}).to_string().as_bytes())
    }

    #[test]
    fn the_text_blocks_are_the_answer() {
        let blocks = json!([
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "text", "text": "Hello, "},
            {"type": "tool_use", "id": "t", "name": "n", "input": {"text": "no"}},
            {"type": "surprise", "text": {"of": "another type"}},
            {"type": "text", "text": 5},
            {"type": "text", "text": "wörld"},
            "bare",
        ]);
        assert_eq!(said(&blocks).as_deref(), Ok("Hello, wörld"));
    }

    #[test]
    fn a_response_without_text_has_a_reason() {
        assert_eq!(said(&json!([])), Err(NoText::Empty));
        assert_eq!(said(&json!([{"type": "text", "text": " \n"}])), Err(NoText::Empty));
        assert_eq!(said(&json!("text")), Err(NoText::NotAMessage));
        for body in ["", "{", "[]", "{}", r#"{"message": "Too many requests"}"#] {
            assert_eq!(text(body.as_bytes()), Err(NoText::NotAMessage), "{body}");
        }
        assert_eq!(text(&vec![b' '; MAX_BODY_BYTES + 1]), Err(NoText::TooLong));
    }

    proptest! {
        #[test]
        fn any_question_is_json_and_comes_through(system in ".*", user in ".*", max_tokens: u32) {
            let asked = Question { system: Some(&system), user: &user, max_tokens, ..QUESTION };
            let body: Value = serde_json::from_slice(&asked.body()).unwrap();
            prop_assert_eq!(&body["system"], &system);
            prop_assert_eq!(&body["messages"][0]["content"][0]["text"], &user);
        }

        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>) {
            _ = text(&body);
        }
    }
}
