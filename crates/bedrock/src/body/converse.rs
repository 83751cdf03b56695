//! The schema of Converse, which Nova's own body resembles.

use super::Peek;
use super::anthropic::Position;
use crate::cached_prompt::Part;
use crate::extent;
use crate::features::Features;
use crate::json::{JsonError, Scanner, Type};

impl Peek {
    /// Reads an image: `{"source": {"bytes": ".."}}`, or one that is elsewhere.
    pub(super) fn image(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? == Type::Scalar {
            return Ok(());
        }
        self.features.add(Features::VISION);
        let mut is_here = false;
        scanner.object(|key, scanner| match key {
            "source" => scanner.object(|key, scanner| match (key, scanner.peek()?) {
                ("bytes", Type::String) => {
                    is_here = true;
                    self.image_bytes(scanner)
                }
                (_, Type::Scalar) => Ok(()),
                _ => self.open(),
            }),
            _ => Ok(()),
        })?;
        if is_here { Ok(()) } else { self.open() }
    }

    pub(super) fn converse(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "inferenceConfig" => self.settings(scanner),
            "additionalModelRequestFields" => self.additional_fields(scanner),
            "toolConfig" => scanner.object(|key, scanner| match key {
                "tools" => self.part(Part::Tools, scanner, |peek, scanner| {
                    scanner.array(|scanner| {
                        peek.features.add(Features::TOOLS);
                        peek.converse_tool(scanner)
                    })
                }),
                _ => Ok(()),
            }),
            "system" => self.part(Part::System, scanner, Self::converse_blocks),
            "messages" => self.messages(scanner, Self::converse_blocks, Self::other),
            "outputConfig" => self.output(key, scanner),
            // Nova's own body has it here.
            "reasoningConfig" => self.reasoning(key, scanner),
            "serviceTier" => scanner.object(|key, scanner| match key {
                "type" => self.tier(scanner),
                _ => Ok(()),
            }),
            "performanceConfig" => scanner.object(|key, scanner| match key {
                "latency" => self.latency(scanner),
                _ => Ok(()),
            }),
            key => self.other(key, scanner),
        })
    }

    /// What goes to the model as it is, in whatever schema it has.
    pub(super) fn additional_fields(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| {
            self.has_model_fields = true;
            self.additional_field(key, scanner)
        })
    }

    pub(super) fn additional_field(
        &mut self,
        key: &str,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), JsonError> {
        match key {
            "thinking" | "reasoning_config" => self.anthropic_thinking(scanner),
            "reasoningConfig" | "reasoning_effort" | "reasoning" => self.reasoning(key, scanner),
            "output_config" | "output_format" => self.output(key, scanner),
            "anthropic_beta" => self.betas(scanner),
            "inferenceConfig" | "textGenerationConfig" => self.settings(scanner),
            "tools" => self.part(Part::AdditionalTools, scanner, |peek, scanner| {
                scanner.array(|scanner| {
                    peek.features.add(Features::TOOLS);
                    peek.anthropic_members(scanner, Position::Tools)
                })
            }),
            key if extent::is_cap(key) => self.cap(scanner),
            key if extent::is_number_of_answers(key) => self.answers(scanner),
            key => self.other(key, scanner),
        }
    }

    pub(super) fn converse_tool(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("cachePoint", _) => self.cache_point(scanner),
            ("toolSpec", _) | (_, Type::Scalar) => Ok(()),
            // A tool of the service's own brings what it finds.
            _ => self.open(),
        })
    }

    pub(super) fn converse_blocks(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match scanner.peek()? {
            Type::Array => scanner.array(|scanner| self.medium(scanner, Self::converse_block)),
            Type::String | Type::Scalar => Ok(()),
            Type::Object => self.open(),
        }
    }

    pub(super) fn converse_block(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| {
            let feature = match key {
                "text" | "searchResult" | "citationsContent" => return Ok(()),
                "image" => return self.image(scanner),
                "document" => return self.open_medium(Features::DOCUMENTS, scanner),
                "video" => return self.open_medium(Features::VIDEO, scanner),
                "audio" => return self.open_medium(Features::AUDIO, scanner),
                "guardContent" => {
                    return scanner.object(|key, scanner| match key {
                        "text" => Ok(()),
                        "image" => self.image(scanner),
                        key => self.other(key, scanner),
                    });
                }
                "toolUse" => Features::TOOLS,
                "reasoningContent" => Features::REASONING,
                "cachePoint" => return self.cache_point(scanner),
                "toolResult" => {
                    self.features.add(Features::TOOLS);
                    return scanner.object(|key, scanner| match key {
                        "content" if scanner.peek()? == Type::Array => {
                            scanner.array(|scanner| self.medium(scanner, Self::tool_result_block))
                        }
                        "toolUseId" | "status" => Ok(()),
                        key => self.other(key, scanner),
                    });
                }
                key => return self.other(key, scanner),
            };
            self.uses(feature, scanner)
        })
    }

    pub(super) fn tool_result_block(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "text" | "json" | "searchResult" => Ok(()),
            "image" => self.image(scanner),
            "document" => self.open_medium(Features::DOCUMENTS, scanner),
            "video" => self.open_medium(Features::VIDEO, scanner),
            "audio" => self.open_medium(Features::AUDIO, scanner),
            key => self.other(key, scanner),
        })
    }
}
