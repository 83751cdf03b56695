//! The end of the process: open requests finish, new ones go elsewhere, the exit is clean.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::patience::eventually;
use crate::support::{Call, Client, Config, Gateway, PRIMARY, Simulator, bodies, http};

fn slow_stream() -> Call {
    let prompt = "hello sim:tokens=100 sim:token_ms=20";
    Call::invoke_stream(PRIMARY, "").body(bodies::messages(prompt, 200))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_finishes_and_the_exit_is_clean() {
    for client in Client::SDKS {
        let simulator = Simulator::start().await;
        let mut gateway = Gateway::with_four_models(&simulator).await;
        let url = gateway.url();
        let streaming = tokio::spawn(client.call_owned(url, slow_stream()));
        simulator.sees("the stream", |entry| entry.frames >= 5).await;
        gateway.terminate().await;
        let ended = gateway.ended();
        let answer = streaming.await.unwrap();
        let text = answer.text();
        assert!(text.starts_with(&format!("[{PRIMARY}] hello")), "{client:?}: {text}");
        assert!(answer.events.last().unwrap().to_string().contains("invocationMetrics"));
        assert!(ended.await.success(), "{client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_drains_it_is_not_ready_and_takes_no_connections() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("server.drain_delay", "500ms");
    let mut gateway = Gateway::start(&config).await;
    let url = gateway.url();
    let streaming = tokio::spawn(Client::Rust.call_owned(url, slow_stream()));
    simulator.sees("the stream", |entry| entry.frames >= 5).await;
    gateway.terminate().await;
    let ready = async || http::get(&format!("{}/readyz", gateway.admin_url())).await.status;
    eventually("not ready", ready, |status| *status == 503).await;
    let refused = async || TcpStream::connect(gateway.address()).await.is_err();
    eventually("no connections", refused, |refused| *refused).await;
    streaming.await.unwrap().text();
    assert!(gateway.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_timeout_ends_what_does_not_end() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("server.drain_timeout", "300ms");
    let mut gateway = Gateway::start(&config).await;
    let endless = "hello sim:tokens=4000 sim:token_ms=100";
    let call = Call::invoke_stream(PRIMARY, "").body(bodies::messages(endless, 4000));
    let url = gateway.url();
    let streaming = tokio::spawn(Client::Rust.call_owned(url, call));
    simulator.sees("the stream", |entry| entry.frames >= 3).await;
    gateway.terminate().await;
    let began = Instant::now();
    gateway.ended().await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(streaming.await.unwrap().raised().in_stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_stops_at_once() {
    let simulator = Simulator::start().await;
    let mut gateway = Gateway::with_four_models(&simulator).await;
    // An idle connection is no reason to stay.
    let _idle = TcpStream::connect(gateway.address()).await.unwrap();
    let began = Instant::now();
    gateway.terminate().await;
    assert!(gateway.ended().await.success());
    assert!(began.elapsed() < Duration::from_secs(3));
}
