//! Anthropic's Messages schema: of InvokeModel, and with the model in the body of Messages itself.

use super::Peek;
use crate::betas::FlaggedMember;
use crate::cached_prompt::Part;
use crate::features::Features;
use crate::json::{JsonError, Scanner, Type};

/// Where a block of Anthropic's schema stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Among the tools, whose types are their own.
    Tools,
    /// In a message or the system prompt.
    Content,
    /// In a tool's result.
    Result,
}

impl Peek {
    /// A body of InvokeModel.
    pub(super) fn anthropic(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| self.anthropic_member(key, scanner))
    }

    /// A body of Messages, or of its counting of tokens.
    pub(super) fn message(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.api_body(scanner, |peek, key, scanner| match (key, scanner.peek()?) {
            // What an earlier request has left in a container is not in the body.
            ("container", Type::String | Type::Object) => {
                peek.flagged.add(FlaggedMember::Container);
                peek.open()
            }
            _ => peek.anthropic_member(key, scanner),
        })
    }

    fn anthropic_member(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if let Some(member) = FlaggedMember::by_name(key)
            && member.is_used(scanner)?
        {
            self.flagged.add(member);
        }
        match key {
            "max_tokens" | "max_tokens_to_sample" => self.cap(scanner),
            "thinking" => self.anthropic_thinking(scanner),
            "system" => self.part(Part::System, scanner, Self::anthropic_blocks),
            "tools" => self.part(Part::Tools, scanner, |peek, scanner| {
                scanner.array(|scanner| {
                    peek.features.add(Features::TOOLS);
                    peek.anthropic_members(scanner, Position::Tools)
                })
            }),
            "messages" => self.messages(scanner, Self::anthropic_blocks, Self::other),
            "anthropic_beta" => self.betas(scanner),
            "service_tier" => self.tier(scanner),
            "cache_control" => self.cache_write(scanner),
            "output_config" | "output_format" => self.output(key, scanner),
            "context_management" => self.context_management(scanner),
            key => self.other(key, scanner),
        }
    }

    /// Reads how the service is to edit the conversation. To clear parts of it makes the request no larger; what
    /// else it may do with it, as to sum it up, is work of any size.
    fn context_management(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("edits", Type::Array) => scanner.array(|scanner| {
                let mut clears = false;
                scanner.object(|key, scanner| {
                    if key == "type" && scanner.peek()? == Type::String {
                        clears = scanner.string().is_ok_and(|kind| kind.starts_with("clear_"));
                    }
                    Ok(())
                })?;
                if clears { Ok(()) } else { self.open() }
            }),
            (key, _) => self.other(key, scanner),
        })
    }

    pub(super) fn anthropic_thinking(
        &mut self,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), JsonError> {
        let mut disabled = false;
        let mut budget = None;
        if scanner.peek()? != Type::Object {
            return scanner.skip();
        }
        scanner.object(|key, scanner| {
            match key {
                "type" if scanner.peek()? == Type::String => {
                    disabled = scanner.string()? == "disabled";
                }
                "budget_tokens" => budget = scanner.count()?.map(|(budget, _)| budget),
                _ => {}
            }
            Ok(())
        })?;
        if !disabled {
            self.features.add(Features::REASONING);
            self.thinking_budget = self.thinking_budget.max(budget);
        }
        Ok(())
    }

    pub(super) fn anthropic_blocks(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match scanner.peek()? {
            Type::Array => scanner.array(|scanner| {
                self.medium(scanner, |peek, scanner| {
                    peek.anthropic_members(scanner, Position::Content)
                })
            }),
            Type::String | Type::Scalar => Ok(()),
            Type::Object => self.open(),
        }
    }

    pub(super) fn anthropic_members(
        &mut self,
        scanner: &mut Scanner<'_>,
        place: Position,
    ) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Object {
            return Ok(());
        }
        let (mut has_type, mut is_image, mut is_here) = (false, false, false);
        scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("cache_control", _) if place == Position::Result => self.cache_write(scanner),
            ("cache_control", _) => self.cache_point(scanner),
            ("type", Type::String) if place == Position::Tools => {
                let kind = scanner.string()?;
                if kind != "custom" {
                    if kind.starts_with("web_search") {
                        self.features.add(Features::WEB_SEARCH);
                    }
                    self.extent.built_in_tools += 1;
                    self.extent.is_open |= !is_run_by_client(&kind);
                }
                Ok(())
            }
            ("type", Type::String) => {
                has_type = true;
                let kind = scanner.string()?;
                is_image |= kind == "image";
                self.anthropic_type(&kind, place)
            }
            ("source", Type::Object) => {
                is_here |= self.anthropic_source(scanner)?;
                Ok(())
            }
            // A tool's result holds blocks itself, one level deep.
            ("content", Type::Array) if place == Position::Content => scanner.array(|scanner| {
                self.medium(scanner, |peek, scanner| {
                    peek.anthropic_members(scanner, Position::Result)
                })
            }),
            // Blocks within those are not read.
            ("content", Type::Array) if place == Position::Result => self.open(),
            _ => Ok(()),
        })?;
        if place != Position::Tools && (!has_type || is_image && !is_here) {
            self.extent.is_open = true;
        }
        Ok(())
    }

    pub(super) fn anthropic_type(&mut self, kind: &str, place: Position) -> Result<(), JsonError> {
        match kind {
            "text" | "search_result" => {}
            "image" => self.features.add(Features::VISION),
            "tool_use" | "tool_result" if place == Position::Content => {
                self.features.add(Features::TOOLS);
            }
            "thinking" | "redacted_thinking" if place == Position::Content => {
                self.features.add(Features::REASONING);
            }
            "document" => {
                self.features.add(Features::DOCUMENTS);
                self.extent.is_open = true;
            }
            _ => self.extent.is_open = true,
        }
        Ok(())
    }

    /// Whether the source of a block is in the body.
    pub(super) fn anthropic_source(
        &mut self,
        scanner: &mut Scanner<'_>,
    ) -> Result<bool, JsonError> {
        let mut is_here = false;
        scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("data", Type::String) => {
                is_here = true;
                self.image_bytes(scanner)
            }
            ("type", Type::String) if scanner.string()? == "base64" => Ok(()),
            ("media_type", _) | (_, Type::Scalar) => Ok(()),
            _ => self.open(),
        })?;
        Ok(is_here)
    }
}

/// Whether the client itself runs a tool of Anthropic's, or it only finds others among those of the request. What
/// the service runs brings content of any size.
fn is_run_by_client(kind: &str) -> bool {
    const STARTS: [&str; 5] =
        ["bash_", "text_editor_", "computer_", "memory_", "tool_search_tool_"];
    STARTS.iter().any(|start| kind.starts_with(start))
}
