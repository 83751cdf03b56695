//! Amazon Titan's text schema.

use serde_json::{Value, json};

use super::{Event, Invalid, Prompt, Schema, Streaming, number_at, required_text};
use crate::produced::{Part, PartKind, Produced};

pub(super) struct Titan;

impl Schema for Titan {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        let text = required_text(body, "inputText")?;
        let mut prompt = Prompt {
            last_text: text.to_owned(),
            max_output: number_at(body, &["textGenerationConfig", "maxTokenCount"]),
            ..Prompt::default()
        };
        prompt.read_text(text);
        Ok(prompt)
    }

    fn above_cap(&self, asked: u64, cap: u64, _model: &str) -> Invalid {
        Invalid::new(format!(
            "Malformed input request: #/textGenerationConfig/maxTokenCount: {asked} is not less \
             or equal to {cap}, please reformat your input and try again."
        ))
    }

    fn whole(&self, produced: &Produced, _latency_ms: u64) -> Value {
        json!({
            "inputTextTokenCount": produced.answer.usage.input,
            "results": [{
                "tokenCount": produced.answer.usage.output,
                "outputText": produced.text(),
                "completionReason": produced.stop_word("FINISH", "LENGTH"),
            }],
        })
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Titan {
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
        vec![Event::chunk(chunk(produced, text, token, None))]
    }

    fn closing(&self, produced: &Produced, _latency_ms: u64) -> Vec<Event> {
        let stop = produced.stop_word("FINISH", "LENGTH");
        vec![Event::chunk(chunk(produced, "", produced.answer.usage.output, Some(stop)))]
    }
}

fn chunk(produced: &Produced, text: &str, token: u64, stop: Option<&str>) -> Value {
    json!({
        "outputText": text,
        "index": 0,
        "totalOutputTextTokenCount": token,
        "completionReason": stop,
        "inputTextTokenCount": produced.answer.usage.input,
    })
}
