//! The two endpoints: which one a request is for, who may ask, and the quotas of each.

use super::*;

const MANTLE_HOST: [(&str, &str); 1] = [("host", "bedrock-mantle.us-east-1.api.aws")];
const RUNTIME_HOST: [(&str, &str); 1] = [("host", "bedrock-runtime.us-east-1.amazonaws.com")];

async fn start_as(endpoint: PlayedEndpoint) -> Running {
    start_with(Settings { endpoint, ..Settings::default() }).await
}

#[tokio::test]
async fn the_host_the_settings_or_the_model_tell_the_endpoint() {
    let both = start().await;
    let (runtime, mantle) =
        (start_as(PlayedEndpoint::Runtime).await, start_as(PlayedEndpoint::Mantle).await);
    for (simulator, host, path, model, status) in [
        (&both, &[][..], CHAT, GPT, 200),
        (&both, &[], CHAT, GPT_AT_MANTLE, 200),
        (&both, &RUNTIME_HOST, CHAT, GPT, 200),
        // By its plain id the model can't be called there.
        (&both, &RUNTIME_HOST, CHAT, GPT_AT_MANTLE, 400),
        (&both, &MANTLE_HOST, CHAT, GPT_AT_MANTLE, 200),
        // Mantle has no profiles.
        (&both, &MANTLE_HOST, CHAT, GPT, 404),
        (&runtime, &[], CHAT, GPT, 200),
        (&runtime, &[], CHAT, GPT_AT_MANTLE, 400),
        (&runtime, &[], "/v1/chat/completions", OSS_AT_MANTLE, 404),
        (&mantle, &[], CHAT, GPT, 404),
        (&mantle, &[], CHAT, GPT_AT_MANTLE, 200),
        (&mantle, &[], "/v1/chat/completions", OSS_AT_MANTLE, 200),
    ] {
        let answered = simulator.call("POST", path, host, &chat(model, "hello")).await;
        let text = String::from_utf8_lossy(&answered.body).into_owned();
        assert_eq!(answered.status, status, "{host:?} {path} {model}: {text}");
    }
    assert_eq!(both.converse("hello").await.status, 200);
    assert_eq!(mantle.converse("hello").await.error(), "UnknownOperationException");
}

#[tokio::test]
async fn mantle_serves_each_model_below_its_own_prefix() {
    let simulator = start().await;
    for (path, model) in [("/v1/chat/completions", GPT_AT_MANTLE), ("/v1/responses", GPT_AT_MANTLE)]
    {
        let body = with(&chat(model, "hello"), json!({"input": "hello"}));
        let (status, _, message, _) = error_of(&simulator.ask(path, &body).await);
        let wanted = format!("model `{model}` isn't supported on this route");
        assert_eq!((status, message), (404, wanted), "{path}");
    }
    let answered = simulator.call("POST", CHAT, &MANTLE_HOST, &chat(OSS_AT_MANTLE, "hello")).await;
    assert_eq!(answered.status, 404);
}

#[tokio::test]
async fn mantle_lists_its_models_and_bedrock_runtime_none() {
    let simulator = start().await;
    let get = |path: &'static str, host| simulator.call("GET", path, host, &Value::Null);
    let list = get("/v1/models", &[]).await.json();
    let ids = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap());
    let ids: Vec<&str> = ids.collect();
    assert!(ids.contains(&GPT_AT_MANTLE) && !ids.contains(&GPT), "{ids:?}");
    assert_eq!(simulator.last().await.operation, Some("ListModels"));
    let one = get("/v1/models/openai.gpt-5.6-sol", &[]).await.json();
    assert_eq!((&one["id"], &one["owned_by"]), (&json!(GPT_AT_MANTLE), &json!("openai")));
    assert_eq!(error_of(&get("/v1/models/us.openai.gpt-5.6-sol", &[]).await).0, 404);
    for (path, host) in [("/openai/v1/models", &[][..]), ("/v1/models", &RUNTIME_HOST)] {
        assert_eq!(error_of(&get(path, host).await).0, 404, "{path}");
    }
}

