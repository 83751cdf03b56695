//! Anthropic's SDKs as they come, in Python and JavaScript: against the simulator, and through the gateway.

use serde_json::{Value, json};
use sluice::simulator::{
    DEFAULT_ACCESS_KEY_ID, DEFAULT_BEARER_TOKEN, DEFAULT_SECRET_ACCESS_KEY, Fault, FaultRule,
};

use crate::support::api_clients::each_succeeded;
use crate::support::{ApiCall, ApiJob, Config, Gateway, Language, Sdk, Simulator};

/// A model that has Messages at Bedrock Runtime.
const SONNET: &str = "us.anthropic.claude-sonnet-5-5";

/// The same at mantle, which alone counts its tokens.
const AT_MANTLE: &str = "anthropic.claude-sonnet-5-5";

/// A key of the config's client.
const KEY: &str = "a-bearer-key-of-the-tests";

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
        Base { url: format!("{}/anthropic", simulator.url()), key: DEFAULT_BEARER_TOKEN }
    }

    fn of_gateway(gateway: &Gateway, prefix: &str) -> Base {
        Base { url: format!("{}{prefix}", gateway.url()), key: KEY }
    }

    fn job(&self, language: Language) -> ApiJob {
        ApiJob::new(language, Sdk::Anthropic, self.url.clone()).key(self.key)
    }
}

/// A gateway with a route for each model of the tests, which answers at once that a model is out.
async fn gateway(simulator: &Simulator) -> Gateway {
    let mut config = Config::without_routes(simulator)
        .set("queue.max_wait", "200ms")
        .set("limits.tokens_per_minute", 1_000_000)
        .set("fallback.unrouted", "reject")
        .set("targets.mantle.model", AT_MANTLE)
        .set("targets.mantle.endpoint", "mantle")
        .set("targets.mantle.endpoint_url", simulator.url())
        .route(AT_MANTLE, &["mantle"])
        .client("app", &digest(KEY))
        .client_that_signs("signer", ACCESS_KEY_ID, SECRET_VARIABLE);
    let failing = failures().map(|(model, ..)| model).into_iter();
    let failing = failing.chain(failures_within_streams().map(|(model, _)| model));
    for (number, model) in [SONNET].into_iter().chain(failing).enumerate() {
        let target = format!("t{number}");
        config = config.set(&format!("targets.{target}.model"), model).route(model, &[&target]);
    }
    Gateway::start_with(&config, &[(SECRET_VARIABLE, SECRET)]).await
}

/// A key as the config has it.
fn digest(key: &str) -> String {
    format!("sha256:{}", sluice::simulator::sha256_hex(key.as_bytes()))
}

/// Messages and their streams.
async fn speaks(job: &ApiJob, model: &str) {
    let job = job
        .clone()
        .call(ApiCall::message(model, "Hello"))
        .call(ApiCall::message(model, "Hello").streamed())
        .call(ApiCall::message(model, "Hello").by("messages.stream"))
        .call(ApiCall::message(model, "one two three four").streamed().abandon_after(3));
    let [whole, streamed, helped, left] = each_succeeded(job.run().await);
    assert!(whole.text().contains("Hello"), "{whole:#?}");
    assert!(whole.body["usage"]["output_tokens"].as_u64() > Some(0));
    assert!(whole.header("x-amzn-requestid").is_some());
    assert!(streamed.text().contains("Hello"), "{streamed:#?}");
    assert_eq!(streamed.event_types().first(), Some(&"message_start"));
    assert_eq!(streamed.event_types().last(), Some(&"message_stop"));
    assert!(helped.text().contains("Hello"), "{helped:#?}");
    assert_eq!(left.events.len(), 3);
}

