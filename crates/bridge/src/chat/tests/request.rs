use std::borrow::Cow;

use super::*;
use crate::conversation::{
    AnswerFormat, BlockKind, CacheTtl, MediaSource, Role, Thinking, ToolChoice, Turn,
};

fn texts<'c>(turn: &'c Turn<'_>) -> Vec<Cow<'c, str>> {
    let text = |kind: &'c BlockKind<'_>| match kind {
        BlockKind::Text(text) => Some(text.as_str()),
        _ => None,
    };
    turn.blocks.iter().filter_map(|block| text(&block.kind)).collect()
}

#[test]
fn instructions_before_the_first_message_are_the_system_and_later_ones_keep_their_place() {
    let body = messages(
        r#"{"role":"system","content":"a"},{"role":"developer","content":[{"type":"text","text":"b"}]},
           {"role":"user","content":"c"},{"role":"developer","content":"d"},{"role":"user","content":"e"}"#,
    );
    read(&body, |it, _| {
        assert_eq!(it.system.len(), 2);
        let turns: Vec<_> = it.turns.iter().map(|turn| (turn.role, texts(turn))).collect();
        let wanted = [(Role::User, "c"), (Role::System, "d"), (Role::User, "e")]
            .map(|(role, text)| (role, vec![Cow::Borrowed(text)]));
        assert_eq!(turns, wanted);
        let at = it.turns.get(1).and_then(|turn| turn.blocks.first()).map(|block| block.at.param());
        assert_eq!(at.as_deref(), Some("messages[3]"));
    });
}

#[test]
fn values_that_mean_nothing_pass_without_a_word() {
    let dropped = read(
        &with(
            r#","n":1,"frequency_penalty":0.0,"presence_penalty":-0,"logprobs":false,"top_logprobs":0,
            "logit_bias":{},"modalities":["text"],"verbosity":"medium","store":false,"metadata":{},
            "seed":null,"audio":null,"prediction":null,"anything":null,"service_tier":"auto",
            "prompt_cache_retention":"in_memory","stop":[""],"response_format":{"type":"text"},
            "stream_options":{"include_usage":false,"include_obfuscation":false},"stream":false"#,
        ),
        |it, echo| {
            assert_eq!((it.streams, echo.include_usage), (false, false));
            assert!(it.stop_sequences.is_empty() && it.format.is_none());
        },
    );
    assert!(dropped.is_empty(), "{dropped:?}");
}

#[test]
fn names_for_a_providers_records_are_left_out_and_named() {
    let dropped = read(
        &with(
            r#","user":"u","safety_identifier":"s","metadata":{"a":"b"},"store":true,
            "prompt_cache_key":"k","prompt_cache_retention":"24h"
            ,"stream_options":{"include_obfuscation":true}"#,
        ),
        |it, _| assert!(it.metadata.is_empty()),
    );
    let wanted = [
        "user",
        "safety_identifier",
        "metadata",
        "store",
        "prompt_cache_key",
        "prompt_cache_retention",
        "stream_options.include_obfuscation",
    ];
    assert_eq!(dropped, wanted);
}

