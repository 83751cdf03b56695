//! How a model is held to the form of an answer that the client asks for.
//!
//! - A schema goes to `outputConfig` where Converse enforces it; elsewhere a tool takes the answer as its input,
//!   and the model is made to use it.
//! - Any JSON object, without a schema, is enforced by no model: it is asked for in a system text, and the answer
//!   is checked. One that is not JSON is an error, never passed on.

use std::collections::HashSet;

use crate::conversation::{AnswerFormat, Conversation, ToolChoice};
use crate::json::{Object, write_str};
use crate::value::Value;

use super::super::params::Field;
use super::names::each_name;
use super::schema::{closed_schema, is_object_schema};
use super::target::Target;

/// The system text for a JSON object.
pub(super) const JSON_INSTRUCTION: &str =
    "Answer with one JSON object and nothing else: no text before or after it, no code fence.";

/// What is done for the form of the answer.
#[derive(Debug, Default)]
pub(super) enum FormatPlan<'c> {
    /// Nothing.
    #[default]
    Free,
    /// `outputConfig.textFormat`.
    Native { name: Option<&'c str>, description: Option<&'c str>, schema: &'c str },
    /// A tool whose input is the answer.
    Tool { name: String, description: Option<&'c str>, schema: &'c str },
    /// A system text, and a check of the answer.
    Instructed,
}

impl<'c> FormatPlan<'c> {
    /// The plan for a conversation. `is_forced`: the client makes the model use a tool of its own, so that
    /// there is no text which could have a form.
    pub(super) fn new(
        conversation: &'c Conversation<'_>,
        is_forced: bool,
        wants_thinking: bool,
        target: &mut Target<'_, '_>,
    ) -> FormatPlan<'c> {
        let Some(format) = &conversation.format else { return FormatPlan::Free };
        let AnswerFormat::JsonSchema { name, description, schema, strict: _ } = format else {
            if !target.model.takes_system {
                target.unsupported(
                    Field::Format,
                    "can't be asked of this model: it takes no system texts",
                );
                return FormatPlan::Free;
            }
            return FormatPlan::Instructed;
        };
        let (name, description) = (name.as_deref(), description.as_deref());
        let schema = schema.0.as_ref();
        if Value::parse(schema).is_none_or(|value| !value.get().starts_with('{')) {
            let param = Field::Format.name(target.source);
            let message = format!("`{param}`: the schema must be a JSON object");
            target.report.refuse(Some(param.to_owned()), false, message);
            return FormatPlan::Free;
        }
        let model = target.model;
        if model.takes_json_schema {
            return FormatPlan::Native { name, description, schema };
        }
        if is_forced {
            return FormatPlan::Free;
        }
        let why = if !model.takes_tools || !model.takes_forced_tool {
            "with a schema is not taken by this model, which can't be made to use a tool either"
        } else if wants_thinking && model.is_claude() {
            "with a schema can't be combined with thinking for this model: leave one of them out"
        } else if !is_object_schema(schema) {
            "must have a schema of the type `object` for this model"
        } else {
            let mut taken = HashSet::new();
            each_name(conversation, &mut |name| {
                taken.insert(name);
            });
            let mut name = "answer".to_owned();
            while taken.contains(name.as_str()) {
                name.push('_');
            }
            return FormatPlan::Tool { name, description, schema };
        };
        target.unsupported(Field::Format, why);
        FormatPlan::Free
    }

    /// Writes `outputConfig`.
    pub(super) fn write(&self, body: &mut Object<'_>) {
        let FormatPlan::Native { name, description, schema } = self else { return };
        let mut output = body.object("outputConfig");
        let mut format = output.object("textFormat");
        format.str("type", "json_schema");
        let mut structure = format.object("structure");
        let mut json_schema = structure.object("jsonSchema");
        write_str(json_schema.key("schema"), &closed_schema(schema));
        if let Some(name) = name {
            json_schema.str("name", name);
        }
        if let Some(description) = description.filter(|text| !text.trim().is_empty()) {
            json_schema.str("description", description);
        }
    }

    /// How the answer's tool is forced: alone, unless the client's own tools may be used first.
    pub(super) fn is_only_tool(conversation: &Conversation<'_>) -> bool {
        conversation.tools.is_empty() || matches!(conversation.tool_choice, Some(ToolChoice::None))
    }
}
