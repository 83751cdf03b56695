//! Traces: what a collector is told of a request, and what the upstream and the log are.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use sluice::simulator::Fault;

use crate::support::collector::{Collector, DeliveryResponse, Recorded};
use crate::support::patience::eventually;
use crate::support::raw::Connection;
use crate::support::{
    Ask, Authority, Config, Gateway, PRIMARY, SECOND, Simulator, Terminator, bodies, http, leaks,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const STATE: &str = "vendor=opaque,other=1";
const PROTOCOLS: [&str; 2] = ["grpc", "http"];

/// Sends spans to a collector, without much delay.
fn traced(config: Config, collector: &Collector, protocol: &str) -> Config {
    config
        .set("traces.endpoint_url", collector.url())
        .set("traces.protocol", protocol)
        .set("traces.batch_delay", "20ms")
}

/// The `traceparent` headers that the upstream saw, in their order.
fn seen(simulator: &Simulator) -> Vec<String> {
    let values = |it: sluice::simulator::Entry| it.headers.get("traceparent").cloned();
    simulator.log().into_iter().map(|it| values(it).unwrap_or_default().join(" ")).collect()
}

/// The spans of one request: its own and those of its parts, in order.
fn tree(spans: &[Recorded]) -> (Recorded, Vec<Recorded>) {
    let ids: Vec<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let (own, parts): (Vec<_>, Vec<_>) =
        spans.iter().cloned().partition(|span| !ids.contains(&span.parent.as_str()));
    assert_eq!(own.len(), 1, "{spans:#?}");
    (own[0].clone(), parts)
}

async fn counted(gateway: &Gateway, result: &str) -> f64 {
    gateway.metrics().await.sum("sluice_trace_spans_total", &[("result", result)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_has_the_attempts_and_waits_of_its_request() {
    for protocol in PROTOCOLS {
        let (simulator, collector) = (Simulator::start().await, Collector::start().await);
        let config = Config::models(&simulator, 2)
            .every_target("cooldown", "300ms")
            .set("retry.base_delay", "200ms")
            .set("retry.max_delay", "200ms");
        let gateway = Gateway::start(&traced(config, &collector, protocol)).await;
        simulator.throttles(PRIMARY, 1);
        simulator.throttles(SECOND, 1);
        let ask = Ask::new(&gateway, "words-of-a-user");
        let ask = ask.header("traceparent", SAMPLED).header("tracestate", STATE);
        let answer = ask.send().await;
        assert_eq!(answer.status, 200);

        let spans = collector.has(5).await;
        let (own, parts) = tree(&spans);
        assert_eq!(own.name, format!("chat {PRIMARY}"));
        assert_eq!((own.kind, &*own.trace_id, &*own.parent), (SpanKind::Server, TRACE, PARENT));
        assert_eq!((own.state.as_str(), &own.error), (STATE, &None));
        let log = gateway.access_log(1).await.remove(0);
        let told = &log["usage"];
        let input: u64 = ["input", "cache_read", "cache_write"]
            .into_iter()
            .map(|kind| told[kind].as_u64().unwrap())
            .sum();
        let answered_by = answer.header("x-sluice-model").unwrap();
        for (name, value) in [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "aws.bedrock"),
            ("gen_ai.request.model", PRIMARY),
            ("gen_ai.response.model", answered_by),
            ("gen_ai.usage.input_tokens", &input.to_string()),
            ("gen_ai.usage.output_tokens", &told["output"].to_string()),
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("url.path", &format!("/model/{PRIMARY}/invoke")),
            ("server.address", "127.0.0.1"),
            ("server.port", &gateway.address().port().to_string()),
            ("client.address", "127.0.0.1"),
            ("cloud.region", "us-east-1"),
            ("error.type", ""),
            ("sluice.request_id", answer.header("x-sluice-request-id").unwrap()),
            ("sluice.api", "bedrock"),
            ("sluice.operation", "InvokeModel"),
            ("sluice.outcome", "success"),
            ("sluice.attempts", "3"),
        ] {
            assert_eq!(own.get(name), value, "{name} of {own:#?}");
        }
        let queued: f64 = own.get("sluice.queued").parse().unwrap();
        assert!(queued > 0.1, "{own:#?}");
        assert_eq!(log["trace_id"], TRACE);
        assert_eq!(log["span_id"], own.span_id);

        // Two throttles, the wait, and an answer.
        for part in &parts {
            assert_eq!((&part.trace_id, &part.parent), (&own.trace_id, &own.span_id));
            assert!(part.is_within(&own), "{part:#?} {own:#?}");
            assert_eq!(part.state, STATE);
        }
        let kinds: Vec<SpanKind> = parts.iter().map(|part| part.kind).collect();
        let (client, internal) = (SpanKind::Client, SpanKind::Internal);
        assert_eq!(kinds, [client, client, internal, client]);
        let models = [PRIMARY, SECOND, "", answered_by];
        for (part, model) in parts.iter().zip(models) {
            assert_eq!(part.get("gen_ai.request.model"), model);
        }
        for throttled in &parts[..2] {
            assert_eq!(throttled.error.as_deref(), Some("ThrottlingException"));
            assert_eq!(throttled.get("error.type"), "ThrottlingException");
            assert_eq!(throttled.get("http.response.status_code"), "429");
            assert_eq!(throttled.get("sluice.outcome"), "throttled");
        }
        let (wait, last) = (&parts[2], &parts[3]);
        assert_eq!((&*wait.name, wait.get("sluice.served")), ("wait for a target", "true"));
        assert!(wait.end - wait.start > 100_000_000, "{wait:#?}");
        assert_eq!(last.name, format!("chat {answered_by}"));
        assert_eq!(last.error, None);
        assert_eq!(last.get("http.response.status_code"), "200");
        assert_eq!(last.get("aws.request_id"), answer.header("x-amzn-requestid").unwrap());
        assert_eq!(last.get("server.port"), simulator.address().port().to_string());
        assert_eq!(last.get("gen_ai.usage.input_tokens"), input.to_string());
        assert_eq!(last.get("sluice.attempt"), "3");
        // The upstream was told of each attempt's own span, and what came with it.
        let attempts = [&parts[0], &parts[1], &parts[3]].map(Recorded::traceparent);
        assert_eq!(seen(&simulator), attempts);
        assert!(simulator.log().iter().all(|it| it.headers["tracestate"] == [STATE]));

        let delivery = collector.deliveries().remove(0);
        let path = match protocol {
            "grpc" => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            _ => "/v1/traces",
        };
        assert_eq!(delivery.path, path);
        assert_eq!(delivery.resource["service.name"], "sluice");
        assert!(!format!("{:?}", collector.deliveries()).contains("words-of-a-user"));
        let sent = async || counted(&gateway, "sent").await;
        eventually("the count", sent, |sent| *sent == 5.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_trace_starts_one_with_its_request_id() {
    let (simulator, collector) = (Simulator::start().await, Collector::start().await);
    let config = traced(Config::models(&simulator, 1), &collector, "grpc");
    let gateway = Gateway::start(&config.set("traces.service_name", "gate")).await;
    // A wrong one is none, and so is what came beside it.
    let ask = Ask::new(&gateway, "hello").stream();
    let ask = ask.header("traceparent", SAMPLED.to_uppercase()).header("tracestate", STATE);
    let answer = ask.send().await;
    let (own, parts) = tree(&collector.has(2).await);
    let id = answer.header("x-sluice-request-id").unwrap().replace('-', "");
    assert_eq!((&*own.trace_id, &*own.parent, &*own.state), (&*id, "", ""));
    assert_eq!(seen(&simulator), [parts[0].traceparent()]);
    assert_eq!(collector.deliveries()[0].resource["service.name"], "gate");
    // A stream's attempt goes on until its last byte, and knows when the first came.
    for span in [&own, &parts[0]] {
        let first: f64 = span.get("gen_ai.response.time_to_first_chunk").parse().unwrap();
        assert!((0.0..20.0).contains(&first), "{span:#?}");
        assert_eq!(span.get("gen_ai.request.stream"), "true");
        assert_ne!(span.get("gen_ai.usage.output_tokens"), "");
    }
    assert_eq!(parts[0].end, own.end);

    // What no target was asked for is told of too.
    let answer = http::post(&format!("{}/nowhere", gateway.url()), &[], "{}").await;
    assert_eq!(answer.status, 404);
    let spans = collector.has(3).await;
    let refused = &spans[2];
    assert_eq!((&*refused.name, refused.get("url.path")), ("POST", "/nowhere"));
    assert_eq!(refused.get("http.response.status_code"), "404");
    assert_eq!((refused.get("sluice.outcome"), &refused.error), ("bad_request", &None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_an_error_of_the_attempt_and_of_the_request() {
    let (simulator, collector) = (Simulator::start().await, Collector::start().await);
    let config = Config::models(&simulator, 1).set("retry.attempts", 1);
    let gateway = Gateway::start(&traced(config, &collector, "grpc")).await;
    simulator.strikes(PRIMARY, 1, Fault::Validation);
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 400);
    let (own, parts) = tree(&collector.has(2).await);
    // The client's own mistake is nobody else's error.
    assert_eq!((own.get("error.type"), &own.error), ("ValidationException", &None));
    assert_eq!(parts[0].error.as_deref(), Some("ValidationException"));
    simulator.strikes(PRIMARY, 1, Fault::Internal);
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 500);
    let (own, parts) = tree(&collector.has(4).await[2..]);
    assert_eq!(own.get("sluice.outcome"), "upstream_error");
    for span in [&own, &parts[0]] {
        assert_eq!(span.error.as_deref(), Some("InternalServerException"));
    }
    simulator.strikes(PRIMARY, 1, Fault::ResetMidBody);
    assert!(Ask::new(&gateway, "hello").send().await.broken);
    let (own, parts) = tree(&collector.has(6).await[4..]);
    for span in [&own, &parts[0]] {
        assert_eq!(span.error.as_deref(), Some("stream_broken"));
        assert_eq!(span.get("http.response.status_code"), "200");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_its_client_leaves_is_traced_as_cancelled() {
    let (simulator, collector) = (Simulator::start().await, Collector::start().await);
    let config = Config::models(&simulator, 1).set("targets.sonnet-35.rpm", 1);
    let config = config.set("queue.max_wait", "120s");
    let gateway = Gateway::start(&traced(config, &collector, "grpc")).await;
    let mut asking = Connection::open(gateway.address()).await;
    asking.send(Ask::new(&gateway, "sim:head_ms=60000").into_http1().as_bytes()).await;
    simulator.sees("the request", |entry| entry.seq == 1).await;
    let mut waiting = Connection::open(gateway.address()).await;
    waiting.send(Ask::new(&gateway, "hello").into_http1().as_bytes()).await;
    gateway.has_waiting(1).await;
    drop(waiting);
    let (own, parts) = tree(&collector.has(2).await);
    assert_eq!(own.get("sluice.outcome"), "client_gone");
    assert_eq!((&*parts[0].name, parts[0].get("sluice.served")), ("wait for a target", "false"));
    drop(asking);
    let (own, parts) = tree(&collector.has(4).await[2..]);
    assert_eq!((own.get("sluice.outcome"), &own.error), ("client_gone", &None));
    assert_eq!((parts[0].get("sluice.outcome"), &parts[0].error), ("cancelled", &None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_sampling_decision_precedes_the_configs() {
    for (ratio, recorded) in [(0.0, 1), (1.0, 2)] {
        let (simulator, collector) = (Simulator::start().await, Collector::start().await);
        let config = traced(Config::models(&simulator, 1), &collector, "http");
        let gateway = Gateway::start(&config.set("traces.sample_ratio", ratio)).await;
        for header in [Some(UNSAMPLED), None, Some(SAMPLED)] {
            let ask = Ask::new(&gateway, "hello").header("tracestate", STATE);
            let ask = header.into_iter().fold(ask, |ask, it| ask.header("traceparent", it));
            assert_eq!(ask.send().await.status, 200);
        }
        let spans = collector.has(2 * recorded).await;
        let sent = async || counted(&gateway, "sent").await;
        eventually("the count", sent, |sent| *sent == 2.0 * recorded as f64).await;
        let kinds = spans.iter().filter(|span| span.kind == SpanKind::Server);
        let parents: Vec<&str> = kinds.map(|span| span.parent.as_str()).collect();
        let log = gateway.access_log(3).await;
        let seen = seen(&simulator);
        // What is not recorded is passed on as it came.
        assert_eq!(seen[0], UNSAMPLED);
        assert_eq!((&log[0]["trace_id"], &log[0]["span_id"]), (&json!(TRACE), &json!(null)));
        if ratio == 0.0 {
            assert_eq!(parents, [PARENT]);
            assert_eq!((&*seen[1], &log[1]["trace_id"]), ("", &json!(null)));
        } else {
            assert_eq!(parents, ["", PARENT]);
            assert_eq!(seen[1], spans[1].traceparent());
            assert_eq!(log[1]["trace_id"], spans[0].trace_id);
        }
        assert_eq!(log[2]["trace_id"], TRACE);
        assert!(seen[2].starts_with(&SAMPLED[..36]) && seen[2] != SAMPLED, "{seen:?}");
        assert!(simulator.log().iter().all(|it| it.headers["tracestate"] == [STATE]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_trace_is_passed_on_as_it_came_and_is_in_the_log() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 1)).await;
    for header in [SAMPLED, "nonsense"] {
        let ask = Ask::new(&gateway, "hello").header("traceparent", header);
        assert_eq!(ask.header("tracestate", STATE).send().await.status, 200);
    }
    assert_eq!(seen(&simulator), [SAMPLED, "nonsense"]);
    let log = gateway.access_log(2).await;
    assert_eq!((&log[0]["trace_id"], &log[0]["span_id"]), (&json!(TRACE), &json!(null)));
    assert_eq!(log[1]["trace_id"], json!(null));
    assert!(!gateway.metrics().await.has("sluice_trace_spans_total"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_its_client_has_signed_is_right_for_it_and_new_for_the_upstream() {
    const ID: &str = "SLUICEKEYOFTEAMA";
    const SECRET: &str = "the-secret/of+team-a=0123456789";
    let (simulator, collector) = (Simulator::start().await, Collector::start().await);
    let config = traced(Config::models(&simulator, 1), &collector, "grpc");
    let config = config.client_that_signs("team-a", ID, "TEAM_A_SECRET");
    let gateway = Gateway::start_with(&config, &[("TEAM_A_SECRET", SECRET)]).await;
    let host = gateway.address().to_string();
    let body = bodies::messages("hello", 16);
    let url = format!("{}/model/{PRIMARY}/invoke", gateway.url());
    let signed = |traceparent: &str| -> BTreeMap<String, String> {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Double;
        let identity = Credentials::new(ID, SECRET, None, None, "test").into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("bedrock")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let headers = [("host", host.as_str()), ("traceparent", traceparent)];
        let body = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new("POST", &url, headers.into_iter(), body).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let (headers, _) = instructions.into_parts();
        headers.iter().map(|it| (it.name().to_owned(), it.value().to_owned())).collect()
    };
    let send = async |traceparent: &str| {
        let headers = signed(SAMPLED);
        assert!(headers["authorization"].contains("traceparent"), "{headers:?}");
        let mut all: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.push(("traceparent", traceparent));
        http::post(&url, &all, body.clone()).await.status
    };
    assert_eq!(send(SAMPLED).await, 200);
    assert_eq!(send(UNSAMPLED).await, 403, "it is not what was signed");
    let (own, parts) = tree(&collector.has(2).await);
    assert_eq!((own.parent.as_str(), own.get("sluice.client")), (PARENT, "team-a"));
    // The simulator has checked the gateway's signature.
    assert_eq!(seen(&simulator), [parts[0].traceparent()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_or_hangs_or_refuses_costs_requests_nothing() {
    for protocol in PROTOCOLS {
        let (simulator, collector) = (Simulator::start().await, Collector::start().await);
        let config = traced(Config::models(&simulator, 1), &collector, protocol);
        // Who hangs.
        collector.respond_with(DeliveryResponse::Hang);
        let slow = config.clone().set("traces.max_queue", 128);
        let mut gateway = Gateway::start(&slow.set("server.drain_timeout", "1s")).await;
        for _ in 0..100 {
            assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        }
        assert!(counted(&gateway, "dropped").await > 0.0);
        gateway.terminate().await;
        assert!(gateway.ended().await.success());
        assert!(gateway.output().contains("the last spans could not be sent in time"));
        // Who refuses, and takes them again.
        collector.respond_with(DeliveryResponse::Refuse);
        let gateway = Gateway::start(&config).await;
        let failed = async || counted(&gateway, "failed").await;
        for n in 1..=2 {
            assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
            eventually("the count", failed, |failed| *failed == f64::from(2 * n)).await;
        }
        let is_up = async || {
            let labels = [("dependency", "trace_collector")];
            gateway.metrics().await.sum("sluice_dependency_up", &labels)
        };
        assert_eq!(is_up().await, 0.0);
        let told = gateway.log_lines("trace collector unavailable").await;
        assert_eq!(told.len(), 1, "{told:?}");
        collector.respond_with(DeliveryResponse::Accept);
        assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        collector.has(2).await;
        gateway.log_lines("trace collector available again").await;
        assert_eq!(is_up().await, 1.0);
        // Who is gone.
        let gateway = Gateway::start(&config).await;
        drop(collector);
        assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        let told = gateway.log_lines("trace collector unavailable").await;
        assert!(told[0]["why"].as_str().unwrap().contains("can't be reached"), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_fallen_silent_is_left() {
    let silences = [DeliveryResponse::Hang, DeliveryResponse::Stall];
    for (protocol, silence) in
        PROTOCOLS.into_iter().flat_map(|it| silences.map(|silence| (it, silence)))
    {
        let (simulator, collector) = (Simulator::start().await, Collector::start().await);
        let config = traced(Config::models(&simulator, 1), &collector, protocol);
        let gateway = Gateway::start(&config.set("traces.timeout", "100ms")).await;
        collector.respond_with(silence);
        assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        let failed = async || counted(&gateway, "failed").await;
        eventually("the count", failed, |failed| *failed == 2.0).await;
        collector.respond_with(DeliveryResponse::Accept);
        for count in [2, 4] {
            assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
            collector.has(count).await;
        }
        // A new one for each that was silent, and the last is used on.
        let connections: Vec<usize> =
            collector.deliveries().iter().map(|it| it.connection).collect();
        assert!(connections[0] > 4 && connections.iter().all(|it| *it == connections[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_at_the_end() {
    for protocol in PROTOCOLS {
        let (simulator, collector) = (Simulator::start().await, Collector::start().await);
        let config = traced(Config::models(&simulator, 1), &collector, protocol);
        let mut gateway = Gateway::start(&config.set("traces.batch_delay", "1h")).await;
        for _ in 0..3 {
            assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        }
        gateway.access_log(3).await;
        assert_eq!(collector.spans().len(), 0);
        gateway.terminate().await;
        assert!(gateway.ended().await.success());
        assert_eq!(collector.spans().len(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_by_tls_is_trusted_as_upstreams_are_and_sees_its_headers() {
    const KEY: &str = "the-key-of-the-collector-0123";
    for (protocol, agreed) in [("grpc", "h2"), ("http", "h2")] {
        let (simulator, collector) = (Simulator::start().await, Collector::start().await);
        let authority = Authority::new();
        let offered = ["h2", "http/1.1"];
        let before = Terminator::start(&authority.server(), &offered, collector.address()).await;
        let url = format!("https://localhost:{}", before.port());
        let config = traced(Config::models(&simulator, 1), &collector, protocol)
            .set("traces.endpoint_url", url)
            .set("traces.headers.x-collector-key", "env:COLLECTOR_KEY")
            .set("log.level", "trace");
        let key = [("COLLECTOR_KEY", KEY)];
        let gateway = Gateway::start_with(&config, &key).await;
        assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        let told = gateway.log_lines("trace collector unavailable").await;
        assert!(told[0]["why"].as_str().unwrap().contains("certificate"), "{told:?}");
        let config = config.set("upstream.ca_file", authority.path());
        let gateway = Gateway::start_with(&config, &key).await;
        assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        collector.has(2).await;
        let headers = &collector.deliveries()[0].headers;
        assert_eq!(headers["x-collector-key"], KEY);
        assert_eq!(before.agreed(), [agreed]);
        assert!(gateway.output().contains("TRACE"));
        leaks::none_in("the log", &gateway.output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_endpoints_and_their_jobs_are_part_of_a_trace() {
    for backend in ["off", "sqlite"] {
        let (simulator, collector) = (Simulator::start().await, Collector::start().await);
        let config = Config::models(&simulator, 1).set("jobs.backend", backend);
        let gateway = Gateway::start(&traced(config, &collector, "grpc")).await;
        let body = json!({ "session_id": "s", "section_name": "S", "content": "text" });
        let url = format!("{}/analyze_section", gateway.url());
        http::post(&url, &[("traceparent", SAMPLED)], body.to_string()).await;
        let (own, parts) = tree(&collector.has(2).await);
        assert_eq!((own.kind, own.get("sluice.in_process")), (SpanKind::Internal, "true"));
        assert_eq!((own.trace_id.as_str(), own.parent.as_str()), (TRACE, PARENT), "{backend}");
        assert_eq!((own.get("url.path"), own.get("gen_ai.request.model")), ("", PRIMARY));
        assert_eq!(seen(&simulator), [parts[0].traceparent()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedged_request_has_spans_of_both_attempts() {
    let (simulator, collector) = (Simulator::start().await, Collector::start().await);
    let config = Config::models(&simulator, 2)
        .every_target("tpm", 100_000)
        .set("hedge.enabled", true)
        .set("hedge.max_share", 0.1);
    let gateway = Gateway::start(&traced(config, &collector, "grpc")).await;
    // As many as tell what is usual.
    for _ in 0..20 {
        Ask::new(&gateway, "usual sim:head_ms=20").header("traceparent", UNSAMPLED).send().await;
    }
    simulator.strikes(PRIMARY, 1, Fault::SlowHead { ms: 20_000 });
    let answer = Ask::new(&gateway, "slow").header("traceparent", SAMPLED).send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    let (own, parts) = tree(&collector.has(3).await);
    let told: Vec<_> = parts.iter().map(|it| (it.get("sluice.outcome"), &it.error)).collect();
    assert_eq!(told, [("cancelled", &None), ("success", &None)]);
    assert!(parts.iter().all(|part| part.parent == own.span_id && part.is_within(&own)));
    let attempts: Vec<String> = parts.iter().map(Recorded::traceparent).collect();
    assert_eq!(seen(&simulator)[20..], attempts);
}
