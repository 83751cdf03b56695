//! Calls of Bedrock's control plane, which some clients send to the same URL as those of the runtime;
//! and what the access log has of requests that are no call.

use serde_json::{Value, json};

use crate::support::clients::Job;
use crate::support::raw::Connection;
use crate::support::{Answer, Call, Client, Config, Gateway, Simulator, http};

const ID: &str = "SLUICEKEYOFTEAMA";
const SECRET: &str = "test/secret+of/team-a+0123456789abcdefgh";
const VARIABLES: [(&str, &str); 3] = [
    ("TEAM_A_SECRET", SECRET),
    ("FULL_KEY", "the-key-of-a-client-that-may-do-all"),
    ("RUNTIME_KEY", "the-key-of-a-client-of-the-runtime"),
];
const PROFILE: &str = "us.amazon.nova-lite-v1:0";
const APPLICATION: &str =
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";

fn calls() -> Vec<Call> {
    vec![
        Call::control_plane("ListInferenceProfiles", &json!({ "maxResults": 5 })),
        Call::control_plane(
            "GetInferenceProfile",
            &json!({ "inferenceProfileIdentifier": PROFILE }),
        ),
        Call::control_plane(
            "GetInferenceProfile",
            &json!({ "inferenceProfileIdentifier": APPLICATION }),
        ),
        Call::control_plane("ListFoundationModels", &json!({ "byProvider": "Amazon" })),
        Call::control_plane(
            "GetFoundationModel",
            &json!({ "modelIdentifier": "amazon.nova-lite-v1:0" }),
        ),
    ]
}

/// What boto3's client of `bedrock` gets of the gateway's own URL.
async fn asked(gateway: &Gateway, calls: Vec<Call>) -> Vec<Answer> {
    Client::Boto3.run(Job::new(&gateway.url(), calls).signed_by(ID, SECRET)).await
}

