//! Every documented case of every endpoint, in every set-up.

use serde_json::{Value, json};

use super::setups::Setup;
use super::{FINDING, analyze, ended, fields, get, post, status, task_path};
use crate::support::patience::eventually;
use crate::support::{Config, Gateway, MODELS, PRIMARY, Simulator, http};
use sluice::simulator::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn health() {
    for setup in Setup::all().await {
        let answer = get(&setup.gateway, "/health").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body = answer.json();
        assert_eq!(fields(&body), ["status", "timestamp"]);
        assert_eq!(body["status"], "healthy");
        assert!(body["timestamp"].as_str().unwrap().contains('T'), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_field_of_an_analysis_is_named() {
    for setup in Setup::all().await {
        let url = format!("{}/analyze_section", setup.gateway.url());
        let cases: [(&str, &str, &str); 8] = [
            ("text/plain", r#"{"session_id":"s"}"#, "Request must be JSON"),
            ("application/json", "", "No JSON data provided"),
            ("application/json", "{}", "No JSON data provided"),
            ("application/json", r#"{"session_id": "#, "Invalid JSON in request"),
            ("application/json", r#"{"section_name":"S"}"#, "No session ID provided"),
            (
                "application/json",
                r#"{"session_id":"","section_name":"S"}"#,
                "No session ID provided",
            ),
            ("application/json", r#"{"session_id":"s"}"#, "No section name provided"),
            (
                "application/json",
                r#"{"session_id":"s","section_name":" "}"#,
                "No section name provided",
            ),
        ];
        for (media_type, body, error) in cases {
            let answer = http::send_as(&url, media_type, body).await;
            assert_eq!(answer.status, 400, "{body}");
            assert_eq!(answer.json(), json!({ "success": false, "error": error }), "{body}");
        }
        assert!(setup.simulator.log().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_section_is_not_analysed() {
    for setup in Setup::all().await {
        for content in ["  \n ", ""] {
            let body = json!({ "session_id": "s", "section_name": "S", "content": content });
            let answer = post(&setup.gateway, "/analyze_section", &body).await;
            assert_eq!(answer.status, 200);
            let expected = json!({
                "success": true,
                "feedback_items": [],
                "section_content": "This section appears to be empty.",
                "message": "Section is empty - no analysis needed",
            });
            assert_eq!(answer.json(), expected);
        }
        assert!(setup.simulator.log().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_without_content_is_not_known() {
    for setup in Setup::all().await {
        let named = json!({ "session_id": "s", "section_name": "S" });
        let with = |content: Value| {
            let mut body = named.clone();
            body["content"] = content;
            body
        };
        for body in [named.clone(), with(Value::Null), with(json!(5)), with(json!(["text"]))] {
            let answer = post(&setup.gateway, "/analyze_section", &body).await;
            assert_eq!(answer.status, 400, "{body}");
            let error = "Section \"S\" not found in document";
            assert_eq!(answer.json(), json!({ "success": false, "error": error }));
        }
        assert!(setup.simulator.log().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysis_gives_the_findings_of_the_model() {
    for setup in Setup::all().await {
        setup.simulator.says(PRIMARY, FINDING);
        let answer = analyze(&setup.gateway, "s", "Summary").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-sluice-mock"), None);
        let items = if setup.has_queue() {
            let accepted = answer.json();
            assert_eq!(fields(&accepted), ["async", "message", "status", "success", "task_id"]);
            assert_eq!(accepted["async"], true);
            assert_eq!(accepted["status"], "processing");
            assert_eq!(accepted["message"], "Analysis task submitted to queue");
            let status = ended(&setup.gateway, &accepted).await;
            let expected =
                ["failed", "ready", "result", "state", "status", "successful", "task_id"];
            assert_eq!(fields(&status), expected);
            assert_eq!(status["state"], "SUCCESS");
            assert_eq!(status["status"], "Task completed successfully");
            assert_eq!((&status["successful"], &status["failed"]), (&json!(true), &json!(false)));
            let result = &status["result"];
            let expected = ["duration", "feedback_count", "result", "section", "success"];
            assert_eq!(fields(result), expected);
            assert_eq!((&result["success"], &result["section"]), (&json!(true), &json!("Summary")));
            assert_eq!(result["feedback_count"], 1);
            assert!(result["duration"].is_number());
            assert_eq!(fields(&result["result"]), ["feedback_items"]);
            result["result"]["feedback_items"].clone()
        } else {
            let done = answer.json();
            let expected = [
                "analysis_timestamp",
                "feedback_items",
                "section_content",
                "section_name",
                "success",
            ];
            assert_eq!(fields(&done), expected);
            assert_eq!(done["section_name"], "Summary");
            assert_eq!(done["section_content"], "We closed the case.");
            done["feedback_items"].clone()
        };
        let expected = json!([{
            "id": "f1", "type": "critical", "category": "Root Cause Analysis",
            "description": "No root cause is named.", "suggestion": "Name it.",
            "example": "E.g.: ...", "questions": ["Why?", "Since when?"],
            "hawkeye_refs": [11, 2], "risk_level": "High", "confidence": 0.93,
        }]);
        assert_eq!(items, expected);
        let asked = setup.simulator.only_call();
        assert_eq!(asked.model.as_deref(), Some(PRIMARY));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_answer_gives_one_item_that_explains_it() {
    for setup in Setup::all().await {
        setup.simulator.says(PRIMARY, "I would rather not.");
        let answer = analyze(&setup.gateway, "s", "Summary").await.json();
        let items = if setup.has_queue() {
            let status = ended(&setup.gateway, &answer).await;
            assert_eq!(status["state"], "SUCCESS", "{status}");
            status["result"]["result"]["feedback_items"].clone()
        } else {
            assert_eq!(answer["success"], true, "{answer}");
            answer["feedback_items"].clone()
        };
        let [item] = items.as_array().unwrap().as_slice() else { panic!("{items}") };
        assert_eq!(item["category"], "Analysis Status");
        assert_eq!((&item["type"], &item["risk_level"]), (&json!("suggestion"), &json!("Low")));
        assert_eq!((&item["hawkeye_refs"], &item["confidence"]), (&json!([13]), &json!(0.5)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysis_that_no_model_answers_is_no_success() {
    for setup in Setup::all().await {
        for fault in [Fault::Throttle, Fault::ServiceUnavailable] {
            for model in MODELS {
                setup.simulator.strikes(model, 1000, fault.clone());
            }
            let answer = analyze(&setup.gateway, "s", "Summary").await;
            if setup.has_queue() {
                let status = ended(&setup.gateway, &answer.json()).await;
                assert_eq!(
                    (&status["state"], &status["failed"]),
                    (&json!("FAILURE"), &json!(true))
                );
                assert!(!status["error"].as_str().unwrap().is_empty(), "{status}");
            } else {
                assert_eq!(answer.status, 500);
                let body = answer.json();
                assert_eq!(fields(&body), ["error", "error_type", "success", "timestamp"]);
                assert_eq!(body["success"], false, "{body}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_analysis_has_the_reason() {
    for setup in Setup::all().await {
        setup.simulator.strikes(PRIMARY, 10, Fault::AccessDenied);
        let answer = analyze(&setup.gateway, "s", "Summary").await;
        if setup.has_queue() {
            let status = ended(&setup.gateway, &answer.json()).await;
            let expected = ["error", "failed", "ready", "state", "status", "successful", "task_id"];
            assert_eq!(fields(&status), expected);
            assert_eq!((&status["state"], &status["failed"]), (&json!("FAILURE"), &json!(true)));
            assert_eq!(status["status"], "Task failed");
        } else {
            assert_eq!(answer.status, 500);
            let body = answer.json();
            assert_eq!(fields(&body), ["error", "error_type", "success", "timestamp"]);
            assert!(body["error"].as_str().unwrap().starts_with("Analysis failed: "), "{body}");
            assert_eq!(body["error_type"], "AccessDeniedException");
        }
        assert_eq!(setup.simulator.log().len(), 1, "what can't get better is not tried again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_without_a_session_is_refused() {
    for setup in Setup::all().await {
        for body in [json!({ "message": "hi" }), json!({ "session_id": "new", "message": "hi" })] {
            let answer = post(&setup.gateway, "/chat", &body).await;
            assert_eq!(answer.status, 400);
            assert_eq!(answer.json(), json!({ "error": "Invalid session" }), "{body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_has_the_section_its_findings_and_the_history() {
    for setup in Setup::all().await {
        let Setup { gateway, simulator, .. } = &setup;
        simulator.says(PRIMARY, FINDING);
        let analysed = analyze(gateway, "s", "Summary").await.json();
        if setup.has_queue() {
            ended(gateway, &analysed).await;
        }
        simulator.says(PRIMARY, "The first reply.");
        for question in ["Is it good?", "And now?"] {
            let body = json!({
                "session_id": "s", "message": question, "current_section": "Summary",
            });
            let answer = post(gateway, "/chat", &body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let answer = answer.json();
            if setup.has_queue() {
                assert_eq!(answer["message"], "Chat task submitted to queue");
                assert_eq!(
                    (&answer["status"], &answer["async"]),
                    (&json!("processing"), &json!(true))
                );
                let status = ended(gateway, &answer).await;
                assert_eq!(fields(&status["result"]), ["duration", "response", "success"]);
                assert_eq!(status["result"]["response"], "The first reply.");
            } else {
                let expected = json!({
                    "success": true,
                    "response": "The first reply.",
                    "model_used": "Claude 3.5 Sonnet (Primary)",
                });
                assert_eq!(answer, expected);
            }
        }
        let asked = simulator.log().pop().unwrap().body;
        for part in ["Summary", "1", "Is it good?", "The first reply.", "And now?"] {
            assert!(asked.contains(part), "{part} is not in {asked}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_chat_has_the_reason() {
    for setup in Setup::all().await {
        let Setup { gateway, simulator, .. } = &setup;
        let blank = json!({ "session_id": "s", "section_name": "S", "content": "" });
        assert_eq!(post(gateway, "/analyze_section", &blank).await.status, 200);
        simulator.strikes(PRIMARY, 10, Fault::AccessDenied);
        let answer = post(gateway, "/chat", &json!({ "session_id": "s", "message": "hi" })).await;
        if setup.has_queue() {
            assert_eq!(ended(gateway, &answer.json()).await["state"], "FAILURE");
        } else {
            assert_eq!(answer.status, 500);
            let body = answer.json();
            assert_eq!(fields(&body), ["details", "error", "success"]);
            assert!(body["error"].as_str().unwrap().starts_with("Chat failed: "), "{body}");
            assert_eq!(body["details"], Value::Null);
        }
        let silent = json!({ "session_id": "s", "message": " " });
        let silent = post(gateway, "/chat", &silent).await;
        assert_eq!(silent.status, 400);
        assert_eq!(silent.json(), json!({ "error": "No message provided" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_cannot_be_read_fails_as_the_application_did() {
    for setup in Setup::all().await {
        let Setup { gateway, simulator, .. } = &setup;
        let blank = json!({ "session_id": "s", "section_name": "S", "content": "" });
        assert_eq!(post(gateway, "/analyze_section", &blank).await.status, 200);
        let url = format!("{}/chat", gateway.url());
        for (media_type, body) in [
            ("application/json", r#"{"session_id": "s", "message"#),
            ("application/json", r#"["s"]"#),
            ("text/plain", r#"{"session_id":"s","message":"hi"}"#),
            ("application/json", r#"{"session_id":"s"}"#),
            ("application/json", r#"{"session_id":"s","message":null}"#),
            ("application/json", r#"{"session_id":"s","message":5}"#),
            ("application/json", r#"{"session_id":"s","message":{"text":"hi"}}"#),
            ("application/json", r#"{"session_id":"s","message":["hi"]}"#),
        ] {
            let answer = http::send_as(&url, media_type, body).await;
            assert_eq!(answer.status, 500, "{body}");
            let answer = answer.json();
            assert_eq!(fields(&answer), ["details", "error", "success"], "{body}");
            assert!(answer["error"].as_str().unwrap().starts_with("Chat failed: "), "{answer}");
        }
        let unknown = json!({ "session_id": "another", "message": 5 });
        let unknown = post(gateway, "/chat", &unknown).await;
        assert_eq!(unknown.json(), json!({ "error": "Invalid session" }));
        assert_eq!(unknown.status, 400);
        assert!(simulator.log().is_empty());
    }
}

/// What a connection test tells whether a model answered or not.
fn of_a_status(setup: &Setup) -> Value {
    let fallbacks: Vec<&str> = if setup.fallback { MODELS[1..].to_vec() } else { vec![] };
    json!({
        "region": "us-east-1",
        "connection_type": "AWS Bedrock Runtime",
        "service": "Amazon Bedrock",
        "max_tokens": 8192,
        "temperature": 0.7,
        "reasoning_enabled": false,
        "anthropic_version": "bedrock-2023-05-31",
        "supports_reasoning": false,
        "fallback_models": fallbacks,
        "credentials_source": "Environment Variables",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_test_describes_the_model_that_answered() {
    for setup in Setup::all().await {
        let Setup { gateway, simulator, .. } = &setup;
        let long = "OK, and a little more than fifty characters of an answer to a test.";
        simulator.says(PRIMARY, long);
        let answer = get(gateway, "/test_claude_connection?session_id=s").await;
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        let claude = if setup.has_queue() {
            assert_eq!(answer["message"], "Connection test submitted to queue");
            assert_eq!((&answer["status"], &answer["async"]), (&json!("testing"), &json!(true)));
            let status = ended(gateway, &answer).await;
            assert_eq!(fields(&status["result"]), ["duration", "result", "success"]);
            status["result"]["result"].clone()
        } else {
            assert_eq!(fields(&answer), ["claude_status", "success", "timestamp"]);
            answer["claude_status"].clone()
        };
        let mut expected = of_a_status(&setup);
        let told = expected.as_object_mut().unwrap();
        told.insert("connected".to_owned(), json!(true));
        told.insert("model".to_owned(), json!("Claude 3.5 Sonnet (Primary)"));
        told.insert("model_id".to_owned(), json!(PRIMARY));
        told.insert("test_response".to_owned(), json!(format!("{}...", &long[..50])));
        for measured in ["response_time", "sdk_version"] {
            told.insert(measured.to_owned(), claude[measured].clone());
        }
        assert!(claude["response_time"].is_number() && claude["sdk_version"].is_string());
        assert_eq!(claude, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_test_without_an_answer_is_an_answer() {
    for setup in Setup::all().await {
        let Setup { gateway, simulator, .. } = &setup;
        for model in MODELS {
            simulator.strikes(model, 100, Fault::AccessDenied);
        }
        let answer = get(gateway, "/test_claude_connection").await;
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        let claude = if setup.has_queue() {
            ended(gateway, &answer).await["result"]["result"].clone()
        } else {
            assert_eq!(answer["success"], true);
            answer["claude_status"].clone()
        };
        let mut expected = of_a_status(&setup);
        let told = expected.as_object_mut().unwrap();
        told.insert("connected".to_owned(), json!(false));
        told.insert("model".to_owned(), json!("Claude 3.5 Sonnet (Primary)"));
        for measured in ["error", "response_time", "sdk_version"] {
            told.insert(measured.to_owned(), claude[measured].clone());
        }
        assert!(claude["error"].is_string() && claude["response_time"].is_number(), "{claude}");
        assert_eq!(claude, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_that_is_said() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).without_credentials();
    let gateway = Gateway::start(&config).await;
    let claude = get(&gateway, "/test_claude_connection").await.json()["claude_status"].clone();
    assert_eq!(claude["connected"], false);
    assert_eq!(claude["error"], "No AWS credentials found");
    assert_eq!((&claude["model"], &claude["region"]), (&json!("None"), &json!("us-east-1")));
    let answer = analyze(&gateway, "s", "Summary").await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["error"], "Analysis failed: No AWS credentials found");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_without_a_queue_are_not_available() {
    for setup in Setup::all().await {
        let gateway = &setup.gateway;
        let task = get(gateway, "/task_status/abc").await;
        let stats = get(gateway, "/queue_stats").await;
        let cancel = post(gateway, "/cancel_task/abc", &Value::Null).await;
        if setup.has_queue() {
            let expected = json!({
                "task_id": "abc", "state": "PENDING", "ready": false, "successful": null,
                "failed": null, "status": "Task is waiting to be processed",
            });
            assert_eq!((task.status, task.json()), (200, expected));
            let unknown = format!("/task_status/{}", uuid::Uuid::now_v7());
            assert_eq!(get(gateway, &unknown).await.json()["state"], "PENDING");
            let stats = stats.json();
            let expected = [
                "active_tasks",
                "available",
                "reserved_tasks",
                "total_pending",
                "worker_details",
                "workers",
            ];
            assert_eq!(fields(&stats), expected);
            assert_eq!(stats["available"], true);
            eventually(
                "all workers are there",
                async || get(gateway, "/queue_stats").await.json(),
                |stats| stats["workers"] == 3 && fields(&stats["worker_details"]).len() == 3,
            )
            .await;
            let expected = json!({
                "success": true, "task_id": "abc", "cancelled": true,
                "message": "Task cancellation requested",
            });
            assert_eq!((cancel.status, cancel.json()), (200, expected));
        } else {
            let expected = json!({ "error": "Celery not available", "task_id": "abc", "state": "UNAVAILABLE" });
            assert_eq!((task.status, task.json()), (503, expected));
            let expected = json!({ "available": false, "error": "Celery not configured" });
            assert_eq!((stats.status, stats.json()), (200, expected));
            let expected = json!({ "error": "Celery not available", "cancelled": false });
            assert_eq!((cancel.status, cancel.json()), (503, expected));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_under_way_shows_how_far_it_is_and_can_be_cancelled() {
    for setup in Setup::all().await.into_iter().filter(Setup::has_queue) {
        let Setup { gateway, simulator, .. } = &setup;
        simulator.strikes(PRIMARY, 10, Fault::HangBeforeHead);
        let accepted = analyze(gateway, "s", "Summary").await.json();
        let running = eventually(
            "it runs",
            async || status(gateway, &accepted).await,
            |status| status["state"] == "PROGRESS" && status["progress"] == 10,
        )
        .await;
        let expected =
            ["failed", "progress", "ready", "section", "state", "status", "successful", "task_id"];
        assert_eq!(fields(&running), expected);
        assert_eq!(running["status"], "Analyzing section...");
        assert_eq!((&running["section"], &running["ready"]), (&json!("Summary"), &json!(false)));
        assert_eq!((&running["successful"], &running["failed"]), (&Value::Null, &Value::Null));
        let answer = post(gateway, &task_path("cancel_task", &accepted), &Value::Null).await;
        assert_eq!(answer.status, 200);
        let ended = ended(gateway, &accepted).await;
        assert_eq!(ended["state"], "REVOKED");
        assert_eq!((&ended["successful"], &ended["failed"]), (&json!(false), &json!(false)));
        // The upstream's request goes with it.
        eventually(
            "nothing is open at the target",
            async || gateway.quota("sonnet-35").await.in_flight,
            |in_flight| *in_flight == 0,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_endpoints_and_wrong_methods_are_distinguished() {
    for setup in Setup::all().await.into_iter().take(1) {
        let gateway = &setup.gateway;
        let answer = get(gateway, "/chat").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, OPTIONS")));
        for (path, allow) in [
            ("/chat", "POST, OPTIONS"),
            ("/health", "GET, HEAD, OPTIONS"),
            ("/task_status/abc", "GET, HEAD, OPTIONS"),
            ("/reset_model_cooldowns", "POST, OPTIONS"),
        ] {
            let url = format!("{}{path}", gateway.url());
            let answer = http::request("OPTIONS", &url, &[], "").await;
            assert_eq!((answer.status, answer.header("allow")), (200, Some(allow)), "{path}");
            assert_eq!(answer.text(), "");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        assert_eq!(post(gateway, "/health", &Value::Null).await.status, 405);
        // Any other path is the Bedrock API's.
        let other = get(gateway, "/task_status/").await;
        assert_eq!(other.status, 404);
        assert!(other.header("x-amzn-errortype").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_chooses_whether_it_is_answered_at_once() {
    for setup in Setup::all().await {
        let Setup { gateway, simulator, .. } = &setup;
        simulator.says(PRIMARY, FINDING);
        let body = |choice: Value| {
            json!({
                "session_id": "s", "section_name": "S", "content": "We closed the case.",
                "message": "hi", "async": choice,
            })
        };
        for path in ["/analyze_section", "/chat"] {
            let at_once = |answer: http::Response| {
                assert_eq!(answer.status, 200, "{}", answer.text());
                let answer = answer.json();
                let member = if path == "/chat" { "response" } else { "feedback_items" };
                assert!(answer[member] != Value::Null, "{answer}");
                assert_eq!(answer["task_id"], Value::Null);
            };
            // The body counts before the query, and that before the header.
            at_once(post(gateway, path, &body(json!(false))).await);
            at_once(post(gateway, &format!("{path}?async=true"), &body(json!(false))).await);
            at_once(post(gateway, &format!("{path}?async=false"), &body(Value::Null)).await);
            let url = format!("{}{path}", gateway.url());
            let header = [("content-type", "application/json"), ("x-sluice-async", "false")];
            at_once(http::post(&url, &header, body(Value::Null).to_string()).await);
            let later = http::post(&url, &header, body(json!(true)).to_string()).await.json();
            assert_eq!(later["task_id"].is_string(), setup.has_queue(), "{later}");
            let by_default = post(gateway, path, &body(Value::Null)).await.json();
            assert_eq!(by_default["task_id"].is_string(), setup.has_queue(), "{by_default}");
            let neither = post(gateway, path, &body(json!("perhaps"))).await;
            assert_eq!(neither.status, 400, "{}", neither.text());
            assert!(neither.json()["error"].as_str().unwrap().contains("async"));
        }
        let tested = get(gateway, "/test_claude_connection?async=false").await.json();
        assert_eq!(tested["claude_status"]["connected"], true, "{tested}");
        let tested = get(gateway, "/test_claude_connection").await.json();
        assert_eq!(tested["task_id"].is_string(), setup.has_queue(), "{tested}");
        assert_eq!(get(gateway, "/test_claude_connection?async=1").await.status, 400);
    }
}
