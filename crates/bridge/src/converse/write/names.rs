//! Names and ids that Converse takes, in place of those that it does not: names of tools for good, restored in
//! answers; ids of tool uses within the request alone.
//!
//! A new name depends on the old one, so that a tool keeps its name over the turns of a conversation and the
//! cached prompt stays the same. No two of a request fall together.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::conversation::{BlockKind, Conversation, ToolChoice};

/// Longest name or id.
const MAX_LEN: usize = 64;

/// The names of tools at the target.
#[derive(Debug, Default)]
pub(super) struct ToolNames {
    /// By the client's name: only those that differ.
    renamed: HashMap<String, String>,
}

impl ToolNames {
    /// The names for every tool that a conversation speaks of.
    pub(super) fn of(conversation: &Conversation<'_>) -> ToolNames {
        let mut illegal: Vec<&str> = Vec::new();
        let mut seen = HashSet::new();
        each_name(conversation, &mut |name| {
            if !is_tool_name(name) && seen.insert(name) {
                illegal.push(name);
            }
        });
        let mut names = ToolNames::default();
        if illegal.is_empty() {
            return names;
        }
        let mut taken = HashSet::new();
        each_name(conversation, &mut |name| {
            if is_tool_name(name) {
                taken.insert(name.to_owned());
            }
        });
        for name in illegal {
            let legal = legal_form(name, is_name_byte, |it| taken.contains(it));
            taken.insert(legal.clone());
            names.renamed.insert(name.to_owned(), legal);
        }
        names
    }

    /// The name at the target.
    pub(super) fn at_target<'n>(&'n self, client: &'n str) -> &'n str {
        match self.renamed.is_empty() {
            true => client,
            false => self.renamed.get(client).map_or(client, String::as_str),
        }
    }

    /// What an answer needs to restore them: the name at the target, and the client's.
    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        let mut pairs: Vec<_> =
            self.renamed.into_iter().map(|(client, target)| (target, client)).collect();
        pairs.sort();
        pairs
    }
}

/// Calls `each` for every mention of a tool.
pub(super) fn each_name<'c>(conversation: &'c Conversation<'_>, each: &mut dyn FnMut(&'c str)) {
    conversation.tools.iter().for_each(|tool| each(&tool.name));
    for block in conversation.turns.iter().flat_map(|turn| &turn.blocks) {
        if let BlockKind::ToolUse { name, .. } = &block.kind {
            each(name);
        }
    }
    match &conversation.tool_choice {
        Some(ToolChoice::Tool(name)) => each(name),
        Some(ToolChoice::Allowed { names, .. }) => names.iter().for_each(|name| each(name)),
        _ => {}
    }
}

/// The ids of tool uses: those of the last message of the model, which the next one must answer, and all that
/// were used before.
#[derive(Debug, Default)]
pub(super) struct ToolIds<'c> {
    used: HashSet<Cow<'c, str>>,
    open: HashMap<&'c str, OpenUse<'c>>,
}

/// A use of a tool that has no result so far.
#[derive(Debug)]
pub(super) struct OpenUse<'c> {
    /// Its place among the uses of the message.
    index: usize,
    /// The id at the target.
    pub(super) target: Cow<'c, str>,
    /// The client's name of the tool.
    pub(super) tool: &'c str,
}

impl<'c> ToolIds<'c> {
    /// Takes up a use. An id that was used in an earlier message gets another one: clients count some anew in
    /// each answer. `None`: this very message has it already.
    pub(super) fn open(&mut self, client: &'c str, tool: &'c str) -> Option<Cow<'c, str>> {
        if self.open.contains_key(client) {
            return None;
        }
        let is_usual = is_tool_use_id(client) && !self.used.contains(client);
        let target = match is_usual {
            true => Cow::Borrowed(client),
            false => Cow::Owned(legal_form(client, is_id_byte, |id| self.used.contains(id))),
        };
        self.used.insert(target.clone());
        let index = self.open.len();
        self.open.insert(client, OpenUse { index, target: target.clone(), tool });
        Some(target)
    }

    /// Closes a use with its result; `None` if the message before the result has no such use.
    pub(super) fn close(&mut self, client: &str) -> Option<OpenUse<'c>> {
        self.open.remove(client)
    }

    /// The client's ids that have no result.
    pub(super) fn unanswered(&mut self) -> Vec<&'c str> {
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_by_key(|(_, open)| open.index);
        open.into_iter().map(|(client, _)| client).collect()
    }
}

