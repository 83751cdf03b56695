//! Cache points by the operator's policy: where they are added to a request that has none, and how long prompts
//! stay cached at least.
//!
//! Points are added behind what stays the same from turn to turn: the tools, the system texts, and the messages
//! before the newest of the user. So the next turn finds in the cache what this one has written.

use std::ops::AddAssign;

use crate::conversation::{Block, BlockKind, CacheTtl, Conversation, MediaSource, Role, Turn};
use crate::model::Model;

/// What the operator wants of prompt caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachePolicy {
    /// Whether cache points are added to requests that have none.
    pub adds_points: bool,
    /// How long prompts stay cached at least, where the model can do it. Points that last longer stay.
    pub min_ttl: CacheTtl,
}

/// Fewest tokens of a cached prefix, of a model whose minimum is not known.
const USUAL_MIN_TOKENS: u32 = 1024;

/// Fewest bytes of a token, on average. A prefix that is too short even so is certainly not cached.
const MIN_BYTES_PER_TOKEN: usize = 2;

/// What was added, as the client is told.
pub(crate) const TOOLS: &str = "cache_control.tools";
pub(crate) const SYSTEM: &str = "cache_control.system";
pub(crate) const MESSAGES: &str = "cache_control.messages";
pub(crate) const TTL: &str = "cache_control.ttl";

/// How much of a prompt stands before a point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefix {
    bytes: usize,
    min_bytes: usize,
}

impl Prefix {
    /// An empty one, of a prompt for this model.
    pub(crate) fn new(model: &Model) -> Prefix {
        let min_tokens = model.min_cache_tokens.unwrap_or(USUAL_MIN_TOKENS);
        let min_tokens = usize::try_from(min_tokens).unwrap_or(usize::MAX);
        Prefix { bytes: 0, min_bytes: min_tokens.saturating_mul(MIN_BYTES_PER_TOKEN) }
    }

    /// Whether it may be long enough to be cached.
    pub(crate) fn is_cacheable(self) -> bool {
        self.bytes >= self.min_bytes
    }
}

impl AddAssign<usize> for Prefix {
    fn add_assign(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Conversation<'_> {
    /// Applies the policy for a model, and names what was added.
    pub fn cache_by(&mut self, policy: CachePolicy, model: &Model) -> Vec<&'static str> {
        let mut added = Vec::new();
        if !model.takes_cache_points {
            return added;
        }
        let lengthens = policy.min_ttl == CacheTtl::Hour && model.takes_hour_cache;
        if lengthens && self.lengthen() {
            added.push(TTL);
        }
        if policy.adds_points && !self.has_cache_point() {
            let ttl = if lengthens { CacheTtl::Hour } else { CacheTtl::FiveMinutes };
            self.add_points(ttl, model, &mut added);
        }
        added
    }

