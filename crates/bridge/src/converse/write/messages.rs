//! `messages`: the client's turns as Converse takes them.
//!
//! Neighbours of one role are one message; results of tools come first in it; each use of a tool has its result
//! in the next message. What means nothing to the model is left out with a note, content never.

use std::borrow::Cow;

use crate::conversation::{At, Block, BlockKind, Conversation, Role, Turn};
use crate::json::{Array, Object};

use super::super::params::Field;
use super::blocks::{self, Documents};
use super::names::{ToolIds, ToolNames};
use super::target::Target;

/// A message of Converse: the blocks of neighbouring turns.
struct Message<'c, 'a> {
    role: Role,
    at: At,
    blocks: Vec<&'c Block<'a>>,
}

/// Writes the messages.
pub(super) fn write(
    conversation: &Conversation<'_>,
    body: &mut Object<'_>,
    tells_in_texts: bool,
    names: &ToolNames,
    target: &mut Target<'_, '_>,
) {
    let messages = merged(conversation, target);
    check_ends(&messages, target);
    let mut writer =
        Writer { names, ids: ToolIds::default(), documents: Documents::default(), tells_in_texts };
    let mut list = body.array("messages");
    for message in &messages {
        writer.message(message, &mut list, target);
    }
    // It is the last message that lacks its answer.
    writer.refuse_unanswered(messages.last().map_or_else(At::default, |last| last.at), target);
}

/// Joins neighbours of one role, and leaves out what is not sent.
fn merged<'c, 'a>(
    conversation: &'c Conversation<'a>,
    target: &mut Target<'_, '_>,
) -> Vec<Message<'c, 'a>> {
    let mut messages: Vec<Message<'c, 'a>> = Vec::new();
    for turn in &conversation.turns {
        let role = role(turn, target);
        let is_neighbour = |last: &&mut Message<'_, '_>| last.role == role;
        let at =
            turn.blocks.first().map_or_else(At::default, |block| At { part: None, ..block.at });
        // What the model did not say needs no message; what the user did not say is a mistake.
        let is_silent =
            role == Role::Assistant && !turn.blocks.iter().any(|block| is_content(block, target));
        if is_silent {
            turn.blocks.iter().for_each(|block| note_if_left_out(block, target));
            continue;
        }
        let message = match messages.last_mut().filter(is_neighbour) {
            Some(last) => last,
            None => {
                messages.push(Message { role, at, blocks: Vec::new() });
                match messages.last_mut() {
                    Some(last) => last,
                    None => continue,
                }
            }
        };
        for block in &turn.blocks {
            if is_content(block, target) || matches!(block.kind, BlockKind::CachePoint(_)) {
                message.blocks.push(block);
            } else {
                note_if_left_out(block, target);
            }
        }
    }
    messages
}

/// Who speaks, for this model. One that takes no system texts between other messages reads them in their place,
/// as a part of what the user says: moved to the front they would change what was cached.
fn role(turn: &Turn<'_>, target: &mut Target<'_, '_>) -> Role {
    if turn.role != Role::System || target.model.takes_mid_conversation_system {
        return turn.role;
    }
    let list = turn.blocks.first().map_or("messages", |block| block.at.list);
    let why = "is `system` between other messages, which this model does not take";
    target.report.advice(&format!("{list}.role"), why);
    Role::User
}

/// Whether a block is sent, apart from cache points.
fn is_content(block: &Block<'_>, target: &Target<'_, '_>) -> bool {
    match &block.kind {
        BlockKind::Text(text) => !text.is_blank(),
        // Signatures are checked, so that another family's thinking, or what is not signed, is refused.
        BlockKind::Reasoning { signature, .. } => {
            target.model.is_claude() && signature.as_ref().is_some_and(|it| !it.is_empty())
        }
        BlockKind::RedactedReasoning(_) => target.model.is_claude(),
        BlockKind::CachePoint(_) => false,
        _ => true,
    }
}

fn note_if_left_out(block: &Block<'_>, target: &mut Target<'_, '_>) {
    match &block.kind {
        BlockKind::Reasoning { .. } | BlockKind::RedactedReasoning(_) => {
            target.dropped(Field::PastThinking);
        }
        BlockKind::CachePoint(_) => target.dropped(Field::CacheControl),
        _ => {}
    }
}

fn check_ends(messages: &[Message<'_, '_>], target: &mut Target<'_, '_>) {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
        let message = "the request has no message";
        target.report.refuse(None, false, message);
        return;
    };
    if first.role != Role::User {
        let message = format!("{}: the first message must be the user's", first.at.param());
        target.report.refuse(Some(first.at.param()), false, message);
    }
    let has_uses = last.blocks.iter().any(|block| matches!(block.kind, BlockKind::ToolUse { .. }));
    if last.role == Role::Assistant && !has_uses && !target.model.takes_prefill {
        let message = format!(
            "{}: this model does not go on with an answer that was begun for it: the last message must be the \
             user's",
            last.at.param()
        );
        target.report.refuse(Some(last.at.param()), true, message);
    }
}

