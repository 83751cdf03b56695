//! What depends on the model: thoughts, thinking, efforts, sampling, formats, additional fields.

use super::*;

#[test]
fn claude_takes_back_what_it_signed_and_others_take_no_signature() {
    let said = |block: Value| json!({"messages": [hello(), model(json!([block, {"text": "yes"}])), hello()]});
    let signed = said(thought("hm", Some(&thoughts::sign("hm"))));
    let sealed = said(json!({"reasoningContent": {"redactedContent": thoughts::seal("hm")}}));
    takes(SONNET_45, &signed);
    takes(SONNET_45, &sealed);
    takes(SONNET_45, &said(thought("", Some(&thoughts::sign("")))));
    refuses(
        SONNET_45,
        &said(thought("hm", None)),
        "messages.1.content.0.thinking.signature: Field required",
    );
    refuses(
        SONNET_45,
        &said(thought("no", Some(&thoughts::sign("hm")))),
        "Invalid `signature` in `thinking` block",
    );
    refuses(
        SONNET_45,
        &said(json!({"reasoningContent": {"redactedContent": "AAAA"}})),
        "Invalid `data`",
    );
    for other in [NOVA_2, GPT_OSS] {
        takes(other, &said(thought("hm", None)));
        refuses(other, &signed, "reasoningText.signature field");
        refuses(other, &sealed, "redactedContent field");
    }
    refuses(R1, &said(thought("hm", None)), "cannot contain reasoning content");
    refuses(LLAMA, &said(thought("hm", None)), "the reasoningContent field");
}

#[test]
fn claude_thinks_in_the_form_of_its_version() {
    let thinking =
        |thinking: Value| with(json!({"additionalModelRequestFields": {"thinking": thinking}}));
    let budget = json!({"type": "enabled", "budget_tokens": 2048});
    takes(SONNET_45, &thinking(budget.clone()));
    takes(SONNET_5, &thinking(json!({"type": "adaptive", "display": "summarized"})));
    refuses(
        SONNET_45,
        &thinking(json!({"type": "adaptive"})),
        "adaptive thinking is not supported",
    );
    refuses(SONNET_5, &thinking(budget.clone()), "\"thinking.type.enabled\" is not supported");
    refuses(OPUS_55, &thinking(json!({"type": "disabled"})), "not supported for this model");
    refuses(HAIKU_3, &thinking(budget.clone()), "thinking: Extra inputs are not permitted");
    refuses(
        SONNET_45,
        &thinking(json!({"type": "enabled", "budget_tokens": 1023})),
        "greater than or equal to 1024",
    );
    refuses(SONNET_45, &thinking(json!({"type": "enabled"})), "budget_tokens: Field required");
    let mut body = thinking(budget.clone());
    body["inferenceConfig"] = json!({"temperature": 0.5});
    refuses(SONNET_45, &body, "`temperature` may only be set to 1");
    let mut body = thinking(budget.clone());
    body["toolConfig"] = json!({"tools": tools()["tools"], "toolChoice": {"any": {}}});
    refuses(SONNET_45, &body, "Thinking may not be enabled when tool_choice forces tool use.");
    let mut body = talk(json!([hello(), model(json!([call("a")])), user(json!([result("a")]))]));
    takes(SONNET_45, &body);
    body["additionalModelRequestFields"] = json!({"thinking": budget});
    refuses(SONNET_45, &body, "Expected `thinking` or `redacted_thinking`, but found `tool_use`");
    body["messages"][1]["content"] = json!([thought("hm", Some(&thoughts::sign("hm"))), call("a")]);
    takes(SONNET_45, &body);
}

