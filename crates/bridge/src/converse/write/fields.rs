//! `additionalModelRequestFields`: what only one family of models knows, in its own words.

use std::borrow::Cow;

use sluice_bedrock::Family;

use crate::conversation::Conversation;
use crate::json::Object;
use crate::messages::tools::kinds;
use crate::source::Source;

use super::super::params::Field;
use super::target::Target;
use super::thinking::ThinkingPlan;

/// Writes the fields of the model's own, if there are any.
pub(super) fn write(
    conversation: &Conversation<'_>,
    thinking: &ThinkingPlan,
    own_choice: Option<&str>,
    top_k: Option<&str>,
    body: &mut Object<'_>,
    target: &mut Target<'_, '_>,
) {
    let is_claude = target.model.is_claude();
    // Without its beta flag, which Converse does not take, Claude refuses it. It only says what may be forgotten
    // of a long conversation.
    if is_claude && conversation.of_claude.iter().any(|(name, _)| name == "context_management") {
        let name = own_name("context_management", target.source);
        target.report.advice(&name, "is not taken over Converse");
    }
    if !is_claude {
        if !conversation.betas.is_empty() {
            target.dropped(Field::Betas);
        }
        for (name, value) in &conversation.of_claude {
            if name == "tools" {
                let kinds = kinds(value).join("`, `");
                let message = format!("`tools` has what Claude alone takes: `{kinds}`");
                target.report.refuse(Some("tools".to_owned()), true, message);
                continue;
            }
            let name = own_name(name, target.source);
            let why = "is taken by Claude alone";
            match &*name {
                // They only say what Claude may forget of a long conversation, and when it is to think.
                "context_management" | "thinking" => target.report.advice(&name, why),
                _ => target.report.unsupported(&name, true, why),
            }
        }
    }
    let has_claudes = is_claude
        && !(conversation.betas.is_empty()
            && !conversation.of_claude.iter().any(|(name, _)| name != "context_management")
            && own_choice.is_none());
    if !has_claudes && thinking.is_empty() && top_k.is_none() {
        return;
    }
    let mut fields = body.object("additionalModelRequestFields");
    thinking.write(&mut fields);
    if let Some(choice) = own_choice {
        fields.raw("tool_choice", choice);
    }
    match top_k {
        Some(top_k) if target.model.family == Family::Nova => {
            fields.object("inferenceConfig").raw("topK", top_k);
        }
        Some(top_k) => fields.raw("top_k", top_k),
        None => {}
    }
    if !is_claude {
        return;
    }
    let of_claude = conversation.of_claude.iter();
    for (name, value) in of_claude.filter(|(name, _)| name != "context_management") {
        fields.raw(name, &value.0);
    }
    let needed = thinking.beta.filter(|beta| !conversation.betas.iter().any(|it| it == beta));
    if !conversation.betas.is_empty() || needed.is_some() {
        let mut betas = fields.array("anthropic_beta");
        conversation.betas.iter().for_each(|beta| betas.str(beta));
        needed.iter().for_each(|beta| betas.str(beta));
    }
}

/// The client's name of a member that is Claude's own.
fn own_name(name: &str, source: Source) -> Cow<'_, str> {
    match source {
        Source::Converse => Cow::Owned(format!("additionalModelRequestFields.{name}")),
        _ => Cow::Borrowed(name),
    }
}
