//! Amazon Nova's schema, as InvokeModel carries it: close to Converse, with names of its own.

use serde_json::{Value, json};

use super::{Event, Invalid, Prompt, Schema, Streaming, number_at};
use crate::produced::{Part, PartKind, Produced};

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

    fn whole(&self, produced: &Produced, _latency_ms: u64) -> Value {
        json!({
            "output": {"message": {"content": [{"text": produced.text()}], "role": "assistant"}},
            "stopReason": produced.stop_word("end_turn", "max_tokens"),
            "usage": usage(produced),
        })
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Nova {
    fn opening(&self, _produced: &Produced) -> Vec<Event> {
        vec![Event::chunk(json!({"messageStart": {"role": "assistant"}}))]
    }

    fn delta(
        &self,
        _produced: &Produced,
        _at: usize,
        part: &Part,
        text: &str,
        _token: u64,
    ) -> Vec<Event> {
        if part.kind != PartKind::Text {
            return Vec::new();
        }
        vec![Event::chunk(json!({
            "contentBlockDelta": {"delta": {"text": text}, "contentBlockIndex": 0},
        }))]
    }

    fn closing(&self, produced: &Produced, _latency_ms: u64) -> Vec<Event> {
        let stop = produced.stop_word("end_turn", "max_tokens");
        vec![
            Event::chunk(json!({"contentBlockStop": {"contentBlockIndex": 0}})),
            Event::chunk(json!({"messageStop": {"stopReason": stop}})),
            Event::chunk(json!({
                "metadata": {"usage": usage(produced), "metrics": {}, "trace": {}},
            })),
        ]
    }
}

fn usage(produced: &Produced) -> Value {
    let usage = produced.answer.usage;
    json!({
        "inputTokens": usage.input,
        "outputTokens": usage.output,
        "totalTokens": usage.input + usage.output + usage.cache_read + usage.cache_write,
        "cacheReadInputTokenCount": usage.cache_read,
        "cacheWriteInputTokenCount": usage.cache_write,
    })
}
