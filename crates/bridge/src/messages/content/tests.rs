//! Blocks of messages, read into the hub's form.

use serde_json::{Value, json};

use crate::conversation::{BlockKind, Conversation, Media, MediaSource, Role};
use crate::messages::tests::{read, refusal};

/// The blocks of the only message with this content, in short.
fn blocks(content: &str) -> Vec<String> {
    let members = format!("\"messages\":[{{\"role\":\"user\",\"content\":{content}}}]");
    let short = |conversation: &Conversation<'_>| {
        conversation.turns[0].blocks.iter().map(|block| format!("{:?}", block.kind)).collect()
    };
    read(&members, short).0
}

#[test]
fn the_system_prompt_is_a_text_or_blocks_with_cache_points() {
    let kinds = |it: &Conversation<'_>| {
        it.system
            .iter()
            .map(|block| (block.at.param(), block.kind.clone()))
            .map(|(at, kind)| match kind {
                BlockKind::Text(text) => format!("{at} {text}"),
                BlockKind::CachePoint(ttl) => format!("{at} {ttl:?}"),
                kind => panic!("{kind:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(read(r#""system":"be brief""#, kinds).0, ["system be brief"]);
    let blocks = r#""system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}},
        {"cache_control":{"type":"ephemeral"},"text":"b","type":"text"},{"type":"text","text":"c"}]"#;
    let expected =
        ["system[0] a", "system[0] Hour", "system[1] b", "system[1] FiveMinutes", "system[2] c"];
    assert_eq!(read(blocks, kinds).0, expected);
    let refused = refusal(r#""system":[{"type":"image","source":{}}]"#);
    assert_eq!(refused.param.as_deref(), Some("system[0]"));
}

#[test]
fn a_message_of_the_system_stays_where_it_is() {
    let members = r#""messages":[{"role":"user","content":"a"},{"content":[{"type":"text","text":"b"}],
        "role":"system","clear_at":"never"},{"role":"assistant","content":"c"}]"#;
    let roles = |it: &Conversation<'_>| it.turns.iter().map(|turn| turn.role).collect::<Vec<_>>();
    assert_eq!(read(members, roles).0, [Role::User, Role::System, Role::Assistant]);
    let refused = refusal(
        r#""messages":[{"role":"user","content":"a"},{"role":"system","content":"b","clear_at":"next_user_message"}]"#,
    );
    assert_eq!(refused.param.as_deref(), Some("messages[1].clear_at"));
    assert!(refused.is_of_model);
}

#[test]
fn images_and_documents_are_read_from_every_source_but_files() {
    let image = |source: Value| {
        json!([{"type": "image", "source": source, "transformations": {"oversized_image": "downsize"}}])
            .to_string()
    };
    let media = |format: &str, source| {
        let media = Media { format: format.to_owned().into(), source };
        [format!("{:?}", BlockKind::Image(media))]
    };
    let base64 = json!({"type": "base64", "media_type": "image/webp", "data": "AAAA"});
    assert_eq!(blocks(&image(base64)), media("webp", MediaSource::Base64("AAAA".into())));
    let url = json!({"type": "url", "url": "https://x/y.png"});
    assert_eq!(blocks(&image(url)), media("", MediaSource::Url("https://x/y.png".into())));

    let document = |source: Value| {
        let document = json!([{"type": "document", "source": source, "title": "t", "context": "c",
            "citations": {"enabled": true}}]);
        blocks(&document.to_string())
    };
    let media = |format: &str, source| {
        let media = Media { format: format.to_owned().into(), source };
        let (name, context) = (Some("t".into()), Some("c".into()));
        [format!("{:?}", BlockKind::Document { media, name, context, cites: true })]
    };
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "AAAA"});
    assert_eq!(document(pdf), media("pdf", MediaSource::Base64("AAAA".into())));
    let text = json!({"type": "text", "media_type": "text/plain", "data": "hello"});
    assert_eq!(document(text), media("txt", MediaSource::Text("hello".into())));
    let url = json!({"type": "url", "url": "https://x/y.pdf"});
    assert_eq!(document(url), media("pdf", MediaSource::Url("https://x/y.pdf".into())));
    let parts = json!({"type": "content", "content": [{"type": "text", "text": "a"},
        {"type": "text", "text": "b"}]});
    let texts = MediaSource::Texts(vec!["a".into(), "b".into()]);
    assert_eq!(document(parts), media("txt", texts));

    for kind in ["image", "document"] {
        let refused = refusal(&format!(
            r#""messages":[{{"role":"user","content":[{{"type":"{kind}","source":{{"type":"file","file_id":"f"}}}}]}}]"#
        ));
        assert_eq!(refused.param.as_deref(), Some("messages[0].content[0].source"));
        assert!(refused.message.contains("send its bytes"), "{refused}");
    }
}

