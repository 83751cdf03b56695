//! The most that a request can use of a target: what a budget must hold, where a quota expects.
//!
//! A token has at least one byte of text, and no request has more input than its model's context
//! window. Where neither bounds it, nothing is known, and says so.

use super::target::Size;
use crate::bedrock::catalogue::{self, LongContext, ModelFacts};
use crate::bedrock::{Family, ModelId};

/// Tokens that a model's service puts around a request: the template of the conversation, and what
/// tells the model of tools and formats.
const AROUND: u64 = 2048;

/// Tokens that describe a tool that the request only names.
const BUILT_IN_TOOL: u64 = 1024;

/// Tokens of an image, at most, of the families that scale images to a size.
const IMAGE: u64 = 8192;

/// The longest context window that a beta gives.
const LONG_WINDOW: u64 = 1_000_000;

/// Texts or images that an embedding model takes in one request; each fills a window of its own.
const EMBEDDED_AT_ONCE: u64 = 96;

/// Input of a bidirectional stream, and output, before it tells what it has used.
const STREAMED_AHEAD: u64 = 4096;

/// What stands for a bound that is not known where a number is needed.
const UNKNOWN_INPUT: u64 = 1_000_000;
const UNKNOWN_OUTPUT: u64 = 128_000;

/// The most that one request can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Input tokens; `None`: nothing bounds them.
    pub input: Option<u64>,
    /// Of these, what the request itself brings.
    pub content: Option<u64>,
    /// Output tokens.
    pub output: Option<u64>,
    /// Whether some of the input may cost what a cache write for an hour does.
    pub writes_cache: bool,
    /// What its service tier costs on top, in per cent.
    pub surcharge: u64,
    /// What its length does to the price.
    pub long_context: Option<LongContext>,
}

impl Bound {
    /// What a bidirectional stream uses from one look at it to the next.
    pub fn of_stream() -> Bound {
        Bound {
            input: Some(STREAMED_AHEAD),
            content: Some(STREAMED_AHEAD),
            output: Some(STREAMED_AHEAD),
            writes_cache: false,
            surcharge: 0,
            long_context: None,
        }
    }

    /// The input that is charged where no answer tells it.
    pub fn untold_input(&self) -> u64 {
        self.content.unwrap_or(UNKNOWN_INPUT)
    }

    /// The output that is charged where no answer tells it.
    pub fn untold_output(&self) -> u64 {
        self.output.unwrap_or(UNKNOWN_OUTPUT)
    }

    /// Input and output together.
    pub fn tokens(&self) -> u64 {
        self.input.unwrap_or(UNKNOWN_INPUT).saturating_add(self.untold_output())
    }
}

/// What decides a bound, of the target that is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model<'a> {
    /// The id that is called.
    pub(super) id: &'a ModelId,
    /// The model whose limits count.
    pub(super) base: &'a ModelId,
    pub(super) known: Option<&'a ModelFacts>,
    pub(super) family: Family,
    /// The cap that requests are lowered to.
    pub(super) cap: Option<u64>,
}

/// The most that a request of this size can use of a model.
pub(super) fn bound(size: &Size, model: &Model<'_>) -> Bound {
    let extent = &size.extent;
    // The text of a stored prompt is not in the body.
    let is_open = extent.is_open
        || model.id.as_str().contains(":prompt/")
        || extent.images > 0 && !scales_images(model.family);
    let text = (size.body_bytes.saturating_sub(extent.image_bytes) as u64)
        .saturating_add(AROUND)
        .saturating_add((extent.images as u64).saturating_mul(IMAGE))
        .saturating_add((extent.built_in_tools as u64).saturating_mul(BUILT_IN_TOOL));
    let mode = model.known.map_or("chat", |facts| facts.mode);
    let window = model.known.and_then(|facts| facts.max_input_tokens).map(u64::from);
    let window =
        window.map(|usual| if extent.has_long_window { usual.max(LONG_WINDOW) } else { usual });
    let input = match (mode, is_open) {
        ("chat", true) => window,
        ("chat", false) => Some(window.map_or(text, |window| window.min(text))),
        ("embedding", true) => {
            window.map(|window| window.saturating_mul(EMBEDDED_AT_ONCE).saturating_add(text))
        }
        ("embedding", false) => Some(text),
        // What is paid by the image or the query may tell any number of tokens.
        _ => None,
    };
    let output = match mode {
        "chat" => output(size, model),
        "embedding" => Some(0),
        _ => None,
    };
    // What the service puts around it differs by model and tools; it is held, and not charged.
    let content = if is_open { input } else { input.map(|it| it.min(text.saturating_sub(AROUND))) };
    let long_context = catalogue::long_context(model.base);
    Bound {
        input,
        content,
        output,
        writes_cache: extent.writes_cache || is_open,
        surcharge: extent.surcharge,
        long_context: long_context.filter(|long| input.is_none_or(|input| input > long.above)),
    }
}

fn output(size: &Size, model: &Model<'_>) -> Option<u64> {
    let own = model.known.and_then(|facts| facts.max_output_tokens).map(u64::from);
    let named = size.max_output.map(|named| match model.cap {
        Some(cap) => named.min(cap),
        None => named,
    });
    // A budget for thinking that is not below the maximum comes on top of it.
    let thinking = |named: u64| size.thinking.filter(|thinking| *thinking >= named).unwrap_or(0);
    let one = named.map(|named| named.saturating_add(thinking(named))).or(own)?;
    Some(one.saturating_mul(size.extent.answers.unwrap_or(1).max(1)))
}

/// Whether models of the family scale an image so that it has no more than [`IMAGE`] tokens.
fn scales_images(family: Family) -> bool {
    matches!(family, Family::Anthropic | Family::Nova | Family::Llama | Family::Mistral)
}