/// Writes messages one after the other.
pub(super) struct Writer<'w, 'c> {
    pub(super) names: &'w ToolNames,
    pub(super) ids: ToolIds<'c>,
    pub(super) documents: Documents,
    /// Whether uses and results of tools become texts.
    pub(super) tells_in_texts: bool,
}

impl<'c> Writer<'_, 'c> {
    fn message(
        &mut self,
        message: &Message<'c, '_>,
        list: &mut Array<'_>,
        target: &mut Target<'_, '_>,
    ) {
        if message.role != Role::User {
            self.refuse_unanswered(message.at, target);
        }
        let is_cache_point = |block: &&Block<'_>| matches!(block.kind, BlockKind::CachePoint(_));
        if message.blocks.iter().all(is_cache_point) {
            target.invalid(message.at, "the message has no content, or only blank texts");
        }
        let is_document = |block: &&Block<'_>| matches!(block.kind, BlockKind::Document { .. });
        let is_text = |block: &&Block<'_>| matches!(block.kind, BlockKind::Text(_));
        let mut blocks = message.blocks.iter().copied();
        if let Some(document) = blocks.clone().find(is_document)
            && !blocks.any(|block| is_text(&block))
        {
            target.refuse_block(document.at, "document without a text beside it in the message");
        }
        let mut object = list.object();
        object.str(
            "role",
            match message.role {
                Role::User => "user",
                Role::Assistant => "assistant",
                Role::System => "system",
            },
        );
        let mut content = object.array("content");
        let blocks = results_first(&message.blocks);
        let blocks = points_before_thinking(blocks);
        let (blocks, beside) = match target.model.takes_results_alone() && !self.tells_in_texts {
            true => after_results(&blocks),
            false => (blocks.as_ref(), [].as_slice()),
        };
        let last_result = blocks.iter().rposition(is_result);
        for (index, block) in blocks.iter().enumerate() {
            let beside = if Some(index) == last_result { beside } else { &[] };
            blocks::write(block, beside, message.role, &mut content, self, target);
        }
        drop(content);
        drop(object);
        if message.role == Role::User {
            self.refuse_unanswered(message.at, target);
        }
    }

    fn refuse_unanswered(&mut self, at: At, target: &mut Target<'_, '_>) {
        let ids = self.ids.unanswered();
        if ids.is_empty() {
            return;
        }
        let param = if at.list.is_empty() { None } else { Some(at.param()) };
        let ids: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
        let message = format!(
            "the message after the use of tools must have their results; there is none for {}",
            ids.join(", ")
        );
        target.report.refuse(param, false, message);
    }
}

fn is_result(block: &&Block<'_>) -> bool {
    matches!(block.kind, BlockKind::ToolResult { .. })
}

/// The results of tools with their cache points, and what comes after them: some families refuse it beside
/// results, and a second message of the user too, so that it goes into the last result.
fn after_results<'m, 'c, 'a>(
    blocks: &'m [&'c Block<'a>],
) -> (&'m [&'c Block<'a>], &'m [&'c Block<'a>]) {
    let is_of_results =
        |block: &&Block<'_>| is_result(block) || matches!(block.kind, BlockKind::CachePoint(_));
    let has_results = blocks.first().is_some_and(is_result);
    let end = blocks.iter().position(|block| !is_of_results(block)).filter(|_| has_results);
    blocks.split_at_checked(end.unwrap_or(blocks.len())).unwrap_or((blocks, &[]))
}

/// The blocks without a cache point right behind thinking, which Converse refuses: it comes before that thinking.
fn points_before_thinking<'m, 'c, 'a>(
    blocks: Cow<'m, [&'c Block<'a>]>,
) -> Cow<'m, [&'c Block<'a>]> {
    let is_thinking = |block: &Block<'_>| {
        matches!(block.kind, BlockKind::Reasoning { .. } | BlockKind::RedactedReasoning(_))
    };
    let is_point = |block: &Block<'_>| matches!(block.kind, BlockKind::CachePoint(_));
    let mut moved: Vec<&'c Block<'a>> = Vec::with_capacity(blocks.len());
    let mut has_moved = false;
    for block in blocks.iter().copied() {
        let thinking = moved.iter().rev().take_while(|before| is_thinking(before)).count();
        match moved.len() - thinking {
            at if thinking > 0 && is_point(block) => {
                moved.insert(at, block);
                has_moved = true;
            }
            _ => moved.push(block),
        }
    }
    if has_moved { Cow::Owned(moved) } else { blocks }
}

/// The blocks with results of tools in front, each with the cache points that follow it.
fn results_first<'m, 'c, 'a>(blocks: &'m [&'c Block<'a>]) -> Cow<'m, [&'c Block<'a>]> {
    if blocks.iter().skip_while(|block| is_result(block)).all(|block| !is_result(block)) {
        return Cow::Borrowed(blocks);
    }
    let (mut results, mut others) = (Vec::new(), Vec::new());
    let mut is_after_result = false;
    for block in blocks {
        if !matches!(block.kind, BlockKind::CachePoint(_)) {
            is_after_result = is_result(block);
        }
        if is_after_result { &mut results } else { &mut others }.push(*block);
    }
    results.append(&mut others);
    Cow::Owned(results)
}
