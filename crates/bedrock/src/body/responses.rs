//! The schema of Responses.

use super::Peek;
use super::api::flag;
use crate::features::Features;
use crate::json::{JsonError, Scanner, Type};

impl Peek {
    pub(super) fn response(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.parameters.store = true;
        self.api_body(scanner, Self::response_member)
    }

    fn response_member(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match (key, scanner.peek()?) {
            ("max_output_tokens", _) => self.cap(scanner),
            ("input", Type::Array) => scanner.array(|scanner| self.medium(scanner, Self::item)),
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

    /// An item of the input: a message, or what the model or a tool has brought in an earlier turn.
    fn item(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Object {
            return Ok(());
        }
        // Without a type it is a message if it has a role, else a reference.
        let mut is_known = false;
        scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("type", Type::String) => {
                is_known = true;
                let kind = scanner.string().unwrap_or_default();
                self.item_type(&kind)
            }
            ("role", _) => {
                is_known = true;
                Ok(())
            }
            ("content" | "output", Type::Array) => {
                scanner.array(|scanner| self.medium(scanner, Self::openai_part))
            }
            ("summary", Type::Array) | ("action" | "operation", Type::Object) => Ok(()),
            (_, Type::String | Type::Scalar) => Ok(()),
            _ => self.open(),
        })?;
        if is_known { Ok(()) } else { self.open() }
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
