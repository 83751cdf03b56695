//! What answers cost, against a table of bills: every surface, and every meaning of "input".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluice::bedrock::event_stream::event;

use crate::support::endpoint::{Endpoint, Scripted};
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, Simulator};

const CLAUDE: &str = "us.anthropic.claude-opus-4-6-v1";
const GPT: &str = "openai.gpt-oss-120b-1:0";

/// One answer and what it costs.
struct Bill {
    name: &'static str,
    model: &'static str,
    operation: &'static str,
    answer: Scripted,
    usd: f64,
}

fn whole(body: &Value) -> Scripted {
    Scripted::ok(body.to_string()).header("content-type", "application/json")
}

fn stream(frames: &[Vec<u8>]) -> Scripted {
    Scripted::ok(frames.concat()).header("content-type", "application/vnd.amazon.eventstream")
}

fn chunk(of_model: &Value) -> Vec<u8> {
    let payload = json!({ "bytes": STANDARD.encode(of_model.to_string()), "p": "abc" });
    event("chunk", payload.to_string()).to_vec()
}

fn named(name: &str, payload: &Value) -> Vec<u8> {
    event(name, payload.to_string()).to_vec()
}

/// A million tokens each, so that a bill is a sum of prices: 5.50 for input of Claude here, 27.50 for
/// output, 0.55 for a read, 6.875 for a write and 11 for one of an hour; 1, 10, 0.1 and none for GPT.
fn bills() -> Vec<Bill> {
    const M: u64 = 1_000_000;
    let bill = |name, model, operation, answer, usd| Bill { name, model, operation, answer, usd };
    let claude = |write_5m: u64, write_1h: u64| {
        json!({
            "input_tokens": M, "output_tokens": 0, "cache_read_input_tokens": M,
            "cache_creation_input_tokens": write_5m + write_1h,
            "cache_creation": {
                "ephemeral_5m_input_tokens": write_5m, "ephemeral_1h_input_tokens": write_1h,
            },
        })
    };
    let claudes = |usage: &Value| json!({ "type": "message", "content": [], "usage": usage });
    let converse = |details: Value| {
        json!({
            "inputTokens": 0, "outputTokens": M, "totalTokens": 2 * M, "cacheReadInputTokens": 0,
            "cacheWriteInputTokens": M, "cacheDetails": details,
        })
    };
    let hour = || converse(json!([{ "ttl": "1h", "inputTokens": M }]));
    let answered = |usage: &Value| {
        json!({
            "output": { "message": { "role": "assistant", "content": [{ "text": "x" }] } },
            "stopReason": "end_turn", "usage": usage,
        })
    };
    let metrics = json!({
        "inputTokenCount": M, "outputTokenCount": M, "cacheReadInputTokenCount": M,
        "cacheWriteInputTokenCount": M,
    });
    let gpt = json!({
        "prompt_tokens": M, "completion_tokens": 0,
        "prompt_tokens_details": { "cached_tokens": 900_000 },
    });
    let gpts = json!({ "choices": [{ "message": { "content": "x" } }], "usage": gpt });
    let headers = |answer: Scripted, cached: bool| {
        let answer = answer
            .header("x-amzn-bedrock-input-token-count", M.to_string())
            .header("x-amzn-bedrock-output-token-count", "0");
        let count = if cached { M } else { return answer };
        answer
            .header("x-amzn-bedrock-cache-read-input-token-count", count.to_string())
            .header("x-amzn-bedrock-cache-write-input-token-count", count.to_string())
    };
    let start = |usage: &Value| {
        chunk(
            &json!({ "type": "message_start", "message": { "role": "assistant", "usage": usage } }),
        )
    };
    let stop = |metrics: &Value| {
        chunk(&json!({ "type": "message_stop", "amazon-bedrock-invocationMetrics": metrics }))
    };
    let long = "x".repeat(300_000);
    let delta = |text: &str| {
        chunk(
            &json!({ "type": "content_block_delta", "delta": { "type": "text_delta", "text": text } }),
        )
    };
    let invoke_stream = "invoke-with-response-stream";
    vec![
        bill("five minutes", CLAUDE, "invoke", whole(&claudes(&claude(M, 0))), 12.925),
        bill("an hour", CLAUDE, "invoke", whole(&claudes(&claude(0, M))), 17.05),
        bill("half of each", CLAUDE, "invoke", whole(&claudes(&claude(M / 2, M / 2))), 14.9875),
        bill(
            "beside headers",
            CLAUDE,
            "invoke",
            headers(whole(&claudes(&claude(0, M))), true),
            17.05,
        ),
        bill("headers alone", CLAUDE, "invoke", headers(whole(&json!({})), true), 12.925),
        bill(
            "behind a long text",
            CLAUDE,
            "invoke",
            whole(&json!({ "content": [{ "text": long }], "usage": claude(0, M) })),
            17.05,
        ),
        bill("converse", CLAUDE, "converse", whole(&answered(&hour())), 38.5),
        bill(
            "converse, two lives",
            CLAUDE,
            "converse",
            whole(&answered(&converse(json!([
                { "inputTokens": M / 2, "ttl": "5m" }, { "inputTokens": M / 2, "ttl": "1h" },
            ])))),
            36.4375,
        ),
        bill(
            "converse, untold",
            CLAUDE,
            "converse",
            whole(&answered(&converse(Value::Null))),
            34.375,
        ),
        bill(
            "converse-stream",
            CLAUDE,
            "converse-stream",
            stream(&[
                named("messageStart", &json!({ "role": "assistant" })),
                named("messageStop", &json!({ "stopReason": "end_turn" })),
                named("metadata", &json!({ "usage": hour(), "metrics": { "latencyMs": 1 } })),
            ]),
            38.5,
        ),
        bill(
            "claude's stream",
            CLAUDE,
            invoke_stream,
            stream(&[start(&claude(0, M)), delta("x"), stop(&metrics)]),
            44.55,
        ),
        bill(
            "claude's stream, five minutes",
            CLAUDE,
            invoke_stream,
            stream(&[start(&claude(M, 0)), delta("x"), stop(&metrics)]),
            40.425,
        ),
        bill("openai's", GPT, "invoke", whole(&gpts), 0.19),
        bill("openai's, beside headers", GPT, "invoke", headers(whole(&gpts), false), 0.19),
        bill(
            "openai's stream",
            GPT,
            invoke_stream,
            stream(&[
                chunk(&json!({ "choices": [{ "delta": { "content": "x" } }] })),
                chunk(&json!({ "choices": [], "usage": gpt })),
                chunk(&json!({
                    "choices": [],
                    "amazon-bedrock-invocationMetrics":
                        { "inputTokenCount": M, "outputTokenCount": 0 },
                })),
            ]),
            0.19,
        ),
        bill(
            "openai's stream in one",
            GPT,
            invoke_stream,
            stream(&[chunk(&json!({
                "choices": [], "usage": gpt,
                "amazon-bedrock-invocationMetrics": { "inputTokenCount": M, "outputTokenCount": 0 },
            }))]),
            0.19,
        ),
        bill(
            "responses",
            GPT,
            "invoke",
            whole(&json!({ "usage": {
                "input_tokens": M, "output_tokens": M,
                "input_tokens_details": { "cached_tokens": M },
                "output_tokens_details": { "reasoning_tokens": 7 },
            } })),
            10.1,
        ),
        bill(
            "thinking beside the output",
            GPT,
            "invoke",
            whole(&json!({ "usage": {
                "prompt_tokens": M, "completion_tokens": M, "total_tokens": 3 * M,
                "completion_tokens_details": { "reasoning_tokens": M },
            } })),
            21.0,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_costs_the_price_of_its_tokens() {
    let upstream = Endpoint::start(|request| {
        let name = request.split("bill-number-").nth(1).unwrap();
        let number: String = name.chars().take_while(char::is_ascii_digit).collect();
        bills().swap_remove(number.parse::<usize>().unwrap()).answer
    })
    .await;
    let simulator = Simulator::start().await;
    let mut config = Config::without_routes(&simulator)
        .set("upstream.endpoint_url", upstream.url())
        .set("usage_log.enabled", true);
    let prices: toml::Table = format!(
        "[\"{GPT}\"]\ninput = 1\noutput = 10\ncache_read = 0.1\n\
         [\"{CLAUDE}\"]\ninput = 5.5\noutput = 27.5\ncache_read = 0.55\ncache_write = 6.875\n"
    )
    .parse()
    .unwrap();
    for (model, price) in prices {
        config = config.set_within("prices", &model, price);
    }
    let gateway = Gateway::start(&config).await;
    for (number, bill) in bills().into_iter().enumerate() {
        let body = match bill.operation {
            "converse" | "converse-stream" => json!({
                "messages": [{ "role": "user", "content": [{ "text": format!("bill-number-{number} ") }] }],
            }),
            _ => json!({
                "anthropic_version": "bedrock-2023-05-31", "max_tokens": 16,
                "messages": [{ "role": "user", "content": format!("bill-number-{number} ") }],
            }),
        };
        let ask = Ask::new(&gateway, "").of(bill.model).operation(bill.operation, body.to_string());
        assert_eq!(ask.send().await.status, 200, "{}", bill.name);
        let written = async || gateway.usage_records().lines().count();
        eventually("its record", written, |lines| *lines == number + 1).await;
        let records = gateway.usage_records();
        let record: Value = serde_json::from_str(records.lines().last().unwrap()).unwrap();
        let cost = record["cost_usd"].as_f64().unwrap();
        assert!(
            (cost - bill.usd).abs() < 1e-6,
            "{}: {cost}, not {}: {record}",
            bill.name,
            bill.usd
        );
    }
    assert_eq!(upstream.seen().len(), bills().len());
}

/// The list prices: twice the input for an hour, without a word in the config.
#[tokio::test(flavor = "multi_thread")]
async fn list_prices_know_writes_for_an_hour() {
    let upstream = Endpoint::start(|_| {
        whole(&json!({ "usage": {
            "input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 1_000_000,
            "cache_creation": { "ephemeral_1h_input_tokens": 1_000_000 },
        } }))
    })
    .await;
    let simulator = Simulator::start().await;
    let config = Config::without_routes(&simulator)
        .set("upstream.endpoint_url", upstream.url())
        .set("usage_log.enabled", true);
    let gateway = Gateway::start(&config).await;
    assert_eq!(Ask::new(&gateway, "hello").of(CLAUDE).send().await.status, 200);
    let records = async || gateway.usage_records();
    let records = eventually("its record", records, |text| text.ends_with('\n')).await;
    let record: Value = serde_json::from_str(records.trim()).unwrap();
    assert_eq!(record["cost_usd"], 11.0, "{record}");
    assert_eq!(record["cache_write_1h_tokens"], 1_000_000);
}
