//! Reads the messages of every role.

use std::borrow::Cow;

use super::request::Reader;
use crate::conversation::{At, Block, BlockKind, CacheTtl, Role, Turn};
use crate::fields;
use crate::value::{Members, Value};

impl<'a> Reader<'_, '_, 'a> {
    pub(super) fn messages(&mut self, value: Value<'a>) -> Option<()> {
        let elements = self.list(value, || "messages".to_owned())?;
        if elements.is_empty() {
            return self.refuse("messages", "must have a message");
        }
        self.conversation.turns.reserve(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            self.message(
                At { list: "messages", index: u32::try_from(index).ok(), part: None },
                element,
            )?;
        }
        Some(())
    }

    fn message(&mut self, at: At, value: Value<'a>) -> Option<()> {
        let members = self.object(value, || at.param())?;
        let role = self.text_in(&members, "role", || at.param())?;
        match role.as_ref() {
            "system" | "developer" => self.system(at, &members),
            "user" => self.user(at, &members),
            "assistant" => self.assistant(at, &members),
            "tool" => self.tool_message(at, &members),
            "function" => {
                let why = "`function` is no longer served; use `tool` and `tool_calls`";
                self.refuse_role(at, why)
            }
            _ => {
                let why = "must be `system`, `developer`, `user`, `assistant` or `tool`";
                self.refuse_role(at, why)
            }
        }
    }

    fn refuse_role(&mut self, at: At, why: &str) -> Option<()> {
        self.refuse(format!("{}.role", at.param()), why)
    }

    /// Those before the first other message instruct the model for the whole; later ones stay in their places,
    /// since a prompt that moves loses its cache.
    fn system(&mut self, at: At, members: &Members<'a>) -> Option<()> {
        self.only(members, &["role", "content", "name", "cache_control"], || at.param())?;
        self.participant(members);
        let mut blocks = Vec::new();
        self.required_content(at, members, Role::System, &mut blocks)?;
        self.message_cache_point(at, members, &mut blocks)?;
        if self.conversation.turns.is_empty() {
            self.conversation.system.append(&mut blocks);
        } else {
            self.push(Role::System, blocks);
        }
        Some(())
    }

    fn user(&mut self, at: At, members: &Members<'a>) -> Option<()> {
        self.only(members, &["role", "content", "name", "cache_control"], || at.param())?;
        self.participant(members);
        let mut blocks = Vec::new();
        self.required_content(at, members, Role::User, &mut blocks)?;
        self.message_cache_point(at, members, &mut blocks)?;
        self.push(Role::User, blocks);
        Some(())
    }

    fn assistant(&mut self, at: At, members: &Members<'a>) -> Option<()> {
        let known = [
            "role",
            "content",
            "refusal",
            "name",
            "tool_calls",
            "reasoning_content",
            "thinking_blocks",
            "annotations",
            "audio",
            "function_call",
            "cache_control",
            // A second copy of what LiteLLM has read, which its users send back with the message.
            "provider_specific_fields",
        ];
        self.only(members, &known, || at.param())?;
        for (name, why) in [
            ("audio", "is not served: send the transcript as `content`"),
            ("function_call", "is no longer served; use `tool_calls`"),
        ] {
            if members.get(name).is_some() {
                return self.refuse(format!("{}.{name}", at.param()), why);
            }
        }
        let annotations = members.get("annotations").and_then(fields::elements);
        if annotations.is_some_and(|annotations| !annotations.is_empty()) {
            self.report.dropped("messages[].annotations");
        }
        self.participant(members);
        let mut blocks = Vec::new();
        self.reasoning(at, members, &mut blocks)?;
        if let Some(content) = members.get("content") {
            self.content(at, content, Role::Assistant, &mut blocks)?;
        }
        if members.get("refusal").is_some() {
            let text = self.prompt_text_in(members, "refusal", || at.param())?;
            blocks.push(Block { at, kind: BlockKind::Text(text) });
        }
        self.unanswered.clear();
        if let Some(calls) = members.get("tool_calls") {
            self.tool_calls(calls, at, &mut blocks)?;
        }
        self.message_cache_point(at, members, &mut blocks)?;
        self.push(Role::Assistant, blocks);
        Some(())
    }

    /// Blocks carry the signatures that Claude wants back; a text without them is the same thinking in a form
    /// that only people read.
    fn reasoning(
        &mut self,
        at: At,
        members: &Members<'a>,
        blocks: &mut Vec<Block<'a>>,
    ) -> Option<()> {
        let before = blocks.len();
        if let Some(value) = members.get("thinking_blocks") {
            let list = || format!("{}.thinking_blocks", at.param());
            for (index, element) in self.list(value, list)?.into_iter().enumerate() {
                let place = || format!("{}.thinking_blocks[{index}]", at.param());
                let members = self.object(element, place)?;
                let kind = self.thinking_block(&members, place)?;
                blocks.push(Block { at, kind });
            }
        }
        if members.get("reasoning_content").is_some() {
            let text = self.text_in(members, "reasoning_content", || at.param())?;
            if blocks.len() == before && !text.is_empty() {
                let kind = BlockKind::Reasoning { text, signature: None };
                blocks.push(Block { at, kind });
            }
        }
        Some(())
    }

