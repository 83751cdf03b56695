//! The tools of a request, and its choice among them.
//!
//! The hub has functions with a name. A custom tool becomes a function with one text as its input; a function
//! of a namespace gets the namespace before its name. [`EchoTool`] says how the client knows it. Tools that
//! OpenAI runs are refused by their name, as are those that only its models know.

use std::borrow::Cow;

use crate::conversation::{Json, Tool, ToolChoice};
use crate::fields;
use crate::report::Report;
use crate::translation::EchoTool;
use crate::value::{Members, Value};

/// The namespace that stands for none: OpenAI's models have their functions in it.
const DEFAULT_NAMESPACE: &str = "functions";

/// The schema of a custom tool's input.
const CUSTOM_SCHEMA: &str = r#"{"type":"object","properties":{"input":{"type":"string","description":"The tool's whole input, as plain text"}},"required":["input"],"additionalProperties":false}"#;

/// The tools of a request, as they are read.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    /// In the hub's form.
    pub(super) list: Vec<Tool<'a>>,
    /// Those that the client has in another form.
    pub(super) echo: Vec<EchoTool>,
    /// The client's JSON of those in the last list that are carried, with commas between them.
    pub(super) written: String,
    /// How many there were before the last list.
    before: usize,
}

/// A name in the hub's form.
pub(super) fn hub_name<'a>(namespace: Option<&str>, name: Cow<'a, str>) -> Cow<'a, str> {
    match namespace {
        None | Some("" | DEFAULT_NAMESPACE) => name,
        Some(namespace) => Cow::Owned(format!("{namespace}__{name}")),
    }
}

/// The namespace that the calls of a tool name.
fn named_namespace(namespace: Option<&str>) -> Option<String> {
    namespace.filter(|name| !matches!(*name, "" | DEFAULT_NAMESPACE)).map(str::to_owned)
}

impl<'a> Tools<'a> {
    /// Adds a list of tools: `tools`, or those of an item of the input.
    pub(super) fn read(&mut self, value: Value<'a>, place: &str, report: &mut Report<'_>) {
        let Some(tools) = fields::elements(value) else {
            report.refuse(Some(place.to_owned()), false, format!("`{place}` must be a list"));
            return;
        };
        self.before = self.list.len();
        self.written.clear();
        for (index, tool) in tools.into_iter().enumerate() {
            if self.tool(tool, &format!("{place}[{index}]"), None, report) {
                if !self.written.is_empty() {
                    self.written.push(',');
                }
                self.written.push_str(tool.get());
            }
        }
    }

    /// Reads a tool. Whether it is carried.
    fn tool(
        &mut self,
        value: Value<'a>,
        place: &str,
        namespace: Option<&Namespace<'_>>,
        report: &mut Report<'_>,
    ) -> bool {
        let Some(tool) = fields::members(value) else {
            report.refuse(Some(place.to_owned()), false, format!("`{place}` must be an object"));
            return false;
        };
        let kind = tool.get("type").and_then(fields::text);
        match kind.as_deref() {
            Some("function") => self.function(&tool, place, namespace, report),
            Some("custom") => self.custom(&tool, place, namespace, report),
            Some("namespace") if namespace.is_none() => self.namespace(&tool, place, report),
            Some(kind @ ("local_shell" | "shell" | "apply_patch" | "tool_search")) => {
                let why = "is a tool that only OpenAI's models know; define a function instead";
                report.unsupported(&format!("tools.{kind}"), false, why);
            }
            Some(kind) => {
                let why = "is a tool that OpenAI runs, and there is none here; leave it out";
                report.unsupported(&format!("tools.{kind}"), false, why);
            }
            None => {
                let place = format!("{place}.type");
                let message = format!("`{place}` must be the type of the tool");
                report.refuse(Some(place), false, message);
            }
        }
        matches!(kind.as_deref(), Some("function" | "custom" | "namespace"))
    }

    fn function(
        &mut self,
        tool: &Members<'a>,
        place: &str,
        namespace: Option<&Namespace<'_>>,
        report: &mut Report<'_>,
    ) {
        let mut schema = None;
        let mut strict = None;
        for (name, value) in tool.given() {
            match name {
                "parameters" if fields::is_object(value) => schema = Some(fields::json(value)),
                "strict" => match fields::boolean(value) {
                    Some(is_strict) => strict = Some(is_strict),
                    None => refuse_member(report, place, "strict", "a boolean"),
                },
                "parameters" => refuse_member(report, place, "parameters", "an object"),
                name => common_member(name, value, report),
            }
        }
        self.add(tool, place, namespace, false, report, |name, description, index| Tool {
            name,
            description,
            schema,
            strict,
            cache_point: None,
            index,
        });
    }

