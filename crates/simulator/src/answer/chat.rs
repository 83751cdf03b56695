//! The chat-completions schema that Mistral, DeepSeek, Qwen, OpenAI's open-weight models, AI21
//! and Cohere's newer models share in its outline; `prompt` or `message` stand for `messages`.

use serde_json::{Value, json};

use super::{Event, Invalid, Prompt, Schema, Streaming, number_at};
use crate::produced::{Part, PartKind, Produced};

pub(super) struct Chat;

impl Schema for Chat {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        let maxima = ["max_tokens", "max_completion_tokens"];
        let mut prompt = Prompt {
            max_output: maxima.iter().filter_map(|name| number_at(body, &[name])).max(),
            ..Prompt::default()
        };
        let single = ["prompt", "message"].iter().find_map(|key| body.get(key)?.as_str());
        match single {
            Some(text) => prompt.read_content("user", &Value::from(text)),
            None => prompt.read_messages(body)?,
        }
        Ok(prompt)
    }

    fn above_cap(&self, asked: u64, cap: u64, _model: &str) -> Invalid {
        Invalid::new(format!(
            "Malformed input request: #/max_tokens: {asked} is not less or equal to {cap}, \
             please reformat your input and try again."
        ))
    }

    fn whole(&self, produced: &Produced, _latency_ms: u64) -> Value {
        json!({
            "id": id(produced),
            "object": "chat.completion",
            "model": produced.answer.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": produced.text()},
                "finish_reason": produced.stop_word("stop", "length"),
            }],
            "usage": {
                "prompt_tokens": produced.answer.usage.input,
                "completion_tokens": produced.answer.usage.output,
                "total_tokens": produced.answer.usage.input + produced.answer.usage.output,
            },
        })
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Chat {
    fn delta(
        &self,
        produced: &Produced,
        _at: usize,
        part: &Part,
        text: &str,
        _token: u64,
    ) -> Vec<Event> {
        if part.kind != PartKind::Text {
            return Vec::new();
        }
        vec![Event::chunk(chunk(produced, json!({"role": "assistant", "content": text}), None))]
    }

    fn closing(&self, produced: &Produced, _latency_ms: u64) -> Vec<Event> {
        let stop = produced.stop_word("stop", "length");
        vec![Event::chunk(chunk(produced, json!({}), Some(stop)))]
    }
}

fn id(produced: &Produced) -> String {
    format!("chatcmpl-{:024}", produced.answer.number)
}

fn chunk(produced: &Produced, delta: Value, stop: Option<&str>) -> Value {
    json!({
        "id": id(produced),
        "object": "chat.completion.chunk",
        "model": produced.answer.model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": stop}],
    })
}
