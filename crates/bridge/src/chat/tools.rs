//! Reads tools, the choice among them, and an assistant's uses of them.

use std::borrow::Cow;

use super::request::Reader;
use crate::conversation::{At, Block, BlockKind, Tool, ToolChoice};
use crate::fields;
use crate::value::{Members, Value};

impl<'a> Reader<'_, '_, 'a> {
    pub(super) fn tools(&mut self, value: Value<'a>) -> Option<()> {
        let elements = self.list(value, || "tools".to_owned())?;
        self.conversation.tools.reserve(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            let tool = self.tool(index, element)?;
            self.conversation.tools.push(tool);
        }
        Some(())
    }

    fn tool(&mut self, index: usize, value: Value<'a>) -> Option<Tool<'a>> {
        let place = || format!("tools[{index}]");
        let members = self.object(value, place)?;
        let function = self.function(&members, place)?;
        self.only(&members, &["type", "function", "cache_control"], place)?;
        let place = || format!("tools[{index}].function");
        let known = ["name", "description", "parameters", "strict", "cache_control"];
        self.only(&function, &known, place)?;
        let name = self.name(&function, place)?;
        let description = match function.get("description") {
            Some(_) => self.text_in(&function, "description", place)?,
            None => Cow::Borrowed(""),
        };
        let schema = match function.get("parameters") {
            None => None,
            Some(schema) if fields::is_object(schema) => Some(fields::json(schema)),
            Some(_) => {
                return self.refuse(format!("{}.parameters", place()), "must be an object");
            }
        };
        let strict = match function.get("strict") {
            Some(value) => Some(self.boolean(&format!("{}.strict", place()), value)?),
            None => None,
        };
        let marked = members.get("cache_control").map(|value| (value, "cache_control"));
        let marked =
            marked.or(function.get("cache_control").map(|value| (value, "function.cache_control")));
        let cache_point = match marked {
            Some((value, name)) => {
                Some(self.cache_ttl(value, || format!("tools[{index}].{name}"))?)
            }
            None => None,
        };
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Some(Tool { name, description, schema, strict, cache_point, index })
    }

    /// The `function` of a tool, of a use or of a choice; `place` names the object.
    fn function(
        &mut self,
        members: &Members<'a>,
        place: impl Fn() -> String,
    ) -> Option<Members<'a>> {
        let kind = members.get("type").and_then(fields::text);
        if kind.as_deref() != Some("function") {
            let why = "must be `function`; models on Bedrock take no other tools";
            return self.refuse(format!("{}.type", place()), why);
        }
        let param = || format!("{}.function", place());
        match members.get("function") {
            Some(function) => self.object(function, param),
            None => self.refuse(param(), "must be an object"),
        }
    }

    fn name(&mut self, function: &Members<'a>, place: impl Fn() -> String) -> Option<Cow<'a, str>> {
        let name = self.text_in(function, "name", &place)?;
        match name.is_empty() {
            false => Some(name),
            true => self.refuse(format!("{}.name", place()), "must not be empty"),
        }
    }

    /// Reads the choice; the tools are read already.
    pub(super) fn tool_choice(&mut self, value: Value<'a>) -> Option<()> {
        let place = || "tool_choice".to_owned();
        if let Some(text) = fields::text(value) {
            let choice = match text.as_ref() {
                "none" => ToolChoice::None,
                "auto" => ToolChoice::Auto,
                "required" => ToolChoice::Any,
                _ => {
                    let why = "must be `none`, `auto`, `required` or an object that names tools";
                    return self.refuse(place(), why);
                }
            };
            self.conversation.tool_choice = Some(choice);
            return Some(());
        }
        let members = self.object(value, place)?;
        let kind = members.get("type").and_then(fields::text);
        let choice = if kind.as_deref() == Some("allowed_tools") {
            self.only(&members, &["type", "allowed_tools"], place)?;
            self.allowed_tools(&members)?
        } else {
            ToolChoice::Tool(self.chosen(&members, place)?)
        };
        self.conversation.tool_choice = Some(choice);
        Some(())
    }

    fn allowed_tools(&mut self, members: &Members<'a>) -> Option<ToolChoice<'a>> {
        let place = || "tool_choice.allowed_tools".to_owned();
        let Some(allowed) = members.get("allowed_tools") else {
            return self.refuse(place(), "must be an object");
        };
        let allowed = self.object(allowed, place)?;
        self.only(&allowed, &["mode", "tools"], place)?;
        let must = match allowed.get("mode").and_then(fields::text).as_deref() {
            Some("auto") => false,
            Some("required") => true,
            _ => {
                let why = "must be `auto` or `required`";
                return self.refuse("tool_choice.allowed_tools.mode", why);
            }
        };
        let list = || "tool_choice.allowed_tools.tools".to_owned();
        let tools = match allowed.get("tools") {
            Some(tools) => self.list(tools, list)?,
            None => return self.refuse(list(), "must be a list"),
        };
        let mut names = Vec::with_capacity(tools.len());
        for (index, tool) in tools.into_iter().enumerate() {
            let place = || format!("tool_choice.allowed_tools.tools[{index}]");
            let members = self.object(tool, place)?;
            names.push(self.chosen(&members, place)?);
        }
        Some(ToolChoice::Allowed { must, names })
    }

    /// The name in `{"type":"function","function":{"name":..}}`, which must be that of a tool.
    fn chosen(
        &mut self,
        members: &Members<'a>,
        place: impl Fn() -> String,
    ) -> Option<Cow<'a, str>> {
        let function = self.function(members, &place)?;
        self.only(members, &["type", "function"], &place)?;
        let place = || format!("{}.function", place());
        self.only(&function, &["name"], place)?;
        let name = self.name(&function, place)?;
        let tools = &self.conversation.tools;
        if !tools.is_empty() && tools.iter().all(|tool| tool.name != name) {
            return self.refuse(format!("{}.name", place()), "names none of the `tools`");
        }
        Some(name)
    }

    /// Reads an assistant's uses of tools.
    pub(super) fn tool_calls(
        &mut self,
        value: Value<'a>,
        at: At,
        blocks: &mut Vec<Block<'a>>,
    ) -> Option<()> {
        let place = || format!("{}.tool_calls", at.param());
        for (index, element) in self.list(value, place)?.into_iter().enumerate() {
            let place = || format!("{}.tool_calls[{index}]", at.param());
            let members = self.object(element, place)?;
            let function = self.function(&members, place)?;
            // Clients that assembled a use from a stream leave its index in.
            self.only(&members, &["id", "type", "function", "index"], place)?;
            let id = self.text_in(&members, "id", place)?;
            if id.is_empty() {
                return self.refuse(format!("{}.id", place()), "must not be empty");
            }
            let place = || format!("{}.tool_calls[{index}].function", at.param());
            self.only(&function, &["name", "arguments"], place)?;
            let name = self.name(&function, place)?;
            let arguments = match function.get("arguments") {
                Some(_) => self.text_in(&function, "arguments", place)?,
                None => Cow::Borrowed(""),
            };
            let Some(input) = fields::object_in(arguments) else {
                let why = "must be a JSON object in a text";
                return self.refuse(format!("{}.arguments", place()), why);
            };
            self.unanswered.push(id.clone());
            blocks.push(Block { at, kind: BlockKind::ToolUse { id, name, input } });
        }
        Some(())
    }
}
