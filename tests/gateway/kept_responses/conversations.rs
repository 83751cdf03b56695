//! What a client does with kept responses, and what others can't do with them.

use sluice::simulator::{Fault, FaultRule};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_on_by_the_id_of_its_last_response() {
    let simulator = Simulator::start().await;
    let gateway = start(&config(&simulator, "sqlite")).await;
    for (family, model) in [("claude", CLAUDE), ("nova", NOVA)] {
        let first = create(&gateway, family, "My name is Ada.", json!({"instructions": "x"})).await;
        assert_eq!((&first["store"], &first["previous_response_id"]), (&json!(true), &Value::Null));
        let more = json!({"previous_response_id": first["id"], "stream": true});
        let stream = try_to_create(&gateway, KEYS[0], family, "What is my name?", more).await;
        let second = events(&stream).pop().unwrap()["response"].clone();
        assert_eq!((&second["status"], &second["store"]), (&json!("completed"), &json!(true)));
        assert_eq!(second["previous_response_id"], first["id"]);
        let third = go_on(&gateway, KEYS[0], &second["id"]).await;
        assert_eq!(third.status, 200, "{}", third.text());
        assert_eq!(simulator.calls_to(model).len(), if family == "claude" { 3 } else { 2 });
        // The third goes to Claude in any case: a conversation may change its model.
        let body = simulator.calls_to(CLAUDE).pop().unwrap().body;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["messages"].as_array().unwrap().len(), 5, "{body}");
        assert!(body["messages"][0].to_string().contains("My name is Ada."), "{body}");
        assert_eq!(body["system"], Value::Null, "instructions are of one request: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_response_is_read_listed_and_deleted() {
    let simulator = Simulator::start().await;
    let gateway = start(&config(&simulator, "sqlite")).await;
    let first = create(&gateway, "claude", "One", json!({})).await;
    let more = json!({"previous_response_id": first["id"]});
    let second = create(&gateway, "claude", "Two", more).await;
    let path = path_of(&second["id"]);
    let read = send(&gateway, KEYS[0], "GET", &path, "").await;
    assert_eq!((read.status, read.json()), (200, second.clone()));

    // One, what Claude thought and said, and Two.
    let items = format!("{path}/input_items?order=asc&limit=3");
    let page = send(&gateway, KEYS[0], "GET", &items, "").await.json();
    let kinds: Vec<_> = page["data"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
    assert_eq!(kinds, ["message", "reasoning", "message"], "{page}");
    let first_text = &page["data"][0]["content"][0]["text"];
    assert_eq!((first_text, &page["has_more"]), (&json!("One"), &json!(true)));
    let after = page["last_id"].as_str().unwrap();
    let rest = format!("{path}/input_items?order=asc&after={after}");
    let rest = send(&gateway, KEYS[0], "GET", &rest, "").await.json();
    assert_eq!(rest["data"][0]["content"][0]["text"], "Two", "{rest}");
    assert_eq!((&rest["data"][1], &rest["has_more"]), (&Value::Null, &json!(false)));
    let wrong = send(&gateway, KEYS[0], "GET", &format!("{path}/input_items?limit=0"), "").await;
    assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!("limit")));

    let cancelled = send(&gateway, KEYS[0], "POST", &format!("{path}/cancel"), "").await;
    assert_eq!(cancelled.status, 400, "{}", cancelled.text());
    let again = send(&gateway, KEYS[0], "GET", &format!("{path}?stream=true"), "").await;
    assert_eq!((again.status, &again.json()["error"]["param"]), (400, &json!("stream")));

    let deleted = send(&gateway, KEYS[0], "DELETE", &path, "").await;
    let wanted = json!({"id": second["id"], "object": "response", "deleted": true});
    assert_eq!((deleted.status, deleted.json()), (200, wanted));
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("GET", format!("{path}/input_items")),
        ("POST", format!("{path}/cancel")),
    ] {
        let gone = send(&gateway, KEYS[0], method, &path, "").await;
        assert_eq!(gone.status, 404, "{method} {path}: {}", gone.text());
    }
    assert_eq!(go_on(&gateway, KEYS[0], &second["id"]).await.status, 404);
    assert_eq!(go_on(&gateway, KEYS[0], &first["id"]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clients_response_is_as_one_that_never_was() {
    let simulator = Simulator::start().await;
    let gateway = start(&config(&simulator, "sqlite")).await;
    let made = create(&gateway, "claude", "A secret", json!({})).await;
    let id = made["id"].as_str().unwrap();
    let unknown = "resp_00000000000000000000000000000000";
    assert_eq!(id.len(), unknown.len());
    let refused = async |id: &str| {
        let mut answers = vec![go_on(&gateway, KEYS[1], &json!(id)).await];
        for (method, rest) in
            [("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")]
        {
            answers.push(send(&gateway, KEYS[1], method, &format!("/{id}{rest}"), "").await);
        }
        let told = answers.iter().map(|it| (it.status, it.text().replace(id, "ID")));
        told.collect::<Vec<_>>()
    };
    let of_other = refused(id).await;
    assert_eq!(of_other, refused(unknown).await);
    assert!(of_other.iter().all(|(status, _)| *status == 404), "{of_other:?}");
    assert!(of_other[0].1.contains("previous_response_id"), "{}", of_other[0].1);
    // An id that no gateway gives out gets the same.
    assert_eq!(of_other, refused("resp_1").await);
    assert_eq!(simulator.calls_to(CLAUDE).len(), 1);
    assert_eq!(go_on(&gateway, KEYS[0], &made["id"]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_stored_is_not() {
    let simulator = Simulator::start().await;
    // `of_client` is about the last one.
    let config = config(&simulator, "sqlite").of_client("stored_responses", false);
    let gateway = start(&config).await;
    for stream in [false, true] {
        let more = json!({"store": false, "stream": stream});
        let answer = try_to_create(&gateway, KEYS[0], "claude", "Hello", more).await;
        let made = match stream {
            true => events(&answer).pop().unwrap()["response"].clone(),
            false => answer.json(),
        };
        assert_eq!(made["store"], false);
        assert_eq!(go_on(&gateway, KEYS[0], &made["id"]).await.status, 404);
    }
    let forbidden =
        try_to_create(&gateway, KEYS[1], "claude", "Hello", json!({"store": true})).await;
    assert_eq!((forbidden.status, &forbidden.json()["store"]), (200, &json!(false)));
    assert_eq!(go_on(&gateway, KEYS[1], &forbidden.json()["id"]).await.status, 404);
    assert_eq!(counted(&gateway, "stored").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_the_api_of_its_own_goes_on_by_translation_or_not_at_all() {
    let simulator = Simulator::start().await;
    let config = config(&simulator, "sqlite");
    let gateway = start(&config).await;
    let made = create(&gateway, "claude", "Hello", json!({})).await;
    let more = json!({"previous_response_id": made["id"]});
    let next = create(&gateway, "gpt", "And?", more.clone()).await;
    assert_eq!((&next["previous_response_id"], &next["store"]), (&made["id"], &json!(true)));
    assert_eq!(simulator.calls_to(GPT)[0].operation, Some("Converse"));
    // Without a conversation to go on with, it gets the request as it came.
    let own = create(&gateway, "gpt", "Hello", json!({})).await;
    assert_ne!(own["id"].as_str().unwrap().len(), made["id"].as_str().unwrap().len());
    assert_eq!(simulator.calls_to(GPT)[1].operation, Some("CreateResponse"));

    let alone = config.set("targets.gpt.surfaces", vec!["responses"]);
    gateway.reload(&alone.to_toml()).await;
    let refused = try_to_create(&gateway, KEYS[0], "gpt", "And?", more).await;
    let error = &refused.json()["error"];
    assert_eq!((refused.status, &error["param"]), (400, &json!("previous_response_id")), "{error}");
    assert_eq!(simulator.calls_to(GPT).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_cut_short_is_kept_and_a_broken_one_is_not() {
    let simulator = Simulator::start().await;
    let gateway = start(&config(&simulator, "sqlite")).await;
    let more = json!({"stream": true, "max_output_tokens": 16});
    let input = "one two three four five six seven eight nine ten sim:tokens=500";
    let stream = try_to_create(&gateway, KEYS[0], "claude", input, more).await;
    let last = events(&stream).pop().unwrap();
    assert_eq!(last["type"], "response.incomplete", "{last}");
    assert_eq!(last["response"]["store"], true);
    assert_eq!(go_on(&gateway, KEYS[0], &last["response"]["id"]).await.status, 200);

    let breaks = FaultRule::always(Fault::CloseAfterFrames { frames: 4 });
    simulator.add(breaks.on(CLAUDE));
    let more = json!({"stream": true});
    let stream = try_to_create(&gateway, KEYS[0], "claude", "one two three four five", more).await;
    let broken = events(&stream).pop().unwrap();
    assert_eq!(broken["type"], "response.failed", "{broken}");
    simulator.recovers();
    assert_eq!(go_on(&gateway, KEYS[0], &broken["response"]["id"]).await.status, 404);
}
