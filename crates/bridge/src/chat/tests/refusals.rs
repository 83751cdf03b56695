use super::*;

#[test]
fn what_bedrock_has_no_place_for_is_refused_by_name_or_left_out_by_leave() {
    let lenient = DropPolicy { drops: true, ..DropPolicy::default() };
    for (name, value) in [
        ("n", "2"),
        ("frequency_penalty", "0.1"),
        ("presence_penalty", "-2"),
        ("logprobs", "true"),
        ("top_logprobs", "5"),
        ("logit_bias", r#"{"50256":-100}"#),
        ("seed", "0"),
        ("modalities", r#"["text","audio"]"#),
        ("audio", r#"{"voice":"ash","format":"mp3"}"#),
        ("prediction", r#"{"type":"content","content":"x"}"#),
        ("verbosity", r#""low""#),
        ("web_search_options", "{}"),
        ("moderation", r#"{"model":"x"}"#),
        ("service_tier", r#""scale""#),
        ("repetition_penalty", "1.1"),
    ] {
        let body = with(&format!(r#","{name}":{value}"#));
        let refused = refusal(&body);
        assert_eq!(refused.param.as_deref(), Some(name));
        assert!(refused.message.starts_with(&format!("`{name}` ")) && !refused.is_of_model);
        let dropped = read_with(&body, &lenient, |_, _| {}).unwrap();
        assert_eq!(dropped, [name]);
    }
}

#[test]
fn malformed_requests_are_refused_at_the_place_that_is_wrong_even_where_dropping_is_allowed() {
    let lenient = DropPolicy { drops: true, ..DropPolicy::default() };
    let part = |part: &str| messages(&format!(r#"{{"role":"user","content":[{part}]}}"#));
    let call = |call: &str| {
        messages(&format!(r#"{{"role":"assistant","content":null,"tool_calls":[{call}]}}"#))
    };
    for (body, param) in [
        (r#"{"messages":[{"role":"user","content":"x"}]}"#.to_owned(), "model"),
        (r#"{"model":"m"}"#.to_owned(), "messages"),
        (messages(""), "messages"),
        (messages("7"), "messages[0]"),
        (messages(r#"{"content":"x"}"#), "messages[0].role"),
        (messages(r#"{"role":"bot","content":"x"}"#), "messages[0].role"),
        (messages(r#"{"role":"function","name":"f","content":"x"}"#), "messages[0].role"),
        (messages(r#"{"role":"user"}"#), "messages[0].content"),
        (messages(r#"{"role":"user","content":{}}"#), "messages[0].content"),
        (messages(r#"{"role":"user","content":[]}"#), "messages[0].content"),
        (messages(r#"{"role":"user","content":"x","extra":1}"#), "messages[0].extra"),
        (
            messages(r#"{"role":"system","content":[{"type":"image_url"}]}"#),
            "messages[0].content[0].type",
        ),
        (
            messages(r#"{"role":"assistant","function_call":{"name":"f"}}"#),
            "messages[0].function_call",
        ),
        (messages(r#"{"role":"assistant","audio":{"id":"a"}}"#), "messages[0].audio"),
        (
            messages(r#"{"role":"assistant","thinking_blocks":[{"type":"x"}]}"#),
            "messages[0].thinking_blocks[0].type",
        ),
        (messages(r#"{"role":"tool","content":"x"}"#), "messages[0].tool_call_id"),
        (part("1"), "messages[0].content[0]"),
        (part(r#"{"text":"x"}"#), "messages[0].content[0].type"),
        (part(r#"{"type":"text"}"#), "messages[0].content[0].text"),
        (part(r#"{"type":"video_url","video_url":{"url":"x"}}"#), "messages[0].content[0].type"),
        (part(r#"{"type":"text","text":"x","more":1}"#), "messages[0].content[0].more"),
        (part(r#"{"type":"image_url","image_url":"x"}"#), "messages[0].content[0].image_url"),
        (
            part(r#"{"type":"image_url","image_url":{"url":"http://a/b.png"}}"#),
            "messages[0].content[0].image_url.url",
        ),
        (
            part(r#"{"type":"image_url","image_url":{"url":"data:image/svg+xml;base64,AA"}}"#),
            "messages[0].content[0].image_url.url",
        ),
        (
            part(r#"{"type":"image_url","image_url":{"url":"data:image/png,AA"}}"#),
            "messages[0].content[0].image_url.url",
        ),
        (
            part(r#"{"type":"file","file":{"file_id":"file-1"}}"#),
            "messages[0].content[0].file.file_id",
        ),
        (
            part(r#"{"type":"file","file":{"file_data":"AA"}}"#),
            "messages[0].content[0].file.file_data",
        ),
        (
            part(r#"{"type":"file","file":{"file_data":"data:x/y;base64,AA"}}"#),
            "messages[0].content[0].file.file_data",
        ),
        (
            part(r#"{"type":"input_audio","input_audio":{"data":"AA","format":"exe"}}"#),
            "messages[0].content[0].input_audio.format",
        ),
        (
            part(r#"{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"2h"}}"#),
            "messages[0].content[0].cache_control",
        ),
        (
            call(r#"{"type":"function","function":{"name":"f","arguments":"{}"}}"#),
            "messages[0].tool_calls[0].id",
        ),
        (
            call(r#"{"id":"a","type":"custom","custom":{"name":"f","input":""}}"#),
            "messages[0].tool_calls[0].type",
        ),
        (
            call(r#"{"id":"a","type":"function","function":{"name":"f","arguments":"{\"a\":"}}"#),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            call(r#"{"id":"a","type":"function","function":{"name":"f","arguments":"[1]"}}"#),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (with(r#","functions":[]"#), "functions"),
        (with(r#","function_call":"auto""#), "function_call"),
        (with(r#","max_tokens":0"#), "max_tokens"),
        (with(r#","max_completion_tokens":"9""#), "max_completion_tokens"),
        (with(r#","temperature":2.1"#), "temperature"),
        (with(r#","temperature":1e999"#), "temperature"),
        (with(r#","top_p":-1"#), "top_p"),
        (with(r#","stop":7"#), "stop"),
        (with(r#","stop":["a",7]"#), "stop"),
        (with(r#","stream":"yes""#), "stream"),
        (with(r#","reasoning_effort":"huge""#), "reasoning_effort"),
        (with(r#","thinking":{"type":"enabled"}"#), "thinking"),
        (with(r#","service_tier":"gold""#), "service_tier"),
        (with(r#","response_format":{"type":"xml"}"#), "response_format.type"),
        (with(r#","response_format":{"type":"json_schema"}"#), "response_format.json_schema"),
        (
            with(r#","response_format":{"type":"json_schema","json_schema":{"name":"x"}}"#),
            "response_format.json_schema.schema",
        ),
        (with(r#","tools":{}"#), "tools"),
        (with(r#","tools":[{"type":"custom","custom":{"name":"x"}}]"#), "tools[0].type"),
        (
            with(r#","tools":[{"type":"function","function":{"description":"x"}}]"#),
            "tools[0].function.name",
        ),
        (
            with(r#","tools":[{"type":"function","function":{"name":"x","parameters":[]}}]"#),
            "tools[0].function.parameters",
        ),
        (
            with(r#","tools":[{"type":"function","function":{"name":"x","extra":1}}]"#),
            "tools[0].function.extra",
        ),
        (with(r#","tool_choice":"maybe""#), "tool_choice"),
        (with(r#","tool_choice":{"type":"custom","custom":{"name":"x"}}"#), "tool_choice.type"),
        (
            with(
                r#","tools":[{"type":"function","function":{"name":"x"}}],"tool_choice":{"type":"function","function":{"name":"y"}}"#,
            ),
            "tool_choice.function.name",
        ),
        (
            with(
                r#","tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"any","tools":[]}}"#,
            ),
            "tool_choice.allowed_tools.mode",
        ),
    ] {
        let refused = read_with(&body, &lenient, |_, _| {}).expect_err(&body);
        assert_eq!(refused.param.as_deref(), Some(param), "{body}: {refused}");
        assert!(!refused.is_of_model);
    }
}
