//! Tools of requests, read into the hub's form.

use serde_json::{Value, json};

use crate::conversation::CacheTtl;
use crate::messages::tests::{read, refusal};

#[test]
fn tools_are_read_with_what_clients_add_to_them() {
    let members = r#""tools":[
        {"name":"a","description":"d","input_schema":{"type":"object","z":1,"a":2},"strict":true},
        {"type":"custom","name":"b","input_schema":{"type":"custom","properties":{"type":{"type":"string"},
         "x":{"type":"custom","default":{"type":"custom"}}}},"cache_control":{"type":"ephemeral"}},
        {"name":"c","custom":{"defer_loading":true},"input_schema":{"type":"object"},"eager_input_streaming":true,
         "allowed_callers":["direct"],"defer_loading":false}]"#;
    let ((), dropped) = read(members, |it| {
        let names: Vec<_> = it.tools.iter().map(|tool| (tool.name.as_ref(), tool.index)).collect();
        assert_eq!(names, [("a", 0), ("b", 1), ("c", 2)]);
        let schema = |tool: usize| it.tools[tool].schema.as_ref().unwrap().0.clone();
        assert_eq!(schema(0), r#"{"type":"object","z":1,"a":2}"#);
        assert_eq!(it.tools[0].strict, Some(true));
        let fixed: Value = serde_json::from_str(&schema(1)).unwrap();
        let expected = json!({"type": "object", "properties": {"type": {"type": "string"},
            "x": {"type": "object", "default": {"type": "custom"}}}});
        assert_eq!(fixed, expected);
        assert_eq!(it.tools[1].cache_point, Some(CacheTtl::FiveMinutes));
    });
    assert_eq!(dropped, ["tools.defer_loading", "tools.eager_input_streaming"]);
}

#[test]
fn tools_that_the_client_runs_go_to_claude_and_those_of_servers_are_refused() {
    let members = r#""tools":[{"type":"bash_20250124","name":"bash"},{"name":"f","input_schema":{"type":"object"}},
        {"type":"computer_20250124","name":"computer","display_width_px":9,"display_height_px":9}]"#;
    let ((), dropped) = read(members, |it| {
        assert_eq!(it.tools.len(), 1);
        assert_eq!(it.of_claude[0].0, "tools");
        let expected = r#"[{"type":"bash_20250124","name":"bash"},{"type":"computer_20250124","name":"computer","display_width_px":9,"display_height_px":9}]"#;
        assert_eq!(it.of_claude[0].1.0, expected);
    });
    assert!(dropped.is_empty());
    for kind in
        ["web_search_20250305", "web_fetch_20250910", "code_execution_20250825", "mcp_toolset"]
    {
        let refused = refusal(&format!(r#""tools":[{{"type":"{kind}","name":"x"}}]"#));
        assert_eq!(refused.param.as_deref(), Some("tools[0]"));
        assert!(refused.message.contains(kind) && refused.is_of_model, "{refused}");
    }
}

#[test]
fn a_choice_of_tools_is_read_in_every_form() {
    let choice = |text: &str| {
        read(&format!("\"tool_choice\":{text}"), |it| {
            format!("{:?} {:?}", it.tool_choice, it.parallel_tools)
        })
        .0
    };
    assert_eq!(choice(r#"{"type":"auto"}"#), "Some(Auto) None");
    assert_eq!(
        choice(r#"{"type":"any","disable_parallel_tool_use":true}"#),
        "Some(Any) Some(false)"
    );
    assert_eq!(choice(r#"{"type":"none"}"#), "Some(None) None");
    assert_eq!(choice(r#"{"name":"f","type":"tool"}"#), "Some(Tool(\"f\")) None");
    assert_eq!(
        refusal(r#""tool_choice":{"type":"tool"}"#).param.as_deref(),
        Some("tool_choice.name")
    );
}
