//! Bodies of the APIs that have the model in them.

use super::*;
use crate::betas::FlaggedMember;

fn chat(body: &str) -> Peek {
    of(Operation::CreateChatCompletion, Family::Unknown, body)
}

fn response(body: &str) -> Peek {
    of(Operation::CreateResponse, Family::Unknown, body)
}

fn message(body: &str) -> Peek {
    let counted = of(Operation::CountMessageTokens, Family::Unknown, body);
    let peek = of(Operation::CreateMessage, Family::Unknown, body);
    assert_eq!(counted.parameters, peek.parameters);
    peek
}

fn features(names: &[&str]) -> Features {
    names.iter().map(|name| Features::by_name(name).unwrap()).collect()
}

#[test]
fn the_last_model_and_the_last_stream_count() {
    for read in [chat, response, message] {
        let model = |body: &str| read(body).parameters.model;
        assert_eq!(model(r#"{"model":"a/b:c"}"#).as_deref(), Some("a/b:c"));
        assert_eq!(model(r#"{"model":"a","x":{"model":"c"},"mod\u0065l":"b"}"#).unwrap(), "b");
        assert_eq!(model(r#"{"model":"\u0061\n"}"#).unwrap(), "a\n");
        for none in
            ["{}", "[]", r#"{"model":"a","model":null}"#, r#"{"model":7}"#, r#"{"model":["a"]}"#]
        {
            assert_eq!(model(none), None, "{none}");
        }
        // Half a pair of code units is no text.
        assert_eq!(model(r#"{"model":"\ud800"}"#), None);
        let streams = |body: &str| read(body).parameters.stream;
        assert!(streams(r#"{"stream":false,"stream":true}"#));
        for not in ["{}", r#"{"stream":true,"stream":false}"#, r#"{"stream":"true"}"#] {
            assert!(!streams(not), "{not}");
        }
    }
}

#[test]
fn every_api_has_its_own_caps() {
    let body = r#"{"max_tokens":5,"max_completion_tokens":9,"max_output_tokens":7}"#;
    assert_eq!(chat(body).max_output_tokens(), Some(9));
    assert_eq!(response(body).max_output_tokens(), Some(7));
    assert_eq!(message(body).max_output_tokens(), Some(5));
}

#[test]
fn what_a_response_says_of_its_state_is_read() {
    let parameters = |body: &str| response(body).parameters;
    let plain = parameters("{}");
    assert!(plain.store && !plain.background && !plain.has_conversation);
    assert!(!parameters(r#"{"store":true,"store":false}"#).store);
    assert!(parameters(r#"{"store":false,"store":null}"#).store);
    for (body, names) in [("{}", false), (r#"{"store":null}"#, false), (r#"{"store":true}"#, true)]
    {
        assert_eq!(parameters(body).names_store, names, "{body}");
    }
    assert!(parameters(r#"{"background":true}"#).background);
    let id = r#"{"previous_response_id":"resp_1"}"#;
    assert_eq!(parameters(id).previous_response_id.as_deref(), Some("resp_1"));
    assert!(response(id).extent.is_open);
    let none = response(r#"{"previous_response_id":null,"conversation":null}"#);
    assert_eq!(none.parameters, plain);
    assert!(!none.extent.is_open);
    for conversation in [r#""conv_1""#, r#"{"id":"conv_1"}"#] {
        let peek = response(&format!(r#"{{"conversation":{conversation}}}"#));
        assert!(peek.parameters.has_conversation && peek.extent.is_open);
    }
    assert!(!chat("{}").parameters.store);
    assert!(chat(r#"{"store":true}"#).parameters.store);
}

#[test]
fn a_stream_of_chat_completions_says_whether_it_tells_its_usage() {
    for (options, wanted) in [
        (r#"{"include_usage":true}"#, true),
        (r#"{"include_usage":true,"include_usage":false}"#, false),
        (r#"{"include_usage":false},"stream_options":{"include_usage":true}"#, true),
        (r#"{"include_usage":true},"stream_options":{}"#, false),
        (r#"{"include_usage":true},"stream_options":null"#, false),
        (r#"{"include_usage":1}"#, false),
        ("null", false),
    ] {
        let peek = chat(&format!(r#"{{"stream_options":{options}}}"#));
        assert_eq!(peek.parameters.include_usage, wanted, "{options}");
    }
}

#[test]
fn features_are_seen_in_every_api() {
    let in_chat = |block: &str| {
        let messages = format!(r#"[{{"role":"user","content":[{block}]}}]"#);
        chat(&format!(r#"{{"messages":{messages}}}"#)).features
    };
    let item = |item: &str| response(&format!(r#"{{"input":[{item}]}}"#)).features;
    let in_response = |part: &str| item(&format!(r#"{{"role":"user","content":[{part}]}}"#));
    for (seen, wanted) in [
        (in_chat(r#"{"type":"text","text":"x"}"#), &[][..]),
        (in_chat(r#"{"type":"image_url","image_url":{"url":"https://x"}}"#), &["images"]),
        (
            in_chat(r#"{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}"#),
            &["audio"],
        ),
        (in_chat(r#"{"type":"file","file":{"file_data":"AA"}}"#), &["documents"]),
        (
            in_chat(r#"{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}"#),
            &["prompt_caching"],
        ),
        (in_response(r#"{"type":"input_text","text":"x"}"#), &[]),
        (
            in_response(r#"{"type":"input_image","image_url":"data:image/png;base64,AA"}"#),
            &["images"],
        ),
        (in_response(r#"{"type":"input_file","file_id":"f"}"#), &["documents"]),
        (in_response(r#"{"type":"input_audio","input_audio":{}}"#), &["audio"]),
        (
            item(r#"{"type":"function_call_output","output":[{"type":"input_image"}]}"#),
            &["tools", "images"],
        ),
        (item(r#"{"type":"function_call","arguments":"{}"}"#), &["tools"]),
        (item(r#"{"type":"reasoning","summary":[],"encrypted_content":"x"}"#), &["thinking"]),
        (chat(r#"{"tools":[{"type":"function"}]}"#).features, &["tools"]),
        (chat(r#"{"tools":[],"functions":[]}"#).features, &[]),
        (chat(r#"{"messages":[{"role":"tool","content":"x"}]}"#).features, &["tools"]),
        (chat(r#"{"messages":[{"role":"assistant","tool_calls":[{}]}]}"#).features, &["tools"]),
        (chat(r#"{"reasoning_effort":"high"}"#).features, &["thinking"]),
        (chat(r#"{"reasoning_effort":"none"}"#).features, &[]),
        (chat(r#"{"reasoning_effort":null}"#).features, &[]),
        (chat(r#"{"response_format":{"type":"json_schema"}}"#).features, &["structured_output"]),
        (chat(r#"{"response_format":{"type":"json_object"}}"#).features, &[]),
        (chat(r#"{"modalities":["text","audio"]}"#).features, &["audio"]),
        (response(r#"{"tools":[{"type":"custom"}]}"#).features, &["tools"]),
        (response(r#"{"reasoning":{"effort":"low"}}"#).features, &["thinking"]),
        (response(r#"{"reasoning":{"effort":"none","summary":"auto"}}"#).features, &[]),
        (response(r#"{"reasoning":null,"text":null}"#).features, &[]),
        (
            response(r#"{"text":{"format":{"type":"json_schema"}}}"#).features,
            &["structured_output"],
        ),
        (response(r#"{"text":{"format":{"type":"text"}}}"#).features, &[]),
        (message(r#"{"output_config":{"effort":"low"}}"#).features, &["effort"]),
        (response(r#"{"tools":[{"type":"web_search"}]}"#).features, &["tools", "web_search"]),
        (response(r#"{"tools":[{"type":"local_shell"}]}"#).features, &["tools"]),
        (chat(r#"{"web_search_options":{}}"#).features, &["web_search"]),
        (chat(r#"{"web_search_options":null}"#).features, &[]),
        (
            message(r#"{"tools":[{"type":"web_search_20250305","name":"w"}]}"#).features,
            &["tools", "web_search"],
        ),
        (message(r#"{"thinking":{"type":"adaptive"}}"#).features, &["thinking"]),
    ] {
        assert_eq!(seen, features(wanted), "{wanted:?}");
    }
    let peek = message(r#"{"thinking":{"type":"enabled","budget_tokens":31999}}"#);
    assert_eq!(peek.thinking_budget, Some(31_999));
}

#[test]
fn a_request_for_json_is_known_with_and_without_a_schema() {
    for (format, asks) in [("json_schema", true), ("json_object", true), ("text", false)] {
        let body = format!(r#"{{"response_format":{{"type":"{format}"}}}}"#);
        assert_eq!(chat(&body).parameters.asks_for_json, asks, "{format}");
    }
    assert!(!chat("{}").parameters.asks_for_json);
}

#[test]
fn what_only_one_endpoint_has_is_seen() {
    for (peek, wanted) in [
        (response(r#"{"background":true}"#), Features::BACKGROUND),
        (response(r#"{"background":true,"background":false}"#), Features::default()),
        (response(r#"{"tools":[{"type":"mcp"}]}"#), Features::SERVER_TOOLS),
        (response(r#"{"tools":[{"type":"code_interpreter"}]}"#), Features::SERVER_TOOLS),
        (response(r#"{"tools":[{"type":"shell"}]}"#), Features::default()),
        (
            message(r#"{"output_config":{"format":{"type":"json_schema"}}}"#),
            Features::OUTPUT_CONFIG_FORMAT,
        ),
        (message(r#"{"output_format":{"type":"json_schema"}}"#), Features::default()),
    ] {
        assert_eq!(peek.features.common(Features::OF_ENDPOINTS), wanted);
    }
}

#[test]
fn members_that_need_a_beta_flag_are_seen_if_they_ask_for_something() {
    for (body, wanted) in [
        (r#"{"output_format":{"type":"json_schema"}}"#, &["output_format"][..]),
        (r#"{"mcp_servers":[{"url":"https://x"}],"speed":"fast"}"#, &["mcp_servers", "speed"]),
        (r#"{"container":"c","context_management":{}}"#, &["container", "context_management"]),
        (r#"{"mcp_servers":[],"speed":"standard","container":null,"output_format":null}"#, &[]),
        (r#"{"metadata":{"speed":"fast"}}"#, &[]),
    ] {
        let seen: Vec<_> = message(body).flagged.iter().map(FlaggedMember::name).collect();
        assert_eq!(seen, wanted, "{body}");
    }
}

#[test]
fn content_that_bytes_do_not_bound_is_open_in_every_api() {
    let chats = |body: &str| chat(body).extent.is_open;
    let responds = |body: &str| response(body).extent.is_open;
    let says = |body: &str| message(body).extent.is_open;
    let part = |part: &str| {
        let open = chats(&format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#));
        let items = [
            format!(r#"{{"role":"user","content":[{part}]}}"#),
            format!(r#"{{"type":"function_call_output","call_id":"c:1","output":[{part}]}}"#),
        ];
        for item in items {
            assert_eq!(responds(&format!(r#"{{"input":[{item}]}}"#)), open, "{item}");
        }
        open
    };
    for open in [
        r#"{"type":"image_url","image_url":{"url":"https://x/i.png"}}"#,
        r#"{"image_url":{"url":"s3://b/k"},"type":"image_url"}"#,
        r#"{"type":"image_url","image_url":{"url":"data:application/pdf;base64,AA"}}"#,
        r#"{"type":"image_url"}"#,
        r#"{"type":"input_image","file_id":"file_1"}"#,
        r#"{"type":"input_image","image_url":"https://x"}"#,
        r#"{"type":"file","file":{"file_data":"AAAA"}}"#,
        r#"{"type":"input_file","file_url":"https://x"}"#,
        r#"{"type":"input_audio","input_audio":{"data":"AAAA"}}"#,
        r#"{"type":"new","text":"x"}"#,
        r#"{"text":"x"}"#,
        r#"{"type":"text","text":"x","more":{"of":"it"}}"#,
        r#"{"type":"text","text":"x","type":"file"}"#,
    ] {
        assert!(part(open), "{open}");
    }
    for known in [
        r#"{"type":"text","text":"https://x"}"#,
        r#"{"type":"input_text","text":"https://x"}"#,
        r#"{"type":"output_text","text":"x","annotations":[{"url":"https://x"}]}"#,
        r#"{"type":"refusal","refusal":"see https://x"}"#,
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA","detail":"high"}}"#,
        r#"{"type":"input_image","detail":"auto","image_url":"data:image/png;base64,AA"}"#,
    ] {
        assert!(!part(known), "{known}");
    }
    for open in [
        r#"{"messages":"x"}"#,
        r#"{"tools":[{"type":"web_search"}]}"#,
        r#"{"web_search_options":{}}"#,
        r#"{"messages":[{"role":"assistant","audio":{"id":"a"}}]}"#,
        r#"{"anything":[1]}"#,
    ] {
        assert!(chats(open), "{open}");
    }
    let plain = r#"{"model":"arn:aws:bedrock:x","messages":[
        {"role":"system","name":"a","content":"https://x"},
        {"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"functions.f:0"}]},
        {"role":"tool","tool_call_id":"functions.f:0","content":"https://x"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"tool_choice":{"type":"function"},
        "user":"tenant:1/2","prompt_cache_key":"a:b","metadata":{"a":"b"},"stop":["x"],"seed":1,
        "response_format":{"type":"json_object"},"modalities":["text"],"stream_options":{"include_usage":true},
        "prediction":{"type":"content","content":"x"},"logit_bias":{"1":2},"service_tier":"auto"}"#;
    assert!(!chats(plain));
    for open in [
        r#"{"input":[{"id":"msg_1"}]}"#,
        r#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#,
        r#"{"input":[{"type":"computer_call_output","output":{"file_id":"f"}}]}"#,
        r#"{"input":[{"role":"user","content":{"x":1}}]}"#,
        r#"{"prompt":{"id":"pmpt_1"}}"#,
        r#"{"instructions":[{"role":"user"}]}"#,
        r#"{"tools":[{"type":"file_search"},{"type":"mcp","server_url":"https://x"}]}"#,
    ] {
        assert!(responds(open), "{open}");
    }
    let plain = r#"{"model":"a:b","instructions":"https://x","input":[
        {"role":"user","content":"https://x"},
        {"type":"message","role":"assistant","status":"completed","id":"msg_1",
            "content":[{"type":"output_text","text":"x"}]},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"x"}],"content":[
            {"type":"reasoning_text","text":"x"}],"encrypted_content":"https://x"},
        {"type":"function_call","call_id":"c","name":"f","arguments":"{\"url\":\"https://x\"}"},
        {"type":"function_call_output","call_id":"c","output":"https://x"},
        {"type":"local_shell_call","action":{"command":["a"]}}],
        "tools":[{"type":"function","name":"f","parameters":{}},{"type":"local_shell"}],"tool_choice":"auto",
        "include":["reasoning.encrypted_content"],"prompt_cache_key":"a:b","reasoning":{"effort":"low"},
        "text":{"verbosity":"low"},"truncation":"auto","store":false,"client_metadata":{"a":"b"}}"#;
    assert!(!responds(plain));
    assert!(!responds(r#"{"model":"a","input":"https://x"}"#));
    for open in [
        r#"{"mcp_servers":[{"url":"https://x"}]}"#,
        r#"{"container":"container_1"}"#,
        r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#,
        r#"{"context_management":{"edits":[{"type":"compact_20260112"}]}}"#,
        r#"{"context_management":{"edits":[{"kind":"new"}]}}"#,
    ] {
        assert!(says(open), "{open}");
    }
    let plain = r#"{"model":"arn:aws:bedrock:x","messages":[{"role":"user","content":"x"}],"max_tokens":9,
        "tools":[{"type":"bash_20250124","name":"bash"},{"type":"custom","name":"f"}],"metadata":{"user_id":"a:b"},
        "context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"container":null}"#;
    assert!(!says(plain));
}

#[test]
fn what_makes_a_request_dear_is_found_in_every_api() {
    let image = r#""data:image/png;base64,AAAA""#;
    let part = format!(r#"{{"type":"image_url","image_url":{{"url":{image}}}}}"#);
    let body = format!(
        r#"{{"n":3,"messages":[{{"content":[{part},{{"type":"text"}}]}}],"service_tier":"flex"}}"#
    );
    let peek = chat(&body);
    assert_eq!((peek.extent.images, peek.extent.image_bytes), (1, image.len()));
    assert_eq!((peek.media, peek.media_bytes), (1, part.len()));
    assert_eq!(peek.extent.answers, Some(3));
    assert_eq!(peek.extent.tier, Some(ServiceTier::Flex));
    let part = format!(r#"{{"type":"input_image","image_url":{image}}}"#);
    let body = format!(
        r#"{{"input":[{{"role":"user","content":[{part},{part}]}}],"service_tier":"priority"}}"#
    );
    let peek = response(&body);
    assert_eq!((peek.extent.images, peek.extent.image_bytes), (2, 2 * image.len()));
    assert_eq!((peek.media, peek.media_bytes), (2, 2 * part.len()));
    assert_eq!(peek.extent.tier, Some(ServiceTier::Priority));
    let tools = r#"{"tools":[{"type":"local_shell"},{"type":"function"},{"type":"web_search"}]}"#;
    assert_eq!(response(tools).extent.built_in_tools, 2);
}

#[test]
fn requests_that_can_share_a_cache_have_the_same_key() {
    let plain = r#"{"messages":[{"role":"system","content":[{"type":"text","text":"a"}]}]}"#;
    assert_eq!(chat(plain).cached_prefix, None);
    let key = |text: &str, user: &str| {
        let block =
            format!(r#"{{"type":"text","text":"{text}","cache_control":{{"type":"ephemeral"}}}}"#);
        let messages = format!(
            r#"[{{"role":"system","content":[{block}]}},{{"role":"user","content":"{user}"}}]"#
        );
        chat(&format!(r#"{{"messages":{messages}}}"#)).cached_prefix.unwrap()
    };
    assert_eq!(key("a", "x"), key("a", "y"));
    assert_ne!(key("a", "x"), key("b", "x"));
    let named = |body: &str| response(body).cached_prefix;
    let first = named(r#"{"prompt_cache_key":"a","input":"x"}"#);
    assert!(first.is_some());
    assert_eq!(first, named(r#"{"input":"y","prompt_cache_key":"a"}"#));
    assert_ne!(first, named(r#"{"prompt_cache_key":"b"}"#));
    assert_eq!(first, chat(r#"{"prompt_cache_key":"a"}"#).cached_prefix);
    assert_eq!(named(r#"{"prompt_cache_key":null}"#), None);
    assert!(
        message(r#"{"system":[{"type":"text","text":"x","cache_control":{}}]}"#)
            .cached_prefix
            .is_some()
    );
}

proptest! {
    #[test]
    fn no_body_of_an_api_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        text in r#"\{("(model|stream|stream_options|input|messages|tools|store|content|type)":[\[\]{}",:a1\\]{0,12},?){0,6}\}?"#,
    ) {
        for operation in
            [Operation::CreateChatCompletion, Operation::CreateResponse, Operation::CreateMessage]
        {
            for body in [&bytes[..], text.as_bytes()] {
                _ = peek(operation, Family::Unknown, body);
            }
        }
    }

    #[test]
    fn the_model_is_the_one_that_a_json_parser_reads(
        members in prop::collection::vec(("(model|mod\\\\u0065l|x)", "(\"[a-c]{0,2}\"|null|7|\\{\\}|\"\\\\n\")"), 0..5)
    ) {
        let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let body = format!("{{{}}}", members.join(","));
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        for read in [chat, response, message] {
            let model = read(&body).parameters.model;
            prop_assert_eq!(model.as_deref(), value["model"].as_str());
        }
    }
}
