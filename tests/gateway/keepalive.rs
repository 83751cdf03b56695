//! Clients that vanish without a word are noticed: their sockets have TCP keepalive.

use std::net::SocketAddr;

use crate::support::raw::Connection;
use crate::support::{Ask, Config, Gateway, Simulator};
use sluice::simulator::{Fault, FaultRule};
use tokio::net::TcpStream;

/// The timer of the connection between these, as the system shows it: 2 is that of keepalive; and
/// whether it goes off within a minute.
fn timer(local: SocketAddr, peer: SocketAddr) -> Option<(String, bool)> {
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (from, to) = (port(fields.next()?)?, port(fields.next()?)?);
        let timer = fields.nth(2)?;
        let is_it = (from, to) == (local.port(), peer.port());
        let (kind, due) = timer.split_once(':')?;
        // In hundredths of a second.
        let is_soon = u64::from_str_radix(due, 16).ok()? <= 6_000;
        is_it.then(|| (kind.to_owned(), is_soon))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listeners_connections_have_keepalive() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("legacy.enabled", true)
        .set("legacy.models", vec!["sonnet-35"])
        .set("legacy.listen", "127.0.0.1:0");
    let gateway = Gateway::start(&config).await;
    for listener in [gateway.address(), gateway.admin_address(), gateway.legacy_address()] {
        let client = TcpStream::connect(listener).await.unwrap();
        let peer = client.local_addr().unwrap();
        assert_eq!(timer(listener, peer), Some(("02".to_owned(), true)), "{listener}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_its_answer_has_keepalive() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 1)).await;
    simulator.add(FaultRule::always(Fault::HangBeforeHead));
    let client = TcpStream::connect(gateway.address()).await.unwrap();
    let peer = client.local_addr().unwrap();
    let mut connection = Connection::over(client);
    connection.send(Ask::new(&gateway, "hello").into_http1().as_bytes()).await;
    simulator.sees("the request", |entry| entry.body_bytes > 0).await;
    assert_eq!(timer(gateway.address(), peer), Some(("02".to_owned(), true)));
}
