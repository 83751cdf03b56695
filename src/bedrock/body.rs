//! What the gateway reads of a request body: the caps on output tokens, and the features used.
//!
//! Each model family keeps its cap in a field of its own; Converse has one for all. A body may
//! carry more than one cap, so all are found, with their place, and [`clamp`] replaces just
//! those digits. Keys behind JSON escapes and repeated keys are found too: what the model would
//! read, the gateway has read.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::features::Features;
use super::json::{JsonError, Scanner, Type};
use super::model_id::Family;
use super::operation::Operation;

/// What [`peek`] found in a body.
#[derive(Clone, Debug, Default)]
pub struct Peek {
    caps: SmallVec<[(u64, Range<usize>); 2]>,
    /// Tokens the request sets aside for thinking; must stay below the cap.
    pub thinking_budget: Option<u64>,
    /// Features the request uses.
    pub features: Features,
    /// Images, documents, videos and recordings in the messages.
    pub media: usize,
    /// Bytes of the body that they take.
    pub media_bytes: usize,
    /// The part of the body that is before its first cache point, from the start of the member
    /// that holds it: the same bytes find the same prompt cache.
    pub cached_prefix: Option<Range<usize>>,
    section: usize,
}

impl Peek {
    /// The largest cap on output tokens that the body carries.
    pub fn max_output_tokens(&self) -> Option<u64> {
        self.caps.iter().map(|(value, _)| *value).max()
    }

    /// Whether a model with this cap can take the request once it is clamped: Anthropic's models
    /// refuse a thinking budget that is not below `max_tokens`.
    pub fn fits(&self, cap: u32) -> bool {
        self.thinking_budget.is_none_or(|budget| budget < u64::from(cap))
    }
}

