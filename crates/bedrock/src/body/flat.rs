//! Bodies of InvokeModel whose settings stand side by side at their top, and Titan's.

use super::Peek;
use crate::extent;
use crate::features::Features;
use crate::json::{JsonError, Scanner, Type};

impl Peek {
    /// A body whose settings stand side by side at its top.
    pub(super) fn flat(
        &mut self,
        scanner: &mut Scanner<'_>,
        caps: &[&str],
    ) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "tools" => self.uses(Features::TOOLS, scanner),
            key if caps.contains(&key) => self.cap(scanner),
            key if extent::is_number_of_answers(key) => self.answers(scanner),
            "messages" => self.chat(scanner),
            "service_tier" => self.tier(scanner),
            "thinking" | "reasoning" | "reasoning_effort" => self.reasoning(key, scanner),
            key => self.other(key, scanner),
        })
    }

    /// Messages whose content is a text, or parts that each have a type.
    pub(super) fn chat(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Array {
            return self.open();
        }
        scanner.array(|scanner| {
            scanner.object(|key, scanner| match key {
                "content" if scanner.peek()? == Type::Array => {
                    scanner.array(|scanner| self.chat_part(scanner))
                }
                key => self.other(key, scanner),
            })
        })
    }

    pub(super) fn chat_part(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Object {
            return Ok(());
        }
        let mut is_text = false;
        scanner.object(|key, scanner| match key {
            "type" if scanner.peek()? == Type::String => {
                is_text = scanner.string()? == "text";
                if is_text { Ok(()) } else { self.open() }
            }
            key => self.other(key, scanner),
        })?;
        if is_text { Ok(()) } else { self.open() }
    }

    pub(super) fn titan(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "textGenerationConfig" => self.settings(scanner),
            key => self.other(key, scanner),
        })
    }
}
