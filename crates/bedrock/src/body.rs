//! What the gateway reads of a request body: the caps on output tokens, and the features used.
//!
//! Each model family keeps its cap in a field of its own; Converse has one for all. A body may
//! carry more than one cap, so all are found, with their place, and [`clamp`] replaces just
//! those digits. Keys behind JSON escapes and repeated keys are found too: what the model would
//! read, the gateway has read.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::cached_prompt::{CachedPrompt, Part};
use super::extent::{self, Extent};
use super::features::Features;
use super::json::{JsonError, Scanner, Type};
use super::model_id::Family;
use super::operation::Operation;
use super::service_tier::ServiceTier;

/// What [`peek`] found in a body.
#[derive(Clone, Debug, Default)]
pub struct Peek {
    caps: SmallVec<[(u64, Range<usize>); 2]>,
    /// Tokens the request sets aside for thinking; must stay below the cap.
    pub thinking_budget: Option<u64>,
    /// Features the request uses.
    pub features: Features,
    /// Whether it carries fields of its model's own beside those that all models have.
    pub has_model_fields: bool,
    /// Images, documents, videos and recordings in the messages.
    pub media: usize,
    /// Bytes of the body that they take.
    pub media_bytes: usize,
    /// The key of the prompt cache that the request can use, if it has a cache point.
    pub cached_prefix: Option<u64>,
    /// The part of its size that does not follow from the bytes alone.
    pub extent: Extent,
    prompt: CachedPrompt,
    part: Part,
}

impl Peek {
    /// The largest cap on output tokens that the body carries.
    pub fn max_output_tokens(&self) -> Option<u64> {
        self.caps.iter().map(|(value, _)| *value).max()
    }

    /// What is known of a body that was not read.
    pub fn unread() -> Peek {
        Peek { extent: Extent::unread(), ..Peek::default() }
    }

    /// Whether a model with this cap can take the request once it is clamped: Anthropic's models
    /// refuse a thinking budget that is not below `max_tokens`.
    pub fn fits(&self, cap: u32) -> bool {
        self.thinking_budget.is_none_or(|budget| budget < u64::from(cap))
    }
}

/// Reads a request body. `family` is that of the requested model and counts for the Invoke
/// operations only. Of the body of an unknown family nothing counts but how many answers it asks for,
/// and that of CountTokens, which has no cap, is not read at all.
pub fn peek(operation: Operation, family: Family, body: &[u8]) -> Result<Peek, JsonError> {
    let mut peek = Peek::default();
    let mut scanner = Scanner::new(body);
    if operation.is_converse() {
        peek.converse(&mut scanner)?;
    } else if operation.counts_tokens() {
        return Ok(peek);
    } else {
        match family {
            Family::Unknown => {
                peek.extent.is_open = true;
                // The upstream decides whether the body is valid JSON.
                let _ = peek.only_answers(&mut scanner);
                return Ok(peek);
            }
            Family::Anthropic => peek.anthropic(&mut scanner)?,
            Family::Nova => peek.converse(&mut scanner)?,
            Family::TitanEmbed => peek.flat(&mut scanner, &[])?,
            Family::TitanText => peek.titan(&mut scanner)?,
            Family::Llama => peek.flat(&mut scanner, &["max_gen_len"])?,
            Family::Mistral
            | Family::DeepSeek
            | Family::Ai21
            | Family::Cohere
            | Family::Qwen
            | Family::OpenAi => {
                peek.flat(&mut scanner, &["max_tokens", "max_completion_tokens"])?;
            }
        }
    }
    scanner.end()?;
    peek.cached_prefix = peek.prompt.key(body);
    Ok(peek)
}

/// Lowers every cap above `cap` to it and leaves every other byte as it is; `None` when no cap
/// is above, so that the body can go out unchanged. A body without a cap gets none.
pub fn clamp(body: &[u8], peek: &Peek, cap: u32) -> Option<Bytes> {
    let too_high = |(value, _): &&(u64, Range<usize>)| *value > u64::from(cap);
    peek.caps.iter().find(too_high)?;
    let mut clamped = BytesMut::with_capacity(body.len());
    let mut copied = 0;
    for (_, place) in peek.caps.iter().filter(too_high) {
        clamped.extend_from_slice(body.get(copied..place.start)?);
        clamped.extend_from_slice(cap.to_string().as_bytes());
        copied = place.end;
    }
    clamped.extend_from_slice(body.get(copied..)?);
    Some(clamped.freeze())
}

