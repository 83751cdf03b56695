//! `inferenceConfig`: the maximum of the answer, sampling and stop sequences, with numbers as they were written.

use std::borrow::Cow;

use sluice_bedrock::Family;

use crate::conversation::Conversation;
use crate::json::Object;

use super::super::params::Field;
use super::target::Target;
use super::thinking::ThinkingPlan;

/// Most stop sequences of a request.
const MAX_STOP_SEQUENCES: usize = 2500;

/// Writes `inferenceConfig`. Returns `top_k`, which Converse has not: it goes to the model's own fields.
pub(super) fn write<'c>(
    conversation: &'c Conversation<'_>,
    thinking: &ThinkingPlan,
    body: &mut Object<'_>,
    target: &mut Target<'_, '_>,
) -> Option<&'c str> {
    let max_tokens = conversation.max_tokens.map(|max| max_tokens(max, thinking, target));
    let temperature = temperature(conversation.temperature.as_ref(), thinking, target);
    let top_p = top_p(conversation.top_p.as_ref(), thinking, target);
    let top_k = top_k(conversation.top_k.as_ref(), thinking, target);
    let stop = &conversation.stop_sequences;
    if stop.len() > MAX_STOP_SEQUENCES {
        let name = Field::Stop.name(target.source);
        let message = format!("`{name}` has more than {MAX_STOP_SEQUENCES} texts");
        target.report.refuse(Some(name.to_owned()), false, message);
    }
    if max_tokens.is_none() && temperature.is_none() && top_p.is_none() && stop.is_empty() {
        return top_k;
    }
    let mut config = body.object("inferenceConfig");
    if let Some(max_tokens) = max_tokens {
        config.number("maxTokens", max_tokens);
    }
    if let Some(temperature) = temperature {
        config.raw("temperature", temperature);
    }
    if let Some(top_p) = top_p {
        config.raw("topP", top_p);
    }
    if !stop.is_empty() {
        let mut list = config.array("stopSequences");
        stop.iter().filter(|text| !text.is_empty()).for_each(|text| list.str(text));
    }
    top_k
}

/// The maximum that is sent. An answer never gets longer than the model's own maximum, so that a higher one says
/// the same and is only refused.
fn max_tokens(max: u64, thinking: &ThinkingPlan, target: &mut Target<'_, '_>) -> u64 {
    if max == 0 {
        let name = Field::MaxTokens.name(target.source);
        target.report.refuse(Some(name.to_owned()), false, format!("`{name}` must be at least 1"));
    }
    let max = thinking.min_max_tokens.map_or(max, |least| least.max(max));
    target.model.max_output_tokens.map_or(max, |most| max.min(u64::from(most)))
}

/// Why a model takes no sampling parameter now.
fn no_sampling(thinking: &ThinkingPlan, target: &Target<'_, '_>) -> Option<&'static str> {
    if !target.model.takes_sampling {
        Some("is not taken by this model, which takes no sampling parameters")
    } else if thinking.thinks && target.model.is_claude() {
        Some("is not taken by this model while it thinks")
    } else if thinking.is_highest_of_nova() {
        Some("is not taken by this model at the highest effort")
    } else {
        None
    }
}

fn temperature<'c>(
    value: Option<&'c Cow<'_, str>>,
    thinking: &ThinkingPlan,
    target: &mut Target<'_, '_>,
) -> Option<&'c str> {
    let (text, number) = number(Field::Temperature, value?, target)?;
    match no_sampling(thinking, target) {
        // One is what it samples with by itself.
        Some(_) if number == 1.0 => return None,
        Some(why) => target.tuning(Field::Temperature, why),
        None if number > 1.0 => {
            let why = "is above 1, the highest that this model takes";
            target.tuning(Field::Temperature, why);
        }
        None => return Some(text),
    }
    None
}

fn top_p<'c>(
    value: Option<&'c Cow<'_, str>>,
    thinking: &ThinkingPlan,
    target: &mut Target<'_, '_>,
) -> Option<&'c str> {
    let (text, number) = number(Field::TopP, value?, target)?;
    match no_sampling(thinking, target) {
        // It leaves nothing out.
        Some(_) if number == 1.0 => return None,
        Some(why) => target.tuning(Field::TopP, why),
        None if number > 1.0 => {
            let name = Field::TopP.name(target.source);
            let message = format!("`{name}` must be between 0 and 1");
            target.report.refuse(Some(name.to_owned()), false, message);
        }
        None => return Some(text),
    }
    None
}

fn top_k<'c>(
    value: Option<&'c Cow<'_, str>>,
    thinking: &ThinkingPlan,
    target: &mut Target<'_, '_>,
) -> Option<&'c str> {
    let (text, _) = number(Field::TopK, value?, target)?;
    let is_known = matches!(target.model.family, Family::Anthropic | Family::Nova);
    match no_sampling(thinking, target) {
        Some(why) => target.tuning(Field::TopK, why),
        None if !is_known => target.tuning(Field::TopK, "is not taken by this model"),
        None => return Some(text),
    }
    None
}

/// The text and the value of a number; one that is none, or below 0, is refused.
fn number<'c>(field: Field, text: &'c str, target: &mut Target<'_, '_>) -> Option<(&'c str, f64)> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Some((text, number)),
        _ => {
            let name = field.name(target.source);
            let message = format!("`{name}` must be a number that is not below 0");
            target.report.refuse(Some(name.to_owned()), false, message);
            None
        }
    }
}
