//! Meta Llama's schema: a prompt in, a generation out.

use serde_json::{Value, json};

use super::{Event, Invalid, Prompt, Schema, Streaming, number_at, required_text};
use crate::produced::{Part, PartKind, Produced};

pub(super) struct Llama;

impl Schema for Llama {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        let text = required_text(body, "prompt")?;
        let mut prompt = Prompt {
            last_text: text.to_owned(),
            max_output: number_at(body, &["max_gen_len"]),
            ..Prompt::default()
        };
        prompt.read_text(text);
        Ok(prompt)
    }

    fn above_cap(&self, asked: u64, cap: u64, _model: &str) -> Invalid {
        Invalid::new(format!(
            "Malformed input request: #/max_gen_len: {asked} is not less or equal to {cap}, \
             please reformat your input and try again."
        ))
    }

    fn whole(&self, produced: &Produced, _latency_ms: u64) -> Value {
        json!({
            "generation": produced.text(),
            "prompt_token_count": produced.answer.usage.input,
            "generation_token_count": produced.answer.usage.output,
            "stop_reason": produced.stop_word("stop", "length"),
        })
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Llama {
    fn delta(
        &self,
        produced: &Produced,
        _at: usize,
        part: &Part,
        text: &str,
        token: u64,
    ) -> Vec<Event> {
        if part.kind != PartKind::Text {
            return Vec::new();
        }
        // Only the first chunk counts the prompt.
        let input = (token == 1).then_some(produced.answer.usage.input);
        vec![Event::chunk(json!({
            "generation": text,
            "prompt_token_count": input,
            "generation_token_count": token,
            "stop_reason": null,
        }))]
    }

    fn closing(&self, produced: &Produced, _latency_ms: u64) -> Vec<Event> {
        vec![Event::chunk(json!({
            "generation": "",
            "prompt_token_count": null,
            "generation_token_count": produced.answer.usage.output,
            "stop_reason": produced.stop_word("stop", "length"),
        }))]
    }
}
