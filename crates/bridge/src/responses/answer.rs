//! Writes a whole answer as a response.

use super::custom_input;
use super::response::{
    Call, Frame, ItemKind, Served, State, Status, incomplete_reason, status_of, write_message,
    write_reasoning, write_text_part,
};
use super::sealed::{Seal, seal_signed};
use crate::answer::{Answer, Content};
use crate::json::write_escaped;
use crate::translation::{AnswerContext, Stamp};

/// Writes the response object.
pub(crate) fn write_answer(answer: &Answer<'_>, context: &AnswerContext, stamp: &Stamp) -> Vec<u8> {
    let frame = Frame::new(context, stamp);
    let status = status_of(answer.stop);
    let mut items = Items { frame: &frame, output: Vec::new(), count: 0 };
    let mut rest = answer.content.as_slice();
    while let Some((first, after)) = rest.split_first() {
        let texts = rest.iter().take_while(|part| text_of(part).is_some()).count();
        let (part, after) = match texts {
            0 => (std::slice::from_ref(first), after),
            texts => rest.split_at(texts),
        };
        rest = after;
        // What was cut short is the last item.
        items.write(part, if rest.is_empty() { status } else { Status::Completed });
    }
    let served = Served {
        usage: answer.usage,
        reasoning_tokens: answer.reasoning_tokens,
        tier: answer.tier.as_deref().map(str::to_owned),
    };
    let state = State {
        status,
        incomplete: incomplete_reason(answer.stop),
        error: None,
        output: &items.output,
        served: Some(&served),
    };
    let mut out = Vec::with_capacity(items.output.len() + 1024 + context.echo.members.len());
    frame.write(&state, &mut out);
    out
}

fn text_of<'c>(part: &'c Content<'_>) -> Option<&'c str> {
    match part {
        Content::Text(text) | Content::CitedText { text, .. } => Some(text),
        _ => None,
    }
}

struct Items<'f> {
    frame: &'f Frame,
    output: Vec<u8>,
    count: u32,
}

impl Items<'_> {
    /// Writes an item of these parts: one, or several texts.
    fn write(&mut self, parts: &[Content<'_>], status: Status) {
        match parts {
            [Content::Reasoning { text, signature }] => {
                let mut summary = Vec::new();
                write_escaped(&mut summary, text);
                let sealed = signature.as_deref().and_then(|it| seal_signed(text, it));
                let summary = Some(summary.as_slice()).filter(|it| !it.is_empty());
                self.reasoning(summary, sealed.as_deref());
            }
            [Content::RedactedReasoning(data)] => {
                let mut seal = Seal::default();
                seal.add_redacted(data);
                self.reasoning(None, seal.finish().as_deref());
            }
            [Content::ToolUse { id, name, input }] => {
                let call = Call::new(self.frame, self.count, id, name);
                let input = match call.is_custom {
                    true => custom_input::text_of(&input.0),
                    false => {
                        let mut escaped = Vec::with_capacity(input.0.len() + 16);
                        write_escaped(&mut escaped, &input.0);
                        escaped
                    }
                };
                call.write(status, &input, self.begin());
            }
            texts => self.message(texts, status),
        }
    }

    fn reasoning(&mut self, summary: Option<&[u8]>, sealed: Option<&str>) {
        if summary.is_some() || sealed.is_some() {
            let id = self.frame.ids.item(ItemKind::Reasoning, self.count);
            write_reasoning(&id, summary, sealed, self.begin());
        }
    }

    fn message(&mut self, texts: &[Content<'_>], status: Status) {
        let mut parts = Vec::new();
        for text in texts.iter().filter_map(text_of).filter(|text| !text.is_empty()) {
            let mut escaped = Vec::with_capacity(text.len() + 16);
            write_escaped(&mut escaped, text);
            if !parts.is_empty() {
                parts.push(b',');
            }
            write_text_part(&escaped, &mut parts);
        }
        if !parts.is_empty() {
            let id = self.frame.ids.item(ItemKind::Message, self.count);
            write_message(&id, status, &parts, self.begin());
        }
    }

    fn begin(&mut self) -> &mut Vec<u8> {
        if self.count > 0 {
            self.output.push(b',');
        }
        self.count = self.count.saturating_add(1);
        &mut self.output
    }
}