impl Peek {
    fn cap(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if let Some(cap) = scanner.count()? {
            self.caps.push(cap);
        }
        Ok(())
    }

    /// Notes that there is content of any size.
    fn open(&mut self) -> Result<(), JsonError> {
        self.extent.is_open = true;
        Ok(())
    }

    /// Handles an unknown member: it may make the size unbounded.
    fn other(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match scanner.peek()? {
            Type::Scalar => Ok(()),
            Type::String if extent::is_text(key) => Ok(()),
            Type::String => match scanner.string() {
                Ok(text) if !extent::may_refer(&text) => Ok(()),
                // What is no text is the upstream's to judge.
                Ok(_) | Err(_) => self.open(),
            },
            Type::Array | Type::Object if extent::is_plain(key) => Ok(()),
            _ => self.open(),
        }
    }

    fn answers(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let asked = scanner.count()?.map(|(count, _)| count);
        self.extent.answers = self.extent.answers.max(asked);
        Ok(())
    }

    fn only_answers(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            key if extent::is_number_of_answers(key) => self.answers(scanner),
            "service_tier" => self.tier(scanner),
            _ => Ok(()),
        })
    }

    fn tier(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? == Type::String
            && let Ok(name) = scanner.string()
        {
            self.extent.ask_tier(ServiceTier::of(&name));
        }
        Ok(())
    }

    fn latency(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? == Type::String
            && let Ok(name) = scanner.string()
        {
            self.extent.is_latency_optimized |= extent::is_dear_latency(&name);
        }
        Ok(())
    }

    fn betas(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut flag = |scanner: &mut Scanner<'_>| {
            if scanner.peek()? == Type::String {
                let flag = scanner.string();
                self.extent.has_long_window |=
                    flag.map_or(true, |flag| extent::is_long_window(&flag));
            }
            Ok(())
        };
        match scanner.peek()? {
            Type::String => flag(scanner),
            _ => scanner.array(flag),
        }
    }

    /// A body whose settings stand side by side at its top.
    fn flat(&mut self, scanner: &mut Scanner<'_>, caps: &[&str]) -> Result<(), JsonError> {
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

    /// Reads a setting of thinking, which may be an object, a level or nothing.
    fn reasoning(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match scanner.peek()? {
            Type::Object => self.anthropic_thinking(scanner),
            Type::String => {
                self.features.add(Features::REASONING);
                self.other(key, scanner)
            }
            Type::Array | Type::Scalar => self.other(key, scanner),
        }
    }

    /// Reads what an answer is to be like: by a schema, with some effort.
    fn output(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Object {
            return self.other(key, scanner);
        }
        if key == "output_format" {
            self.features.add(Features::STRUCTURED_OUTPUT);
            return Ok(());
        }
        scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("textFormat" | "format", Type::Object) => {
                self.features.add(Features::STRUCTURED_OUTPUT);
                Ok(())
            }
            ("effort", Type::String) => {
                self.features.add(Features::EFFORT);
                Ok(())
            }
            _ => Ok(()),
        })
    }

    /// Messages whose content is a text, or parts that each have a type.
    fn chat(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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

    fn chat_part(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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

    fn titan(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "textGenerationConfig" => self.settings(scanner),
            key => self.other(key, scanner),
        })
    }

    /// An object of settings, with a cap among them.
    fn settings(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            key if extent::is_cap(key) => self.cap(scanner),
            key if extent::is_number_of_answers(key) => self.answers(scanner),
            "reasoningConfig" => self.reasoning(key, scanner),
            _ => Ok(()),
        })
    }

    /// Reads an image: `{"source": {"bytes": ".."}}`, or one that is elsewhere.
    fn image(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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

    fn image_bytes(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let start = scanner.position();
        scanner.skip()?;
        self.extent.images += 1;
        self.extent.image_bytes += scanner.position() - start;
        Ok(())
    }

    /// Notes a medium whose tokens its bytes do not bound.
    fn open_medium(
        &mut self,
        feature: Features,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Scalar {
            self.extent.is_open = true;
        }
        self.uses(feature, scanner)
    }

    /// Notes a feature unless the value is null or an empty array.
    fn uses(&mut self, feature: Features, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut used = false;
        match scanner.peek()? {
            Type::Array => scanner.array(|_| {
                used = true;
                Ok(())
            })?,
            Type::Scalar => scanner.skip()?,
            Type::Object | Type::String => {
                used = true;
                scanner.skip()?;
            }
        }
        if used {
            self.features.add(feature);
        }
        Ok(())
    }

    /// Reads a part of the prompt, in which a cache point may stand.
    fn part<'a>(
        &mut self,
        part: Part,
        scanner: &mut Scanner<'a>,
        read: impl FnOnce(&mut Self, &mut Scanner<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.part = part;
        self.prompt.starts(part, scanner.position());
        read(self, scanner)
    }

    /// Reads the messages; `blocks` reads the content of one.
    fn messages<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        blocks: fn(&mut Self, &mut Scanner<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Array {
            return self.open();
        }
        self.part = Part::Messages;
        let mut is_first = true;
        scanner.array(|scanner| {
            scanner.object(|key, scanner| match key {
                "content" if is_first => self.part(Part::Messages, scanner, blocks),
                "content" => blocks(self, scanner),
                key => self.other(key, scanner),
            })?;
            is_first = false;
            Ok(())
        })
    }

    fn cache_point(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Scalar {
            self.prompt.point(self.part);
        }
        self.uses(Features::PROMPT_CACHING, scanner)
    }

    /// Notes a cache point that takes no target's ability.
    fn cache_write(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.extent.writes_cache = true;
        if scanner.peek()? != Type::Scalar {
            self.prompt.point(Part::Messages);
        }
        Ok(())
    }

    /// Reads a block of content and, if it is a medium, counts it and its bytes.
    fn medium<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        read: impl FnOnce(&mut Self, &mut Scanner<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let (start, counted) = (scanner.position(), self.media);
        let before = std::mem::take(&mut self.features);
        read(self, scanner)?;
        // A block whose media were counted within it, as a tool's result, is not one itself.
        if self.features.has_media() && self.media == counted {
            self.media += 1;
            self.media_bytes += scanner.position() - start;
        }
        self.features.add(before);
        Ok(())
    }

    // Anthropic's Messages schema.

    fn anthropic(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "max_tokens" | "max_tokens_to_sample" => self.cap(scanner),
            "thinking" => self.anthropic_thinking(scanner),
            "system" => self.part(Part::System, scanner, Self::anthropic_blocks),
            "tools" => self.part(Part::Tools, scanner, |peek, scanner| {
                scanner.array(|scanner| {
                    peek.features.add(Features::TOOLS);
                    peek.anthropic_members(scanner, Position::Tools)
                })
            }),
            "messages" => self.messages(scanner, Self::anthropic_blocks),
            "anthropic_beta" => self.betas(scanner),
            "service_tier" => self.tier(scanner),
            "cache_control" => self.cache_write(scanner),
            "output_config" | "output_format" => self.output(key, scanner),
            key => self.other(key, scanner),
        })
    }

    fn anthropic_thinking(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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

    fn anthropic_blocks(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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

    fn anthropic_members(
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
                if scanner.string()? != "custom" {
                    self.extent.built_in_tools += 1;
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

    fn anthropic_type(&mut self, kind: &str, place: Position) -> Result<(), JsonError> {
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
    fn anthropic_source(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
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

    // The Converse schema, which Nova's own body resembles.

    fn converse(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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
            "messages" => self.messages(scanner, Self::converse_blocks),
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
    fn additional_fields(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| {
            self.has_model_fields = true;
            self.additional_field(key, scanner)
        })
    }

    fn additional_field(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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

    fn converse_tool(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("cachePoint", _) => self.cache_point(scanner),
            ("toolSpec", _) | (_, Type::Scalar) => Ok(()),
            // A tool of the service's own brings what it finds.
            _ => self.open(),
        })
    }

    fn converse_blocks(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match scanner.peek()? {
            Type::Array => scanner.array(|scanner| self.medium(scanner, Self::converse_block)),
            Type::String | Type::Scalar => Ok(()),
            Type::Object => self.open(),
        }
    }

    fn converse_block(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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

    fn tool_result_block(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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

/// Where a block of Anthropic's schema stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Among the tools, whose types are their own.
    Tools,
    /// In a message or the system prompt.
    Content,
    /// In a tool's result.
    Result,
}

#[cfg(test)]
mod tests;
