//! A conversation as a request of each API. What the model said is in it as the gateway's answers have it: a client
//! sends that back.

use serde_json::{Map, Value, json};
use sluice_bridge::{AnswerContext, Source, Stamp};

use crate::talk::{Choice, Exchange, Part, Said, Talk, Tuning};
use crate::told::{BYTES, SCHEMA};

/// The body of a request with the first exchanges; `answer` translates what the model said in them.
pub(crate) fn request(
    talk: &Talk,
    source: Source,
    exchanges: usize,
    answer: Option<&AnswerContext>,
) -> String {
    let mut body = match source {
        Source::ChatCompletions => json!({"model": "m", "max_completion_tokens": talk.max_tokens}),
        Source::Responses => json!({"model": "m", "max_output_tokens": talk.max_tokens}),
        Source::Messages => json!({"model": "m", "max_tokens": talk.max_tokens}),
        Source::InvokeClaude => {
            json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": talk.max_tokens})
        }
        Source::Converse => json!({"inferenceConfig": {"maxTokens": talk.max_tokens}}),
    };
    let mut messages = Vec::new();
    system(talk, source, &mut body, &mut messages);
    messages.push(user(source, &talk.question));
    for exchange in talk.exchanges.iter().take(exchanges) {
        messages.extend(said(source, exchange, answer.expect("an answer to translate")));
        messages.extend(heard(source, exchange));
    }
    body[if source == Source::Responses { "input" } else { "messages" }] = messages.into();
    parameters(talk, source, &mut body);
    tools(talk, source, &mut body);
    body.to_string()
}

fn is_anthropic(source: Source) -> bool {
    matches!(source, Source::Messages | Source::InvokeClaude)
}

fn control(ttl: &str) -> Value {
    json!({"type": "ephemeral", "ttl": ttl})
}

fn point(ttl: &str) -> Value {
    match ttl {
        "1h" => json!({"cachePoint": {"type": "default", "ttl": "1h"}}),
        _ => json!({"cachePoint": {"type": "default"}}),
    }
}

fn system(talk: &Talk, source: Source, body: &mut Value, messages: &mut Vec<Value>) {
    let texts = talk.system.iter().flat_map(|Said { text, cache }| {
        let mut block = match source {
            Source::Responses => json!({"type": "input_text", "text": text}),
            Source::Converse => {
                let point = cache.map(point);
                return std::iter::once(json!({"text": text})).chain(point).collect::<Vec<_>>();
            }
            _ => json!({"type": "text", "text": text}),
        };
        if let Some(ttl) = cache {
            block["cache_control"] = control(ttl);
        }
        vec![block]
    });
    let texts: Vec<Value> = texts.collect();
    if texts.is_empty() {
        return;
    }
    match source {
        Source::ChatCompletions => messages.push(json!({"role": "system", "content": texts})),
        Source::Responses => messages.push(json!({"role": "developer", "content": texts})),
        _ => body["system"] = texts.into(),
    }
}

fn parts(source: Source, parts: &[Part]) -> Vec<Value> {
    let url = |kind: &str| format!("data:{kind};base64,{BYTES}");
    let base64 = |kind: &str| json!({"type": "base64", "media_type": kind, "data": BYTES});
    let part = |part: &Part| match (source, part) {
        (Source::Converse, Part::Text(said)) => json!({"text": said.text}),
        (Source::Converse, Part::Image) => {
            json!({"image": {"format": "png", "source": {"bytes": BYTES}}})
        }
        (Source::Converse, Part::Document) => {
            json!({"document": {"format": "pdf", "name": "a", "source": {"bytes": BYTES}}})
        }
        (Source::Responses, Part::Text(said)) => json!({"type": "input_text", "text": said.text}),
        (_, Part::Text(said)) => json!({"type": "text", "text": said.text}),
        (Source::ChatCompletions, Part::Image) => {
            json!({"type": "image_url", "image_url": {"url": url("image/png")}})
        }
        (Source::ChatCompletions, Part::Document) => {
            json!({"type": "file", "file": {"file_data": url("application/pdf")}})
        }
        (Source::Responses, Part::Image) => {
            json!({"type": "input_image", "image_url": url("image/png")})
        }
        (Source::Responses, Part::Document) => {
            json!({"type": "input_file", "file_data": url("application/pdf")})
        }
        (_, Part::Image) => json!({"type": "image", "source": base64("image/png")}),
        (_, Part::Document) => json!({"type": "document", "source": base64("application/pdf")}),
    };
    let with_point = |one: &Part| {
        let mut rendered = part(one);
        let cache = match one {
            Part::Text(said) => said.cache,
            _ => None,
        };
        if source == Source::Converse {
            return std::iter::once(rendered).chain(cache.map(point)).collect::<Vec<_>>();
        }
        if let Some(ttl) = cache {
            rendered["cache_control"] = control(ttl);
        }
        vec![rendered]
    };
    parts.iter().flat_map(with_point).collect()
}

