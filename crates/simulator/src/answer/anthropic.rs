//! Anthropic's Messages schema, as InvokeModel carries it. Requests are read, and messages written, by the
//! same code as for Bedrock's own Messages API.

use serde_json::Value;

use super::{Event, Invalid, Prompt, Schema, Streaming};
use crate::apis::Messages;
use crate::produced::{Part, Produced};

pub(super) struct Anthropic;

/// InvokeModel tells the service tier in a header alone.
const MESSAGES: Messages = Messages { tier: None };

impl Schema for Anthropic {
    /// The texts of a body. What it must be is checked where the model is known.
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        let mut prompt = Prompt::default();
        if let Some(system) = body.get("system") {
            prompt.read_content("system", system);
        }
        prompt.read_messages(body)?;
        Ok(prompt)
    }

    fn above_cap(&self, asked: u64, cap: u64, model: &str) -> Invalid {
        let name = model.split_once('.').map_or(model, |(_, name)| name);
        Invalid::new(format!(
            "max_tokens: {asked} > {cap}, which is the maximum allowed number of output tokens \
             for {name}"
        ))
    }

    fn whole(&self, produced: &Produced, _latency_ms: u64) -> Value {
        MESSAGES.whole(produced)
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Anthropic {
    fn opening(&self, produced: &Produced) -> Vec<Event> {
        vec![Event::chunk(MESSAGES.start(produced))]
    }

    fn begin(&self, at: usize, part: &Part) -> Vec<Event> {
        vec![Event::chunk(MESSAGES.block_start(at, part))]
    }

    fn delta(
        &self,
        _produced: &Produced,
        at: usize,
        part: &Part,
        text: &str,
        _token: u64,
    ) -> Vec<Event> {
        MESSAGES.block_delta(at, part, text).map(Event::chunk).into_iter().collect()
    }

    fn end(&self, at: usize, part: &Part) -> Vec<Event> {
        MESSAGES.block_end(at, part).into_iter().map(Event::chunk).collect()
    }

    fn closing(&self, produced: &Produced, _latency_ms: u64) -> Vec<Event> {
        MESSAGES.end(produced).into_iter().map(Event::chunk).collect()
    }
}