/// A round trip with a tool.
async fn calls_tools(job: &ApiJob, model: &str) {
    let schema = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    });
    let tools = json!([{"name": "weather", "input_schema": schema}]);
    let asks = json!({"role": "user", "content": "sim:tool_calls=1"});
    let called = json!({"role": "assistant", "content": "$0.content"});
    let result = json!([{
        "type": "tool_result", "tool_use_id": "$0.content.-1.id", "content": "sunny",
    }]);
    let result = json!({"role": "user", "content": result});
    let with_tool = |messages: Value| {
        ApiCall::message(model, "").with("messages", messages).with("tools", tools.clone())
    };
    let job = job
        .clone()
        .call(with_tool(json!([asks])))
        .call(with_tool(json!([asks, called, result])))
        .call(with_tool(json!([asks])).by("messages.stream"));
    let [calls, result, streamed_calls] = each_succeeded(job.run().await);
    for answer in [calls, streamed_calls] {
        assert_eq!(answer.body["stop_reason"], "tool_use");
        let content = answer.body["content"].as_array().unwrap();
        let call = content.iter().find(|it| it["type"] == "tool_use").unwrap();
        assert_eq!(call["name"], "weather");
        assert!(call["input"]["city"].is_string(), "{call}");
    }
    assert_eq!(result.body["stop_reason"], "end_turn");
}

/// A count of tokens.
async fn counts(job: &ApiJob, model: &str) {
    let parameters = json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
    let count = ApiCall::new("messages.count_tokens", parameters)
        .in_javascript("messages.countTokens", job.language());
    let counted = job.clone().call(count).only().await;
    assert!(counted.succeeded().body["input_tokens"].as_u64() > Some(0), "{counted:#?}");
}

/// Models that fail, how, and the class of error that the SDKs have for that.
fn failures() -> [(&'static str, Fault, &'static str); 5] {
    [
        ("us.anthropic.claude-opus-5-5", Fault::Throttle, "RateLimitError"),
        ("us.anthropic.claude-opus-5", Fault::Internal, "InternalServerError"),
        ("us.anthropic.claude-opus-4-8", Fault::ServiceUnavailable, "OverloadedError"),
        ("us.anthropic.claude-opus-4-7", Fault::AccessDenied, "PermissionDeniedError"),
        ("us.anthropic.claude-haiku-5-5", Fault::Html502, "InternalServerError"),
    ]
}

