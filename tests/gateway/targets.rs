//! Targets that differ in region, endpoint and credentials, and those that are dead.

use sluice::simulator::Fault;

use crate::support::{
    Ask, Call, Client, Config, Gateway, PRIMARY, SECOND, Simulator, bodies, http,
};

async fn invoke(gateway: &Gateway) -> http::Response {
    let url = format!("{}/model/{PRIMARY}/invoke", gateway.url());
    http::post(&url, &[], bodies::messages("hello", 10)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_model_in_another_region_with_other_credentials() {
    let (here, there) = (Simulator::start().await, Simulator::that_knows("AKIDELSEWHERE").await);
    let config = Config::without_routes(&here)
        .set("targets.here.model", PRIMARY)
        .set("targets.there.model", PRIMARY)
        .set("targets.there.region", "eu-west-3")
        .set("targets.there.endpoint_url", there.url())
        .set("targets.there.access_key_id", "AKIDELSEWHERE")
        .set("targets.there.secret_access_key", "env:SIM_SECRET")
        .route(PRIMARY, &["here", "there"]);
    let gateway = Gateway::start(&config).await;
    here.throttles(PRIMARY, 1);
    let answer = gateway.call(Client::Boto3, Call::converse(PRIMARY, "hello")).await;
    assert_eq!(answer.text(), format!("[{PRIMARY}] hello"));
    assert_eq!(answer.header("x-sluice-region"), Some("eu-west-3"));
    let (first, second) = (here.only_call(), there.only_call());
    assert_eq!((first.signature, first.region.as_deref()), (Some("valid"), Some("us-east-1")));
    assert_eq!((second.signature, second.region.as_deref()), (Some("valid"), Some("eu-west-3")));
    assert_eq!(second.access_key_id.as_deref(), Some("AKIDELSEWHERE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bedrock_api_key_is_sent_as_a_bearer_token() {
    let simulator = Simulator::start().await;
    let config =
        Config::models(&simulator, 1).set("targets.sonnet-35.bearer_token", "env:BEDROCK_KEY");
    let key = sluice::simulator::DEFAULT_BEARER_TOKEN;
    let gateway = Gateway::start_with(&config, &[("BEDROCK_KEY", key)]).await;
    assert_eq!(invoke(&gateway).await.status, 200);
    assert_eq!(simulator.only_call().signature, Some("bearer"));
    assert!(!gateway.output().contains(key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_refuses_connections_is_passed_over() {
    let simulator = Simulator::start().await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = dead.local_addr().unwrap();
    drop(dead);
    let config = Config::models(&simulator, 2)
        .set("targets.sonnet-35.endpoint_url", format!("http://{address}"));
    let gateway = Gateway::start(&config).await;
    for client in [Client::Boto3, Client::Rust] {
        for call in [Call::invoke(PRIMARY, "hello"), Call::converse_stream(PRIMARY, "hello")] {
            let answer = gateway.call(client, call).await;
            assert_eq!(answer.text(), format!("[{SECOND}] hello"), "{client:?}");
        }
    }
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_keeps_failing_is_ejected() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2)
        .set("fallback.eject_after", 3)
        .set("fallback.eject_cooldown", "1m");
    let gateway = Gateway::start(&config).await;
    simulator.strikes(PRIMARY, 100, Fault::ServiceUnavailable);
    for _ in 0..10 {
        let answer = invoke(&gateway).await;
        assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    }
    let calls = simulator.calls_to(PRIMARY).len();
    assert!(calls <= 5, "{calls} calls to a target that failed each time");
    let state = gateway.metrics().await.sum("sluice_target_state", &[("target", "sonnet-35")]);
    assert_eq!(state, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_connections_to_the_upstream_are_used_again() {
    let simulator = Simulator::start().await;
    // Each thread keeps its own.
    let config = Config::models(&simulator, 4).set("server.worker_threads", 1);
    let gateway = Gateway::start(&config).await;
    for _ in 0..10 {
        assert_eq!(invoke(&gateway).await.status, 200);
    }
    let log = simulator.log();
    assert!(log.iter().all(|entry| entry.connection == log[0].connection), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arn_that_no_route_names_is_called_in_its_own_region() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::without_routes(&simulator)).await;
    for (arn, region) in [
        (
            "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            "eu-west-1",
        ),
        (
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            "us-east-1",
        ),
        // What is no region of this partition changes nothing.
        (
            "arn:aws:bedrock:evil.example::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            "us-east-1",
        ),
        (
            "arn:aws:bedrock:cn-north-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            "us-east-1",
        ),
        ("anthropic.claude-3-haiku-20240307-v1:0", "us-east-1"),
    ] {
        let before = simulator.log().len();
        let answer = Ask::new(&gateway, "hello").of(arn).send().await;
        let entry = simulator.log().split_off(before).pop().unwrap();
        let scope = &entry.headers["authorization"][0];
        assert!(scope.contains(&format!("/{region}/bedrock/")), "{arn}: {scope}");
        if let Some(told) = answer.header("x-sluice-region") {
            assert_eq!(told, region, "{arn}");
        }
    }
}
