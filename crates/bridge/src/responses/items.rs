//! The items of `input`: messages, calls of tools and their outputs, reasoning.
//!
//! Items of one answer of the model become one turn, and so do the outputs that follow it. Developers' messages
//! before all others are system texts; later ones keep their place.

use std::borrow::Cow;

use super::parts;
use super::sealed::{Unsealed, unseal};
use super::tools::{Tools, hub_name};
use crate::conversation::{At, Block, BlockKind, CacheTtl, Conversation, Json, Role, Turn};
use crate::fields;
use crate::json::Object;
use crate::report::Report;
use crate::value::{Members, Value};

/// Members of items that are there for the client or its service, and mean nothing to the model.
const OF_SERVICE: [&str; 5] = ["id", "status", "created_by", "caller", "async"];

/// Reads the input of a request.
#[derive(Debug)]
pub(super) struct Items<'a, 'c> {
    pub(super) conversation: &'c mut Conversation<'a>,
    pub(super) tools: &'c mut Tools<'a>,
    /// How long a prompt is cached from a point that does not say it.
    pub(super) cache_ttl: CacheTtl,
}

impl<'a> Items<'a, '_> {
    /// Reads `input`: a string, or a list of items.
    pub(super) fn read(&mut self, value: Value<'a>, report: &mut Report<'_>) {
        let at = At { list: "input", index: None, part: None };
        if let Some(text) = fields::prompt_text(value) {
            let blocks = vec![Block { at, kind: BlockKind::Text(text) }];
            self.conversation.turns.push(Turn { role: Role::User, blocks });
            return;
        }
        let Some(items) = fields::elements(value) else {
            let message = "`input` must be a string or a list of items";
            return report.refuse(Some("input".to_owned()), false, message);
        };
        self.conversation.turns.reserve(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let at = At { index: u32::try_from(index).ok(), ..at };
            match fields::members(item) {
                Some(item) => self.item(&item, at, report),
                None => refuse(at, "must be an object", report),
            }
            if report.is_refused() {
                return;
            }
        }
    }

    fn item(&mut self, item: &Members<'a>, at: At, report: &mut Report<'_>) {
        let kind = item.get("type").and_then(fields::text);
        // Without a type it is a message if it has a role, else a reference.
        let kind = match kind.as_deref() {
            Some(kind) => kind,
            None if item.get("role").is_some() => "message",
            None => "item_reference",
        };
        match kind {
            "message" => self.message(item, at, report),
            "reasoning" => self.reasoning(item, at, report),
            "function_call" => self.call(item, "arguments", at, report),
            "custom_tool_call" => self.call(item, "input", at, report),
            "function_call_output" | "custom_tool_call_output" => self.output(item, at, report),
            "additional_tools" => self.additional_tools(item, at, report),
            "item_reference" => refuse(
                at,
                "refers to an item that is stored elsewhere; send the item itself",
                report,
            ),
            // It says that there was a search, not what it found.
            "web_search_call" => {
                let why = "is the record of a search that OpenAI ran; leave it out";
                report.unsupported("input.web_search_call", false, why);
            }
            kind => {
                let what = format!("has the type `{kind}`, which is not served here; leave it out");
                refuse(at, &what, report);
            }
        }
    }

    fn message(&mut self, item: &Members<'a>, at: At, report: &mut Report<'_>) {
        check_members(item, &["role", "content", "phase"], report);
        if item.get("phase").is_some() {
            // Which of the model's messages OpenAI takes for its last word.
            report.dropped("input.phase");
        }
        let role = match item.get("role").and_then(fields::text).as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("developer" | "system") => Role::System,
            _ => {
                let what = "must have the role `user`, `assistant`, `developer` or `system`";
                return refuse(at, what, report);
            }
        };
        let Some(content) = item.get("content") else {
            return refuse(at, "must have `content`", report);
        };
        let mut blocks = Vec::new();
        parts::read_content(content, at, self.cache_ttl, &mut blocks, report);
        if blocks.is_empty() && role != Role::Assistant {
            return refuse(at, "must have a part in its `content`", report);
        }
        match role {
            Role::System if self.conversation.turns.is_empty() => {
                self.conversation.system.append(&mut blocks);
            }
            Role::Assistant => self.of_model(blocks),
            // What the user says stays apart from outputs of tools, which may have to come first.
            role => self.conversation.turns.push(Turn { role, blocks }),
        }
    }

    fn reasoning(&mut self, item: &Members<'a>, at: At, report: &mut Report<'_>) {
        check_members(item, &["summary", "content", "encrypted_content"], report);
        let sealed = item.get("encrypted_content").map(fields::text);
        let unsealed = match sealed {
            Some(Some(sealed)) => unseal(&sealed),
            Some(None) => Unsealed::Damaged,
            None => Unsealed::Blocks(Vec::new()),
        };
        match unsealed {
            Unsealed::Blocks(blocks) if !blocks.is_empty() => {
                return self.of_model(blocks.into_iter().map(|kind| Block { at, kind }));
            }
            Unsealed::Blocks(_) => {}
            // Only the service that made it can read it.
            Unsealed::Foreign => report.dropped("input.encrypted_content"),
            Unsealed::Damaged => {
                let what = "has an `encrypted_content` that was changed; send it as it came";
                return refuse(at, what, report);
            }
        }
        let parts = ["content", "summary"]
            .into_iter()
            .find_map(|name| fields::elements(item.get(name)?).filter(|parts| !parts.is_empty()));
        let mut text = Cow::Borrowed("");
        for part in parts.unwrap_or_default() {
            let part = fields::members(part).unwrap_or_default();
            let Some(piece) = part.get("text").and_then(fields::text) else {
                return refuse(at, "must have parts with a `text`", report);
            };
            match text.is_empty() {
                true => text = piece,
                false => text.to_mut().extend(["\n\n", piece.as_ref()]),
            }
        }
        if !text.is_empty() {
            let kind = BlockKind::Reasoning { text, signature: None };
            self.of_model([Block { at, kind }]);
        }
    }

    fn call(&mut self, item: &Members<'a>, input_name: &str, at: At, report: &mut Report<'_>) {
        check_members(item, &["call_id", "name", "namespace", input_name], report);
        let text = |name| item.get(name).and_then(fields::text);
        let (Some(id), Some(name), Some(input)) = (text("call_id"), text("name"), text(input_name))
        else {
            let what = format!("must have `call_id`, `name` and `{input_name}`");
            return refuse(at, &what, report);
        };
        let input = match input_name {
            "input" => {
                let mut json = Vec::with_capacity(input.len() + 16);
                Object::new(&mut json).str("input", &input);
                String::from_utf8(json).ok().map(|json| Json(Cow::Owned(json)))
            }
            _ => fields::object_in(input),
        };
        let Some(input) = input else {
            return refuse(at, "must have a JSON object in `arguments`", report);
        };
        let name = hub_name(text("namespace").as_deref(), name);
        self.of_model([Block { at, kind: BlockKind::ToolUse { id, name, input } }]);
    }

    fn output(&mut self, item: &Members<'a>, at: At, report: &mut Report<'_>) {
        check_members(item, &["call_id", "name", "namespace", "output"], report);
        let Some(id) = item.get("call_id").and_then(fields::text) else {
            return refuse(at, "must have the `call_id` of its call", report);
        };
        let Some(output) = item.get("output") else {
            return refuse(at, "must have an `output`", report);
        };
        let mut content = Vec::new();
        parts::read_content(output, at, self.cache_ttl, &mut content, report);
        // There is no member that says whether the tool failed; its text does.
        let block = Block { at, kind: BlockKind::ToolResult { id, content, is_error: false } };
        match self.conversation.turns.last_mut() {
            Some(turn) if has_results(turn) => turn.blocks.push(block),
            _ => self.conversation.turns.push(Turn { role: Role::User, blocks: vec![block] }),
        }
    }

    fn additional_tools(&mut self, item: &Members<'a>, at: At, report: &mut Report<'_>) {
        check_members(item, &["role", "tools"], report);
        match item.get("tools") {
            Some(tools) => self.tools.read(tools, &format!("{}.tools", at.param()), report),
            None => refuse(at, "must have `tools`", report),
        }
    }

    /// Adds what the model has brought to its turn.
    fn of_model(&mut self, blocks: impl IntoIterator<Item = Block<'a>>) {
        match self.conversation.turns.last_mut() {
            Some(turn) if turn.role == Role::Assistant => turn.blocks.extend(blocks),
            _ => {
                let blocks = blocks.into_iter().collect();
                self.conversation.turns.push(Turn { role: Role::Assistant, blocks });
            }
        }
    }
}

fn has_results(turn: &Turn<'_>) -> bool {
    turn.blocks.iter().any(|block| matches!(block.kind, BlockKind::ToolResult { .. }))
}

fn check_members(item: &Members<'_>, own: &[&str], report: &mut Report<'_>) {
    for (name, _) in item.given() {
        if name != "type" && !own.contains(&name) && !OF_SERVICE.contains(&name) {
            let why = "of an item is not known; leave it out";
            report.unsupported(&format!("input.{name}"), false, why);
        }
    }
}

fn refuse(at: At, what: &str, report: &mut Report<'_>) {
    let param = at.param();
    let message = format!("`{param}` {what}");
    report.refuse(Some(param), false, message);
}
