//! Members that the schemas have in common, and the blocks of content that they are made of.

use super::Peek;
use crate::cached_prompt::Part;
use crate::extent;
use crate::features::Features;
use crate::json::{JsonError, Scanner, Type};
use crate::service_tier::ServiceTier;

impl Peek {
    pub(super) fn cap(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if let Some(cap) = scanner.count()? {
            self.caps.push(cap);
        }
        Ok(())
    }

    /// Notes that there is content of any size.
    pub(super) fn open(&mut self) -> Result<(), JsonError> {
        self.extent.is_open = true;
        Ok(())
    }

    /// Handles an unknown member: it may make the size unbounded.
    pub(super) fn other(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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

    pub(super) fn answers(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let asked = scanner.count()?.map(|(count, _)| count);
        self.extent.answers = self.extent.answers.max(asked);
        Ok(())
    }

    pub(super) fn only_answers(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            key if extent::is_number_of_answers(key) => self.answers(scanner),
            "service_tier" => self.tier(scanner),
            _ => Ok(()),
        })
    }

    pub(super) fn tier(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? == Type::String
            && let Ok(name) = scanner.string()
        {
            self.extent.ask_tier(ServiceTier::of(&name));
        }
        Ok(())
    }

    pub(super) fn latency(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? == Type::String
            && let Ok(name) = scanner.string()
        {
            self.extent.is_latency_optimized |= extent::is_dear_latency(&name);
        }
        Ok(())
    }

    pub(super) fn betas(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
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

    /// Reads a setting of thinking, which may be an object, a level or nothing.
    pub(super) fn reasoning(
        &mut self,
        key: &str,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), JsonError> {
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
    pub(super) fn output(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Object {
            return self.other(key, scanner);
        }
        if key == "output_format" {
            self.features.add(Features::STRUCTURED_OUTPUT);
            return Ok(());
        }
        let in_messages = key == "output_config";
        scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("textFormat" | "format", Type::Object) => {
                self.features.add(Features::STRUCTURED_OUTPUT);
                if in_messages {
                    self.features.add(Features::OUTPUT_CONFIG_FORMAT);
                }
                Ok(())
            }
            ("effort", Type::String) => {
                self.features.add(Features::EFFORT);
                Ok(())
            }
            _ => Ok(()),
        })
    }

    /// An object of settings, with a cap among them.
    pub(super) fn settings(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            key if extent::is_cap(key) => self.cap(scanner),
            key if extent::is_number_of_answers(key) => self.answers(scanner),
            "reasoningConfig" => self.reasoning(key, scanner),
            _ => Ok(()),
        })
    }

    pub(super) fn image_bytes(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let start = scanner.position();
        scanner.skip()?;
        self.extent.images += 1;
        self.extent.image_bytes += scanner.position() - start;
        Ok(())
    }

    /// Notes a medium whose tokens its bytes do not bound.
    pub(super) fn open_medium(
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
    pub(super) fn uses(
        &mut self,
        feature: Features,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), JsonError> {
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
    pub(super) fn part<'a>(
        &mut self,
        part: Part,
        scanner: &mut Scanner<'a>,
        read: impl FnOnce(&mut Self, &mut Scanner<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.part = part;
        self.prompt.starts(part, scanner.position());
        read(self, scanner)
    }

    /// Reads the messages; `blocks` reads the content of one, and `member` each other member.
    pub(super) fn messages<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        blocks: fn(&mut Self, &mut Scanner<'a>) -> Result<(), JsonError>,
        member: fn(&mut Self, &str, &mut Scanner<'a>) -> Result<(), JsonError>,
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
                key => member(self, key, scanner),
            })?;
            is_first = false;
            Ok(())
        })
    }

    pub(super) fn cache_point(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Scalar {
            self.prompt.point(self.part);
        }
        self.uses(Features::PROMPT_CACHING, scanner)
    }

    /// Notes a cache point that takes no target's ability.
    pub(super) fn cache_write(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.extent.writes_cache = true;
        if scanner.peek()? != Type::Scalar {
            self.prompt.point(Part::Messages);
        }
        Ok(())
    }

    /// Reads a block of content and, if it is a medium, counts it and its bytes.
    pub(super) fn medium<'a>(
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
}
