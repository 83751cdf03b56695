//! Turns of a conversation, calls of tools and their results.

use super::*;

#[test]
fn turns_alternate_and_say_something() {
    let answer = model(json!([{"text": "yes"}]));
    let system = json!({"role": "system", "content": [{"text": "now be brief"}]});
    for (messages, part) in [
        (json!([]), "empty or not well formed"),
        (json!([answer]), "must start with a user message"),
        (json!([hello(), hello()]), "must alternate"),
        (
            json!([user(json!([]))]),
            "The content field in the Message object at messages.0 is empty",
        ),
        (
            json!([user(json!([{"text": " \n"}]))]),
            "ContentBlock object at messages.0.content.0 is blank",
        ),
        (json!([user(json!([call("a")]))]), "role user"),
        (json!([user(json!([thought("x", None)]))]), "User messages cannot contain reasoning"),
        (
            json!([
                hello(),
                model(json!([{"image": {"format": "png", "source": {"bytes": "aGk="}}}]))
            ]),
            "role assistant",
        ),
        (json!([hello(), system, answer, hello()]), "role system"),
    ] {
        refuses(SONNET_45, &json!({"messages": messages}), part);
    }
    takes(SONNET_5, &json!({"messages": [hello(), system]}));
    refuses(
        MISTRAL_7B,
        &with(json!({"system": [{"text": "x"}]})),
        "doesn't support system messages",
    );
    refuses(NOVA, &with(json!({"system": [{"text": " "}]})), "system.0 is blank");
}

#[test]
fn an_answer_is_begun_only_for_models_that_go_on_with_it() {
    let begun = |text: &str| json!({"messages": [hello(), model(json!([{"text": text}]))]});
    takes(HAIKU_3, &begun("{"));
    takes(NOVA, &begun("{"));
    refuses(HAIKU_3, &begun("{ "), "trailing whitespace");
    refuses(OPUS_55, &begun("{"), "does not support assistant message prefill");
    refuses(LLAMA, &begun("{"), "must end with a user message");
}

#[test]
fn every_call_has_its_result_in_the_next_message() {
    let calls = model(json!([call("a"), call("b")]));
    for (messages, part) in [
        (
            json!([hello(), calls, user(json!([result("a")]))]),
            "Expected toolResult blocks at messages.2.content for the following Ids: b",
        ),
        (
            json!([hello(), calls]),
            "Expected toolResult blocks at messages.2.content for the following Ids: a, b",
        ),
        (json!([hello(), calls, hello()]), "a, b"),
        (
            json!([hello(), calls, user(json!([result("a"), result("b"), result("c")]))]),
            "exceeds the number of toolUse blocks",
        ),
        (json!([user(json!([result("a")]))]), "exceeds the number of toolUse blocks"),
        (
            json!([hello(), calls, user(json!([result("a"), result("b"), result("b")]))]),
            "duplicate Ids: b",
        ),
        (
            json!([hello(), model(json!([call("a"), call("a")])), user(json!([result("a")]))]),
            "duplicate Ids: a",
        ),
        (
            json!([hello(), model(json!([call("a b")])), user(json!([result("a b")]))]),
            "regular expression pattern: [a-zA-Z0-9_.:-]+",
        ),
        (
            json!([hello(), model(json!([call("a")])), user(json!([{"text": "x"}, result("a")]))]),
            "without `tool_result` blocks immediately after",
        ),
    ] {
        refuses(SONNET_45, &talk(messages), part);
    }
    let text = json!({"toolUse": {"toolUseId": "a", "name": "look", "input": "{}"}});
    let body = talk(json!([hello(), model(json!([text])), user(json!([result("a")]))]));
    refuses(SONNET_45, &body, "messages.1.content.0.toolUse.input is invalid");
    let failed = json!({"toolResult": {"toolUseId": "a", "content": [], "status": "error"}});
    let body = talk(json!([hello(), model(json!([call("a")])), user(json!([failed]))]));
    refuses(SONNET_45, &body, "cannot be empty when status value is error");
    let body = talk(json!([
        hello(),
        model(json!([call("a")])),
        user(json!([result("a"), {"text": "and?"}]))
    ]));
    takes(SONNET_45, &body);
    takes(GPT_OSS, &body);
    for family in [NOVA, LLAMA] {
        refuses(family, &body, "cannot be provided in the same turn");
    }
}

#[test]
fn tools_of_the_past_need_tools_in_the_request() {
    let past = json!([hello(), model(json!([call("a")])), user(json!([result("a")]))]);
    let message =
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.";
    assert_eq!(told(SONNET_45, &json!({"messages": past})), message);
    takes(SONNET_45, &talk(past));
}