    fn has_cache_point(&self) -> bool {
        let is_point = |block: &Block<'_>| match &block.kind {
            BlockKind::CachePoint(_) => true,
            BlockKind::ToolResult { content, .. } => {
                content.iter().any(|part| matches!(part.kind, BlockKind::CachePoint(_)))
            }
            _ => false,
        };
        self.tools.iter().any(|tool| tool.cache_point.is_some())
            || self.system.iter().any(is_point)
            || self.turns.iter().flat_map(|turn| &turn.blocks).any(is_point)
    }

    /// Lets each point last an hour, so that their order stays right. Whether one did not.
    fn lengthen(&mut self) -> bool {
        let mut was_short = false;
        let mut set = |ttl: &mut CacheTtl| {
            was_short |= *ttl == CacheTtl::FiveMinutes;
            *ttl = CacheTtl::Hour;
        };
        self.tools.iter_mut().filter_map(|tool| tool.cache_point.as_mut()).for_each(&mut set);
        let of_turns = self.turns.iter_mut().flat_map(|turn| &mut turn.blocks);
        for block in self.system.iter_mut().chain(of_turns) {
            match &mut block.kind {
                BlockKind::CachePoint(ttl) => set(ttl),
                BlockKind::ToolResult { content, .. } => {
                    for part in content {
                        if let BlockKind::CachePoint(ttl) = &mut part.kind {
                            set(ttl);
                        }
                    }
                }
                _ => {}
            }
        }
        was_short
    }

    fn add_points(&mut self, ttl: CacheTtl, model: &Model, added: &mut Vec<&'static str>) {
        let mut prefix = Prefix::new(model);
        for tool in &self.tools {
            let schema = tool.schema.as_ref().map_or(0, |schema| schema.0.len());
            prefix += tool.name.len() + tool.description.len() + schema;
        }
        // Nova caches system texts and messages alone.
        if prefix.is_cacheable()
            && model.is_claude()
            && let Some(last) = self.tools.last_mut()
        {
            last.cache_point = Some(ttl);
            added.push(TOOLS);
        }
        self.system.iter().for_each(|block| prefix += len(block));
        if prefix.is_cacheable() && add_behind_last(&mut self.system, ttl, model) {
            added.push(SYSTEM);
        }
        let Some(newest) = self.turns.iter().rposition(|turn| turn.role == Role::User) else {
            return;
        };
        let (stable, _) = self.turns.split_at_mut_checked(newest).unwrap_or_default();
        let is_user = |turn: &&mut Turn<'_>| turn.role == Role::User;
        // Neighbours of the user's newest message become one with it.
        let newer = stable.iter_mut().rev().take_while(is_user).count();
        let stable = stable.get_mut(..stable.len().saturating_sub(newer)).unwrap_or_default();
        stable.iter().flat_map(|turn| &turn.blocks).for_each(|block| prefix += len(block));
        if let Some(last) = stable.last_mut()
            && prefix.is_cacheable()
            && add_behind_last(&mut last.blocks, ttl, model)
        {
            added.push(MESSAGES);
        }
    }
}

/// Adds a point behind the last block that goes to the model, if it can be cached.
fn add_behind_last(blocks: &mut Vec<Block<'_>>, ttl: CacheTtl, model: &Model) -> bool {
    let is_sent =
        |block: &Block<'_>| !matches!(&block.kind, BlockKind::Text(text) if text.is_blank());
    let last = blocks.iter().rposition(is_sent);
    let Some((index, block)) = last.and_then(|index| Some((index, blocks.get(index)?))) else {
        return false;
    };
    let can_be_cached = match &block.kind {
        BlockKind::Text(_) => true,
        BlockKind::Reasoning { .. } | BlockKind::RedactedReasoning(_) | BlockKind::Other { .. } => {
            false
        }
        // What other families cache beside texts is not known.
        _ => model.is_claude(),
    };
    if can_be_cached {
        let point = Block { at: block.at, kind: BlockKind::CachePoint(ttl) };
        blocks.insert(index + 1, point);
    }
    can_be_cached
}

/// The bytes of a block, as far as they tell how long it is for the model.
fn len(block: &Block<'_>) -> usize {
    match &block.kind {
        BlockKind::Text(text) => text.json_len(),
        BlockKind::Image(media)
        | BlockKind::Audio(media)
        | BlockKind::Video(media)
        | BlockKind::Document { media, .. } => match &media.source {
            MediaSource::Base64(text) | MediaSource::Text(text) => text.len(),
            MediaSource::Texts(texts) => texts.iter().map(|text| text.len()).sum(),
            MediaSource::S3 { .. } | MediaSource::Url(_) => usize::MAX,
        },
        BlockKind::ToolUse { name, input, .. } => name.len() + input.0.len(),
        BlockKind::ToolResult { content, .. } => {
            content.iter().fold(0, |sum, part| sum.saturating_add(len(part)))
        }
        BlockKind::Json(json) | BlockKind::Other { value: json, .. } => json.0.len(),
        BlockKind::Reasoning { text, .. } => text.len(),
        BlockKind::RedactedReasoning(data) => data.len(),
        BlockKind::CachePoint(_) => 0,
    }
}