/// Models whose streams fail in the middle, and how.
fn failures_within_streams() -> [(&'static str, Fault); 2] {
    let name = "internalServerException".to_owned();
    [
        ("us.anthropic.claude-sonnet-5", Fault::ExceptionFrame { name, frame: 5 }),
        ("us.anthropic.claude-sonnet-4-6", Fault::CloseAfterFrames { frames: 5 }),
    ]
}

fn fails(simulator: &Simulator) {
    let failures = failures().map(|(model, fault, _)| (model, fault)).into_iter();
    for (model, fault) in failures.chain(failures_within_streams()) {
        simulator.add(FaultRule::always(fault).on(model));
    }
}

/// The class of error that the SDK has for each case. The gateway may say of a target that fails that it is
/// overloaded, for it tries no target that is out.
async fn raises(base: &Base, language: Language, is_gateway: bool) {
    let nobody = json!([{"role": "nobody", "content": "x"}]);
    let mut job = base
        .job(language)
        .call(ApiCall::message("us.anthropic.no-such-model", "Hello"))
        .call(ApiCall::message(SONNET, "Hello").with("messages", nobody))
        .call(ApiCall::message(SONNET, "Hello").with("max_tokens", 0));
    for (model, ..) in failures() {
        job = job.call(ApiCall::message(model, "Hello"));
        job = job.call(ApiCall::message(model, "Hello").streamed());
    }
    for (model, _) in failures_within_streams() {
        let call = ApiCall::message(model, "one two three four five six");
        job = job.call(call.clone().streamed()).call(call.by("messages.stream"));
    }
    let mut answers = job.run().await.into_iter();
    let mut next = || answers.next().unwrap();
    let unknown = next();
    assert_eq!(unknown.raised().class, "NotFoundError", "{unknown:#?}");
    for answer in [next(), next()] {
        let error = answer.raised();
        let shown = (error.class.as_str(), error.status);
        assert_eq!(shown, ("BadRequestError", Some(400)), "{error:#?}");
        let wanted = json!("invalid_request_error");
        assert_eq!(error.body.pointer("/error/type"), Some(&wanted));
    }
    for (_, fault, class) in failures() {
        for answer in [next(), next()] {
            let error = answer.raised();
            let is_out = is_gateway && class == "InternalServerError";
            let is_right = error.class == class || is_out && error.class == "OverloadedError";
            assert!(is_right && !error.in_stream, "{fault:?} {error:#?}");
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
async fn the_simulator_serves_anthropics_sdks() {
    let simulator = Simulator::start().await;
    let base = Base::of_simulator(&simulator);
    fails(&simulator);
    for language in Language::ALL {
        let job = base.job(language);
        let signed = |sdk, url: &str| {
            let job = ApiJob::new(language, sdk, url);
            job.signed_by(DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY)
        };
        let at_mantle = signed(Sdk::AnthropicBedrockMantle, &base.url);
        for job in [&job, &at_mantle] {
            speaks(job, SONNET).await;
            calls_tools(job, SONNET).await;
            counts(job, AT_MANTLE).await;
        }
        calls_tools(&job, AT_MANTLE).await;
        speaks(&signed(Sdk::AnthropicBedrock, simulator.url()), SONNET).await;
        raises(&base, language, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_serves_anthropics_sdks() {
    let simulator = Simulator::start().await;
    fails(&simulator);
    let gateway = gateway(&simulator).await;
    for (language, prefix) in [(Language::Python, ""), (Language::JavaScript, "/anthropic")] {
        let base = Base::of_gateway(&gateway, prefix);
        let job = base.job(language);
        speaks(&job, SONNET).await;
        calls_tools(&job, SONNET).await;
        counts(&job, AT_MANTLE).await;
        speaks(&job, AT_MANTLE).await;
        raises(&base, language, true).await;
    }
    for entry in simulator.log() {
        let shown = format!("{:?}", entry.headers);
        assert!(!shown.contains(KEY), "no key of a client goes upstream: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropics_clients_of_bedrock_sign_or_bear_a_key() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    for language in Language::ALL {
        let mantle = Base::of_gateway(&gateway, "/anthropic").url;
        let at_mantle = || ApiJob::new(language, Sdk::AnthropicBedrockMantle, mantle.clone());
        let signed = at_mantle().signed_by(ACCESS_KEY_ID, SECRET);
        speaks(&signed, SONNET).await;
        counts(&signed, AT_MANTLE).await;
        speaks(&at_mantle().key(KEY), SONNET).await;
        let native = ApiJob::new(language, Sdk::AnthropicBedrock, gateway.url());
        speaks(&native.signed_by(ACCESS_KEY_ID, SECRET), SONNET).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropics_sdks_see_models_limits_and_request_ids() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    let base = Base::of_gateway(&gateway, "");
    for language in Language::ALL {
        let job = base
            .job(language)
            .call(ApiCall::new("models.list", json!({"limit": 2})))
            .call(ApiCall::of("models.retrieve", SONNET))
            .call(ApiCall::message(SONNET, "Hello"));
        let [models, model, message] = each_succeeded(job.run().await);
        assert_eq!(models.body["data"].as_array().unwrap().len(), 2, "{models:#?}");
        assert_eq!(models.body["has_more"], true);
        assert_eq!((&model.body["id"], &model.body["type"]), (&json!(SONNET), &json!("model")));
        let limit = message.header("anthropic-ratelimit-tokens-limit");
        assert_eq!(limit, Some("1000000"), "{message:#?}");
        let reset = message.header("anthropic-ratelimit-tokens-reset").unwrap();
        assert!(reset.ends_with('Z'), "{reset}");

        let stranger = Base { key: "a-key-of-no-client-at-all", ..Base::of_gateway(&gateway, "") };
        let refused = stranger.job(language).call(ApiCall::message(SONNET, "Hello")).only().await;
        let error = refused.raised();
        assert_eq!(error.class, "AuthenticationError", "{error:#?}");
        assert_eq!(error.r#type.as_deref(), Some("authentication_error"));
        assert!(error.request_id.is_some() && error.param.is_none(), "{error:#?}");
        assert!(error.message.contains("key"), "{error:#?}");
    }
}
