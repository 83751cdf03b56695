//! OpenAI's SDKs as they come, in Python and JavaScript: against the simulator, and through the gateway.

use serde_json::{Value, json};
use sluice::simulator::{DEFAULT_BEARER_TOKEN, Fault, FaultRule};

use crate::support::api_clients::each_succeeded;
use crate::support::{ApiCall, ApiJob, Config, Gateway, Language, Sdk, Simulator};

/// A model that has both of OpenAI's APIs.
const SOL: &str = "us.openai.gpt-5.6-sol";

/// The keys of the config's clients.
const KEY: &str = "a-bearer-key-of-the-tests";
const OTHER_KEY: &str = "another-bearer-key-of-the-tests";

/// The access key of a client that signs, and the variable with its secret.
const ACCESS_KEY_ID: &str = "AKIDOFTHETESTS";
const SECRET: &str = "a-secret-access-key-of-the-tests";
const SECRET_VARIABLE: &str = "CLIENT_SECRET";

/// Where an SDK is pointed at, and with which key.
struct Base {
    url: String,
    key: &'static str,
}

impl Base {
    fn of_simulator(simulator: &Simulator) -> Base {
        Base { url: format!("{}/openai/v1", simulator.url()), key: DEFAULT_BEARER_TOKEN }
    }

    fn of_gateway(gateway: &Gateway, prefix: &str) -> Base {
        Base { url: format!("{}{prefix}", gateway.url()), key: KEY }
    }

    fn job(&self, language: Language) -> ApiJob {
        ApiJob::new(language, Sdk::OpenAi, self.url.clone()).key(self.key)
    }
}

/// A gateway with a route for each model of the tests, which answers at once that a model is out.
async fn gateway(simulator: &Simulator) -> Gateway {
    let mut config = Config::without_routes(simulator)
        .set("queue.max_wait", "200ms")
        .set("limits.tokens_per_minute", 1_000_000)
        .set("fallback.unrouted", "reject")
        .client("app", &digest(KEY))
        .client("other", &digest(OTHER_KEY))
        .client_that_signs("signer", ACCESS_KEY_ID, SECRET_VARIABLE);
    let failing = failures().map(|(model, ..)| model).into_iter();
    let failing = failing.chain(failures_within_streams().map(|(model, _)| model));
    for (number, model) in [SOL].into_iter().chain(failing).enumerate() {
        let target = format!("t{number}");
        config = config.set(&format!("targets.{target}.model"), model).route(model, &[&target]);
    }
    Gateway::start_with(&config, &[(SECRET_VARIABLE, SECRET)]).await
}

/// A key as the config has it.
fn digest(key: &str) -> String {
    format!("sha256:{}", sluice::simulator::sha256_hex(key.as_bytes()))
}

fn weather() -> Value {
    json!({
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    })
}

/// A conversation, its stream, and a round trip with a tool.
async fn chats(base: &Base, language: Language) {
    let tool =
        json!([{"type": "function", "function": {"name": "weather", "parameters": weather()}}]);
    let asks = json!({"role": "user", "content": "sim:tool_calls=1"});
    let result = json!({"role": "tool", "tool_call_id": "$4.choices.0.message.tool_calls.0.id", "content": "sunny"});
    let with_tool = |messages: Value| {
        ApiCall::chat(SOL, "")
            .with("messages", messages)
            .with("tools", tool.clone())
            .with("reasoning_effort", "none")
    };
    let answers = base
        .job(language)
        .call(ApiCall::chat(SOL, "Hello"))
        .call(ApiCall::chat(SOL, "Hello").streamed())
        .call(
            ApiCall::chat(SOL, "Hello")
                .streamed()
                .with("stream_options", json!({"include_usage": true})),
        )
        .call(ApiCall::chat(SOL, "Hello").by("chat.completions.stream"))
        .call(with_tool(json!([asks])))
        .call(with_tool(json!([asks, "$4.choices.0.message", result])))
        .call(with_tool(json!([asks])).by("chat.completions.stream"))
        .call(ApiCall::chat(SOL, "one two three four five six").streamed().abandon_after(2))
        .run()
        .await;
    let [whole, streamed, with_usage, helped, calls, result, streamed_calls, left] =
        each_succeeded(answers);
    assert!(whole.text().contains("Hello"), "{whole:#?}");
    assert_eq!((whole.status, &whole.body["object"]), (Some(200), &json!("chat.completion")));
    let usage = &whole.body["usage"];
    assert!(usage["completion_tokens"].as_u64() > Some(0), "{usage}");
    assert!(whole.header("x-amzn-requestid").is_some());

    assert!(streamed.text().contains("Hello"), "{streamed:#?}");
    let is_usage = |event: &Value| event["usage"].is_object();
    assert!(!streamed.events.iter().any(is_usage), "nobody asked for it: {streamed:#?}");
    let last = with_usage.events.last().unwrap();
    assert!(is_usage(last) && last["choices"] == json!([]), "{last}");
    assert!(helped.text().contains("Hello"), "{helped:#?}");

    let called = &calls.body["choices"][0];
    assert_eq!(called["finish_reason"], "tool_calls");
    assert_eq!(called["message"]["tool_calls"][0]["function"]["name"], "weather");
    assert_eq!(result.body["choices"][0]["finish_reason"], "stop");
    let streamed_call = &streamed_calls.body["choices"][0]["message"]["tool_calls"][0];
    let arguments = streamed_call["function"]["arguments"].as_str().unwrap();
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    assert!(arguments["city"].is_string(), "{streamed_call}");
    assert_eq!(left.events.len(), 2);
}