#[test]
fn the_newer_name_of_the_maximum_wins_wherever_it_stands() {
    for body in [
        with(r#","max_tokens":5,"max_completion_tokens":7"#),
        with(r#","max_completion_tokens":7,"max_tokens":5"#),
        with(r#","max_tokens":7.0"#),
    ] {
        read(&body, |it, _| assert_eq!(it.max_tokens, Some(7)));
    }
}

#[test]
fn numbers_and_json_keep_their_bytes() {
    let body = with(
        r#","temperature":0.70,"top_p":1e-1,"top_k":40,"tools":[{"type":"function","function":
        {"name":"f","parameters":{"type" : "object", "z":1, "a":1.0}}}]"#,
    );
    read(&body, |it, _| {
        assert_eq!(it.temperature.as_deref(), Some("0.70"));
        assert_eq!(it.top_p.as_deref(), Some("1e-1"));
        assert_eq!(it.top_k.as_deref(), Some("40"));
        let schema = it.tools.first().and_then(|tool| tool.schema.as_ref()).map(|json| &*json.0);
        assert_eq!(schema, Some(r#"{"type" : "object", "z":1, "a":1.0}"#));
    });
}

#[test]
fn a_result_without_an_id_answers_the_only_open_call_and_is_refused_if_there_are_two() {
    let call = |id: &str| {
        format!(r#"{{"id":"{id}","type":"function","function":{{"name":"f","arguments":""}}}}"#)
    };
    let history = |calls: &str, results: &str| {
        messages(&format!(
            r#"{{"role":"assistant","content":"","tool_calls":[{calls}]}},{results}"#
        ))
    };
    let result = r#"{"role":"tool","content":"r"}"#;
    let named = r#"{"role":"tool","tool_call_id":"a","content":"r"}"#;
    let two = format!("{},{}", call("a"), call("b"));
    for body in [history(&call("a"), result), history(&two, &format!("{named},{result}"))] {
        read(&body, |it, _| {
            let results = it.turns.iter().flat_map(|turn| &turn.blocks);
            let ids: Vec<_> = results
                .filter_map(|block| match &block.kind {
                    BlockKind::ToolResult { id, .. } => Some(id.as_ref()),
                    _ => None,
                })
                .collect();
            assert!(ids == ["a"] || ids == ["a", "b"], "{ids:?}");
        });
    }
    let refused = refusal(&history(&two, result));
    assert_eq!(refused.param.as_deref(), Some("messages[1].tool_call_id"));
}

#[test]
fn an_assistants_thinking_comes_back_with_signatures_and_before_what_it_led_to() {
    let body = messages(
        r#"{"role":"assistant","content":"said","reasoning_content":"ignored copy","thinking_blocks":[
            {"type":"thinking","thinking":"deep","signature":"s1","index":0},
            {"type":"thinking","thinking":"","signature":"s2"},
            {"type":"redacted_thinking","data":"UkVE"}],
            "tool_calls":[{"id":"a","type":"function","index":0,"function":{"name":"f","arguments":" "}}],
            "refusal":null,"annotations":[],"audio":null,"function_call":null},
           {"role":"assistant","reasoning_content":"alone"}"#,
    );
    read(&body, |it, _| {
        let [first, second] = it.turns.as_slice() else { panic!("{it:?}") };
        let kinds: Vec<_> = first.blocks.iter().map(|block| &block.kind).collect();
        let thinking = |text, signature| BlockKind::Reasoning {
            text: Cow::Borrowed(text),
            signature: Some(Cow::Borrowed(signature)),
        };
        let redacted = BlockKind::RedactedReasoning(Cow::Borrowed("UkVE"));
        assert_eq!(kinds[..3], [&thinking("deep", "s1"), &thinking("", "s2"), &redacted]);
        assert!(matches!(kinds[3], BlockKind::Text(text) if text.as_str() == "said"));
        assert!(matches!(kinds[4], BlockKind::ToolUse { input, .. } if input.0 == "{}"));
        assert!(matches!(&second.blocks[0].kind,
            BlockKind::Reasoning { text, signature: None } if text == "alone"));
    });
}

#[test]
fn cache_points_stand_after_exactly_the_block_that_is_marked() {
    let body = r#"{"model":"m","prompt_cache_options":{"mode":"explicit","ttl":"30m"},"messages":[
        {"role":"system","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}},
            {"type":"text","text":"b"}]},
        {"role":"user","content":[{"type":"text","text":"c","prompt_cache_breakpoint":{"mode":"explicit"}},
            {"type":"text","text":"d"}]},
        {"role":"tool","tool_call_id":"t","content":[{"type":"text","text":"e","cache_control":{"type":"ephemeral"}}]},
        {"role":"user","content":"f","cache_control":{"type":"ephemeral"}}],
        "tools":[{"type":"function","function":{"name":"x"}},
            {"type":"function","function":{"name":"y"},"cache_control":{"type":"ephemeral"}}]}"#;
    let dropped = read(body, |it, _| {
        let point = |kind: &BlockKind<'_>| match kind {
            BlockKind::CachePoint(ttl) => Some(*ttl),
            _ => None,
        };
        let of = |turn: &Turn<'_>| {
            turn.blocks.iter().map(|block| point(&block.kind)).collect::<Vec<_>>()
        };
        let (five, hour) = (Some(CacheTtl::FiveMinutes), Some(CacheTtl::Hour));
        let system: Vec<_> = it.system.iter().map(|block| point(&block.kind)).collect();
        assert_eq!(system, [None, hour, None]);
        let turns: Vec<_> = it.turns.iter().map(of).collect();
        assert_eq!(turns, [vec![None, hour, None], vec![None, five], vec![None, five]]);
        let tools: Vec<_> = it.tools.iter().map(|tool| tool.cache_point).collect();
        assert_eq!(tools, [None, five]);
    });
    assert!(dropped.is_empty(), "{dropped:?}");
}

