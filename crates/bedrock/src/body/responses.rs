//! The schema of Responses.

use super::Peek;
use super::api::flag;
use crate::features::Features;
use crate::json::{JsonError, Scanner, Type};

/// What was read of an item of the input.
#[derive(Debug, Default)]
struct Item {
    /// Whether it has a type or a role. Without a type it is a message if it has a role, else a reference.
    is_known: bool,
    /// Whether its type says that it is a reference.
    is_reference: bool,
    has_id: bool,
    /// Whether it has anything but names and a state.
    has_content: bool,
}

impl Item {
    /// Whether the upstream must look up what it stands for.
    fn names_stored(&self) -> bool {
        self.is_reference || self.has_id && !(self.is_known && self.has_content)
    }
}

impl Peek {
    pub(super) fn response(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.parameters.store = true;
        self.api_body(scanner, Self::response_member)?;
        if self.parameters.background {
            self.features.add(Features::BACKGROUND);
        }
        Ok(())
    }

    fn response_member(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match (key, scanner.peek()?) {
            ("max_output_tokens", _) => self.cap(scanner),
            ("input", Type::Array) => self.items(scanner),
            ("input" | "instructions", Type::String) => Ok(()),
            ("tools", _) => self.openai_tools(scanner),
            ("store", _) => self.store(true, scanner),
            ("previous_response_id", _) => self.previous_response(scanner),
            ("background", _) => {
                self.parameters.background = flag(scanner)? == Some(true);
                Ok(())
            }
            ("conversation", kind) => {
                let is_there = kind != Type::Scalar;
                self.parameters.has_conversation = is_there;
                self.extent.is_open |= is_there;
                Ok(())
            }
            ("reasoning", Type::Object) => scanner.object(|key, scanner| match key {
                "effort" => self.reasoning_effort(scanner),
                _ => Ok(()),
            }),
            ("text", Type::Object) => scanner.object(|key, scanner| match key {
                "format" => self.answer_format(scanner),
                _ => Ok(()),
            }),
            _ => self.openai_member(key, scanner),
        }
    }

    /// The items of the input.
    fn items(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut position = 0;
        scanner.array(|scanner| {
            self.medium(scanner, |peek, scanner| peek.item(position, scanner))?;
            position += 1;
            Ok(())
        })
    }

    /// An item of the input: a message, or what the model or a tool has brought in an earlier turn.
    fn item(&mut self, position: usize, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Object {
            return Ok(());
        }
        let mut item = Item::default();
        scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("type", Type::String) => {
                item.is_known = true;
                let kind = scanner.string().unwrap_or_default();
                item.is_reference |= kind == "item_reference";
                self.item_type(&kind)
            }
            ("role", _) => {
                item.is_known = true;
                Ok(())
            }
            ("id", Type::String) => {
                item.has_id |= scanner.value()?.0 != br#""""#;
                Ok(())
            }
            ("content" | "output", Type::Array) => scanner.array(|scanner| {
                item.has_content = true;
                self.medium(scanner, Self::openai_part)
            }),
            // A summary is for people: the upstream looks for the reasoning itself by its id.
            ("summary", Type::Array) => Ok(()),
            ("action" | "operation", Type::Object) => {
                item.has_content = true;
                Ok(())
            }
            ("status" | "call_id", Type::String) | (_, Type::Scalar) => Ok(()),
            (_, Type::String) => {
                item.has_content |= scanner.value()?.0 != br#""""#;
                Ok(())
            }
            _ => {
                item.has_content = true;
                self.open()
            }
        })?;
        if item.names_stored() {
            self.parameters.item_reference.get_or_insert(position);
        }
        if item.is_known { Ok(()) } else { self.open() }
    }

    fn item_type(&mut self, kind: &str) -> Result<(), JsonError> {
        match kind {
            "message" | "compaction" => {}
            "reasoning" => self.features.add(Features::REASONING),
            "function_call"
            | "function_call_output"
            | "custom_tool_call"
            | "custom_tool_call_output"
            | "local_shell_call"
            | "local_shell_call_output"
            | "apply_patch_call"
            | "apply_patch_call_output" => {
                self.features.add(Features::TOOLS);
            }
            _ => self.extent.is_open = true,
        }
        Ok(())
    }
}
