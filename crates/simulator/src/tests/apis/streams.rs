//! Streams of server-sent events.

use super::*;

#[tokio::test]
async fn a_stream_of_chat_completions_ends_with_done() {
    let simulator = start().await;
    let events = simulator.events(CHAT, &chat(GPT, "hello")).await;
    assert_eq!(events.first().unwrap().json()["choices"][0]["delta"]["role"], "assistant");
    let (last, before) = events.split_last().unwrap();
    assert_eq!(last.data, "[DONE]");
    let text: String = before
        .iter()
        .filter_map(|event| {
            Some(event.json()["choices"][0]["delta"]["content"].as_str()?.to_owned())
        })
        .collect();
    assert_eq!(text, format!("[{GPT}] hello"));
    assert_eq!(before.last().unwrap().json()["choices"][0]["finish_reason"], "stop");
    assert!(before.iter().all(|event| event.json().get("usage").is_none()));
    let asked = with(&chat(GPT, "hello"), json!({"stream_options": {"include_usage": true}}));
    let events = simulator.events(CHAT, &asked).await;
    let usage = events[events.len() - 2].json();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["prompt_tokens"], 2);
}

#[tokio::test]
async fn a_stream_of_messages_has_every_event_in_order() {
    let simulator = start().await;
    let events = simulator.events(MESSAGES, &message(HAIKU_5, "hello")).await;
    let mut names = names(&events);
    names.dedup();
    assert_eq!(
        names,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
}

#[tokio::test]
async fn a_stream_of_responses_is_numbered_and_ends_with_the_response() {
    let simulator = start().await;
    let events = simulator.events(RESPONSES, &response(GPT, "hello")).await;
    for (event, number) in events.iter().zip(0..) {
        assert_eq!(event.json()["sequence_number"], number);
        assert_eq!(event.json()["type"].as_str(), event.name.as_deref());
    }
    let mut names = names(&events);
    names.dedup();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let complete = &events.last().unwrap().json()["response"];
    assert_eq!(complete["output"][1]["content"][0]["text"], format!("[{GPT}] hello"));
    let path = format!("{RESPONSES}/{}", complete["id"].as_str().unwrap());
    assert_eq!(&simulator.call("GET", &path, &[], &Value::Null).await.json(), complete);
}

const APIS: [&str; 3] = [CHAT, RESPONSES, MESSAGES];

fn request(path: &str) -> Value {
    let text = "hello sim:tokens=4";
    match path {
        CHAT => chat(GPT, text),
        RESPONSES => response(GPT, text),
        _ => message(HAIKU_5, text),
    }
}

/// Whether an event says that the answer is complete.
fn is_complete(event: &Event) -> bool {
    let complete = ["response.completed", "message_stop"];
    event.data == "[DONE]" || event.name.as_deref().is_some_and(|name| complete.contains(&name))
}

#[tokio::test]
async fn faults_before_a_stream_have_the_form_of_the_dialect() {
    let simulator = start().await;
    for (fault, openai, anthropic) in [
        (Fault::Throttle, (429, "rate_limit_error"), (429, "rate_limit_error")),
        (Fault::ServiceUnavailable, (503, "server_error"), (529, "overloaded_error")),
        (Fault::Internal, (500, "server_error"), (500, "api_error")),
        (Fault::ModelTimeout, (504, "server_error"), (504, "timeout_error")),
        (Fault::Validation, (400, "invalid_request_error"), (400, "invalid_request_error")),
        (Fault::AccessDenied, (403, "permission_error"), (403, "permission_error")),
        (Fault::NotFound, (404, "invalid_request_error"), (404, "not_found_error")),
        (Fault::ExpiredToken, (401, "authentication_error"), (401, "authentication_error")),
        (
            Fault::Error { name: "overloaded_error".into(), status: 529, message: "busy".into() },
            (529, "server_error"),
            (529, "overloaded_error"),
        ),
    ] {
        for (path, wanted) in [(CHAT, openai), (RESPONSES, openai), (MESSAGES, anthropic)] {
            for stream in [false, true] {
                simulator.fault(fault.clone());
                let body = with(&request(path), json!({ "stream": stream }));
                let answered = simulator.ask(path, &body).await;
                let (status, kind, message, _) = error_of(&answered);
                assert_eq!((status, kind.as_str()), wanted, "{fault:?} {path}");
                assert!(!message.is_empty());
            }
        }
    }
    let special = Fault::Error {
        name: "context_length_exceeded".into(),
        status: 400,
        message: "long".into(),
    };
    simulator.fault(special);
    assert_eq!(error_of(&simulator.ask(CHAT, &request(CHAT)).await).3, "context_length_exceeded");
    simulator.fault(Fault::Html502);
    let answered = simulator.ask(CHAT, &request(CHAT)).await;
    assert_eq!(
        (answered.status.as_u16(), &answered.headers["content-type"]),
        (502, &"text/html".parse().unwrap())
    );
    simulator.fault(Fault::Json200OnStream);
    let answered =
        simulator.ask(MESSAGES, &with(&request(MESSAGES), json!({"stream": true}))).await;
    assert_eq!(
        (answered.status.as_u16(), &answered.json()["error"]["type"]),
        (200, &json!("api_error"))
    );
}

#[tokio::test]
async fn an_error_event_has_the_form_of_its_api() {
    let simulator = start().await;
    let throttled = |frame| Fault::ExceptionFrame { name: "throttlingException".into(), frame };
    for path in APIS {
        for (fault, count) in [
            (Fault::ExceptionFirstFrame { name: "throttlingException".into() }, 1),
            (throttled(4), 4),
        ] {
            simulator.fault(fault);
            let events = simulator.events(path, &request(path)).await;
            assert_eq!(events.len(), count, "{path}");
            assert!(!events.iter().any(is_complete));
            let last = events.last().unwrap();
            let json = last.json();
            let (name, kind) = match path {
                CHAT => (None, &json["error"]["type"]),
                RESPONSES => (Some("error"), &json["code"]),
                _ => (Some("error"), &json["error"]["type"]),
            };
            assert_eq!(last.name.as_deref(), name, "{path}");
            assert!(kind.as_str().unwrap().starts_with("rate_limit_e"), "{path} {json}");
        }
    }
    simulator.fault(Fault::ResponseFailed { name: "internalServerException".into(), frame: 3 });
    let failed = simulator.events(RESPONSES, &request(RESPONSES)).await;
    let failed = failed.last().unwrap();
    assert_eq!(failed.name.as_deref(), Some("response.failed"));
    assert_eq!(failed.json()["response"]["error"]["code"], "server_error");
    simulator.fault(Fault::ResponseFailed { name: "overloaded_error".into(), frame: 3 });
    let failed = simulator.events(MESSAGES, &request(MESSAGES)).await;
    assert_eq!(failed.last().unwrap().json()["error"]["type"], "overloaded_error");
}

#[tokio::test]
async fn every_stream_fault_breaks_events_in_its_way() {
    let simulator = start().await;
    for path in APIS {
        let whole = simulator.events(path, &request(path)).await.len();
        for (fault, count, complete, broken) in [
            (Fault::ResetAfterFrames { frames: 2 }, 2, false, true),
            (Fault::CloseAfterFrames { frames: 3 }, 3, false, true),
            (Fault::EndAfterFrames { frames: 1 }, 1, false, false),
            (Fault::EndBeforeLastFrame, whole - 1, false, false),
            (Fault::EmptyStream, 0, false, false),
            (Fault::ErrorFrame { frame: 2 }, 2, false, false),
            (Fault::BadCrcFrame { frame: 2 }, whole, true, false),
            (Fault::SlowTrickle { bytes: 50, ms: 0 }, whole, true, false),
        ] {
            let kind = fault.kind();
            simulator.fault(fault);
            let answered =
                simulator.ask(path, &with(&request(path), json!({"stream": true}))).await;
            let events = events(&answered.body);
            assert_eq!((events.len(), answered.broken), (count, broken), "{path} {kind}");
            assert_eq!(events.iter().any(is_complete), complete, "{path} {kind}");
            let entry = simulator.controls.log.entries().pop().unwrap();
            assert_eq!(entry.frames, count as u64, "{path} {kind}");
        }
        simulator.fault(Fault::TruncatedFrame { frame: 3 });
        let answered = simulator.ask(path, &with(&request(path), json!({"stream": true}))).await;
        assert!(!answered.body.ends_with(b"\n\n"), "{path}");
    }
    assert_eq!(simulator.controls.quotas.accounts()[GPT].in_flight, 0);
}

#[tokio::test]
async fn a_rule_hits_the_operation_and_the_model_that_the_body_names() {
    let simulator = start().await;
    let rule = FaultRule {
        operation: Some("CreateResponse".into()),
        ..FaultRule::always(Fault::Throttle)
    };
    simulator.controls.faults.add(rule.on("mantle/openai.gpt-5.6-sol")).unwrap();
    simulator.json(RESPONSES, &response(GPT, "hello")).await;
    simulator.json(CHAT, &chat(GPT_AT_MANTLE, "hello")).await;
    assert_eq!(simulator.ask(RESPONSES, &response(GPT_AT_MANTLE, "hello")).await.status, 429);
    assert_eq!(simulator.last().await.fault.as_deref(), Some("throttle"));
}
