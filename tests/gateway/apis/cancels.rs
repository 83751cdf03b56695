//! Clients that leave: the upstream, which else goes on and charges, sees the end of their requests at once.

use std::net::SocketAddr;
use std::time::Duration;

use sluice::bedrock::event_stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::{APIS, Api};
use crate::support::raw::Connection;
use crate::support::upstream::read_request;
use crate::support::{Config, Gateway, Simulator};

/// Within this time the upstream must see that the client has left.
const LIMIT: Duration = Duration::from_secs(1);

/// An upstream that begins its answers and never ends them. It tells of each request, and of each end of one.
struct Endless {
    address: SocketAddr,
    asked: UnboundedReceiver<()>,
    left: UnboundedReceiver<()>,
}

impl Endless {
    async fn start(begun: Vec<u8>) -> Endless {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ((asks, asked), (leaves, left)) = (unbounded_channel(), unbounded_channel());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (begun, asks, leaves) = (begun.clone(), asks.clone(), leaves.clone());
                tokio::spawn(async move {
                    if read_request(&mut stream).await.is_none() {
                        return;
                    }
                    let _ = stream.write_all(&begun).await;
                    let _ = asks.send(());
                    // Nothing more is sent, so only the other side ends this.
                    while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
                    let _ = leaves.send(());
                });
            }
        });
        Endless { address, asked, left }
    }
}

/// A gateway with one target, of this surface, in front of this upstream.
async fn gateway(upstream: &Endless, surface: &str) -> Gateway {
    let simulator = Simulator::start().await;
    let config = Config::without_routes(&simulator)
        .set("targets.only.model", "maker.one")
        .set("targets.only.surfaces", vec![surface])
        .set("targets.only.endpoint_url", format!("http://{}", upstream.address));
    Gateway::start(&config.route("m", &["only"])).await
}

/// A client that has asked.
async fn ask(gateway: &Gateway, api: Api, is_stream: bool) -> Connection {
    let body = api.body(is_stream);
    let head =
        format!("POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", api.path, body.len());
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(format!("{head}{body}").as_bytes()).await;
    connection
}

async fn is_told(of: &mut UnboundedReceiver<()>, within: Duration, what: &str) {
    timeout(within, of.recv())
        .await
        .unwrap_or_else(|_| panic!("not told within {within:?}: {what}"));
}

/// The head of an answer of which more is to come, and the beginning of its body.
fn begun(content_type: &str, start: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 X\r\ncontent-type: {content_type}\r\ncontent-length: 9000\r\n\r\n");
    [head.as_bytes(), start].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_sees_at_once_that_the_client_of_a_stream_has_left() {
    let converse = |kind: &str, payload: &str| event_stream::event(kind, payload.to_owned());
    let frames = [
        converse("messageStart", r#"{"role":"assistant"}"#),
        converse("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"yes"}}"#),
    ]
    .concat();
    for api in APIS {
        let events = api.events()[..2].concat();
        for (surface, answer) in [
            (api.name, begun("text/event-stream", events.as_bytes())),
            ("converse", begun(event_stream::CONTENT_TYPE, &frames)),
        ] {
            let what = format!("{} by {surface}", api.name);
            let mut upstream = Endless::start(answer).await;
            let gateway = gateway(&upstream, surface).await;
            let mut client = ask(&gateway, api, true).await;
            let mut text = String::new();
            while !text.contains("yes") {
                let more = client.some(4096).await;
                assert!(!more.is_empty(), "{what}: {text}");
                text.push_str(&String::from_utf8_lossy(&more));
            }
            assert!(upstream.left.is_empty(), "{what}");
            drop(client);
            is_told(&mut upstream.left, LIMIT, &what).await;
            assert_eq!(gateway.access_log(1).await[0]["outcome"], "client_gone", "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_sees_at_once_that_a_client_has_left_before_its_answer() {
    for api in APIS {
        for surface in [api.name, "converse"] {
            for is_stream in [false, true] {
                // Nothing yet, or a part of what is held until it is whole.
                for answer in [Vec::new(), begun("application/json", b"{\"id\":\"resp_1\",")] {
                    let what = format!("{} by {surface}, {is_stream}, {}", api.name, answer.len());
                    if is_stream && !answer.is_empty() {
                        continue;
                    }
                    let mut upstream = Endless::start(answer).await;
                    let gateway = gateway(&upstream, surface).await;
                    let client = ask(&gateway, api, is_stream).await;
                    is_told(&mut upstream.asked, Duration::from_secs(30), &what).await;
                    assert!(upstream.left.is_empty(), "{what}");
                    drop(client);
                    is_told(&mut upstream.left, LIMIT, &what).await;
                }
            }
        }
    }
}
