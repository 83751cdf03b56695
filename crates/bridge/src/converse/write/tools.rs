//! `toolConfig`: the tools that a model gets, and which of them it is to use.
//!
//! Converse has no choice `none`, and refuses a history with uses of tools beside no tools. So for Claude the
//! choice goes to its own `tool_choice`; for others no tools are sent, and the history tells of their uses in
//! texts.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::conversation::{BlockKind, Conversation, Tool, ToolChoice};
use crate::json::{Array, Object};
use crate::messages::tools::names as own_names;
use crate::model::ThinkingForm;

use super::super::params::Field;
use super::format::FormatPlan;
use super::names::ToolNames;
use super::schema::write_input_schema;
use super::target::Target;

/// What is sent of tools.
#[derive(Debug)]
pub(super) struct ToolPlan<'c, 'a> {
    /// The client's tools that the model gets.
    tools: Vec<&'c Tool<'a>>,
    /// Names that only the history has, where the client sent no tools.
    from_history: Vec<&'c str>,
    /// Whether the history has uses of tools while only Claude's own tools are offered, which Converse does not
    /// count.
    needs_stand_in: bool,
    choice: Choice<'c>,
    /// Whether Claude is to use one tool at a time.
    one_at_a_time: bool,
    /// Whether the history tells of tools in texts.
    pub(super) tells_in_texts: bool,
}

/// What is written of the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice<'c> {
    Unsaid,
    Auto,
    Any,
    Tool(&'c str),
    /// By Claude's own `tool_choice`.
    NoneOfClaude,
    /// The same, where the tools are Claude's own.
    AnyOfClaude,
    /// The same.
    ToolOfClaude(&'c str),
}

/// A tool that does nothing: beside a history with tools Converse wants a tool of its own form.
const STAND_IN: &str = "unused_tool";

impl Choice<'_> {
    fn is_forced(&self) -> bool {
        !matches!(self, Choice::Unsaid | Choice::Auto | Choice::NoneOfClaude)
    }
}

impl<'c, 'a> ToolPlan<'c, 'a> {
    /// The plan for a conversation.
    pub(super) fn new(
        conversation: &'c Conversation<'a>,
        target: &mut Target<'_, '_>,
    ) -> ToolPlan<'c, 'a> {
        let mut plan = ToolPlan {
            tools: Vec::new(),
            from_history: Vec::new(),
            needs_stand_in: false,
            choice: Choice::Unsaid,
            one_at_a_time: false,
            tells_in_texts: false,
        };
        let own = own_tools(conversation);
        if conversation.tools.is_empty() && !own.is_empty() {
            plan.with_own_tools(conversation, &own, target);
            return plan;
        }
        if conversation.tools.is_empty() {
            if conversation.tool_choice.as_ref().is_some_and(|it| *it != ToolChoice::None) {
                target.dropped(Field::ToolChoice);
            }
            plan.without_tools(conversation, target);
            return plan;
        }
        let is_none = match &conversation.tool_choice {
            Some(ToolChoice::None) => true,
            Some(ToolChoice::Allowed { names, .. }) => names.is_empty(),
            _ => false,
        };
        if is_none && !(target.model.is_claude() && target.model.takes_tool_choice) {
            plan.tells_in_texts = true;
            return plan;
        }
        if !target.model.takes_tools {
            let name = Field::Tools.name(target.source);
            let message = format!("`{name}`: this model takes no tools");
            target.report.refuse(Some(name.to_owned()), true, message);
            return plan;
        }
        plan.tools = conversation.tools.iter().collect();
        if is_none {
            plan.choice = Choice::NoneOfClaude;
            return plan;
        }
        plan.choose(conversation, &own, target);
        plan.limit_parallel(conversation, target);
        plan
    }

    /// Tools of Claude's own alone, which go to its own fields, and the choice of them too.
    fn with_own_tools(
        &mut self,
        conversation: &'c Conversation<'a>,
        own: &[String],
        target: &mut Target<'_, '_>,
    ) {
        self.needs_stand_in =
            conversation.turns.iter().flat_map(|turn| &turn.blocks).any(|block| {
                matches!(block.kind, BlockKind::ToolUse { .. } | BlockKind::ToolResult { .. })
            });
        self.choose(conversation, own, target);
        self.limit_parallel(conversation, target);
    }