    fn thinking_block(
        &mut self,
        members: &Members<'a>,
        place: impl Fn() -> String,
    ) -> Option<BlockKind<'a>> {
        match members.get("type").and_then(fields::text).as_deref() {
            Some("thinking") => {
                // A client that assembled the block from a stream leaves its index in.
                self.only(members, &["type", "thinking", "signature", "index"], &place)?;
                let mut optional = |name: &str| match members.get(name) {
                    Some(_) => self.text_in(members, name, &place).map(Some),
                    None => Some(None),
                };
                let text = optional("thinking")?.unwrap_or_default();
                let signature = optional("signature")?.filter(|text| !text.is_empty());
                Some(BlockKind::Reasoning { text, signature })
            }
            Some("redacted_thinking") => {
                self.only(members, &["type", "data", "index"], &place)?;
                Some(BlockKind::RedactedReasoning(self.text_in(members, "data", &place)?))
            }
            _ => {
                let why = "must be `thinking` or `redacted_thinking`";
                self.refuse(format!("{}.type", place()), why)
            }
        }
    }

    /// The result of a tool: a part of a user's turn.
    fn tool_message(&mut self, at: At, members: &Members<'a>) -> Option<()> {
        // The name of the tool says no more than the id.
        let known = ["role", "content", "tool_call_id", "name", "cache_control"];
        self.only(members, &known, || at.param())?;
        let id = self.tool_call_id(at, members)?;
        let mut content = Vec::new();
        if let Some(value) = members.get("content") {
            self.content(at, value, Role::User, &mut content)?;
        }
        // A cache point can't stand in a result, only after it.
        let is_point = |block: &Block<'_>| matches!(block.kind, BlockKind::CachePoint(_));
        let ttl = content.iter().rev().find_map(|block| match block.kind {
            BlockKind::CachePoint(ttl) => Some(ttl),
            _ => None,
        });
        content.retain(|block| !is_point(block));
        let mut blocks =
            vec![Block { at, kind: BlockKind::ToolResult { id, content, is_error: false } }];
        blocks.extend(ttl.map(|ttl| Block { at, kind: BlockKind::CachePoint(ttl) }));
        if ttl.is_none() {
            self.message_cache_point(at, members, &mut blocks)?;
        }
        self.push(Role::User, blocks);
        Some(())
    }

    /// The use that a message answers. One without an id can only answer the last that is open.
    fn tool_call_id(&mut self, at: At, members: &Members<'a>) -> Option<Cow<'a, str>> {
        let given = match members.get("tool_call_id") {
            Some(_) => Some(self.text_in(members, "tool_call_id", || at.param())?),
            None => None,
        };
        let given = given.filter(|id| !id.is_empty());
        match (given, self.unanswered.as_slice()) {
            (Some(id), _) => {
                self.unanswered.retain(|open| *open != id);
                Some(id)
            }
            (None, [_]) => self.unanswered.pop(),
            (None, _) => {
                let why = "must be the `id` of the tool call that the message answers";
                self.refuse(format!("{}.tool_call_id", at.param()), why)
            }
        }
    }

    fn required_content(
        &mut self,
        at: At,
        members: &Members<'a>,
        role: Role,
        blocks: &mut Vec<Block<'a>>,
    ) -> Option<()> {
        let Some(content) = members.get("content") else {
            let why = "must be a text or a list of parts";
            return self.refuse(format!("{}.content", at.param()), why);
        };
        self.content(at, content, role, blocks)?;
        match blocks.is_empty() {
            false => Some(()),
            true => self.refuse(format!("{}.content", at.param()), "must have a part"),
        }
    }

    /// Names of participants have no place in Converse.
    fn participant(&mut self, members: &Members<'a>) {
        if members.get("name").is_some() {
            self.report.dropped("messages[].name");
        }
    }

    /// `cache_control` at a message means its end.
    fn message_cache_point(
        &mut self,
        at: At,
        members: &Members<'a>,
        blocks: &mut Vec<Block<'a>>,
    ) -> Option<()> {
        if let Some(value) = members.get("cache_control") {
            let ttl = self.cache_ttl(value, || format!("{}.cache_control", at.param()))?;
            blocks.push(Block { at, kind: BlockKind::CachePoint(ttl) });
        }
        Some(())
    }

    /// Reads `{"type":"ephemeral","ttl":..}`.
    pub(super) fn cache_ttl(
        &mut self,
        value: Value<'a>,
        place: impl Fn() -> String,
    ) -> Option<CacheTtl> {
        let members = self.object(value, &place)?;
        self.only(&members, &["type", "ttl"], &place)?;
        let kind = members.get("type").and_then(fields::text);
        let ttl = members.get("ttl").map(|value| fields::text(value).unwrap_or_default());
        match (kind.as_deref(), ttl.as_deref()) {
            (Some("ephemeral"), None | Some("5m")) => Some(CacheTtl::FiveMinutes),
            (Some("ephemeral"), Some("1h")) => Some(CacheTtl::Hour),
            _ => {
                let why = "must be `{\"type\":\"ephemeral\"}`, with a `ttl` of `5m` or `1h`";
                self.refuse(place(), why)
            }
        }
    }

    fn push(&mut self, role: Role, blocks: Vec<Block<'a>>) {
        if !blocks.is_empty() {
            self.conversation.turns.push(Turn { role, blocks });
        }
    }
}
