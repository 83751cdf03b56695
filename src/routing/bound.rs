//! An upper bound of what a request can use of a target. Budgets reserve the bound; quotas reserve an estimate.
//!
//! A token has at least one byte of text, and no request has more input than its model's context
//! window. Where neither bounds it, the bound is `None`.

use super::demand::RequestSize;
use crate::bedrock::{Family, ModelId, ServiceTier};
use crate::catalogue::{Mode, ModelFacts};

/// Tokens that a model's service adds to a request: the template of the conversation, and the instructions for
/// tools and formats.
const SERVICE_OVERHEAD_TOKENS: u64 = 2048;

/// Tokens that describe a built-in tool, which the request only names.
const BUILT_IN_TOOL: u64 = 1024;

/// The most tokens of an image, for families that scale images down.
const IMAGE: u64 = 8192;

/// The longest context window that a beta gives.
const LONG_WINDOW: u64 = 1_000_000;

/// Texts or images that an embedding model takes in one request; each fills a window of its own.
const EMBEDDED_AT_ONCE: u64 = 96;

/// Input, and output, of a bidirectional stream between two reports of its usage.
const STREAMED_AHEAD: u64 = 4096;

/// Used in place of an unknown bound where a number is needed.
const UNKNOWN_INPUT: u64 = 1_000_000;
const UNKNOWN_OUTPUT: u64 = 128_000;

/// The most that one request can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Input tokens; `None` if nothing bounds them.
    pub input: Option<u64>,
    /// The part of them that the request itself contains.
    pub content: Option<u64>,
    /// Output tokens.
    pub output: Option<u64>,
    /// Whether some of the input may be billed as a cache write for an hour.
    pub writes_cache: bool,
    /// The service tier that it asks for.
    pub tier: Option<ServiceTier>,
    /// Whether it asks for the optimized latency.
    pub is_latency_optimized: bool,
}

impl Bound {
    /// What a bidirectional stream uses between two reports of its usage.
    pub fn of_stream() -> Bound {
        Bound {
            input: Some(STREAMED_AHEAD),
            content: Some(STREAMED_AHEAD),
            output: Some(STREAMED_AHEAD),
            writes_cache: false,
            tier: None,
            is_latency_optimized: false,
        }
    }

    /// The input that is charged where no answer reports it.
    pub fn unreported_input(&self) -> u64 {
        self.content.unwrap_or(UNKNOWN_INPUT)
    }

    /// The output that is charged where no answer reports it.
    pub fn unreported_output(&self) -> u64 {
        self.output.unwrap_or(UNKNOWN_OUTPUT)
    }

    /// Input and output together.
    pub fn tokens(&self) -> u64 {
        self.input.unwrap_or(UNKNOWN_INPUT).saturating_add(self.unreported_output())
    }
}

/// What a bound depends on at the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model<'a> {
    /// The id that is called.
    pub(super) id: &'a ModelId,
    pub(super) known: Option<&'a ModelFacts>,
    /// The largest input that Bedrock has named.
    pub(super) named_input: Option<u32>,
    pub(super) family: Family,
    /// The cap to which the request's maximum is lowered.
    pub(super) cap: Option<u64>,
}

/// The most that a request of this size can use of a model.
pub(super) fn bound(size: &RequestSize, model: &Model<'_>) -> Bound {
    let extent = &size.extent;
    // The text of a stored prompt is not in the body.
    let has_unknown_size = extent.is_open
        || model.id.as_str().contains(":prompt/")
        || extent.images > 0 && !scales_images(model.family);
    let text = (size.body_bytes.saturating_sub(extent.image_bytes) as u64)
        .saturating_add(SERVICE_OVERHEAD_TOKENS)
        .saturating_add((extent.images as u64).saturating_mul(IMAGE))
        .saturating_add((extent.built_in_tools as u64).saturating_mul(BUILT_IN_TOOL));
    let mode = model.known.and_then(|facts| facts.mode).unwrap_or(Mode::Chat);
    let window =
        model.known.and_then(|facts| facts.max_input_tokens).or(model.named_input).map(u64::from);
    let window =
        window.map(|usual| if extent.has_long_window { usual.max(LONG_WINDOW) } else { usual });
    let input = match (mode, has_unknown_size) {
        (Mode::Chat, true) => window,
        (Mode::Chat, false) => Some(window.map_or(text, |window| window.min(text))),
        (Mode::Embedding, true) => {
            window.map(|window| window.saturating_mul(EMBEDDED_AT_ONCE).saturating_add(text))
        }
        (Mode::Embedding, false) => Some(text),
        // Models that are billed by image or query may report any number of tokens.
        _ => None,
    };
    let output = match mode {
        Mode::Chat => output(size, model),
        Mode::Embedding => Some(0),
        _ => None,
    };
    // What the service adds differs by model and tools. It is reserved, and not charged.
    let content = if has_unknown_size {
        input
    } else {
        input.map(|it| it.min(text.saturating_sub(SERVICE_OVERHEAD_TOKENS)))
    };
    Bound {
        input,
        content,
        output,
        writes_cache: extent.writes_cache || has_unknown_size,
        tier: extent.tier,
        is_latency_optimized: extent.is_latency_optimized,
    }
}

