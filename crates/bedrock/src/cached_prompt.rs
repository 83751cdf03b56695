//! Which prompt cache a request can use, as one number.
//!
//! The service reads a request in an order of its own: the tools, the system prompt, the messages.
//! A cache point keeps all that comes before it in that order, wherever the members stand in the
//! JSON. The key covers the request up to its first cache point, but of the messages no more than
//! the first block: clients move their points on as a conversation grows, and only its start stays.
//! Equal prompts have equal keys, whatever the order of members, with or without a point, and
//! whether a text is a string or a block.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::json::{JsonError, Scanner, Type};

/// The most bytes of one value that are hashed. A longer value is represented by its start and length.
const MAX_HASHED: usize = 64 << 10;

/// A part of a request that can hold cache points, in the order of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// The tools.
    Tools,
    /// Tools among Converse's additional fields.
    AdditionalTools,
    /// The system prompt.
    System,
    /// The messages.
    #[default]
    Messages,
}

const PARTS: [Part; 4] = [Part::Tools, Part::AdditionalTools, Part::System, Part::Messages];

/// Where the parts of a body stand, and which of them holds the first cache point.
#[derive(Clone, Debug, Default)]
pub(super) struct CachedPrompt {
    starts: [Option<usize>; PARTS.len()],
    first: Option<Part>,
}

impl CachedPrompt {
    /// Notes where the value of a part starts in the body. That of the messages is the content of
    /// the first one.
    pub(super) fn starts(&mut self, part: Part, at: usize) {
        for (known, start) in PARTS.iter().zip(&mut self.starts) {
            if *known == part {
                *start = Some(at);
            }
        }
    }

    /// Notes a cache point.
    pub(super) fn point(&mut self, part: Part) {
        self.first = Some(self.first.map_or(part, |first| first.min(part)));
    }

    /// The key, if the request has a cache point.
    pub(super) fn key(&self, body: &[u8]) -> Option<u64> {
        let last = self.first?;
        let mut hasher = DefaultHasher::new();
        for (part, start) in PARTS.iter().zip(self.starts).filter(|(part, _)| **part <= last) {
            if let Some(value) = start.and_then(|at| body.get(at..)) {
                // The body was read before, so this is JSON.
                let _ = read(*part, value, &mut hasher);
            }
        }
        Some(hasher.finish())
    }
}

/// Adds the blocks of a part, up to its first cache point.
fn read(part: Part, value: &[u8], hasher: &mut DefaultHasher) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(value);
    if scanner.peek()? != Type::Array {
        if let Some(block) = read_block(value, &mut scanner)?.0 {
            (part, block).hash(hasher);
        }
        return Ok(());
    }
    let mut is_done = false;
    scanner.array(|scanner| {
        if !is_done {
            let (block, has_point) = read_block(value, scanner)?;
            if let Some(block) = block {
                (part, block).hash(hasher);
            }
            is_done = has_point || part == Part::Messages && block.is_some();
        }
        Ok(())
    })
}

/// The hash of a block without its cache point, unless it has nothing else, and whether it has one.
fn read_block(value: &[u8], scanner: &mut Scanner<'_>) -> Result<(Option<u64>, bool), JsonError> {
    match scanner.peek()? {
        Type::String => {
            let start = scanner.position();
            scanner.skip()?;
            return Ok((
                value.get(start..scanner.position()).map(|text| member("text", text)),
                false,
            ));
        }
        Type::Object => {}
        Type::Array | Type::Scalar => return scanner.skip().map(|()| (None, false)),
    }
    let (mut block, mut has_point) = (None, false);
    scanner.object(|key, scanner| {
        let kind = scanner.peek()?;
        let start = scanner.position();
        scanner.skip()?;
        match (key, value.get(start..scanner.position()).unwrap_or_default()) {
            (_, b"null") | ("type", b"\"text\"") => {}
            ("cache_control" | "cachePoint", _) => has_point |= kind != Type::Scalar,
            // A sum is the same in any order.
            (key, value) => {
                block = Some(block.unwrap_or(0_u64).wrapping_add(member(key, value)));
            }
        }
        Ok(())
    })?;
    Ok((block, has_point))
}

fn member(key: &str, value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value.len(), value.get(..MAX_HASHED).unwrap_or(value)).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