    fn custom(
        &mut self,
        tool: &Members<'a>,
        place: &str,
        namespace: Option<&Namespace<'_>>,
        report: &mut Report<'_>,
    ) {
        let mut grammar = None;
        for (name, value) in tool.given() {
            match name {
                "format" => grammar = read_format(value, place, report),
                name => common_member(name, value, report),
            }
        }
        if grammar.is_some() {
            // The model is told of it, but nothing makes it follow.
            report.dropped("tools.format");
        }
        self.add(tool, place, namespace, true, report, |name, description, index| Tool {
            name,
            description: match grammar {
                Some(grammar) => Cow::Owned(format!("{description}{grammar}").trim().to_owned()),
                None => description,
            },
            schema: Some(Json(Cow::Borrowed(CUSTOM_SCHEMA))),
            strict: None,
            cache_point: None,
            index,
        });
    }

    fn namespace(&mut self, tool: &Members<'a>, place: &str, report: &mut Report<'_>) {
        let Some(name) = tool.get("name").and_then(fields::text) else {
            return refuse_member(report, place, "name", "a string");
        };
        for (member, _) in tool.given() {
            if !matches!(member, "type" | "name" | "description" | "tools") {
                unknown_member(member, report);
            }
        }
        let Some(tools) = tool.get("tools").and_then(fields::elements) else {
            return refuse_member(report, place, "tools", "a list");
        };
        let description = tool.get("description").and_then(fields::text).unwrap_or_default();
        for (index, tool) in tools.into_iter().enumerate() {
            // The first of them tells what they have in common.
            let description = if index == 0 { description.as_ref() } else { "" };
            let namespace = Namespace { name: &name, description };
            self.tool(tool, &format!("{place}.tools[{index}]"), Some(&namespace), report);
        }
    }

    fn add(
        &mut self,
        members: &Members<'a>,
        place: &str,
        namespace: Option<&Namespace<'_>>,
        is_custom: bool,
        report: &mut Report<'_>,
        make: impl FnOnce(Cow<'a, str>, Cow<'a, str>, u32) -> Tool<'a>,
    ) {
        let Some(client_name) = members.get("name").and_then(fields::text) else {
            return refuse_member(report, place, "name", "a string");
        };
        let description = match members.get("description").map(fields::text) {
            None => Cow::Borrowed(""),
            Some(Some(description)) => description,
            Some(None) => return refuse_member(report, place, "description", "a string"),
        };
        let name = hub_name(namespace.map(|it| it.name), client_name.clone());
        let description = match namespace {
            Some(Namespace { name, description: about }) if !about.trim().is_empty() => {
                let text = format!("{description}\n\nAbout all tools of `{name}`: {about}");
                Cow::Owned(text.trim().to_owned())
            }
            _ => description,
        };
        let namespace = named_namespace(namespace.map(|it| it.name));
        self.echo.retain(|echo| echo.name != name);
        if namespace.is_some() || is_custom {
            self.echo.push(EchoTool {
                name: name.clone().into_owned(),
                client_name: client_name.into_owned(),
                namespace,
                is_custom,
            });
        }
        let before = self.list.iter().position(|other| other.name == name);
        let index = before.unwrap_or(self.list.len());
        let tool = make(name, description, u32::try_from(index).unwrap_or(u32::MAX));
        match self.list.get_mut(index) {
            None => self.list.push(tool),
            // Clients repeat the tools of earlier turns. The last definition counts, at the place of the
            // first, so that what is cached of the prompt stays.
            Some(other) if index < self.before || *other == tool => *other = tool,
            Some(_) => {
                let message = format!("two tools have the name `{}`", tool.name);
                report.refuse(Some(format!("{place}.name")), false, message);
            }
        }
    }
}

struct Namespace<'n> {
    name: &'n str,
    description: &'n str,
}

/// What the model is to be told of a custom tool's format.
fn read_format(value: Value<'_>, place: &str, report: &mut Report<'_>) -> Option<String> {
    let format = fields::members(value).unwrap_or_default();
    let text = |name| format.get(name).and_then(fields::text);
    match text("type").as_deref() {
        Some("text") => None,
        Some("grammar") => {
            let (Some(syntax), Some(definition)) = (text("syntax"), text("definition")) else {
                refuse_member(report, place, "format", "a grammar with `syntax` and `definition`");
                return None;
            };
            let what = match syntax.as_ref() {
                "lark" => "Lark grammar",
                "regex" => "regular expression",
                _ => {
                    refuse_member(report, place, "format.syntax", "`lark` or `regex`");
                    return None;
                }
            };
            Some(format!("\n\nThe input must follow this {what}:\n{definition}"))
        }
        _ => {
            refuse_member(report, place, "format", "of the type `text` or `grammar`");
            None
        }
    }
}

