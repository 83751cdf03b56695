//! Bytes that no client should send, one case a line: what the gateway makes of them, and that it
//! is well after each.

mod http1;
mod http2;

use crate::support::raw::Connection;
use crate::support::{Config, Gateway, PRIMARY, Simulator, bodies};

/// Limits that are small enough to be met, and a path longer than the library takes.
async fn start(simulator: &Simulator) -> Gateway {
    let config = Config::models(simulator, 1)
        .set("server.header_read_timeout", "300ms")
        .set("server.body_read_timeout", "300ms")
        .set("server.max_header_bytes", "128KiB")
        .set("server.max_body", "64KiB");
    Gateway::start(&config).await
}

fn body() -> String {
    bodies::messages("hello", 10)
}

/// Asserts that a request that is well is answered, and nothing else went upstream.
async fn is_well(gateway: &Gateway, simulator: &Simulator, after: &str) {
    let body = body();
    let length = body.len();
    let head = format!("POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\n");
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await;
    let response = connection.response().await;
    assert_eq!(response.map(|response| response.status), Some(200), "after {after}");
    let called = simulator.models_called();
    assert!(called.iter().all(|model| model == PRIMARY), "after {after}: {called:?}");
}