fn user(source: Source, content: &[Part]) -> Value {
    json!({"role": "user", "content": parts(source, content)})
}

/// What the model said, as the client got it.
fn said(source: Source, exchange: &Exchange, answer: &AnswerContext) -> Vec<Value> {
    let mut content = Vec::new();
    if let Some((text, signature)) = &exchange.thought {
        let thought = json!({"text": text, "signature": signature});
        content.push(json!({"reasoningContent": {"reasoningText": thought}}));
    }
    if exchange.is_redacted {
        content.push(json!({"reasoningContent": {"redactedContent": BYTES}}));
    }
    content.extend(exchange.text.as_ref().map(|text| json!({"text": text})));
    for call in &exchange.calls {
        let renamed = answer.renamed_tools.iter().find(|(_, client)| *client == call.name);
        let name = renamed.map_or(&call.name, |(target, _)| target);
        let tool_use = json!({"toolUseId": call.id, "name": name, "input": call.input});
        content.push(json!({"toolUse": tool_use}));
    }
    let stop = if exchange.calls.is_empty() { "end_turn" } else { "tool_use" };
    let told = json!({"output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop, "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}});
    let got = answer.answer(told.to_string().as_bytes(), &Stamp::default()).unwrap();
    let got: Value = serde_json::from_slice(&got).unwrap();
    match source {
        Source::ChatCompletions => vec![got["choices"][0]["message"].clone()],
        Source::Responses => got["output"].as_array().unwrap().clone(),
        Source::Converse => vec![got["output"]["message"].clone()],
        Source::Messages | Source::InvokeClaude => {
            vec![json!({"role": "assistant", "content": got["content"]})]
        }
    }
}

/// The results of the tools, and what the user says.
fn heard(source: Source, exchange: &Exchange) -> Vec<Value> {
    let results = exchange.calls.iter().map(|call| {
        let content = parts(source, &call.result);
        match source {
            Source::ChatCompletions => {
                json!({"role": "tool", "tool_call_id": call.id, "content": content})
            }
            Source::Responses => {
                json!({"type": "function_call_output", "call_id": call.id, "output": content})
            }
            Source::Converse => {
                let status = if call.has_failed { "error" } else { "success" };
                json!({"toolResult": {"toolUseId": call.id, "content": content, "status": status}})
            }
            Source::Messages | Source::InvokeClaude => json!({"type": "tool_result",
                "tool_use_id": call.id, "content": content, "is_error": call.has_failed}),
        }
    });
    let mut results: Vec<Value> = results.collect();
    match source {
        Source::ChatCompletions | Source::Responses => {
            results.push(user(source, &exchange.reply));
            results
        }
        _ => {
            results.extend(parts(source, &exchange.reply));
            vec![json!({"role": "user", "content": results})]
        }
    }
}

fn parameters(talk: &Talk, source: Source, body: &mut Value) {
    let is_converse = source == Source::Converse;
    match (&talk.tuning, source) {
        (Tuning::Nothing, _) => {}
        (Tuning::Sampling { temperature, top_k }, _) => {
            let config = if is_converse { &mut body["inferenceConfig"] } else { &mut *body };
            config["temperature"] = (*temperature).into();
            if *top_k > 0 {
                let config = if is_converse {
                    &mut body["additionalModelRequestFields"]
                } else {
                    &mut *body
                };
                config["top_k"] = (*top_k).into();
            }
        }
        (Tuning::Effort(effort), Source::ChatCompletions) => {
            body["reasoning_effort"] = (*effort).into();
        }
        (Tuning::Effort(effort), Source::Responses) => {
            body["reasoning"] = json!({"effort": effort})
        }
        (Tuning::Effort(effort), Source::Converse) => {
            body["outputConfig"] = json!({"effort": effort});
        }
        (Tuning::Effort(effort), _) => body["output_config"] = json!({"effort": effort}),
    }
    if !talk.stop.is_empty() {
        match source {
            Source::ChatCompletions => body["stop"] = json!(talk.stop),
            Source::Converse => body["inferenceConfig"]["stopSequences"] = json!(talk.stop),
            _ => body["stop_sequences"] = json!(talk.stop),
        }
    }
    if let Some(tier) = talk.tier {
        match is_converse {
            true => body["serviceTier"] = json!({"type": tier}),
            false => body["service_tier"] = tier.into(),
        }
    }
    if talk.has_schema {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let named = json!({"name": "a", "schema": schema});
        let flat = json!({"type": "json_schema", "name": "a", "schema": schema});
        match source {
            Source::ChatCompletions => {
                body["response_format"] = json!({"type": "json_schema", "json_schema": named});
            }
            Source::Responses => body["text"] = json!({"format": flat}),
            Source::Converse => {
                body["outputConfig"]["textFormat"] =
                    json!({"type": "json_schema", "structure": {"jsonSchema": {"schema": SCHEMA}}});
            }
            _ => {
                body["output_config"]["format"] = json!({"type": "json_schema", "schema": schema});
            }
        }
    }
}

