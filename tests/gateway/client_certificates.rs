//! Certificates of clients: who is let in, and what the access log calls them.

use crate::support::clients::Job;
use crate::support::gateway::sluice;
use crate::support::patience::{LONG, eventually, within};
use crate::support::raw::Connection;
use crate::support::{
    Ask, Authority, Call, Client, Config, Dialer, Gateway, Issued, PRIMARY, Simulator,
};

async fn gateway(simulator: &Simulator, authority: &Authority, auth: Option<&str>) -> Gateway {
    let mut config = Config::four_models(simulator)
        .tls(&authority.server())
        .set("server.tls.client_ca", authority.path());
    if let Some(auth) = auth {
        config = config.set("server.tls.client_auth", auth);
    }
    Gateway::start(&config).await
}

/// Asks over a connection that is made like this; `None` where it is broken off before an answer.
async fn ask(gateway: &Gateway, dialer: &Dialer) -> Option<u16> {
    // A refusal may come in the handshake, or right after the client believes that it is over.
    let mut connection: Connection = dialer.dial(gateway.address()).await.ok()?.connection;
    connection.send(Ask::new(gateway, "hello").into_http1().as_bytes()).await;
    Some(connection.response().await?.status)
}

async fn refusals(gateway: &Gateway) -> f64 {
    let reason = [("reason", "refused")];
    gateway.metrics().await.sum("sluice_tls_handshake_failures_total", &reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_needs_its_client_certificate() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let gateway = gateway(&simulator, &authority, None).await;
    let client = authority.client("team-a");
    let calls = || vec![Call::converse(PRIMARY, "hello")];
    let without = Job { ca: Some(authority.file()), ..Job::new(&gateway.https_url(), calls()) };
    let with = Job { client_cert: Some([client.cert(), client.key()]), ..without.clone() };
    assert_eq!(Client::Boto3.run(with).await[0].text(), format!("[{PRIMARY}] hello"));
    Client::Boto3.run(without).await[0].raised();
    assert_eq!(simulator.log().len(), 1);
    // It was signed too, and the access key says more of who asks.
    assert_eq!(gateway.access_log(1).await[0]["client"], "AKIDCLIENT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_certificate_is_one_of_the_right_authority() {
    let simulator = Simulator::start().await;
    let (authority, other) = (Authority::new(), Authority::new());
    let gateway = gateway(&simulator, &authority, Some("required")).await;
    let with = |issued: &Issued| Dialer::showing(&authority, issued);
    assert_eq!(ask(&gateway, &with(&authority.client("team-a"))).await, Some(200));
    for refused in [
        Dialer::trusting(&authority),
        with(&other.client("team-a")),
        // A server's certificate is not for clients.
        with(&authority.server()),
    ] {
        assert_eq!(ask(&gateway, &refused).await, None);
    }
    eventually("the refusals", async || refusals(&gateway).await, |count| *count == 3.0).await;
    assert_eq!(simulator.log().len(), 1);
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_one_may_be_missing_but_not_wrong() {
    let simulator = Simulator::start().await;
    let (authority, other) = (Authority::new(), Authority::new());
    let gateway = gateway(&simulator, &authority, Some("optional")).await;
    let with = |issued: &Issued| Dialer::showing(&authority, issued);
    assert_eq!(ask(&gateway, &with(&authority.client("team-a"))).await, Some(200));
    assert_eq!(ask(&gateway, &Dialer::trusting(&authority)).await, Some(200));
    assert_eq!(ask(&gateway, &with(&other.client("team-a"))).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_the_certificates_subject_of_an_unsigned_request() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let gateway = gateway(&simulator, &authority, Some("optional")).await;
    let team = Dialer::showing(&authority, &authority.client("team-a"));
    let crafty = Dialer::showing(&authority, &authority.client("team-b,O=x\n"));
    assert_eq!(ask(&gateway, &team).await, Some(200));
    assert_eq!(ask(&gateway, &crafty).await, Some(200));
    assert_eq!(ask(&gateway, &Dialer::trusting(&authority)).await, Some(200));
    let mut names: Vec<_> =
        gateway.access_log(3).await.iter().map(|line| line["client"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["-", "CN=team-a", "CN=team-b\\,O=x\\0a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_identifies_a_client_whatever_it_signs_with() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let config = Config::four_models(&simulator)
        .tls(&authority.server())
        .set("server.tls.client_ca", authority.path())
        .set("server.tls.client_auth", "optional")
        .set("limits.requests_per_second", 1)
        .set("limits.burst", 2)
        .client_with("name = 'a'\ncertificates = ['CN:team-a']")
        .client_with("name = 'b'\ncertificates = ['CN=team-b', 'DNS:b.example.com']")
        .client_that_signs("c", "SLUICEOFTEAMC", "SECRET");
    let secret = "the-secret-of-team-c-0123456789";
    let gateway = Gateway::start_with(&config, &[("SECRET", secret)]).await;
    let of = |name: &str| Job {
        ca: Some(authority.file()),
        client_cert: Some(authority.client(name)).map(|it| [it.cert(), it.key()]),
        ..Job::new(&gateway.https_url(), vec![Call::converse(PRIMARY, "hello")])
    };
    // boto3 signs with a key that is nobody's; the certificate counts.
    for name in ["team-a", "team-b"] {
        Client::Boto3.run(of(name)).await[0].text();
    }
    // A right signature says more, and a wrong one is refused.
    Client::Boto3.run(of("team-a").signed_by("SLUICEOFTEAMC", secret)).await[0].text();
    let forged = of("team-a").signed_by("SLUICEOFTEAMC", "not-the-secret-0123456789");
    let answer = Client::Boto3.run(forged).await.remove(0);
    assert!(answer.raised().is("InvalidSignatureException"), "{answer:?}");
    // One of the same authority whom the config does not name.
    let answer = Client::Boto3.run(of("team-x")).await.remove(0);
    let raised = answer.raised();
    assert_eq!(raised.class.as_deref(), Some("ClientError"));
    assert!(raised.is("UnrecognizedClientException"), "{raised:?}");
    // And who signs nothing.
    assert_eq!(ask(&gateway, &Dialer::trusting(&authority)).await, Some(403));
    let log = gateway.access_log(6).await;
    let names: Vec<&str> = log
        .iter()
        .filter(|line| line["status"] == 200)
        .map(|line| line["client"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    let metrics = gateway.metrics().await;
    let by = [("by", "certificate"), ("result", "ok")];
    assert_eq!(metrics.sum("sluice_authentications_total", &by), 2.0);
    // Limits count by the client's name.
    let team_a = Dialer::showing(&authority, &authority.client("team-a"));
    let mut statuses = Vec::new();
    while statuses.len() < 10 && !statuses.contains(&Some(429)) {
        statuses.push(ask(&gateway, &team_a).await);
    }
    assert_eq!(statuses.last(), Some(&Some(429)), "{statuses:?}");
    let limited = [("client", "a"), ("limit", "requests_per_second")];
    assert_eq!(gateway.metrics().await.sum("sluice_client_limited_total", &limited), 1.0);
}

/// Without a certificate a health check sees no more than that somebody is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_on_a_shared_port_reports_liveness_only() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = free.local_addr().unwrap().to_string();
    drop(free);
    let server = authority.server();
    let config = Config::four_models(&simulator)
        .tls(&server)
        .set("server.tls.client_ca", authority.path())
        .set("server.listen", shared.as_str())
        .set("server.admin_listen", shared.as_str());
    let gateway = Gateway::start(&config).await;
    let check = async |more: &[&str]| {
        let mut command = sluice();
        command
            .env("SLUICE__SERVER__LISTEN", &shared)
            .env("SLUICE__SERVER__ADMIN_LISTEN", &shared)
            .env("SLUICE__SERVER__TLS__CERT", server.cert())
            .env("SLUICE__SERVER__TLS__KEY", server.key())
            .env("SLUICE__SERVER__TLS__CLIENT_CA", authority.path())
            .args(more);
        within(LONG, "healthcheck", command.output()).await.unwrap()
    };
    let alive = check(&["healthcheck"]).await;
    assert!(alive.status.success(), "{alive:?}");
    let ready = check(&["healthcheck", "--ready"]).await;
    let said = String::from_utf8_lossy(&ready.stderr);
    assert!(!ready.status.success() && said.contains("requires a client certificate"), "{said}");
    drop(gateway);
    assert!(!check(&["healthcheck"]).await.status.success());
}