/// A gateway that relays the control plane, from another place than the runtime.
fn relaying(runtime: &Simulator, control_plane: &Simulator) -> Config {
    Config::models(runtime, 1)
        .set("upstream.control_plane", true)
        .set("upstream.control_plane_endpoint_url", control_plane.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_lists_and_describes_profiles_and_models() {
    let (runtime, control_plane) = (Simulator::start().await, Simulator::start().await);
    let config = relaying(&runtime, &control_plane).client_that_signs("a", ID, "TEAM_A_SECRET");
    let gateway = Gateway::start_with(&config, &VARIABLES).await;
    let answers = asked(&gateway, calls()).await;
    let bodies: Vec<Value> = answers
        .iter()
        .map(|answer| {
            assert!(answer.error.is_none(), "{answer:?}");
            serde_json::from_str(answer.body.as_deref().unwrap()).unwrap()
        })
        .collect();
    assert_eq!(bodies[0]["inferenceProfileSummaries"].as_array().unwrap().len(), 5);
    assert_eq!(bodies[0]["nextToken"], "5");
    assert_eq!(bodies[1]["inferenceProfileId"], PROFILE);
    assert_eq!(bodies[2]["inferenceProfileArn"], APPLICATION);
    let models = bodies[3]["modelSummaries"].as_array().unwrap();
    assert!(!models.is_empty() && models.iter().all(|model| model["providerName"] == "amazon"));
    assert_eq!(bodies[4]["modelDetails"]["modelId"], "amazon.nova-lite-v1:0");
    // Each was signed anew, and none went to the runtime.
    let log = control_plane.log();
    assert_eq!(log.len(), answers.len());
    for entry in &log {
        assert_eq!(entry.signature, Some("valid"), "{entry:?}");
        assert!(!entry.headers["authorization"][0].contains(ID), "{entry:?}");
    }
    assert_eq!(runtime.log().len(), 0);
    // An ARN is asked of where it is.
    for (arn, region) in [
        ("arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc", "eu-west-1"),
        ("arn:aws:bedrock:evil.example:123456789012:application-inference-profile/a", "us-east-1"),
    ] {
        let named = json!({ "inferenceProfileIdentifier": arn });
        let call = Call::control_plane("GetInferenceProfile", &named);
        let answer = asked(&gateway, vec![call]).await.remove(0);
        assert!(answer.error.is_none(), "{answer:?}");
        let entry = control_plane.log().pop().unwrap();
        assert!(
            entry.headers["authorization"][0].contains(&format!("/{region}/bedrock/")),
            "{arn}"
        );
    }
    let unknown = json!({ "inferenceProfileIdentifier": "us.nobody.model-v1:0" });
    let unknown = Call::control_plane("GetInferenceProfile", &unknown);
    let answer = asked(&gateway, vec![unknown]).await.remove(0);
    assert!(answer.raised().is("ResourceNotFoundException"), "{answer:?}");
    for line in gateway.access_log(8).await {
        assert_eq!(line["client"], "a");
        assert!(line["operation"].as_str().unwrap().ends_with(['s', 'e', 'l']), "{line}");
        assert!(line.get("path").is_none(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_relay_control_plane_calls_explains_the_setting() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let mut calls = calls();
    calls.push(Call::control_plane("ListGuardrails", &json!({})));
    for (call, answer) in calls.iter().zip(asked(&gateway, calls.clone()).await) {
        let raised = answer.raised();
        assert!(raised.is("UnknownOperationException"), "{answer:?}");
        assert_eq!(answer.status, Some(404));
        for wanted in ["control plane", "AWS_ENDPOINT_URL_BEDROCK=https://bedrock."] {
            assert!(raised.message.contains(wanted), "{}", raised.message);
        }
        // Of what no setting would relay it does not name one.
        let may_be_relayed = call.operation != "ListGuardrails";
        assert_eq!(raised.message.contains("control_plane = true"), may_be_relayed, "{call:?}");
    }
    assert_eq!(simulator.log().len(), 0);
    for line in gateway.access_log(6).await {
        assert_eq!((&line["method"], &line["status"]), (&json!("GET"), &json!(404)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_that_have_a_name_and_may_get_an_answer() {
    let simulator = Simulator::start().await;
    let open = Gateway::start(&relaying(&simulator, &simulator)).await;
    let denied = http::get(&format!("{}/inference-profiles", open.url())).await;
    assert_eq!(denied.status, 403, "{}", denied.text());
    assert_eq!(denied.header("x-amzn-errortype"), Some("AccessDeniedException"));
    assert!(open.output().contains("upstream.control_plane is on"), "{}", open.output());

    let config = relaying(&simulator, &simulator)
        .client("full", "env:FULL_KEY")
        .of_client("allowed_models", vec!["amazon.*"])
        .client("runtime", "env:RUNTIME_KEY")
        .of_client("allowed_operations", vec!["InvokeModel", "GetFoundationModel"]);
    let gateway = Gateway::start_with(&config, &VARIABLES).await;
    let get = async |key: &str, path: &str| {
        let url = format!("{}{path}", gateway.url());
        let bearer = format!("Bearer {key}");
        http::request("GET", &url, &[("authorization", &bearer)], "").await.status
    };
    let before = simulator.log().len();
    for (path, full, runtime) in [
        ("/inference-profiles", 200, 403),
        ("/foundation-models", 200, 403),
        ("/foundation-models/amazon.nova-lite-v1%3A0", 200, 200),
        ("/foundation-models/anthropic.claude-3-haiku-20240307-v1:0", 403, 200),
        ("/inference-profiles/us.amazon.nova-lite-v1:0", 403, 403),
        // What no setting has relayed.
        ("/guardrails", 404, 404),
        ("/custom-models", 404, 404),
    ] {
        assert_eq!(get(VARIABLES[1].1, path).await, full, "{path}");
        assert_eq!(get(VARIABLES[2].1, path).await, runtime, "{path}");
        assert_eq!(get("a-key-that-nobody-has-0123456789", path).await, 403, "{path}");
    }
    let url = format!("{}/inference-profiles", gateway.url());
    let bearer = format!("Bearer {}", VARIABLES[1].1);
    for method in ["POST", "DELETE", "PATCH"] {
        let answer = http::request(method, &url, &[("authorization", &bearer)], "{}").await;
        assert_eq!(answer.status, 404, "{method}");
    }
    assert_eq!(simulator.log().len() - before, 5, "nothing else reached the control plane");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_the_method_and_path_of_an_unknown_call() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 1)).await;
    let long = format!("/{}", "a".repeat(3_000));
    let cut = "a".repeat(199);
    let said = [
        ("GET", "/v2/models?key=a-secret", "GET", "/v2/models", 404),
        ("DELETE", "/model/m/invoke?X-Amz-Signature=a-secret", "DELETE", "/model/m/invoke", 405),
        ("GET", "/v2/models%3Fkey=a-secret", "GET", "/v2/models", 404),
        ("GET", "/v2;key=a-secret/models", "GET", "/v2", 404),
        ("AVERYLONGMETHODTHATNOBODYKNOWS", "/x", "AVERYLONGMETHODTHATN", "/x", 404),
        ("GET", "/a%0Ab%00%1b[31m\u{202e}", "GET", "/a%0Ab%00%1b[31m%E2%80%AE", 404),
        ("GET", "/\"},{\"a\":\"b", "GET", "/%22},{%22a%22:%22b", 404),
        ("GET", &long, "GET", &format!("/{cut}"), 404),
    ];
    for (method, target, _, _, status) in said {
        let mut connection = Connection::open(gateway.address()).await;
        let request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n");
        connection.send(request.as_bytes()).await;
        let answer = connection.response().await.unwrap();
        assert_eq!(answer.status, status, "{target}: {answer:?}");
    }
    let lines = gateway.access_log(said.len()).await;
    for (line, (_, target, method, path, status)) in lines.iter().zip(said) {
        assert_eq!(line["method"], method, "{line}");
        assert_eq!(line["path"], path, "{target}: {line}");
        assert_eq!(line["status"], status, "{line}");
    }
    assert!(!gateway.output().contains("a-secret"));
}
