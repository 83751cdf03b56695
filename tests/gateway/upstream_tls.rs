//! TLS towards the upstream: authorities of one's own, and which HTTP is spoken.

use crate::support::{
    Ask, Authority, Call, Client, Config, Gateway, PRIMARY, Simulator, Terminator,
};

/// A gateway before a simulator that is reached by TLS, as a VPC endpoint is.
fn config(simulator: &Simulator, before: &Terminator) -> Config {
    let url = format!("https://localhost:{}", before.port());
    Config::four_models(simulator).set("upstream.endpoint_url", url)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_ones_own_is_trusted_in_both_versions_of_http() {
    let authority = Authority::new();
    for (offered, agreed) in
        [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1"), (&[], "")]
    {
        let simulator = Simulator::start().await;
        let before = Terminator::start(&authority.server(), offered, simulator.address()).await;
        let gateway =
            Gateway::start(&config(&simulator, &before).set("upstream.ca_file", authority.path()))
                .await;
        for call in Call::routed(PRIMARY, "hello") {
            let operation = call.operation;
            let answer = gateway.call(Client::Boto3, call).await;
            assert!(answer.error.is_none(), "{operation}: {answer:?}");
        }
        let connections = before.agreed();
        assert!(connections.iter().all(|protocol| protocol == agreed), "{connections:?}");
        // They are kept and used again.
        assert!(connections.len() < 5, "{connections:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_many_requests_share_one_connection_of_http2() {
    let authority = Authority::new();
    let simulator = Simulator::start().await;
    let before = Terminator::start(&authority.server(), &["h2"], simulator.address()).await;
    let config = config(&simulator, &before)
        .set("upstream.ca_file", authority.path())
        .set("server.worker_threads", 1);
    let gateway = Gateway::start(&config).await;
    // Not even the first ones open more: the version is not known then.
    let asked: Vec<_> = (0..30)
        .map(|n| Ask::new(&gateway, &format!("{n} sim:token_ms=5")).stream().start())
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    assert_eq!(before.agreed(), ["h2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_is_an_upstream_that_can_not_be_connected_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    let simulator = Simulator::start().await;
    let before = Terminator::start(&authority.server(), &["h2"], simulator.address()).await;
    let config = config(&simulator, &before).every_target("cooldown", "1s");
    let stranger = other.path();
    for config in [config.clone(), config.set("upstream.ca_file", stranger)] {
        let gateway = Gateway::start(&config.set("queue.max_wait", "0s")).await;
        let answer = gateway.call(Client::Boto3, Call::converse(PRIMARY, "hello")).await;
        let raised = answer.raised();
        assert!(raised.is("ServiceUnavailableException"), "{raised:?}");
        assert!(raised.message.contains("could not connect to the upstream"), "{raised:?}");
        assert!(raised.message.contains("certificate"), "{raised:?}");
        let log = gateway.access_log(1).await;
        assert_eq!(log[0]["attempts"][0]["outcome"], "transient", "{log:?}");
        gateway.is_healthy().await;
    }
    assert!(simulator.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_authorities_are_trusted_where_they_are_chosen() {
    let (authority, public) = (Authority::new(), Authority::new());
    let simulator = Simulator::start().await;
    let before = Terminator::start(&authority.server(), &["h2"], simulator.address()).await;
    let platform = config(&simulator, &before).set("upstream.trust", "platform");
    let pinned = config(&simulator, &before)
        .set("upstream.trust", "file")
        .set("upstream.ca_file", authority.path());
    let beside = platform.clone().set("upstream.ca_file", authority.path());
    let (own, others) = (authority.path(), public.path());
    for (config, system) in [(platform, &own), (pinned, &others), (beside, &others)] {
        let gateway = Gateway::start_with(&config, &[("SSL_CERT_FILE", system)]).await;
        assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_not_taken() {
    let authority = Authority::new();
    let simulator = Simulator::start().await;
    let before = Terminator::start(&authority.client("someone"), &[], simulator.address()).await;
    let config = config(&simulator, &before)
        .set("upstream.ca_file", authority.path())
        .set("queue.max_wait", "0s");
    let gateway = Gateway::start(&config).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("could not connect"), "{}", answer.text());
}