#[test]
fn a_cache_point_stands_behind_exactly_its_block() {
    let content = r#"[{"type":"text","text":"a"},{"type":"text","text":"b","cache_control":{"type":"ephemeral"}},
        {"type":"text","text":"c"}]"#;
    let expected = ["Text(\"a\")", "Text(\"b\")", "CachePoint(FiveMinutes)", "Text(\"c\")"];
    assert_eq!(blocks(content), expected);
    // Within the result of a tool there is no place for one.
    let content = r#"[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"a",
        "cache_control":{"type":"ephemeral","ttl":"1h","scope":"global"}}]},{"type":"text","text":"b"}]"#;
    let found = blocks(content);
    assert!(found[0].starts_with("ToolResult") && !found[0].contains("CachePoint"), "{found:?}");
    assert_eq!(found[1..], ["CachePoint(Hour)", "Text(\"b\")"]);
}

#[test]
fn cache_control_of_the_whole_is_a_point_behind_the_last_block_that_can_have_one() {
    let last = |it: &Conversation<'_>| {
        it.turns
            .last()
            .unwrap()
            .blocks
            .iter()
            .map(|block| format!("{:?}", block.kind))
            .collect::<Vec<_>>()
    };
    let members = r#""cache_control":{"type":"ephemeral","ttl":"1h"},"messages":[{"role":"user","content":"a"},
        {"role":"assistant","content":[{"type":"text","text":"b"},{"type":"thinking","thinking":"t","signature":"s"}]}]"#;
    let found = read(members, last).0;
    assert_eq!(found[..2], ["Text(\"b\")", "CachePoint(Hour)"]);
    assert_eq!(found.len(), 3);
    let members = r#""cache_control":{"type":"ephemeral"},"messages":[{"role":"user",
        "content":[{"type":"text","text":"b","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]"#;
    assert_eq!(read(members, last).0, ["Text(\"b\")", "CachePoint(Hour)"]);
}

#[test]
fn thinking_comes_back_with_its_signature_even_without_a_text() {
    let content = r#"[{"type":"thinking","thinking":"","signature":"c2ln"},{"type":"redacted_thinking","data":"ZGF0YQ=="},
        {"type":"thinking","thinking":"t","signature":""}]"#;
    let expected = [
        r#"Reasoning { text: "", signature: Some("c2ln") }"#,
        r#"RedactedReasoning("ZGF0YQ==")"#,
        r#"Reasoning { text: "t", signature: None }"#,
    ];
    assert_eq!(blocks(content), expected);
}

#[test]
fn uses_and_results_of_tools_keep_their_bytes() {
    let content = r#"[{"type":"tool_use","id":"t1","name":"f","input":{"z":1, "a":"\u00e9"},"caller":{"type":"direct"}},
        {"type":"tool_result","tool_use_id":"t1","is_error":true},
        {"type":"tool_result","tool_use_id":"t2","content":"ok"}]"#;
    let found = blocks(content);
    assert!(found[0].contains(r#"{\"z\":1, \"a\":\"\\u00e9\"}"#), "{}", found[0]);
    assert!(found[1].contains("content: [], is_error: true"), "{}", found[1]);
    assert!(
        found[2].contains("Text(\"ok\")") && found[2].contains("is_error: false"),
        "{}",
        found[2]
    );
}

#[test]
fn search_results_and_citations_get_the_form_of_converse() {
    let content = r#"[{"type":"search_result","source":"https://x","title":"t","citations":{"enabled":true},
        "content":[{"type":"text","text":"a"}]},
        {"type":"text","text":"so","citations":[{"type":"char_location","cited_text":"a","document_index":0,
        "document_title":"d","start_char_index":1,"end_char_index":2,"file_id":null}]},
        {"type":"text","text":"plain","citations":null}]"#;
    let found = blocks(content);
    let search = r#"{"source":"https://x","title":"t","content":[{"text":"a"}],"citations":{"enabled":true}}"#;
    assert!(found[0].contains(&format!("{search:?}")), "{}", found[0]);
    let cited = r#"{"content":[{"text":"so"}],"citations":[{"title":"d","sourceContent":[{"text":"a"}],"location":{"documentChar":{"documentIndex":0,"start":1,"end":2}}}]}"#;
    assert!(found[1].contains(&format!("{cited:?}")), "{}", found[1]);
    assert_eq!(found[2], "Text(\"plain\")");
}
