//! What the schemas of Chat Completions and Responses have in common.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Peek;
use crate::features::Features;
use crate::json::{JsonError, Scanner, Type};

impl Peek {
    /// A member at the top that both have, or that neither needs to be looked at.
    pub(super) fn openai_member(
        &mut self,
        key: &str,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), JsonError> {
        match (key, scanner.peek()?) {
            ("service_tier", _) => self.tier(scanner),
            ("prompt_cache_key", Type::String) => self.prompt_cache_key(scanner),
            // Texts and settings that may look like references.
            ("user" | "safety_identifier", Type::String) => Ok(()),
            ("client_metadata" | "include" | "prediction", Type::Object | Type::Array) => Ok(()),
            _ => self.other(key, scanner),
        }
    }

    /// Reads the name that a client gives to the cache of its prompt: requests with the same name are to meet.
    fn prompt_cache_key(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let (text, _) = scanner.value()?;
        let mut hasher = DefaultHasher::new();
        ("prompt_cache_key", text).hash(&mut hasher);
        self.cached_prefix = Some(hasher.finish());
        Ok(())
    }

    /// Reads a level of effort for thinking.
    pub(super) fn reasoning_effort(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let (text, _) = scanner.value()?;
        if text.starts_with(b"\"") && text != b"\"none\"" {
            self.features.add(Features::REASONING);
        }
        Ok(())
    }

    /// Reads the form that an answer is to have: `{"type": "json_schema", ..}`, or another type.
    pub(super) fn answer_format(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| {
            if key != "type" {
                return Ok(());
            }
            let (kind, _) = scanner.value()?;
            if kind == b"\"json_schema\"" {
                self.features.add(Features::STRUCTURED_OUTPUT);
            }
            self.parameters.asks_for_json |=
                [&b"\"json_schema\""[..], b"\"json_object\""].contains(&kind);
            Ok(())
        })
    }

    pub(super) fn openai_tools(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.array(|scanner| {
            self.features.add(Features::TOOLS);
            scanner.object(|key, scanner| match (key, scanner.peek()?) {
                ("cache_control", _) => self.cache_point(scanner),
                ("type", Type::String) => {
                    let kind = scanner.string().unwrap_or_default();
                    self.features.add(run_by_service(&kind));
                    match kind.as_ref() {
                        "function" | "custom" | "namespace" => {}
                        // The client runs them; the service describes them.
                        "local_shell" | "apply_patch" => self.extent.built_in_tools += 1,
                        // What the service runs brings content of any size.
                        _ => {
                            self.extent.built_in_tools += 1;
                            self.extent.is_open = true;
                        }
                    }
                    Ok(())
                }
                _ => Ok(()),
            })
        })
    }

    /// Reads content: a text, or parts that each have a type.
    pub(super) fn openai_content(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match scanner.peek()? {
            Type::Array => scanner.array(|scanner| self.medium(scanner, Self::openai_part)),
            Type::String | Type::Scalar => Ok(()),
            Type::Object => self.open(),
        }
    }

    pub(super) fn openai_part(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? != Type::Object {
            return Ok(());
        }
        let (mut has_type, mut is_image, mut is_here) = (false, false, false);
        scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("type", Type::String) => {
                has_type = true;
                let kind = scanner.string().unwrap_or_default();
                is_image |= matches!(kind.as_ref(), "image_url" | "input_image");
                self.openai_part_type(&kind)
            }
            ("image_url", Type::String) => {
                is_here |= self.image_url(scanner)?;
                Ok(())
            }
            ("image_url", Type::Object) => scanner.object(|key, scanner| {
                match (key, scanner.peek()?) {
                    ("url", Type::String) => is_here |= self.image_url(scanner)?,
                    ("detail", _) | (_, Type::Scalar) => {}
                    _ => self.extent.is_open = true,
                }
                Ok(())
            }),
            ("cache_control", _) => self.cache_point(scanner),
            ("refusal", Type::String) | ("annotations" | "logprobs", Type::Array) => Ok(()),
            (key, _) => self.other(key, scanner),
        })?;
        if !has_type || is_image && !is_here {
            self.extent.is_open = true;
        }
        Ok(())
    }

    fn openai_part_type(&mut self, kind: &str) -> Result<(), JsonError> {
        let feature = match kind {
            "text" | "input_text" | "output_text" | "refusal" | "reasoning_text"
            | "summary_text" => return Ok(()),
            "image_url" | "input_image" => {
                self.features.add(Features::VISION);
                return Ok(());
            }
            "input_audio" => Features::AUDIO,
            "file" | "input_file" => Features::DOCUMENTS,
            _ => return self.open(),
        };
        self.features.add(feature);
        self.open()
    }

    /// Reads the URL of an image and returns whether the image itself is in it.
    fn image_url(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
        self.features.add(Features::VISION);
        let (text, _) = scanner.value()?;
        let is_here = text.starts_with(b"\"data:image");
        if is_here {
            self.extent.images += 1;
            self.extent.image_bytes += text.len();
        } else {
            self.extent.is_open = true;
        }
        Ok(is_here)
    }
}

/// The feature that a tool is, if the service runs it.
fn run_by_service(kind: &str) -> Features {
    match kind {
        kind if kind.starts_with("web_search") => Features::WEB_SEARCH,
        "file_search" | "code_interpreter" | "image_generation" | "mcp" => Features::SERVER_TOOLS,
        _ => Features::default(),
    }
}
