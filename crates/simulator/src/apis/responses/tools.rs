//! The tools that a request to create a response offers, in the body and in items of its input.

use serde_json::Value;

use super::super::super::reply::Failure;
use super::super::asked::{Asked, Tool, invalid};
use super::super::model::Model;
use sluice_catalogue::Endpoint;

/// Tools that run on the server, by the beginning of their types.
const OF_SERVER: [&str; 7] = [
    "web_search",
    "file_search",
    "code_interpreter",
    "computer",
    "image_generation",
    "mcp",
    "tool_search",
];
/// Tools that the client runs.
const OF_CLIENT: [&str; 6] =
    ["function", "custom", "local_shell", "shell", "apply_patch", "namespace"];
/// The namespace that stands for none.
const NO_NAMESPACE: &str = "functions";

/// A list of tools, and where it is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ToolList<'a> {
    /// Its place in the request.
    pub(super) path: &'a str,
    /// The namespace that it is the content of.
    pub(super) namespace: Option<&'a str>,
    /// Whether the model has loaded its tools.
    pub(super) is_loaded: bool,
}

impl ToolList<'_> {
    /// Adds the tools to those that the model may call. One of the same name takes the place of an earlier one.
    ///
    /// # Errors
    /// What Bedrock refuses.
    pub(super) fn read(
        self,
        tools: Option<&Value>,
        model: &Model,
        asked: &mut Asked,
    ) -> Result<(), Failure> {
        for (at, tool) in tools.and_then(Value::as_array).into_iter().flatten().enumerate() {
            self.read_tool(&format!("{}[{at}]", self.path), tool, model, asked)?;
        }
        Ok(())
    }

    fn read_tool(
        self,
        path: &str,
        tool: &Value,
        model: &Model,
        asked: &mut Asked,
    ) -> Result<(), Failure> {
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
        let is_of_server = OF_SERVER.iter().any(|it| kind.starts_with(it));
        let is_taken = is_of_server && model.endpoint == Endpoint::Mantle;
        let is_nested = kind == "namespace" && self.namespace.is_some();
        if !is_taken && !OF_CLIENT.contains(&kind) || is_nested {
            let message = format!("Invalid value: '{kind}'. This tool is not supported here.");
            return Err(invalid(format!("{path}.type"), message).with_code("invalid_value"));
        }
        if !["function", "custom", "namespace"].contains(&kind) {
            return Ok(());
        }
        let name = tool.get("name").and_then(Value::as_str).ok_or_else(|| {
            let param = format!("{path}.name");
            let message = format!("Missing required parameter: '{param}'.");
            invalid(param, message).with_code("missing_required_parameter")
        })?;
        if kind == "namespace" {
            let path = format!("{path}.tools");
            let inner = ToolList { path: &path, namespace: Some(name), ..self };
            return inner.read(tool.get("tools"), model, asked);
        }
        let must_load = tool.get("defer_loading") == Some(&Value::Bool(true));
        let tool = Tool {
            name: name.to_owned(),
            namespace: self.namespace.filter(|it| *it != NO_NAMESPACE).map(str::to_owned),
            schema: tool.get("parameters").cloned().unwrap_or_default(),
            takes_text: kind == "custom",
            is_deferred: must_load && !self.is_loaded,
        };
        let is_same = |it: &&mut Tool| (&it.namespace, &it.name) == (&tool.namespace, &tool.name);
        match asked.tools.iter_mut().find(is_same) {
            Some(earlier) => *earlier = tool,
            None => asked.tools.push(tool),
        }
        Ok(())
    }
}
