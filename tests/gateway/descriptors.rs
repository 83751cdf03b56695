//! File descriptors run out: that is no upstream's fault, health goes on, and there is room again when
//! they are given back.

use sluice::simulator::{Fault, FaultRule};
use tokio::net::TcpStream;

use crate::support::gateway::sluice_with_files;
use crate::support::h2::{Http2, flag, frame, kind, post};
use crate::support::patience::eventually;
use crate::support::raw::Connection;
use crate::support::{Ask, Config, Gateway, PRIMARY, SECOND, Simulator, bodies, http};

const FEW: u64 = 128;

fn config(simulator: &Simulator) -> Config {
    Config::models(simulator, 2)
        .set("retry.attempts", 1)
        .set("fallback.eject_after", 3)
        .set("server.worker_threads", 2)
}

async fn outcomes(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metrics().await.sum("sluice_requests_total", &[("outcome", outcome)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_descriptors_is_no_targets_fault() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start_with_files(&config(&simulator), FEW, FEW).await;
    // All on one connection: so what they lack is connections to the upstream alone.
    simulator.add(FaultRule::always(Fault::SlowHead { ms: 1_000 }));
    let mut connection = Http2::open(gateway.address(), &[]).await;
    let body = bodies::messages("hello", 16);
    let requests = 200;
    for stream in (1..2 * requests).step_by(2) {
        let path = format!("/model/{PRIMARY}/invoke");
        let head = frame(kind::HEADERS, flag::END_HEADERS, stream, &post(&path));
        let data = frame(kind::DATA, flag::END_STREAM, stream, body.as_bytes());
        assert!(connection.send(&[head, data].concat()).await);
    }
    let answered = async || {
        outcomes(&gateway, "success").await + outcomes(&gateway, "resource_exhausted").await
    };
    eventually("all are answered", answered, |count| *count == f64::from(requests)).await;
    assert!(outcomes(&gateway, "success").await >= 20.0);
    assert!(outcomes(&gateway, "resource_exhausted").await >= 20.0);
    let metrics = gateway.metrics().await;
    let at = [("at", "connect")];
    assert!(metrics.sum("sluice_resources_exhausted_total", &at) >= 20.0);
    for target in gateway.targets().await {
        assert_eq!(target["state"], "available", "{target}");
    }
    assert_eq!(gateway.log_lines("no connections to upstreams").await.len(), 1, "once in a while");
    simulator.recovers();
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!((answer.status, answer.header("x-sluice-model")), (200, Some(PRIMARY)));
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_refused_for_that_gets_retry_after() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start_with_files(&config(&simulator), FEW, FEW).await;
    simulator.add(FaultRule::always(Fault::SlowHead { ms: 1_500 }));
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(Ask::new(&gateway, "hello").start());
    }
    let mut refused = 0;
    for answer in held {
        // Some find no place at all.
        let Ok(answer) = answer.await else { continue };
        match answer.status {
            200 => assert!([PRIMARY, SECOND].contains(&answer.header("x-sluice-model").unwrap())),
            503 => {
                refused += 1;
                assert_eq!(answer.header("retry-after"), Some("1"));
                assert_eq!(answer.header("x-amzn-errortype"), Some("ServiceUnavailableException"));
                assert!(answer.text().contains("file descriptors"), "{}", answer.text());
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(refused > 0);
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_leave_some_to_others() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start_with_files(&config(&simulator), FEW, FEW).await;
    let mut first = Connection::open(gateway.address()).await;
    first.send(Ask::new(&gateway, "hello").into_http1().as_bytes()).await;
    assert_eq!(first.response().await.unwrap().status, 200);
    let mut idle = Vec::new();
    for _ in 0..2 * FEW {
        idle.push(TcpStream::connect(gateway.address()).await.unwrap());
    }
    let refused = async || gateway.metrics().await.sum("sluice_connections_refused_total", &[]);
    eventually("those beyond are refused", refused, |count| *count >= FEW as f64).await;
    first.send(Ask::new(&gateway, "hello").into_http1().as_bytes()).await;
    assert_eq!(first.response().await.unwrap().status, 200);
    gateway.is_healthy().await;
    drop(idle);
    let open = async || gateway.metrics().await.sum("sluice_connections", &[]);
    eventually("they are gone", open, |count| *count <= 4.0).await;
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_silence_health() {
    let simulator = Simulator::start().await;
    for files in [FEW, 4096] {
        let gateway = Gateway::start_with_files(&config(&simulator), FEW, files).await;
        let mut first = Connection::open(gateway.admin_address()).await;
        first.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(first.response().await.unwrap().status, 200);
        let mut idle = Vec::new();
        for number in 0..3 * FEW {
            idle.push(TcpStream::connect(gateway.admin_address()).await.unwrap());
            if number % 32 == 0 {
                gateway.is_healthy().await;
            }
        }
        gateway.is_healthy().await;
        assert!(first.closes().await, "it was quiet for longest");
        assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        let open = gateway.metrics().await.sum("sluice_connections", &[]);
        assert!(open < 140.0, "{open}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_raised_and_one_that_is_too_low_is_reported() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start_with_files(&config(&simulator), 64, 4096).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("4096"), "{files}");
    let warnings = gateway.log_lines("10000 connections of clients").await;
    let text = warnings[0]["message"].as_str().unwrap();
    assert!(text.contains("the limit is 4096"), "{text}");

    for (files, is_warned) in [(4096, true), (600, false)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let small = if is_warned { 10_000 } else { 200 };
        let config = config(&simulator)
            .set("server.max_connections", small)
            .set("server.max_in_flight", 200);
        std::fs::write(&path, config.to_toml()).unwrap();
        let mut command = sluice_with_files(64, files);
        let check = command.args(["check", "--offline", "--config"]).arg(&path).output().await;
        let told = String::from_utf8(check.unwrap().stdout).unwrap();
        assert_eq!(told.contains("file descriptors"), is_warned, "{files}: {told}");
    }
    assert_eq!(http::get(&format!("{}/healthz", gateway.admin_url())).await.status, 200);
}
