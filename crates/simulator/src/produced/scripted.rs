//! Answers whose parts are scripted.

use serde_json::Value;

use super::calls::{MAX_CALLS, call_of};
use super::{Part, PartKind, Produced, add};
use crate::answer::{Answer, tokens};
use crate::asked::{Asked, Tool};
use crate::scripted_answers::{ScriptedAnswer, ScriptedPart};

/// The answer that a script gives, cut at the maximum. It is the same for every request.
pub(super) fn produced(
    asked: &Asked,
    script: &ScriptedAnswer,
    name: &str,
    cap: u64,
    number: u64,
) -> Produced {
    let prompt = &asked.prompt;
    let cap = cap.min(prompt.max_output.unwrap_or(u64::MAX));
    // Only for its usage: the text comes from the script.
    let mut answer = Answer::to(prompt, Some(""), name, cap, number, Value::Null);
    let places = script.parts.iter().zip(0..MAX_CALLS);
    let wanted =
        places.map(|(part, at)| part_of(asked, part, number.saturating_mul(MAX_CALLS) + at));
    let mut parts = Vec::new();
    answer.at_maximum = add(&mut parts, wanted.collect(), cap);
    let mut produced = Produced::of(answer, parts, script.stop);
    produced.stop_sequence.clone_from(&script.stop_sequence);
    produced.odd_stream = script.odd_stream;
    produced
}

fn part_of(asked: &Asked, part: &ScriptedPart, number: u64) -> Part {
    let count = |text: &str| tokens(text).max(1);
    match part {
        ScriptedPart::Text(text) => Part::new(PartKind::Text, text.clone(), count(text)),
        ScriptedPart::Thought(text) => Part::thought(asked, text.clone(), count(text)),
        ScriptedPart::Sealed(text) => Part::sealed(text, count(text)),
        ScriptedPart::Call { name, input } => {
            // A string is sent as it is, so that a call can be malformed.
            let input = input.as_str().map_or_else(|| input.to_string(), str::to_owned);
            let tokens = count(&input);
            let offered = asked.tools.iter().find(|tool| tool.name == *name).cloned();
            let tool = offered.unwrap_or(Tool { name: name.clone(), ..Tool::default() });
            Part::new(call_of(&tool, number), input, tokens)
        }
    }
}