/// Reads a request body. `family` is that of the requested model and counts for the Invoke
/// operations only. The body of an unknown family, and of CountTokens, which has no cap, is not
/// read at all.
pub fn peek(operation: Operation, family: Family, body: &[u8]) -> Result<Peek, JsonError> {
    let mut peek = Peek::default();
    let mut scanner = Scanner::new(body);
    if operation.is_converse() {
        peek.converse(&mut scanner)?;
    } else if operation == Operation::CountTokens {
        return Ok(peek);
    } else {
        match family {
            Family::Unknown => return Ok(peek),
            Family::Anthropic => peek.anthropic(&mut scanner)?,
            Family::Nova => peek.converse(&mut scanner)?,
            Family::TitanEmbed => scanner.skip()?,
            Family::TitanText => {
                peek.nested_cap(&mut scanner, "textGenerationConfig", "maxTokenCount")?;
            }
            Family::Llama => peek.flat_caps(&mut scanner, &["max_gen_len"])?,
            Family::Mistral
            | Family::DeepSeek
            | Family::Ai21
            | Family::Cohere
            | Family::Qwen
            | Family::OpenAi => {
                peek.flat_caps(&mut scanner, &["max_tokens", "max_completion_tokens"])?;
            }
        }
    }
    scanner.end()?;
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

    fn flat_caps(&mut self, scanner: &mut Scanner<'_>, names: &[&str]) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "tools" => self.uses(Features::TOOLS, scanner),
            key if names.contains(&key) => self.cap(scanner),
            _ => Ok(()),
        })
    }

    fn nested_cap(
        &mut self,
        scanner: &mut Scanner<'_>,
        outer: &str,
        inner: &str,
    ) -> Result<(), JsonError> {
        scanner.object(|key, scanner| {
            if key != outer {
                return Ok(());
            }
            scanner.object(|key, scanner| if key == inner { self.cap(scanner) } else { Ok(()) })
        })
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

    /// Reads a member of the body's top level, in which a cache point may stand.
    fn section<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        read: impl FnOnce(&mut Self, &mut Scanner<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.section = scanner.position();
        read(self, scanner)
    }

    fn cache_point(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let prefix = self.section..scanner.position();
        self.uses(Features::PROMPT_CACHING, scanner)?;
        if self.features.contains(Features::PROMPT_CACHING) && self.cached_prefix.is_none() {
            self.cached_prefix = Some(prefix);
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
            "system" => self.section(scanner, Self::anthropic_blocks),
            "tools" => self.section(scanner, |peek, scanner| {
                scanner.array(|scanner| {
                    peek.features.add(Features::TOOLS);
                    peek.anthropic_block(scanner)
                })
            }),
            "messages" => self.section(scanner, |peek, scanner| {
                scanner.array(|scanner| {
                    scanner.object(|key, scanner| match key {
                        "content" => peek.anthropic_blocks(scanner),
                        _ => Ok(()),
                    })
                })
            }),
            _ => Ok(()),
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
        scanner.array(|scanner| self.medium(scanner, Self::anthropic_block))
    }

    fn anthropic_block(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "cache_control" => self.cache_point(scanner),
            "type" if scanner.peek()? == Type::String => {
                match scanner.string()?.as_ref() {
                    "image" => self.features.add(Features::VISION),
                    "document" => self.features.add(Features::DOCUMENTS),
                    "tool_use" | "tool_result" => self.features.add(Features::TOOLS),
                    "thinking" | "redacted_thinking" => self.features.add(Features::REASONING),
                    _ => {}
                }
                Ok(())
            }
            // A tool's result holds blocks itself, one level deep.
            "content" if scanner.peek()? == Type::Array => {
                scanner.array(|scanner| self.medium(scanner, Self::anthropic_result_block))
            }
            _ => Ok(()),
        })
    }

    fn anthropic_result_block(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "type" if scanner.peek()? == Type::String => {
                match scanner.string()?.as_ref() {
                    "image" => self.features.add(Features::VISION),
                    "document" => self.features.add(Features::DOCUMENTS),
                    _ => {}
                }
                Ok(())
            }
            _ => Ok(()),
        })
    }

    // The Converse schema, which Nova's own body resembles.

    fn converse(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "inferenceConfig" => scanner.object(|key, scanner| match key {
                "maxTokens" | "max_new_tokens" => self.cap(scanner),
                _ => Ok(()),
            }),
            "additionalModelRequestFields" => scanner.object(|key, scanner| match key {
                "thinking" | "reasoning_config" => self.anthropic_thinking(scanner),
                "max_tokens" => self.cap(scanner),
                _ => Ok(()),
            }),
            "toolConfig" => self.section(scanner, |peek, scanner| {
                scanner.object(|key, scanner| match key {
                    "tools" => scanner.array(|scanner| {
                        peek.features.add(Features::TOOLS);
                        peek.converse_block(scanner)
                    }),
                    _ => Ok(()),
                })
            }),
            "system" => self.section(scanner, Self::converse_blocks),
            "messages" => self.section(scanner, |peek, scanner| {
                scanner.array(|scanner| {
                    scanner.object(|key, scanner| match key {
                        "content" => peek.converse_blocks(scanner),
                        _ => Ok(()),
                    })
                })
            }),
            _ => Ok(()),
        })
    }

    fn converse_blocks(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.array(|scanner| self.medium(scanner, Self::converse_block))
    }

    fn converse_block(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| {
            let feature = match key {
                "image" => Features::VISION,
                "document" => Features::DOCUMENTS,
                "video" => Features::VIDEO,
                "audio" => Features::AUDIO,
                "toolUse" => Features::TOOLS,
                "reasoningContent" => Features::REASONING,
                "cachePoint" => return self.cache_point(scanner),
                "toolResult" => {
                    self.features.add(Features::TOOLS);
                    return scanner.object(|key, scanner| match key {
                        "content" => {
                            scanner.array(|scanner| self.medium(scanner, Self::tool_result_block))
                        }
                        _ => Ok(()),
                    });
                }
                _ => return Ok(()),
            };
            self.uses(feature, scanner)
        })
    }

    fn tool_result_block(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "image" => self.uses(Features::VISION, scanner),
            "document" => self.uses(Features::DOCUMENTS, scanner),
            "video" => self.uses(Features::VIDEO, scanner),
            _ => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(operation: Operation, family: Family, body: &str) -> Peek {
        peek(operation, family, body.as_bytes()).unwrap()
    }

    fn anthropic(body: &str) -> Peek {
        of(Operation::InvokeModel, Family::Anthropic, body)
    }

    fn converse(body: &str) -> Peek {
        of(Operation::Converse, Family::Unknown, body)
    }

    #[test]
    fn every_family_has_its_own_cap() {
        for (family, body) in [
            (Family::Anthropic, r#"{"max_tokens": 9}"#),
            (Family::Nova, r#"{"inferenceConfig": {"maxTokens": 9}}"#),
            (Family::Nova, r#"{"inferenceConfig": {"max_new_tokens": 9}}"#),
            (
                Family::TitanText,
                r#"{"inputText": "", "textGenerationConfig": {"maxTokenCount": 9}}"#,
            ),
            (Family::Llama, r#"{"prompt": "max_gen_len", "max_gen_len": 9}"#),
            (Family::Mistral, r#"{"max_tokens": 9}"#),
            (Family::OpenAi, r#"{"max_tokens": 5, "max_completion_tokens": 9}"#),
        ] {
            let peek = of(Operation::InvokeModel, family, body);
            assert_eq!(peek.max_output_tokens(), Some(9), "{family:?}");
        }
        assert_eq!(converse(r#"{"inferenceConfig":{"maxTokens":9}}"#).max_output_tokens(), Some(9));
        assert_eq!(converse(r#"{"messages":[]}"#).max_output_tokens(), None);
    }

    #[test]
    fn clamping_changes_the_digits_and_nothing_else() {
        let body = r#"{ "messages": [{"role":"user","content":"max_tokens\": 99999"}],
            "max_tokens" : 99999 , "é": 1.50}"#;
        let clamped = clamp(body.as_bytes(), &anthropic(body), 4096).unwrap();
        assert_eq!(clamped, body.replace(": 99999 ,", ": 4096 ,"));
        assert!(clamp(body.as_bytes(), &anthropic(body), 99_999).is_none());
    }

    #[test]
    fn a_cap_cannot_be_hidden_by_repetition_or_escapes() {
        let body = r#"{"max_tokens": 1, "max\u005ftokens": 90000, "max_tokens": 80000}"#;
        let clamped = clamp(body.as_bytes(), &anthropic(body), 4096).unwrap();
        assert_eq!(clamped, r#"{"max_tokens": 1, "max\u005ftokens": 4096, "max_tokens": 4096}"#);
    }

    #[test]
    fn a_thinking_budget_must_stay_below_the_cap() {
        let peek =
            anthropic(r#"{"thinking":{"type":"enabled","budget_tokens":6000},"max_tokens":8000}"#);
        assert!(peek.features.contains(Features::REASONING));
        assert!(peek.fits(6001));
        assert!(!peek.fits(6000));
        let off = anthropic(r#"{"thinking":{"type":"disabled"},"max_tokens":8000}"#);
        assert_eq!(off.features, Features::default());
    }

    #[test]
    fn features_are_seen_where_they_count() {
        let peek = anthropic(
            r#"{"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}],
            "tools":[{"name":"image"}],
            "messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}"#,
        );
        let wanted = ["vision", "function_calling", "prompt_caching"];
        assert_eq!(peek.features, Features::from_names(wanted.into_iter()));

        let peek = converse(
            r#"{"messages":[{"content":[{"text":"x"},{"document":{}},{"cachePoint":{"type":"default"}},
            {"toolResult":{"content":[{"image":{}}]}}]}],
            "additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1024}}}"#,
        );
        let wanted = ["vision", "pdf_input", "function_calling", "prompt_caching", "reasoning"];
        assert_eq!(peek.features, Features::from_names(wanted.into_iter()));
        assert_eq!(peek.thinking_budget, Some(1024));
    }

    #[test]
    fn media_are_counted_with_their_bytes() {
        let image = r#"{"type":"image","source":{"data":"AAAA"}}"#;
        let body = format!(
            r#"{{"messages":[{{"content":[{{"type":"text","text":"hi"}},{image},
            {{"type":"tool_result","content":[{image},{{"type":"text"}}]}}]}}]}}"#
        );
        let peek = anthropic(&body);
        assert_eq!((peek.media, peek.media_bytes), (2, 2 * image.len()));
        let document = r#"{"document":{"source":{"bytes":"AAAA"}}}"#;
        let body = format!(r#"{{"messages":[{{"content":[{{"text":"hi"}},{document}]}}]}}"#);
        let peek = converse(&body);
        assert_eq!((peek.media, peek.media_bytes), (1, document.len()));
    }

    #[test]
    fn the_cached_prefix_is_the_same_however_the_conversation_goes_on() {
        let body = |max: u32, last: &str| {
            format!(
                r#"{{"max_tokens":{max},"system":[{{"type":"text","text":"long","cache_control":
                {{"type":"ephemeral"}}}}],"messages":[{{"role":"user","content":"{last}"}}]}}"#
            )
        };
        let prefix = |body: String| body[anthropic(&body).cached_prefix.unwrap()].to_owned();
        assert_eq!(prefix(body(5, "one")), prefix(body(4000, "another")));
        assert!(prefix(body(5, "one")).contains("long"));
        assert_eq!(anthropic(r#"{"max_tokens":5}"#).cached_prefix, None);
    }

    #[test]
    fn words_in_a_prompt_or_a_tools_input_are_no_features() {
        let peek = anthropic(
            r#"{"tools":[],"messages":[{"content":"{\"type\":\"image\"}"},{"content":[
            {"type":"text","text":"image"}]}],"metadata":{"type":"image","tools":[1]}}"#,
        );
        assert_eq!(peek.features, Features::default());
    }

    #[test]
    fn a_body_that_is_not_json_is_an_error_only_where_it_is_read() {
        let read = |operation, family| peek(operation, family, b"not json").is_err();
        assert!(read(Operation::InvokeModel, Family::Anthropic));
        assert!(read(Operation::Converse, Family::Unknown));
        assert!(!read(Operation::InvokeModel, Family::Unknown));
    }

    proptest! {
        #[test]
        fn clamped_bodies_differ_in_the_cap_alone(
            prompt in "\\PC{0,40}", cap in 1u64..200_000, limit in 1u32..10_000
        ) {
            let mut value = serde_json::json!({
                "messages": [{"role": "user", "content": prompt}], "max_tokens": cap, "top_k": 5
            });
            let body = serde_json::to_vec(&value).unwrap();
            let peek = peek(Operation::InvokeModel, Family::Anthropic, &body).unwrap();
            match clamp(&body, &peek, limit) {
                Some(clamped) => {
                    prop_assert!(cap > u64::from(limit));
                    value["max_tokens"] = limit.into();
                    prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&clamped).unwrap(), value);
                }
                None => prop_assert!(cap <= u64::from(limit)),
            }
        }

        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
            for family in [Family::Anthropic, Family::Nova, Family::TitanText, Family::Llama] {
                let _ = peek(Operation::InvokeModel, family, &body);
            }
        }
    }
}
