//! `cache_control`: up to which block the prompt is to be cached, and for how long.

use sluice_bedrock::json::Scanner;

use super::read::{Place, Read, members, null, text};
use crate::conversation::{At, Block, BlockKind, CacheTtl, Turn};
use crate::report::Report;

/// Reads the member of a block or of a tool.
pub(super) fn cache_control(
    scanner: &mut Scanner<'_>,
    at: At,
    report: &mut Report<'_>,
    cache: &mut Option<CacheTtl>,
) -> Read {
    *cache = read(scanner, Place::of(at, "cache_control"), report)?;
    Ok(())
}

/// Reads a `cache_control`.
pub(super) fn read(
    scanner: &mut Scanner<'_>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Option<CacheTtl>> {
    if null(scanner)? {
        return Ok(None);
    }
    let mut ttl = CacheTtl::default();
    members(scanner, place, report, |key, scanner, report| {
        match key {
            "type" => match text(scanner, place.member("type"), report)?.as_deref() {
                None | Some("ephemeral") => {}
                Some(_) => place.member("type").refuse(report, "must be `ephemeral`"),
            },
            "ttl" => match text(scanner, place.member("ttl"), report)?.as_deref() {
                None | Some("5m") => ttl = CacheTtl::FiveMinutes,
                Some("1h") => ttl = CacheTtl::Hour,
                Some(_) => place.member("ttl").refuse(report, "must be `5m` or `1h`"),
            },
            // Among whom Anthropic shares the cache. Bedrock's cache is the account's.
            "scope" => {
                if !null(scanner)? {
                    report.dropped("cache_control.scope");
                }
            }
            key => super::read::unknown(scanner, place.member(key), report)?,
        }
        Ok(())
    })?;
    Ok(Some(ttl))
}

/// Caches the whole prompt: behind the last block that can be, unless it is cached already.
pub(super) fn cache_all(turns: &mut [Turn<'_>], ttl: CacheTtl) {
    for turn in turns.iter_mut().rev() {
        let last = turn.blocks.iter().rposition(|block| {
            !matches!(block.kind, BlockKind::Reasoning { .. } | BlockKind::RedactedReasoning(_))
        });
        let Some((index, block)) = last.and_then(|at| Some((at, turn.blocks.get(at)?))) else {
            continue;
        };
        if !matches!(block.kind, BlockKind::CachePoint(_)) {
            let point = Block { at: block.at, kind: BlockKind::CachePoint(ttl) };
            turn.blocks.insert(index + 1, point);
        }
        return;
    }
}
