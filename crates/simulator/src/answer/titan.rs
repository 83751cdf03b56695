//! Amazon Titan's text schema.

use serde_json::{Value, json};

use super::{Answer, Event, Invalid, Prompt, Schema, Streaming, number_at, required_text};

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

    fn whole(&self, answer: &Answer, _latency_ms: u64) -> Value {
        json!({
            "inputTextTokenCount": answer.usage.input,
            "results": [{
                "tokenCount": answer.usage.output,
                "outputText": answer.text,
                "completionReason": answer.stop("FINISH", "LENGTH"),
            }],
        })
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Titan {
    fn delta(&self, answer: &Answer, text: &str, token: u64) -> Event {
        Event::chunk(chunk(answer, text, token, None))
    }

    fn closing(&self, answer: &Answer, _latency_ms: u64) -> Vec<Event> {
        let stop = answer.stop("FINISH", "LENGTH");
        vec![Event::chunk(chunk(answer, "", answer.usage.output, Some(stop)))]
    }
}

fn chunk(answer: &Answer, text: &str, token: u64, stop: Option<&str>) -> Value {
    json!({
        "outputText": text,
        "index": 0,
        "totalOutputTextTokenCount": token,
        "completionReason": stop,
        "inputTextTokenCount": answer.usage.input,
    })
}
