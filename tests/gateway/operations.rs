//! Every operation through every client, and every way to write a model id.

use crate::support::clients::Job;
use crate::support::{Call, Client, Config, Gateway, PRIMARY, Simulator, bodies, http};

#[tokio::test(flavor = "multi_thread")]
async fn every_routed_operation_works_through_every_sdk() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    for client in Client::SDKS {
        let calls = Call::routed(PRIMARY, "hello").to_vec();
        let answers = client.run(Job::at_once(&gateway.url(), calls)).await;
        for answer in &answers[..4] {
            assert_eq!(answer.text(), format!("[{PRIMARY}] hello"), "{client:?}");
        }
        assert!(answers[4].json()["inputTokens"].as_u64().unwrap() > 0, "{client:?}");
        for answer in &answers {
            assert_eq!(answer.status, Some(200), "{client:?}");
            assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY), "{client:?}");
            assert_eq!(answer.header("x-sluice-attempts"), Some("1"), "{client:?}");
            assert_eq!(answer.header("x-sluice-region"), Some("us-east-1"), "{client:?}");
            assert!(answer.header("x-sluice-request-id").is_some(), "{client:?}");
            assert!(answer.header("x-amzn-requestid").is_some(), "{client:?}");
        }
    }
    // Each was signed with the gateway's key, whatever key the client has.
    for entry in simulator.log() {
        assert_eq!(entry.signature, Some("valid"), "{entry:?}");
        assert_eq!(entry.access_key_id.as_deref(), Some(simulator.access_key_id()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_works() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let told = format!("[{PRIMARY}] hello");
    let invoked = gateway.call(Client::Cli, Call::invoke(PRIMARY, "hello")).await;
    assert_eq!(invoked.text(), told);
    let conversed = gateway.call(Client::Cli, Call::converse(PRIMARY, "hello")).await;
    assert_eq!(conversed.text(), told);
    let counted = gateway.call(Client::Cli, Call::count_tokens(PRIMARY, "hello")).await;
    assert!(counted.json()["inputTokens"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_that_are_not_routed_go_to_the_default_upstream() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    for client in Client::ALL {
        let checked = gateway.call(client, Call::apply_guardrail("hello")).await;
        assert_eq!(checked.json()["action"], "NONE", "{client:?}");
    }
    for client in [Client::Boto3, Client::JavaScript, Client::Cli] {
        let started = gateway.call(client, Call::start_async_invoke("amazon.nova-reel-v1:0")).await;
        let arn = started.json()["invocationArn"].as_str().unwrap().to_owned();
        let found = gateway.call(client, Call::get_async_invoke(&arn)).await;
        assert_eq!(found.json()["invocationArn"], arn.as_str(), "{client:?}");
        let listed = gateway.call(client, Call::list_async_invokes()).await;
        assert!(listed.body.unwrap().contains(&arn), "{client:?}");
    }
    let checks = r#"{"messages": [{"role": "user", "content": [{"text": "hello"}]}],
        "checks": {"promptAttack": {"categories": [{"category": "JAILBREAK"}]}}}"#;
    let url = format!("{}/guardrail-checks/invoke", gateway.url());
    let answer = http::post(&url, &[], checks).await;
    let reached = simulator.log().pop().unwrap();
    assert_eq!(reached.operation, Some("InvokeGuardrailChecks"));
    assert_eq!(answer.status, reached.status.unwrap());
    assert!(simulator.log().iter().all(|entry| entry.signature == Some("valid")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_signed_and_relayed() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let url = format!("{}/async-invoke?statusEquals=Completed&maxResults=3", gateway.url());
    assert_eq!(http::get(&url).await.status, 200);
    let entry = simulator.only_call();
    assert_eq!(entry.path, "/async-invoke?statusEquals=Completed&maxResults=3");
    assert_eq!(entry.signature, Some("valid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn model_ids_are_read_in_every_encoding_and_written_in_one() {
    const PROFILE: &str = "us.anthropic.claude-3-5-sonnet-20241022-v2:0";
    const ARN: &str = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/\
        us.anthropic.claude-3-5-sonnet-20241022-v2:0";
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::without_routes(&simulator)).await;
    for (written, model) in [
        (PRIMARY, PRIMARY),
        (&*PRIMARY.replace(':', "%3A"), PRIMARY),
        (&*PRIMARY.replace(':', "%3a"), PRIMARY),
        (PROFILE, PROFILE),
        (ARN, ARN),
        (&*ARN.replace(':', "%3A").replace('/', "%2F"), ARN),
        (&*ARN.replace('/', "%2f"), ARN),
    ] {
        let url = format!("{}/model/{written}/invoke", gateway.url());
        let answer = http::post(&url, &[], bodies::messages("hello", 10)).await;
        assert_eq!(answer.status, 200, "{written}: {}", answer.text());
        assert_eq!(answer.header("x-sluice-model"), Some(model), "{written}");
        let entry = simulator.log().pop().unwrap();
        assert_eq!(entry.model.as_deref(), Some(model), "{written}");
        assert_eq!(entry.signature, Some("valid"), "{written}");
        assert_eq!(entry.path, format!("/model/{}/invoke", encoded(model)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sdk_may_call_an_inference_profile_by_its_arn() {
    const ARN: &str = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/\
        us.anthropic.claude-3-5-sonnet-20241022-v2:0";
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::without_routes(&simulator)).await;
    for client in Client::ALL {
        let answer = gateway.call(client, Call::converse(ARN, "hello")).await;
        assert!(answer.text().ends_with("hello"), "{client:?}");
        assert_eq!(simulator.log().pop().unwrap().model.as_deref(), Some(ARN), "{client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrouted_model_goes_through_or_is_rejected_as_configured() {
    const OTHER: &str = "amazon.nova-lite-v1:0";
    let simulator = Simulator::start().await;
    let passing = Gateway::with_four_models(&simulator).await;
    let answer = passing.call(Client::Boto3, Call::converse(OTHER, "hello")).await;
    assert_eq!(answer.text(), format!("[{OTHER}] hello"));
    assert_eq!(answer.header("x-sluice-model"), Some(OTHER));

    let config = Config::four_models(&simulator).set("fallback.unrouted", "reject");
    let rejecting = Gateway::start(&config).await;
    let calls_before = simulator.log().len();
    let answer = rejecting.call(Client::Boto3, Call::converse(OTHER, "hello")).await;
    let raised = answer.raised();
    assert!(
        raised.is("ValidationException")
            || raised.is("AccessDeniedException")
            || raised.is("ResourceNotFoundException"),
        "{raised:?}"
    );
    assert_eq!(simulator.log().len(), calls_before);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_without_tls_is_spoken() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let url = format!("{}/model/{PRIMARY}/invoke", gateway.url());
    let answer = http::post_by_http2(&url, &[], bodies::messages("hello", 10)).await;
    assert_eq!((answer.status, answer.version), (200, ::http::Version::HTTP_2));
    assert_eq!(answer.json()["content"][0]["text"], format!("[{PRIMARY}] hello"));
}

fn encoded(model: &str) -> String {
    model.replace(':', "%3A").replace('/', "%2F")
}