fn output(size: &RequestSize, model: &Model<'_>) -> Option<u64> {
    let own = model.known.and_then(|facts| facts.max_output_tokens).map(u64::from);
    let named = size.max_output.map(|named| match model.cap {
        Some(cap) => named.min(cap),
        None => named,
    });
    // A thinking budget that is not below the maximum adds to it.
    let thinking = |named: u64| size.thinking.filter(|thinking| *thinking >= named).unwrap_or(0);
    let one = named.map(|named| named.saturating_add(thinking(named))).or(own)?;
    Some(one.saturating_mul(size.extent.answers.unwrap_or(1).max(1)))
}

/// Whether models of the family scale an image so that it has no more than [`IMAGE`] tokens.
fn scales_images(family: Family) -> bool {
    matches!(family, Family::Anthropic | Family::Nova | Family::Llama | Family::Mistral)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::bedrock::body::peek;
    use crate::bedrock::{Features, Operation};
    use crate::catalogue::Catalogue;

    const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
    const WINDOW: u64 = 200_000;

    fn bound_of(operation: Operation, model: &str, body: &[u8]) -> Bound {
        let id = ModelId::new(model).unwrap();
        let peek = peek(operation, id.family(), body).unwrap();
        let mut extent = peek.extent;
        extent.writes_cache |= peek.features.contains(Features::PROMPT_CACHING);
        let size = RequestSize {
            body_bytes: body.len(),
            max_output: peek.max_output_tokens(),
            thinking: peek.thinking_budget,
            extent,
            ..RequestSize::default()
        };
        let known = Catalogue::shipped().facts(&id, "");
        let model = Model {
            id: &id,
            known: known.as_deref(),
            named_input: None,
            family: id.family(),
            cap: None,
        };
        bound(&size, &model)
    }

    fn converse(body: &Value) -> Bound {
        bound_of(Operation::Converse, HAIKU, body.to_string().as_bytes())
    }

    fn invoke(model: &str, body: &Value) -> Bound {
        bound_of(Operation::InvokeModel, model, body.to_string().as_bytes())
    }

    #[test]
    fn a_window_bounds_what_bytes_do_not() {
        let body = |block: Value| json!({ "messages": [{ "content": [block] }] });
        let text = body(json!({ "text": "x" }));
        let bytes = text.to_string().len() as u64;
        assert_eq!(converse(&text).input, Some(bytes + SERVICE_OVERHEAD_TOKENS));
        assert_eq!(converse(&text).content, Some(bytes));
        assert_eq!(converse(&text).output, Some(4096), "the model's own");
        let long = body(json!({ "text": "x".repeat(300_000) }));
        assert_eq!(converse(&long).input, Some(WINDOW));
        let video = body(json!({ "video": { "source": { "s3Location": { "uri": "s3://b/k" } } } }));
        assert_eq!(
            (converse(&video).input, converse(&video).content),
            (Some(WINDOW), Some(WINDOW))
        );
        let image = json!({ "image": { "source": { "bytes": "A".repeat(90_000) } } });
        let input = converse(&body(image.clone())).input.unwrap();
        assert!((IMAGE..IMAGE + SERVICE_OVERHEAD_TOKENS + 200).contains(&input), "{input}");
        // The tokens of an image are not known for other families.
        let qwen = bound_of(
            Operation::Converse,
            "qwen.qwen3-32b-v1:0",
            body(image).to_string().as_bytes(),
        );
        let qwen3 = ModelId::new("qwen.qwen3-32b-v1:0").unwrap();
        let window = Catalogue::shipped().facts(&qwen3, "");
        let window = window.and_then(|facts| facts.max_input_tokens).map(u64::from);
        assert_eq!(qwen.input, window);
    }

    #[test]
    fn unknown_sizes_have_no_bound() {
        let prompt = json!({ "prompt": "x", "max_tokens": 9 });
        let unknown = invoke("acme.model-v1:0", &prompt);
        assert_eq!((unknown.input, unknown.output), (None, None));
        // A known schema and a maximum are enough.
        let text = json!({ "messages": [], "inferenceConfig": { "maxTokens": 9 } });
        let known = bound_of(Operation::Converse, "acme.model-v1:0", text.to_string().as_bytes());
        assert!(known.input.is_some() && known.output == Some(9));
        let stored = "arn:aws:bedrock:us-east-1:123456789012:prompt/ABCDEFGHIJ:1";
        assert_eq!(bound_of(Operation::Converse, stored, b"{}").input, None);
        assert_eq!(invoke("stability.stable-image-core-v1:1", &prompt).input, None);
        assert_eq!(invoke("cohere.rerank-v3-5:0", &json!({ "query": "x" })).input, None);
        let pegasus = json!({ "inputPrompt": "x", "mediaSource": { "s3Location": {} } });
        assert_eq!(invoke("twelvelabs.pegasus-1-2-v1:0", &pegasus).output, None);
    }

    #[test]
    fn embeddings_are_bounded_by_their_texts_and_not_by_one_window() {
        let texts = json!({ "texts": vec!["word ".repeat(400); 96], "input_type": "search_query" });
        let cohere = invoke("cohere.embed-english-v3", &texts);
        assert!(cohere.input.unwrap() >= 96 * 512, "{cohere:?}");
        assert_eq!(cohere.output, Some(0));
    }

    #[test]
    fn several_answers_thinking_and_a_longer_window_count() {
        let jamba = json!({ "messages": [], "max_tokens": 100, "n": 16 });
        assert_eq!(invoke("ai21.jamba-1-5-large-v1:0", &jamba).output, Some(1600));
        let thinking = json!({ "max_tokens": 100, "messages": [],
            "thinking": { "type": "enabled", "budget_tokens": 5000 } });
        assert_eq!(invoke("anthropic.claude-sonnet-4-20250514-v1:0", &thinking).output, Some(5100));
        let long = json!({ "max_tokens": 1, "anthropic_beta": ["context-1m-2025-08-07"],
            "messages": [{ "content": [{ "type": "document" }] }] });
        let long = invoke("anthropic.claude-sonnet-4-20250514-v1:0", &long);
        assert_eq!(long.input, Some(LONG_WINDOW));
    }

    fn block() -> impl Strategy<Value = Value> {
        let media = ["document", "video", "audio"];
        prop_oneof![
            "\\PC{0,60}".prop_map(|text| json!({ "text": text })),
            "[0-9😀é\u{1}]{0,60}".prop_map(|text| json!({ "text": text })),
            prop::sample::select(media.to_vec())
                .prop_map(|kind| json!({ kind: { "source": { "s3Location": {} } } })),
            "[A-Za-z0-9]{0,80}"
                .prop_map(|bytes| json!({ "image": { "source": { "bytes": bytes } } })),
            Just(json!({ "cachePoint": { "type": "default", "ttl": "1h" } })),
            "\\PC{0,30}".prop_map(|text| json!({
                "toolResult": { "toolUseId": "t", "content": [{ "json": { text.clone(): text } }] }
            })),
        ]
    }

    /// The most tokens that a block can have, by what it is.
    fn most_of(block: &Value) -> u64 {
        if block.get("image").is_some() {
            return IMAGE;
        }
        if ["document", "video", "audio"].iter().any(|kind| block.get(kind).is_some()) {
            return WINDOW;
        }
        // Bytes of the text as the model gets it, without JSON's escapes.
        block.get("text").and_then(Value::as_str).map_or(block.to_string().len(), str::len) as u64
    }

    proptest! {
        #[test]
        fn no_content_has_more_tokens_than_are_bounded(
            blocks in prop::collection::vec(block(), 0..8), escaped: bool, max in 0u64..5000,
        ) {
            let body = json!({ "messages": [{ "role": "user", "content": blocks }],
                "inferenceConfig": { "maxTokens": max } });
            let mut text = body.to_string();
            if escaped {
                text = text.replace("content", "\\u0063ontent").replace("video", "vid\\u0065o");
            }
            let bound = bound_of(Operation::Converse, HAIKU, text.as_bytes());
            let content = blocks.iter().map(most_of).sum::<u64>().min(WINDOW);
            prop_assert!(content <= bound.input.unwrap());
            prop_assert_eq!(bound.output, Some(max));
            let is_cached = blocks.iter().any(|block| block.get("cachePoint").is_some());
            prop_assert!(!is_cached || bound.writes_cache);
        }
    }
}