    /// A history with tools beside a request without: Claude gets the tools of the history and may use none.
    fn without_tools(&mut self, conversation: &'c Conversation<'a>, target: &Target<'_, '_>) {
        let (mut has_tools, mut seen) = (false, HashSet::new());
        for block in conversation.turns.iter().flat_map(|turn| &turn.blocks) {
            match &block.kind {
                BlockKind::ToolUse { name, .. } => {
                    has_tools = true;
                    if seen.insert(name) {
                        self.from_history.push(name);
                    }
                }
                BlockKind::ToolResult { .. } => has_tools = true,
                _ => {}
            }
        }
        if !has_tools {
            return;
        }
        let model = target.model;
        if model.is_claude()
            && model.takes_tools
            && model.takes_tool_choice
            && !self.from_history.is_empty()
        {
            self.choice = Choice::NoneOfClaude;
        } else {
            self.from_history.clear();
            self.tells_in_texts = true;
        }
    }

    fn choose(
        &mut self,
        conversation: &'c Conversation<'a>,
        own: &[String],
        target: &mut Target<'_, '_>,
    ) {
        let is_own_alone = self.tools.is_empty();
        let choice = match &conversation.tool_choice {
            Some(ToolChoice::None) if is_own_alone => Choice::NoneOfClaude,
            Some(ToolChoice::Auto) if is_own_alone => Choice::Unsaid,
            Some(ToolChoice::Any) if is_own_alone => Choice::AnyOfClaude,
            None | Some(ToolChoice::None) => Choice::Unsaid,
            Some(ToolChoice::Auto) => Choice::Auto,
            Some(ToolChoice::Any) => Choice::Any,
            Some(ToolChoice::Tool(name)) if !self.has(name) && own.iter().any(|it| it == name) => {
                Choice::ToolOfClaude(name)
            }
            Some(ToolChoice::Tool(name)) => Choice::Tool(name),
            Some(ToolChoice::Allowed { must, names }) => {
                let known: HashSet<_> = self.tools.iter().map(|tool| &tool.name).collect();
                if let Some(name) = names.iter().find(|name| !known.contains(name)) {
                    unknown_tool(name, target);
                }
                let allowed: HashSet<_> = names.iter().collect();
                self.tools.retain(|tool| allowed.contains(&tool.name));
                match (must, names.as_slice()) {
                    (true, [name]) => Choice::Tool(name),
                    (true, _) => Choice::Any,
                    (false, _) => Choice::Auto,
                }
            }
        };
        if let Choice::Tool(name) = choice
            && !self.has(name)
        {
            unknown_tool(name, target);
        }
        self.choice = match choice {
            // It is what models do by themselves.
            Choice::Auto if !target.model.takes_tool_choice => Choice::Unsaid,
            choice if choice.is_forced() && !can_force(target) => {
                let why = "can't be forced: this model can't be made to use a tool";
                target.unsupported(Field::ToolChoice, why);
                Choice::Unsaid
            }
            choice => choice,
        };
    }

    fn has(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }

    fn limit_parallel(&mut self, conversation: &Conversation<'_>, target: &mut Target<'_, '_>) {
        if conversation.parallel_tools != Some(false) {
            return;
        }
        // A tool that must be used comes alone.
        self.one_at_a_time = target.model.takes_parallel_control;
        if !self.one_at_a_time {
            let why = "is not taken by this model, which may use several tools at once";
            target.unsupported(Field::ParallelTools, why);
        }
    }

    /// Whether the client makes the model use a tool.
    pub(super) fn is_forced(&self) -> bool {
        self.choice.is_forced()
    }

