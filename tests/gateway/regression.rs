//! Mistakes that were made once. Each test says what was wrong.

use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator};

/// Was answered with 429 ThrottlingException, as if waiting for a quota would help.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_out_after_failures_is_unavailable_and_not_throttled() {
    let simulator = Simulator::start().await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = dead.local_addr().unwrap();
    drop(dead);
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.endpoint_url", format!("http://{address}"))
        .set("fallback.eject_after", 2)
        .set("queue.max_wait", "100ms");
    let gateway = Gateway::start(&config).await;
    for round in 0..4 {
        let answer = Ask::new(&gateway, "hello").send().await;
        assert_eq!(answer.status, 503, "{round}: {}", answer.text());
        let name = answer.header("x-amzn-errortype").unwrap();
        assert!(name.starts_with("ServiceUnavailableException"), "{name}");
    }
    // The last ones found the target out, and say when it is tried again.
    let answer = Ask::new(&gateway, "hello").send().await;
    assert!(answer.text().contains("ejected after failures"), "{}", answer.text());
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&after), "{after}");
    let throttled = gateway.metrics().await;
    assert_eq!(throttled.sum("sluice_requests_total", &[("outcome", "throttled")]), 0.0);
}

/// The label was the model id as the client wrote it, so that clients could make series at will.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_a_glob_or_an_arn_matches_is_no_label() {
    let simulator = Simulator::start().await;
    let (glob, arns) = ("anthropic.*", "arn:aws:bedrock:*:*:application-inference-profile/*");
    let config =
        Config::models(&simulator, 1).route(glob, &["sonnet-35"]).route(arns, &["sonnet-35"]);
    let gateway = Gateway::start(&config).await;
    for number in 0..5 {
        let models = [
            format!("anthropic.made-up-{number}"),
            format!("arn:aws:bedrock:us-east-1::foundation-model%2Fanthropic.made-up-{number}"),
            format!(
                "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile%2Fmade-up-{number}"
            ),
        ];
        for model in models {
            let answer = Ask::new(&gateway, "hello").of(&model).send().await;
            assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY), "{}", answer.text());
        }
    }
    let metrics = gateway.metrics().await;
    let made_up = metrics.label_values().into_iter().find(|value| value.contains("made-up"));
    assert_eq!(made_up, None);
    assert_eq!(metrics.sum("sluice_requests_total", &[("model", glob)]), 10.0);
    assert_eq!(metrics.sum("sluice_requests_total", &[("model", arns)]), 5.0);
}
