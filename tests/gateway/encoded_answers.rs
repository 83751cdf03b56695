//! Answers that are encoded although nobody asked for it, as a proxy on the way may send them.

use crate::support::upstream::{BareUpstream, UpstreamAction};
use crate::support::{Ask, Config, Gateway, PRIMARY, SECOND, Simulator};

const UNARY: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
                     x-amzn-bedrock-input-token-count: 3\r\ncontent-length: 6\r\n\r\n\x1f\x08\x08\0\0\0";
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n\
                      content-encoding: br\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
const THROTTLE: &str = "HTTP/1.1 429 X\r\ncontent-encoding: gzip\r\n\
                        x-amzn-errortype: ThrottlingException\r\ncontent-length: 6\r\n\r\nsecret";
const DENIAL: &str = "HTTP/1.1 403 X\r\ncontent-encoding: gzip\r\nx-amzn-errortype: \
                      AccessDeniedException\r\ncontent-length: 6\r\n\r\nsecret";
const PAGE: &str = "HTTP/1.1 502 X\r\ncontent-encoding: gzip\r\ncontent-type: text/html\r\n\
                    content-length: 6\r\n\r\nsecret";

/// A gateway whose first target is at `upstream`; its second is the simulator's.
fn config(simulator: &Simulator, upstream: &BareUpstream) -> Config {
    Config::models(simulator, 2)
        .set("targets.sonnet-35.endpoint_url", upstream.url())
        .set("retry.attempts", 3)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_success_is_a_failure_of_its_target_and_asked_for_once() {
    let simulator = Simulator::start().await;
    for (answer, is_stream) in [(UNARY, false), (STREAM, true)] {
        let upstream = BareUpstream::start(move |_, _| UpstreamAction::Send(answer)).await;
        let gateway = Gateway::start(&config(&simulator, &upstream)).await;
        let ask = Ask::new(&gateway, "hello").header("accept-encoding", "gzip, br");
        let answer = if is_stream { ask.stream() } else { ask }.send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
        assert_eq!(upstream.seen().len(), 1, "each try is paid for");
        assert!(upstream.seen()[0].head.contains("accept-encoding: identity\r\n"));
        let metrics = gateway.metrics().await;
        let count = |outcome| metrics.sum("sluice_attempts_total", &[("outcome", outcome)]);
        assert_eq!((count("encoded"), count("throttled")), (1.0, 0.0));
        assert_eq!(metrics.sum("sluice_tokens_total", &[("target", "sonnet-35")]), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_gets_the_first_error_if_no_target_is_left() {
    let simulator = Simulator::start().await;
    for answer in [UNARY, STREAM] {
        let upstream = BareUpstream::start(move |_, _| UpstreamAction::Send(answer)).await;
        let config = Config::models(&simulator, 1).set("upstream.endpoint_url", upstream.url());
        let gateway = Gateway::start(&config).await;
        let ask = Ask::new(&gateway, "hello");
        let ask = if answer == STREAM { ask.stream() } else { ask };
        let answer = ask.send().await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.header("x-amzn-errortype"), Some("ServiceUnavailableException"));
        assert!(answer.text().contains("is encoded ("), "{}", answer.text());
        assert_eq!(gateway.metrics().await.sum("sluice_cost_usd_total", &[]), 0.0);
        assert!(gateway.target("sonnet-35").await["state"] != "cooling");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_error_is_classified_by_status_and_headers() {
    let simulator = Simulator::start().await;
    for (answer, status) in [(THROTTLE, 200), (PAGE, 200), (DENIAL, 403)] {
        let upstream = BareUpstream::start(move |_, _| UpstreamAction::Send(answer)).await;
        let gateway = Gateway::start(&config(&simulator, &upstream)).await;
        let answer = Ask::new(&gateway, "hello").send().await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("content-encoding"), None);
        assert!(!answer.text().contains("secret"), "{}", answer.text());
        if status == 403 {
            assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY));
            assert!(answer.text().contains("is encoded (gzip)"), "{}", answer.text());
        }
    }
}