/// A member that functions and custom tools have in common.
fn common_member(name: &str, value: Value<'_>, report: &mut Report<'_>) {
    match name {
        "type" | "name" | "description" => {}
        "async" | "defer_loading" if fields::boolean(value) == Some(false) => {}
        "allowed_callers" if allows_direct_calls(value) => {}
        "async" | "defer_loading" | "allowed_callers" | "output_schema" => {
            let why = "of a tool has no like on Bedrock; leave it out";
            report.unsupported(&format!("tools.{name}"), false, why);
        }
        name => unknown_member(name, report),
    }
}

fn allows_direct_calls(value: Value<'_>) -> bool {
    let callers = fields::elements(value).unwrap_or_default();
    callers.into_iter().any(|caller| fields::text(caller).as_deref() == Some("direct"))
}

fn unknown_member(name: &str, report: &mut Report<'_>) {
    report.unsupported(&format!("tools.{name}"), false, "of a tool is not known; leave it out");
}

fn refuse_member(report: &mut Report<'_>, place: &str, name: &str, what: &str) {
    let param = format!("{place}.{name}");
    let message = format!("`{param}` must be {what}");
    report.refuse(Some(param), false, message);
}

/// Reads `tool_choice`.
pub(super) fn read_choice<'a>(value: Value<'a>, report: &mut Report<'_>) -> Option<ToolChoice<'a>> {
    let malformed = |report: &mut Report<'_>, what: &str| {
        let message = format!("`tool_choice` must be {what}");
        report.refuse(Some("tool_choice".to_owned()), false, message);
    };
    if let Some(mode) = fields::text(value) {
        return match mode.as_ref() {
            "auto" => Some(ToolChoice::Auto),
            "required" => Some(ToolChoice::Any),
            "none" => Some(ToolChoice::None),
            _ => {
                malformed(report, "`auto`, `required`, `none` or an object");
                None
            }
        };
    }
    let Some(choice) = fields::members(value) else {
        malformed(report, "a string or an object");
        return None;
    };
    let kind = choice.get("type").and_then(fields::text);
    match kind.as_deref() {
        Some("function" | "custom") => {
            let name = named_tool(&choice);
            if name.is_none() {
                malformed(report, "an object with the tool's `name`");
            }
            name.map(ToolChoice::Tool)
        }
        Some("allowed_tools") => read_allowed(&choice, report),
        Some(kind) => {
            let why = format!("names the tool `{kind}`, which is not served here");
            report.unsupported("tool_choice", false, &why);
            None
        }
        None => {
            malformed(report, "an object with a `type`");
            None
        }
    }
}

fn read_allowed<'a>(choice: &Members<'a>, report: &mut Report<'_>) -> Option<ToolChoice<'a>> {
    let must = match choice.get("mode").and_then(fields::text).as_deref() {
        Some("auto") => false,
        Some("required") => true,
        _ => {
            refuse_member(report, "tool_choice", "mode", "`auto` or `required`");
            return None;
        }
    };
    let Some(tools) = choice.get("tools").and_then(fields::elements) else {
        refuse_member(report, "tool_choice", "tools", "a list");
        return None;
    };
    let mut names = Vec::with_capacity(tools.len());
    for (index, tool) in tools.into_iter().enumerate() {
        let tool = fields::members(tool).unwrap_or_default();
        let kind = tool.get("type").and_then(fields::text);
        match (kind.as_deref(), named_tool(&tool)) {
            (Some("function" | "custom"), Some(name)) => names.push(name),
            (Some("function" | "custom") | None, _) => {
                let place = format!("tool_choice.tools[{index}]");
                refuse_member(report, &place, "name", "the name of a tool");
            }
            // It can't be used anyway: what defines it is refused, or left out.
            (Some(kind), _) => {
                let why = "is a tool that is not served here; leave it out";
                report.unsupported(&format!("tools.{kind}"), false, why);
            }
        }
    }
    Some(ToolChoice::Allowed { must, names })
}

fn named_tool<'a>(choice: &Members<'a>) -> Option<Cow<'a, str>> {
    let name = choice.get("name").and_then(fields::text)?;
    let namespace = choice.get("namespace").and_then(fields::text);
    Some(hub_name(namespace.as_deref(), name))
}