/// Responses with state: continued, read, listed, cancelled in vain, deleted.
async fn responds(base: &Base, language: Language) {
    let tools = json!([{"type": "function", "name": "weather", "parameters": weather()}]);
    let result = json!([{
        "type": "function_call_output", "call_id": "$7.output.0.call_id", "output": "sunny",
    }]);
    let answers = base
        .job(language)
        .call(ApiCall::response(SOL, "Hello"))
        .call(ApiCall::response(SOL, "Again").with("previous_response_id", "$0.id"))
        .call(ApiCall::of("responses.retrieve", "$1.id"))
        .call(
            ApiCall::of("responses.input_items.list", "$1.id")
                .in_javascript("responses.inputItems.list", language),
        )
        .call(ApiCall::response(SOL, "Hello").streamed())
        .call(ApiCall::response(SOL, "Hello").by("responses.stream"))
        .call(ApiCall::response(SOL, "On").with("previous_response_id", "$5.id"))
        .call(
            ApiCall::response(SOL, "sim:tool_calls=1 sim:reasoning_tokens=0")
                .with("reasoning", json!({"effort": "none"}))
                .with("tools", tools.clone()),
        )
        .call(
            ApiCall::response(SOL, "")
                .with("input", result)
                .with("tools", tools)
                .with("previous_response_id", "$7.id"),
        )
        .call(ApiCall::of("responses.delete", "$0.id"))
        .run()
        .await;
    let [first, second, read, items, streamed, helped, after_stream, calls, called, _] =
        each_succeeded(answers);
    assert!(first.text().contains("Hello"), "{first:#?}");
    assert_eq!(second.body["previous_response_id"], first.body["id"]);
    assert_eq!((&read.body["id"], &read.body["status"]), (&second.body["id"], &json!("completed")));
    assert!(items.body["data"].as_array().is_some_and(|all| !all.is_empty()), "{items:#?}");
    assert_eq!(streamed.event_types().first(), Some(&"response.created"));
    assert_eq!(streamed.event_types().last(), Some(&"response.completed"));
    let ids: Vec<&Value> = streamed.events.iter().map(|it| &it["response"]["id"]).collect();
    let ids: Vec<&Value> = ids.into_iter().filter(|id| id.is_string()).collect();
    assert!(ids.len() > 2 && ids.iter().all(|id| *id == ids[0]), "one id: {ids:?}");
    assert!(helped.text().contains("Hello"), "{helped:#?}");
    assert_eq!(after_stream.body["previous_response_id"], helped.body["id"]);
    assert_eq!(calls.body["output"][0]["name"], "weather", "{calls:#?}");
    assert_eq!(called.body["status"], "completed");

    // What is gone, and what can't be cancelled any more.
    let [first, second] = [&first.body["id"], &second.body["id"]].map(|id| id.as_str().unwrap());
    let answers = base
        .job(language)
        .call(ApiCall::of("responses.retrieve", first))
        .call(ApiCall::response(SOL, "Again").with("previous_response_id", first))
        .call(ApiCall::of("responses.cancel", second))
        .call(ApiCall::of("responses.retrieve", "resp_00000000000000000000000000"))
        .run()
        .await;
    let classes: Vec<&str> = answers.iter().map(|it| it.raised().class.as_str()).collect();
    assert_eq!(classes[0], "NotFoundError", "{answers:#?}");
    assert!(matches!(classes[1], "NotFoundError" | "BadRequestError"), "{answers:#?}");
    assert!(matches!(classes[2], "BadRequestError" | "ConflictError"), "{answers:#?}");
    assert_eq!(classes[3], "NotFoundError", "{answers:#?}");
}