    /// Writes `toolConfig`, with the tool for the answer if there is one.
    pub(super) fn write(
        &self,
        body: &mut Object<'_>,
        format: &FormatPlan<'_>,
        answers_only: bool,
        names: &ToolNames,
        target: &mut Target<'_, '_>,
    ) {
        let answer_tool = match format {
            FormatPlan::Tool { name, description, schema } => Some((name, *description, *schema)),
            _ => None,
        };
        let has_tools = !self.tools.is_empty() || !self.from_history.is_empty();
        if !has_tools && !self.needs_stand_in && answer_tool.is_none() {
            return;
        }
        let mut config = body.object("toolConfig");
        {
            let mut tools = config.array("tools");
            for tool in &self.tools {
                write_tool(tool, &mut tools, names, target);
            }
            for name in &self.from_history {
                let mut tool = tools.object();
                let mut spec = tool.object("toolSpec");
                spec.str("name", names.at_target(name));
                write_input_schema(None, spec.object("inputSchema").key("json"));
            }
            if self.needs_stand_in {
                let mut tool = tools.object();
                let mut spec = tool.object("toolSpec");
                spec.str("name", STAND_IN);
                spec.str("description", "This tool does nothing: do not use it.");
                write_input_schema(None, spec.object("inputSchema").key("json"));
            }
            if let Some((name, description, schema)) = answer_tool {
                let mut tool = tools.object();
                let mut spec = tool.object("toolSpec");
                spec.str("name", name);
                let description = description.filter(|text| !text.trim().is_empty());
                spec.str("description", description.unwrap_or("Takes the answer to the user."));
                write_input_schema(Some(schema), spec.object("inputSchema").key("json"));
            }
        }
        let choice = match answer_tool {
            Some((name, ..)) if answers_only => Choice::Tool(name),
            Some(_) => Choice::Any,
            None => self.choice.clone(),
        };
        match choice {
            Choice::Unsaid
            | Choice::NoneOfClaude
            | Choice::AnyOfClaude
            | Choice::ToolOfClaude(_) => {}
            Choice::Auto => config.raw("toolChoice", r#"{"auto":{}}"#),
            Choice::Any => config.raw("toolChoice", r#"{"any":{}}"#),
            Choice::Tool(name) => {
                let mut choice = config.object("toolChoice");
                choice.object("tool").str("name", names.at_target(name));
            }
        }
    }

    /// What goes to Claude's own `tool_choice`. Beside a `toolChoice` of Converse it must have no type.
    pub(super) fn own_choice(&self, has_answer_tool: bool) -> Option<String> {
        let (kind, name) = match &self.choice {
            _ if has_answer_tool => (None, None),
            Choice::NoneOfClaude => return Some(r#"{"type":"none"}"#.to_owned()),
            Choice::Unsaid if self.one_at_a_time => (Some("auto"), None),
            Choice::AnyOfClaude => (Some("any"), None),
            Choice::ToolOfClaude(name) => (Some("tool"), Some(name)),
            _ => (None, None),
        };
        if kind.is_none() && !self.one_at_a_time {
            return None;
        }
        let mut out = Vec::new();
        {
            let mut choice = Object::new(&mut out);
            kind.iter().for_each(|kind| choice.str("type", kind));
            name.iter().for_each(|name| choice.str("name", name));
            if self.one_at_a_time {
                choice.bool("disable_parallel_tool_use", true);
            }
        }
        String::from_utf8(out).ok()
    }
}

/// The names of the tools of Claude's own in a conversation.
fn own_tools(conversation: &Conversation<'_>) -> Vec<String> {
    let own = conversation.of_claude.iter().filter(|(name, _)| name == "tools");
    own.flat_map(|(_, tools)| own_names(tools)).collect()
}

/// Claude does not think while it is made to use a tool, so one that always thinks can't be.
fn can_force(target: &Target<'_, '_>) -> bool {
    target.model.takes_forced_tool && target.model.thinking != ThinkingForm::Always
}

fn unknown_tool(name: &str, target: &mut Target<'_, '_>) {
    let param = Field::ToolChoice.name(target.source);
    let message = format!("`{param}`: there is no tool `{name}` in the request");
    target.report.refuse(Some(param.to_owned()), false, message);
}

fn write_tool(
    tool: &Tool<'_>,
    tools: &mut Array<'_>,
    names: &ToolNames,
    target: &mut Target<'_, '_>,
) {
    if let Some(schema) = &tool.schema
        && !schema.0.trim_start().starts_with('{')
    {
        let param = format!("{}[{}]", Field::Tools.name(target.source), tool.index);
        let message = format!("`{param}`: the schema of its input must be a JSON object");
        target.report.refuse(Some(param), false, message);
    }
    {
        let mut element = tools.object();
        let mut spec = element.object("toolSpec");
        spec.str("name", names.at_target(&tool.name));
        if !tool.description.trim().is_empty() {
            spec.str("description", &tool.description);
        }
        let schema = tool.schema.as_ref().map(|schema| schema.0.as_ref());
        write_input_schema(schema, spec.object("inputSchema").key("json"));
        match tool.strict {
            Some(true) if target.model.takes_strict_tools => spec.bool("strict", true),
            Some(true) => target.report.dropped(Cow::Borrowed("strict")),
            Some(false) | None => {}
        }
    }
    match tool.cache_point {
        // Nova caches system texts and messages alone.
        Some(_) if !target.model.is_claude() => target.dropped(Field::CacheControl),
        Some(ttl) => target.cache_point(tools, ttl),
        None => {}
    }
}