#[test]
fn images_files_and_sounds_are_known_by_type_or_name_and_their_bytes_are_not_touched() {
    let body = messages(
        r#"{"role":"user","content":[
        {"type":"image_url","image_url":{"url":"data:image/jpg;base64,/9j+\/","detail":"auto"}},
        {"type":"image_url","image_url":{"url":"https://example.com/a?b=c"}},
        {"type":"image_url","image_url":{"url":"s3://bucket/a.PNG"}},
        {"type":"file","file":{"filename":"r.pdf","file_data":"data:application/pdf;base64,JVBE"}},
        {"type":"file","file":{"filename":"notes.md","file_data":"IyBh"}},
        {"type":"file","file":{"filename":"x.csv","file_data":"data:application/octet-stream;base64,YSxi"}},
        {"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}}]}"#,
    );
    read(&body, |it, _| {
        let urls: Vec<_> = it.remote_media().into_iter().map(|it| it.url).collect();
        assert_eq!(urls, ["https://example.com/a?b=c"]);
        let blocks = it.turns.iter().flat_map(|turn| &turn.blocks);
        let media: Vec<_> = blocks
            .map(|block| {
                let (what, media) = match &block.kind {
                    BlockKind::Image(media) => ("image", media),
                    BlockKind::Document { media, .. } => ("document", media),
                    BlockKind::Audio(media) => ("audio", media),
                    other => panic!("{other:?}"),
                };
                let source = match &media.source {
                    MediaSource::Base64(data) => data.as_ref(),
                    MediaSource::Url(url) => url,
                    MediaSource::S3 { uri, .. } => uri,
                    other => panic!("{other:?}"),
                };
                (what, media.format.as_ref(), source)
            })
            .collect();
        let wanted = [
            ("image", "jpeg", "/9j+/"),
            ("image", "", "https://example.com/a?b=c"),
            ("image", "png", "s3://bucket/a.PNG"),
            ("document", "pdf", "JVBE"),
            ("document", "md", "IyBh"),
            ("document", "csv", "YSxi"),
            ("audio", "wav", "UklG"),
        ];
        assert_eq!(media, wanted);
    });
}

#[test]
fn a_wish_for_a_lower_resolution_is_refused_or_left_out_by_leave() {
    let body = messages(
        r#"{"role":"user","content":[{"type":"image_url",
        "image_url":{"url":"data:image/png;base64,AA","detail":"low"}}]}"#,
    );
    let refused = refusal(&body);
    assert!(refused.message.contains("messages[0].content[0]"), "{refused}");
    let fields = [("image_url.detail".to_owned(), true)].into();
    let policy = DropPolicy { fields, ..DropPolicy::default() };
    let dropped = read_with(&body, &policy, |_, _| {}).unwrap();
    assert_eq!(dropped, ["image_url.detail"]);
}

#[test]
fn a_choice_of_tools_is_read_in_each_of_its_forms() {
    let tools = r#","tools":[{"type":"function","function":{"name":"x"}},{"type":"function","function":{"name":"y"}}]"#;
    let name = |name| Cow::<str>::Borrowed(name);
    for (choice, wanted) in [
        (r#""auto""#, ToolChoice::Auto),
        (r#""none""#, ToolChoice::None),
        (r#""required""#, ToolChoice::Any),
        (r#"{"type":"function","function":{"name":"y"}}"#, ToolChoice::Tool(name("y"))),
        (
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":
                [{"type":"function","function":{"name":"x"}}]}}"#,
            ToolChoice::Allowed { must: true, names: vec![name("x")] },
        ),
    ] {
        // The choice may stand before the tools that it names.
        for members in [
            format!(r#"{tools},"tool_choice":{choice}"#),
            format!(r#","tool_choice":{choice}{tools}"#),
        ] {
            read(&with(&members), |it, _| assert_eq!(it.tool_choice.as_ref(), Some(&wanted)));
        }
    }
}

#[test]
fn an_effort_is_a_wish_to_think_and_none_one_not_to() {
    let thinking = |members: &str| {
        let mut found = None;
        read(&with(members), |it, _| found = it.thinking);
        found
    };
    assert_eq!(thinking(r#","reasoning_effort":"high""#), Some(Thinking::Adaptive));
    assert_eq!(thinking(r#","reasoning_effort":"none""#), Some(Thinking::Off));
    let budget = r#","thinking":{"type":"enabled","budget_tokens":2048}"#;
    assert_eq!(thinking(budget), Some(Thinking::Budget(2048)));
    let both = format!(r#"{budget},"reasoning_effort":"low""#);
    assert_eq!(thinking(&both), Some(Thinking::Budget(2048)));
    assert_eq!(thinking(""), None);
}

#[test]
fn a_format_by_a_schema_is_read_with_all_that_it_says() {
    let body = with(
        r#","response_format":{"type":"json_schema","json_schema":
        {"name":"n","description":"d","strict":true,"schema":{"type":"object"}}}"#,
    );
    read(&body, |it, _| {
        assert!(
            matches!(&it.format, Some(AnswerFormat::JsonSchema { name, description, schema, strict: true })
            if name.as_deref() == Some("n") && description.as_deref() == Some("d") && schema.0 == r#"{"type":"object"}"#)
        );
    });
}