/// Models that fail, how, and the class of error that the SDKs have for that.
fn failures() -> [(&'static str, Fault, &'static str); 5] {
    [
        ("us.openai.gpt-5.6-luna", Fault::Throttle, "RateLimitError"),
        ("us.openai.gpt-5.6-terra", Fault::Internal, "InternalServerError"),
        ("us.openai.gpt-6-luna", Fault::ServiceUnavailable, "InternalServerError"),
        ("us.openai.gpt-6-sol", Fault::AccessDenied, "PermissionDeniedError"),
        ("us.openai.gpt-6-astra", Fault::Html502, "InternalServerError"),
    ]
}

/// Models whose streams fail in the middle, and how.
fn failures_within_streams() -> [(&'static str, Fault); 2] {
    let name = "internalServerException".to_owned();
    [
        ("us.openai.gpt-6.1-sol", Fault::ExceptionFrame { name, frame: 4 }),
        ("us.openai.gpt-6.1-terra", Fault::CloseAfterFrames { frames: 4 }),
    ]
}

fn fails(simulator: &Simulator) {
    let failures = failures().map(|(model, fault, _)| (model, fault)).into_iter();
    for (model, fault) in failures.chain(failures_within_streams()) {
        simulator.add(FaultRule::always(fault).on(model));
    }
}

/// The class of error that the SDK has for each case, and what it shows of it.
async fn raises(base: &Base, language: Language) {
    let nobody = json!([{"role": "nobody", "content": "x"}]);
    let mut job = base
        .job(language)
        .call(ApiCall::chat("us.openai.no-such-model", "Hello"))
        .call(ApiCall::chat(SOL, "Hello").with("messages", nobody))
        .call(ApiCall::chat(SOL, "Hello").with("max_tokens", 9))
        .call(ApiCall::response(SOL, "Hello").with("input", 5));
    for (model, ..) in failures() {
        job = job.call(ApiCall::chat(model, "Hello"));
        job = job.call(ApiCall::response(model, "Hello").streamed());
    }
    for (model, _) in failures_within_streams() {
        let prompt = "one two three four five six";
        job = job.call(ApiCall::chat(model, prompt).streamed());
        job = job.call(ApiCall::response(model, prompt).by("responses.stream"));
    }
    let mut answers = job.run().await.into_iter();
    let mut next = || answers.next().unwrap();
    let unknown = next();
    assert_eq!(unknown.raised().class, "NotFoundError", "{unknown:#?}");
    assert_eq!(unknown.raised().code, "model_not_found");
    for answer in [next(), next(), next()] {
        let error = answer.raised();
        let shown = (error.class.as_str(), error.status, error.r#type.as_deref());
        let wanted = ("BadRequestError", Some(400), Some("invalid_request_error"));
        assert_eq!(shown, wanted, "{error:#?}");
    }
    for (_, fault, class) in failures() {
        for answer in [next(), next()] {
            let error = answer.raised();
            let shown = (error.class.as_str(), error.in_stream);
            assert_eq!(shown, (class, false), "{fault:?} {error:#?}");
        }
    }
    for (_, fault) in failures_within_streams() {
        for answer in [next(), next()] {
            let error = answer.raised();
            assert!(error.in_stream && !answer.events.is_empty(), "{fault:?} {answer:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_serves_openais_sdks() {
    let simulator = Simulator::start().await;
    let base = Base::of_simulator(&simulator);
    fails(&simulator);
    for language in Language::ALL {
        chats(&base, language).await;
        responds(&base, language).await;
        raises(&base, language).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_serves_openais_sdks() {
    let simulator = Simulator::start().await;
    fails(&simulator);
    let gateway = gateway(&simulator).await;
    for (language, prefix) in [(Language::Python, "/openai/v1"), (Language::JavaScript, "/v1")] {
        let base = Base::of_gateway(&gateway, prefix);
        chats(&base, language).await;
        responds(&base, language).await;
        raises(&base, language).await;
    }
    for entry in simulator.log() {
        let shown = format!("{:?}", entry.headers);
        assert!(!shown.contains(KEY), "no key of a client goes upstream: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_clients_of_bedrock_sign_or_bear_a_key() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    let base = Base::of_gateway(&gateway, "/openai/v1");
    let job = |language| ApiJob::new(language, Sdk::BedrockOpenAi, base.url.clone());
    for job in [
        job(Language::Python).signed_by(ACCESS_KEY_ID, SECRET),
        job(Language::Python).key(KEY),
        job(Language::JavaScript).key(KEY),
    ] {
        let job = job
            .call(ApiCall::chat(SOL, "Hello"))
            .call(ApiCall::response(SOL, "Hello").streamed())
            .call(ApiCall::response(SOL, "Hello").by("responses.stream"));
        let [chat, streamed, helped] = each_succeeded(job.run().await);
        assert!(chat.text().contains("Hello"), "{chat:#?}");
        assert!(streamed.text().contains("Hello"), "{streamed:#?}");
        assert!(helped.text().contains("Hello"), "{helped:#?}");
    }
    let wrong = job(Language::Python).signed_by(ACCESS_KEY_ID, "a-wrong-secret-access-key");
    let wrong = wrong.call(ApiCall::chat(SOL, "Hello")).only().await;
    assert_eq!(wrong.raised().class, "AuthenticationError", "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_sdks_see_models_limits_and_whose_a_response_is() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    let base = Base::of_gateway(&gateway, "/v1");
    for language in Language::ALL {
        let job = base
            .job(language)
            .header("x-client-request-id", "one-of-the-clients-own")
            .call(ApiCall::new("models.list", json!({})))
            .call(ApiCall::of("models.retrieve", SOL))
            .call(ApiCall::chat(SOL, "Hello"))
            .call(ApiCall::response(SOL, "Hello"));
        let [models, model, chat, made] = each_succeeded(job.run().await);
        let models = models.body["data"].as_array().unwrap();
        assert!(models.iter().any(|model| model["id"] == SOL), "{models:?}");
        assert_eq!((&model.body["id"], &model.body["owned_by"]), (&json!(SOL), &json!("openai")));
        assert_eq!(model.body["context_window"], 922_000);
        assert_eq!(chat.header("x-ratelimit-limit-tokens"), Some("1000000"), "{chat:#?}");
        let left = chat.header("x-ratelimit-remaining-tokens").unwrap();
        assert!(left.parse::<u64>().unwrap() < 1_000_000, "{left}");
        assert!(chat.header("x-ratelimit-reset-tokens").unwrap().ends_with('s'));

        let made = made.body["id"].as_str().unwrap();
        let others = Base { key: OTHER_KEY, ..Base::of_gateway(&gateway, "/v1") };
        let job = others
            .job(language)
            .call(ApiCall::of("models.retrieve", "no-such-model"))
            .call(ApiCall::of("responses.retrieve", made))
            .call(ApiCall::of("responses.delete", made))
            .call(ApiCall::of("responses.cancel", made));
        for answer in job.run().await {
            let error = answer.raised();
            assert_eq!((error.class.as_str(), error.status), ("NotFoundError", Some(404)));
            assert!(error.request_id.is_some() && !error.message.is_empty(), "{error:#?}");
        }
        let kept = base.job(language).call(ApiCall::of("responses.retrieve", made)).only().await;
        assert_eq!(kept.succeeded().body["id"], made);
        let stranger =
            Base { key: "a-key-of-no-client-at-all", ..Base::of_gateway(&gateway, "/v1") };
        let refused = stranger.job(language).call(ApiCall::chat(SOL, "Hello")).only().await;
        assert_eq!(refused.raised().class, "AuthenticationError", "{refused:#?}");
        assert_eq!(refused.raised().code, "invalid_api_key");
    }
}
