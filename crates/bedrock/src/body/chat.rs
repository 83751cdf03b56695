//! The schema of Chat Completions.

use super::Peek;
use crate::cached_prompt::Part;
use crate::extent;
use crate::features::Features;
use crate::json::{JsonError, Scanner, Type};

impl Peek {
    pub(super) fn chat_completion(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.api_body(scanner, Self::chat_member)
    }

    fn chat_member(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match key {
            "max_tokens" | "max_completion_tokens" => self.cap(scanner),
            "messages" => self.messages(scanner, Self::openai_content, Self::chat_message_member),
            "tools" => self.part(Part::Tools, scanner, Self::openai_tools),
            "functions" => self.uses(Features::TOOLS, scanner),
            "function_call" => Ok(()),
            "web_search_options" => {
                if scanner.peek()? == Type::Object {
                    self.features.add(Features::WEB_SEARCH);
                }
                self.other(key, scanner)
            }
            "stream_options" => self.stream_options(scanner),
            "store" => self.store(false, scanner),
            "reasoning_effort" => self.reasoning_effort(scanner),
            "thinking" | "reasoning" => self.reasoning(key, scanner),
            "response_format" => self.answer_format(scanner),
            "modalities" => self.modalities(scanner),
            key if extent::is_number_of_answers(key) => self.answers(scanner),
            key => self.openai_member(key, scanner),
        }
    }

    /// A member of a message beside its content.
    fn chat_message_member(
        &mut self,
        key: &str,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), JsonError> {
        match (key, scanner.peek()?) {
            ("role", Type::String) => {
                if matches!(scanner.value()?.0, b"\"tool\"" | b"\"function\"") {
                    self.features.add(Features::TOOLS);
                }
                Ok(())
            }
            ("tool_calls" | "function_call", _) => self.uses(Features::TOOLS, scanner),
            ("tool_call_id" | "refusal" | "reasoning", Type::String) => Ok(()),
            ("annotations", Type::Array) => Ok(()),
            ("cache_control", _) => self.cache_point(scanner),
            (key, _) => self.other(key, scanner),
        }
    }

    /// Reads in which forms the answer is to come. A spoken one has no bound that is known.
    fn modalities(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.array(|scanner| {
            if scanner.value()?.0 != b"\"text\"" {
                self.features.add(Features::AUDIO);
                self.extent.is_open = true;
            }
            Ok(())
        })
    }
}
