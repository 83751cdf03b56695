//! The chat-completions schema that Mistral, DeepSeek, Qwen, OpenAI's open-weight models, AI21
//! and Cohere's newer models share in its outline; `prompt` or `message` stand for `messages`.

use serde_json::{Value, json};

use super::{Answer, Event, Invalid, Prompt, Schema, Streaming, number_at};

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

    fn whole(&self, answer: &Answer, _latency_ms: u64) -> Value {
        json!({
            "id": id(answer),
            "object": "chat.completion",
            "model": answer.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "finish_reason": answer.stop("stop", "length"),
            }],
            "usage": {
                "prompt_tokens": answer.usage.input,
                "completion_tokens": answer.usage.output,
                "total_tokens": answer.usage.input + answer.usage.output,
            },
        })
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Chat {
    fn delta(&self, answer: &Answer, text: &str, _token: u64) -> Event {
        Event::chunk(chunk(answer, json!({"role": "assistant", "content": text}), None))
    }

    fn closing(&self, answer: &Answer, _latency_ms: u64) -> Vec<Event> {
        let stop = answer.stop("stop", "length");
        vec![Event::chunk(chunk(answer, json!({}), Some(stop)))]
    }
}

fn id(answer: &Answer) -> String {
    format!("chatcmpl-{:024}", answer.number)
}

fn chunk(answer: &Answer, delta: Value, stop: Option<&str>) -> Value {
    json!({
        "id": id(answer),
        "object": "chat.completion.chunk",
        "model": answer.model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": stop}],
    })
}