#[test]
fn efforts_are_those_of_the_model() {
    let fields = |fields: Value| with(json!({"additionalModelRequestFields": fields}));
    takes(SONNET_5, &fields(json!({"output_config": {"effort": "xhigh"}})));
    takes(SONNET_5, &with(json!({"outputConfig": {"effort": "low"}})));
    refuses(SONNET_5, &with(json!({"outputConfig": {"effort": "max"}})), "outputConfig.effort");
    refuses(
        SONNET_45,
        &fields(json!({"output_config": {"effort": "low"}})),
        "output_config.effort",
    );
    takes(GPT_OSS, &fields(json!({"reasoning_effort": "high"})));
    refuses(
        GPT_OSS,
        &fields(json!({"reasoning_effort": "max"})),
        "extraneous key [reasoning_effort]",
    );
    refuses(R1, &fields(json!({"reasoning_effort": "low"})), "extraneous key [reasoning_effort]");
    let nova = |effort: &str| json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}});
    takes(NOVA_2, &fields(nova("high")));
    refuses(NOVA_2, &fields(nova("max")), "reasoning config value is invalid");
    refuses(NOVA, &fields(nova("low")), "reasoning config value is invalid");
    let mut body = fields(nova("high"));
    body["inferenceConfig"] = json!({"maxTokens": 100});
    refuses(NOVA_2, &body, "maxTokens must be unset when maxReasoningEffort is high");
}

#[test]
fn sampling_and_formats_are_refused_where_a_model_has_none() {
    for config in [json!({"temperature": 1}), json!({"topP": 0.99})] {
        refuses(OPUS_55, &with(json!({"inferenceConfig": config})), "is deprecated for this model");
    }
    let top_k = json!({"additionalModelRequestFields": {"top_k": 1}});
    refuses(OPUS_55, &with(top_k), "`top_k` is deprecated");
    let both = with(json!({"inferenceConfig": {"temperature": 0.5, "topP": 0.9}}));
    refuses(SONNET_45, &both, "cannot both be specified");
    takes("us.anthropic.claude-sonnet-4-20250514-v1:0", &both);
    takes(NOVA, &both);
    let format = |schema: &str| {
        let structure = json!({"jsonSchema": {"schema": schema}});
        with(
            json!({"outputConfig": {"textFormat": {"type": "json_schema", "structure": structure}}}),
        )
    };
    let closed = r#"{"type":"object","additionalProperties":false}"#;
    takes(SONNET_5, &format(closed));
    takes(SONNET_45, &format(closed));
    refuses(SONNET_5, &format(r#"{"type":"object"}"#), "explicitly set to false");
    refuses(SONNET_5, &format("{"), "not a JSON schema");
    for lacks in [NOVA, LLAMA, HAIKU_3] {
        refuses(lacks, &format(closed), "outputConfig.textFormat");
    }
}

#[test]
fn a_family_knows_its_own_additional_fields() {
    let fields = |fields: Value| with(json!({"additionalModelRequestFields": fields}));
    takes(SONNET_45, &fields(json!({"anthropic_beta": ["computer-use-2025-01-24"]})));
    refuses(
        SONNET_45,
        &fields(json!({"anthropic_beta": ["files-api-2025-04-14"]})),
        "invalid beta flag",
    );
    refuses(SONNET_45, &fields(json!({"seed": 1})), "seed: Extra inputs are not permitted");
    refuses(SONNET_45, &fields(json!({"tools": [{"type": "web_search_20250305"}]})), "Input tag");
    takes(NOVA, &fields(json!({"inferenceConfig": {"topK": 5}})));
    refuses(NOVA, &fields(json!({"topK": 5})), "extraneous key [topK]");
    for other in [NOVA, LLAMA, GPT_OSS] {
        refuses(
            other,
            &fields(json!({"thinking": {"type": "disabled"}})),
            "extraneous key [thinking]",
        );
    }
    let mut body = fields(json!({"max_tokens": 5}));
    body["inferenceConfig"] = json!({"maxTokens": 6});
    refuses(
        SONNET_45,
        &body,
        "max_tokens conflicts with the existing field inferenceConfig.maxTokens",
    );
}

#[test]
fn of_a_model_that_is_not_listed_only_shapes_and_turns_are_checked() {
    let unknown = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
    takes(
        unknown,
        &with(json!({
            "toolConfig": {"tools": tools()["tools"], "toolChoice": {"any": {}}},
            "inferenceConfig": {"temperature": 0.1},
            "additionalModelRequestFields": {"anything": 1},
        })),
    );
    refuses(unknown, &json!({"messages": [hello(), hello()]}), "must alternate");
}