fn tools(talk: &Talk, source: Source, body: &mut Value) {
    if talk.tools.is_empty() {
        return;
    }
    let schema = json!({"type": "object", "properties": {"z": {}, "a": {}}});
    let tools = talk.tools.iter().flat_map(|tool| {
        let mut one = Map::new();
        one.insert("name".into(), tool.name.into());
        one.insert("description".into(), tool.description.clone().into());
        if tool.is_strict {
            one.insert("strict".into(), true.into());
        }
        let mut more = None;
        let one = match source {
            Source::ChatCompletions => {
                one.insert("parameters".into(), schema.clone());
                let mut one = json!({"type": "function", "function": one});
                if let Some(ttl) = tool.cache {
                    one["cache_control"] = control(ttl);
                }
                one
            }
            Source::Responses => {
                one.insert("parameters".into(), schema.clone());
                one.insert("type".into(), "function".into());
                Value::Object(one)
            }
            Source::Converse => {
                one.insert("inputSchema".into(), json!({"json": schema}));
                more = tool.cache.map(point);
                json!({"toolSpec": one})
            }
            Source::Messages | Source::InvokeClaude => {
                one.insert("input_schema".into(), schema.clone());
                if let Some(ttl) = tool.cache {
                    one.insert("cache_control".into(), control(ttl));
                }
                Value::Object(one)
            }
        };
        std::iter::once(one).chain(more)
    });
    let tools: Vec<Value> = tools.collect();
    match source {
        Source::Converse => body["toolConfig"] = json!({"tools": tools}),
        _ => body["tools"] = tools.into(),
    }
    choice(talk, source, body);
}

fn choice(talk: &Talk, source: Source, body: &mut Value) {
    let first = talk.tools[0].name;
    let is_serial = talk.parallel == Some(false);
    if !is_anthropic(source) && source != Source::Converse {
        match talk.choice {
            Choice::Unsaid => {}
            Choice::Auto => body["tool_choice"] = "auto".into(),
            Choice::Any => body["tool_choice"] = "required".into(),
            Choice::None => body["tool_choice"] = "none".into(),
            Choice::First if source == Source::Responses => {
                body["tool_choice"] = json!({"type": "function", "name": first});
            }
            Choice::First => {
                body["tool_choice"] = json!({"type": "function", "function": {"name": first}});
            }
        }
        if let Some(parallel) = talk.parallel {
            body["parallel_tool_calls"] = parallel.into();
        }
        return;
    }
    if source == Source::Converse {
        let fields = "additionalModelRequestFields";
        match talk.choice {
            Choice::Unsaid => {}
            Choice::Auto => body["toolConfig"]["toolChoice"] = json!({"auto": {}}),
            Choice::Any => body["toolConfig"]["toolChoice"] = json!({"any": {}}),
            Choice::First => body["toolConfig"]["toolChoice"] = json!({"tool": {"name": first}}),
            Choice::None => body[fields]["tool_choice"] = json!({"type": "none"}),
        }
        if is_serial {
            body[fields]["tool_choice"] = json!({"disable_parallel_tool_use": true});
        }
        return;
    }
    let mut choice = match talk.choice {
        Choice::Unsaid if !is_serial => return,
        Choice::Unsaid | Choice::Auto => json!({"type": "auto"}),
        Choice::Any => json!({"type": "any"}),
        Choice::First => json!({"type": "tool", "name": first}),
        Choice::None => json!({"type": "none"}),
    };
    if is_serial {
        choice["disable_parallel_tool_use"] = true.into();
    }
    body["tool_choice"] = choice;
}
