//! Amazon Nova's schema, as InvokeModel carries it: close to Converse, with names of its own.

use serde_json::{Value, json};

use super::{Answer, Event, Invalid, Prompt, Schema, Streaming, number_at};

pub(super) struct Nova;

impl Schema for Nova {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        let maxima = ["maxTokens", "max_new_tokens"];
        let mut prompt = Prompt {
            max_output: maxima
                .iter()
                .filter_map(|name| number_at(body, &["inferenceConfig", name]))
                .max(),
            ..Prompt::default()
        };
        if let Some(system) = body.get("system") {
            prompt.read_content("system", system);
        }
        prompt.read_messages(body).map_err(|_| {
            Invalid::new(
                "Malformed input request: #: required key [messages] not found, please reformat \
                 your input and try again.",
            )
        })?;
        Ok(prompt)
    }

    fn above_cap(&self, asked: u64, cap: u64, _model: &str) -> Invalid {
        Invalid::new(format!(
            "Malformed input request: #/inferenceConfig/maxTokens: {asked} is not less or equal \
             to {cap}, please reformat your input and try again."
        ))
    }

    fn whole(&self, answer: &Answer, _latency_ms: u64) -> Value {
        json!({
            "output": {"message": {"content": [{"text": answer.text}], "role": "assistant"}},
            "stopReason": answer.stop("end_turn", "max_tokens"),
            "usage": usage(answer),
        })
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Nova {
    fn opening(&self, _answer: &Answer) -> Vec<Event> {
        vec![Event::chunk(json!({"messageStart": {"role": "assistant"}}))]
    }

    fn delta(&self, _answer: &Answer, text: &str, _token: u64) -> Event {
        Event::chunk(json!({
            "contentBlockDelta": {"delta": {"text": text}, "contentBlockIndex": 0},
        }))
    }

    fn closing(&self, answer: &Answer, _latency_ms: u64) -> Vec<Event> {
        let stop = answer.stop("end_turn", "max_tokens");
        vec![
            Event::chunk(json!({"contentBlockStop": {"contentBlockIndex": 0}})),
            Event::chunk(json!({"messageStop": {"stopReason": stop}})),
            Event::chunk(json!({
                "metadata": {"usage": usage(answer), "metrics": {}, "trace": {}},
            })),
        ]
    }
}

fn usage(answer: &Answer) -> Value {
    let usage = answer.usage;
    json!({
        "inputTokens": usage.input,
        "outputTokens": usage.output,
        "totalTokens": usage.input + usage.output + usage.cache_read + usage.cache_write,
        "cacheReadInputTokenCount": usage.cache_read,
        "cacheWriteInputTokenCount": usage.cache_write,
    })
}