#[tokio::test]
async fn other_paths_and_methods_get_errors_of_the_dialect() {
    let simulator = start().await;
    for (method, path, status, kind) in [
        ("POST", "/openai/v1/embeddings", 404, "invalid_request_error"),
        ("GET", CHAT, 405, "invalid_request_error"),
        ("POST", "/openai/v1/messages", 404, "not_found_error"),
        ("POST", "/v1/messages", 404, "not_found_error"),
        ("POST", "/anthropic/v1/complete", 404, "not_found_error"),
        ("GET", MESSAGES, 405, "invalid_request_error"),
    ] {
        let error = error_of(&simulator.call(method, path, &[], &Value::Null).await);
        assert_eq!((error.0, error.1.as_str()), (status, kind), "{method} {path}");
    }
    for path in [CHAT, RESPONSES, MESSAGES] {
        let answered = simulator.call("POST", path, &[], &json!("no object")).await;
        assert_eq!(
            (answered.status.as_u16(), error_of(&answered).1.as_str()),
            (400, "invalid_request_error")
        );
    }
}

#[tokio::test]
async fn keys_and_signatures_are_verified_in_every_form() {
    let simulator = start().await;
    for service in ["bedrock", "bedrock-mantle"] {
        for (path, body) in [(CHAT, chat(GPT, "hi")), (MESSAGES, message(HAIKU_5, "hi"))] {
            let answered = simulator.signed("POST", path, "eu-west-1", service, &body).await;
            assert_eq!(answered.status, 200, "{service} {path}");
            assert_eq!(simulator.last().await.signature, Some("valid"));
        }
    }
    let other = simulator.signed("POST", CHAT, "eu-west-1", "s3", &chat(GPT, "hi")).await;
    assert_eq!((other.status.as_u16(), error_of(&other).3), (401, json!("invalid_api_key")));
    let key = [("x-api-key", DEFAULT_BEARER_TOKEN)];
    assert_eq!(simulator.call("POST", MESSAGES, &key, &message(HAIKU_5, "hi")).await.status, 200);
    let entry = simulator.last().await;
    assert_eq!(entry.signature, Some("api_key"));
    assert_eq!(entry.headers["x-api-key"], ["(hidden)"]);
    for (path, headers) in [
        (MESSAGES, [("x-api-key", "wrong")]),
        (CHAT, key),
        (CHAT, [("authorization", "Bearer wrong")]),
        (MESSAGES, [("authorization", "Bearer wrong")]),
    ] {
        let answered = simulator.call("POST", path, &headers, &message(HAIKU_5, "hi")).await;
        let (status, kind, ..) = error_of(&answered);
        assert_eq!((status, kind.as_str()), (401, "authentication_error"), "{path} {headers:?}");
    }
}

#[tokio::test]
async fn one_quota_is_for_all_apis_of_a_model_and_mantle_has_its_own() {
    let simulator = start().await;
    let once = ModelSettings { rpm: Some(1), ..ModelSettings::default() };
    simulator.controls.quotas.set(GPT, once);
    simulator.controls.quotas.set("mantle/openai.gpt-5.6-sol", once);
    simulator.json(CHAT, &chat(GPT, "hello")).await;
    let throttled = simulator.ask(RESPONSES, &response(GPT, "hello")).await;
    let (status, kind, _, code) = error_of(&throttled);
    assert_eq!(
        (status, kind.as_str(), code),
        (429, "rate_limit_error", json!("rate_limit_exceeded"))
    );
    let native = simulator.post(GPT, "converse", converse("hello")).await;
    assert_eq!(native.error(), "ThrottlingException");
    simulator.json(RESPONSES, &response(GPT_AT_MANTLE, "hello")).await;
    assert_eq!(error_of(&simulator.ask(CHAT, &chat(GPT_AT_MANTLE, "hello")).await).0, 429);
    let accounts = simulator.controls.quotas.accounts();
    assert_eq!((accounts[GPT].calls, accounts[GPT].throttled), (1, 2));
    assert_eq!(accounts["mantle/openai.gpt-5.6-sol"].calls, 1);
    assert_eq!(accounts[GPT].in_flight, 0);
}

#[tokio::test]
async fn a_script_and_a_tier_are_those_of_the_model() {
    let simulator = start().await;
    simulator.controls.answers.set("mantle/openai.gpt-5.6-sol", "All is well.").unwrap();
    let answer = simulator.json(CHAT, &chat(GPT_AT_MANTLE, "hello")).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "All is well.");
    assert_eq!(answer["service_tier"], "default");
    let flex = json!({"service_tier": "flex"});
    let answer = simulator.json(CHAT, &with(&chat(GPT, "hello"), flex)).await;
    assert_eq!(answer["service_tier"], "flex");
    let tier =
        ModelSettings { service_tier: Some(ServedTier::Priority), ..ModelSettings::default() };
    simulator.controls.quotas.set(HAIKU_5, tier);
    let answer = simulator.json(MESSAGES, &message(HAIKU_5, "hello")).await;
    assert_eq!(answer["usage"]["service_tier"], "priority");
}
