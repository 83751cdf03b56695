//! What of a request's and an answer's headers goes through, and what must not.

use std::collections::BTreeMap;

use serde_json::json;
use sluice::simulator::Fault;

use crate::support::clients::Job;
use crate::support::raw::Connection;
use crate::support::{Call, Client, Config, Gateway, PRIMARY, SECOND, Simulator, bodies, http};

#[tokio::test(flavor = "multi_thread")]
async fn client_credentials_and_proxy_headers_do_not_reach_the_upstream() {
    let simulator = Simulator::start().await;
    let open = Config::four_models(&simulator);
    let closed = open.clone().client("app", "env:CLIENT_KEY");
    let gateway = Gateway::start(&open).await;
    let with_clients = Gateway::start_with(&closed, &[("CLIENT_KEY", CLIENT_KEY)]).await;
    kept_out_of_upstreams(&simulator, &gateway, "AWS4-HMAC-SHA256 Credential=AKIDCLIENT/20250101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0123").await;
    kept_out_of_upstreams(&simulator, &with_clients, &format!("Bearer {CLIENT_KEY}")).await;
}

const CLIENT_KEY: &str = "the-key-of-a-client-that-nobody-else-has";

async fn kept_out_of_upstreams(simulator: &Simulator, gateway: &Gateway, authorization: &str) {
    let before = simulator.log().len();
    let body = bodies::messages("hello", 10);
    let kept_out = [
        ("authorization", authorization),
        ("x-amz-date", "20250101T000000Z"),
        ("x-amz-security-token", "client-session-token"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("cookie", "session=client"),
        ("proxy-authorization", "Basic Y2xpZW50"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-host", "client.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=203.0.113.9"),
        ("connection", "keep-alive, x-named-hop"),
        ("x-named-hop", "client"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("x-api-key", "client"),
        ("api-key", "client"),
        ("x-goog-api-key", "client"),
        ("ocp-apim-subscription-key", "client"),
        ("x-amzn-oidc-data", "client"),
        ("x-amzn-oidc-accesstoken", "client"),
        ("x-amzn-oidc-identity", "client"),
        ("cf-access-jwt-assertion", "client"),
        ("x-goog-iap-jwt-assertion", "client"),
        ("x-auth-request-email", "client@client.example"),
        ("x-client-cert", "client"),
        ("x-real-ip", "203.0.113.9"),
        ("true-client-ip", "203.0.113.9"),
        ("x-envoy-external-address", "203.0.113.9"),
        ("baggage", "user=client"),
        ("origin", "https://client.example"),
        ("referer", "https://client.example/"),
        ("x-amzn-bedrock", "client"),
        ("x-made-up", "client"),
        ("accept-encoding", "gzip, client"),
    ];
    let mut request = format!(
        "POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: client.example\r\n\
         content-type: application/json\r\naccept: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in kept_out {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    request += &body;
    // Once as it is, once on the attempt after a throttle: each attempt is made anew.
    simulator.throttles(PRIMARY, 1);
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(request.as_bytes()).await;
    let response = connection.response().await.unwrap();
    assert_eq!(response.status, 200, "{response:?}");
    let log = simulator.log().split_off(before);
    assert_eq!(log.len(), 2);
    for entry in &log {
        assert_eq!(entry.signature, Some("valid"));
        let sent = &entry.headers;
        assert_eq!(sent["authorization"].len(), 1);
        assert!(sent["authorization"][0].contains("Credential=AKIDSIMULATOR/"));
        assert_eq!(sent["x-amz-date"].len(), 1);
        assert_ne!(sent["x-amz-date"][0], "20250101T000000Z");
        assert_eq!(sent["host"], [simulator.url().strip_prefix("http://").unwrap()]);
        for (name, value) in kept_out.iter().filter(|(name, _)| *name != "authorization") {
            let reached = sent.get(*name).is_some_and(|values| values.iter().any(|v| v == value));
            assert!(!reached, "{name} reached the upstream");
        }
        assert_eq!(sent["accept-encoding"], ["identity"]);
        assert!(!format!("{sent:?}").contains("client"), "{sent:?}");
        assert!(!format!("{sent:?}").contains("203.0.113.9"), "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_the_config_names_reach_the_upstream() {
    let simulator = Simulator::start().await;
    let names = vec!["X-Request-Source", "x-team"];
    let config = Config::four_models(&simulator).set("upstream.forward_headers", names);
    let gateway = Gateway::start(&config).await;
    let url = format!("{}/model/{PRIMARY}/invoke", gateway.url());
    let headers = [("x-request-source", "web"), ("x-team", "a"), ("x-team-of-others", "b")];
    let response = http::post(&url, &headers, bodies::messages("hello", 10)).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let sent = simulator.log().pop().unwrap().headers;
    assert_eq!(
        (&sent["x-request-source"][..], &sent["x-team"][..]),
        (&["web".into()][..], &["a".into()][..])
    );
    assert!(!sent.contains_key("x-team-of-others"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bedrocks_own_headers_reach_the_upstream() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let headers = [
        ("accept", "application/json"),
        ("x-amzn-bedrock-accept", "application/json"),
        ("x-amzn-bedrock-trace", "ENABLED"),
        ("x-amzn-bedrock-guardrailidentifier", "gr1234567890"),
        ("x-amzn-bedrock-guardrailversion", "DRAFT"),
        ("x-amzn-bedrock-performanceconfig-latency", "optimized"),
        ("x-amzn-bedrock-service-tier", "priority"),
        ("x-amzn-bedrock-request-metadata", "{\"team\":\"a\"}"),
        ("x-amzn-bedrock-something-new", "yes"),
        ("user-agent", "app/1.0"),
        ("x-amz-user-agent", "app/1.0"),
        ("amz-sdk-invocation-id", "8d3a"),
        ("amz-sdk-request", "attempt=1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=1"),
        ("x-amzn-trace-id", "Root=1"),
    ];
    simulator.throttles(PRIMARY, 1);
    let url = format!("{}/model/{PRIMARY}/invoke", gateway.url());
    let response = http::post(&url, &headers, bodies::messages("hello", 10)).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let log = simulator.log();
    assert_eq!(log.len(), 2);
    for entry in &log {
        assert_eq!(entry.headers["content-type"], ["application/json"]);
        for (name, value) in headers {
            assert_eq!(entry.headers.get(name), Some(&vec![value.to_owned()]), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdks_options_reach_the_upstream() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let options = json!({
        "guardrailIdentifier": "gr1234567890",
        "guardrailVersion": "DRAFT",
        "trace": "ENABLED",
        "performanceConfigLatency": "optimized",
    });
    for client in [Client::Boto3, Client::JavaScript, Client::JavaScriptHttp1] {
        let call = Call::invoke(PRIMARY, "hello").options(options.clone());
        gateway.call(client, call).await.text();
        let headers: BTreeMap<_, _> = simulator.log().pop().unwrap().headers;
        for (name, value) in [
            ("x-amzn-bedrock-guardrailidentifier", "gr1234567890"),
            ("x-amzn-bedrock-guardrailversion", "DRAFT"),
            ("x-amzn-bedrock-trace", "ENABLED"),
            ("x-amzn-bedrock-performanceconfig-latency", "optimized"),
        ] {
            assert_eq!(headers.get(name), Some(&vec![value.to_owned()]), "{client:?} {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_token_and_forwarding_headers_break_no_signature() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    for client in Client::SDKS {
        let mut job = Job::new(&gateway.url(), vec![Call::invoke(PRIMARY, "hello")])
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-forwarded-proto", "https");
        job.session_token = Some("client-session-token".to_owned());
        let answers = client.run(job).await;
        assert_eq!(answers[0].text(), format!("[{PRIMARY}] hello"), "{client:?}");
        let entry = simulator.log().pop().unwrap();
        assert_eq!(entry.signature, Some("valid"));
        // The gateway's own alone; the simulator does not show it.
        assert_eq!(entry.headers["x-amz-security-token"], ["(hidden)"]);
        for name in ["x-forwarded-for", "x-forwarded-proto"] {
            assert!(!entry.headers.contains_key(name), "{client:?} {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bedrocks_answer_headers_come_back_and_connection_headers_do_not() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let path = format!("/model/{PRIMARY}/invoke");
    let straight = Gateway::start(&Config::without_routes(&simulator)).await;
    for gateway in [&gateway, &straight] {
        let url = format!("{}{path}", gateway.url());
        let response = http::post(&url, &[], bodies::messages("hello", 10)).await;
        for name in [
            "x-amzn-requestid",
            "x-amzn-bedrock-invocation-latency",
            "x-amzn-bedrock-input-token-count",
            "x-amzn-bedrock-output-token-count",
            "x-sluice-request-id",
        ] {
            assert!(response.header(name).is_some(), "{name}: {:?}", response.headers);
        }
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.headers.get_all("date").iter().count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_error_keeps_its_type_id_and_message_in_every_sdk() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    simulator.strikes(PRIMARY, 5, Fault::AccessDenied);
    for client in Client::ALL {
        let answer = gateway.call(client, Call::converse(PRIMARY, "hello")).await;
        let raised = answer.raised();
        assert!(raised.is("AccessDeniedException"), "{client:?} {raised:?}");
        let message = "You don't have access to the model with the specified model ID.";
        assert_eq!(raised.message, message, "{client:?}");
        if client != Client::Cli {
            assert_eq!(answer.status, Some(403), "{client:?}");
            assert!(answer.header("x-amzn-requestid").is_some(), "{client:?}");
        }
    }
    assert!(simulator.calls_to(SECOND).is_empty());
}