fn is_tool_name(name: &str) -> bool {
    is_legal(name, is_name_byte)
}

fn is_tool_use_id(id: &str) -> bool {
    is_legal(id, is_id_byte)
}

fn is_legal(text: &str, is_legal_byte: fn(u8) -> bool) -> bool {
    (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(is_legal_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_id_byte(byte: u8) -> bool {
    is_name_byte(byte) || matches!(byte, b'.' | b':')
}

/// A text with legal bytes alone, which still reads like the old one and ends with a hash of it.
fn legal_form(
    text: &str,
    is_legal_byte: fn(u8) -> bool,
    is_taken: impl Fn(&str) -> bool,
) -> String {
    const HASH_LEN: usize = 9;
    let legal = |char: char| match u8::try_from(char) {
        Ok(byte) if is_legal_byte(byte) => char,
        _ => '_',
    };
    let start: String = text.chars().map(legal).take(MAX_LEN - HASH_LEN).collect();
    let mut salt = 0_u32;
    loop {
        let form = format!("{start}_{:08x}", hash(text, salt));
        if !is_taken(&form) {
            return form;
        }
        salt = salt.wrapping_add(1);
    }
}

/// FNV-1a: it must stay the same over releases, since cached prompts hold what is made from it.
fn hash(text: &str, salt: u32) -> u32 {
    let bytes = salt.to_le_bytes().into_iter().chain(text.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conversation::Tool;

    fn names(names: &[&str]) -> (ToolNames, Vec<String>) {
        let tool = |name: &&str| Tool {
            name: Cow::Owned((*name).to_owned()),
            description: Cow::Borrowed(""),
            schema: None,
            strict: None,
            cache_point: None,
            index: 0,
        };
        let conversation =
            Conversation { tools: names.iter().map(tool).collect(), ..Conversation::default() };
        let tool_names = ToolNames::of(&conversation);
        let at_target = names.iter().map(|name| tool_names.at_target(name).to_owned()).collect();
        (tool_names, at_target)
    }

    #[test]
    fn a_new_name_does_not_depend_on_the_other_tools() {
        let (_, alone) = names(&["files.read"]);
        let (_, with_others) = names(&["a/b", "list", "files.read"]);
        assert_eq!(alone.last(), with_others.last());
        assert_eq!(alone, ["files_read_76d67372"]);
    }

    #[test]
    fn an_id_that_is_used_again_in_a_later_message_gets_another_one() {
        let mut ids = ToolIds::default();
        assert_eq!(ids.open("call_0", "f").as_deref(), Some("call_0"));
        assert_eq!(ids.open("call_0", "f"), None);
        assert_eq!(ids.unanswered(), ["call_0"]);
        let again = ids.open("call_0", "f").unwrap();
        assert!(is_tool_use_id(&again) && again != "call_0");
        assert_eq!(ids.close("call_0").unwrap().target, again);
    }

    proptest! {
        #[test]
        fn names_are_legal_apart_and_restored(
            given in prop::collection::hash_set("[a-c./ é]{0,3}|[a-z.]{60,90}|\\PC{1,70}", 1..12)
        ) {
            let given: Vec<&str> = given.iter().map(String::as_str).collect();
            let (tool_names, at_target) = names(&given);
            let apart: HashSet<_> = at_target.iter().collect();
            prop_assert_eq!(apart.len(), given.len());
            prop_assert!(at_target.iter().all(|name| is_tool_name(name)));
            let pairs = tool_names.into_pairs();
            for (client, target) in given.iter().zip(&at_target) {
                let back = pairs.iter().find(|(name, _)| name == target);
                prop_assert_eq!(back.map_or(target.as_str(), |(_, name)| name), *client);
            }
        }
    }
}
