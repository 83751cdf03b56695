//! TLS towards clients: who speaks it, in which protocol, and what does not disturb it.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::clients::Job;
use crate::support::gateway::sluice;
use crate::support::patience::{LONG, eventually, within};
use crate::support::raw::Connection;
use crate::support::{
    Ask, Authority, Call, Client, Config, Dialer, Gateway, PRIMARY, Simulator, bodies, http,
};

async fn gateway(simulator: &Simulator, authority: &Authority) -> Gateway {
    Gateway::start(&Config::four_models(simulator).tls(&authority.server())).await
}

fn job(gateway: &Gateway, authority: &Authority, calls: Vec<Call>) -> Job {
    Job { ca: Some(authority.file()), ..Job::new(&gateway.https_url(), calls) }
}

#[tokio::test(flavor = "multi_thread")]
async fn sdks_speak_it_over_both_versions_of_http() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let gateway = gateway(&simulator, &authority).await;
    // boto3 speaks HTTP/1.1; the JavaScript SDK HTTP/2, which over TLS it has to agree on.
    for client in [Client::Boto3, Client::JavaScript, Client::JavaScriptHttp1] {
        let calls = Call::routed(PRIMARY, "hello").to_vec();
        for (call, answer) in
            calls.clone().iter().zip(client.run(job(&gateway, &authority, calls)).await)
        {
            assert!(answer.error.is_none(), "{client:?} {}: {answer:?}", call.operation);
            if call.operation != "CountTokens" {
                assert_eq!(answer.text(), format!("[{PRIMARY}] hello"), "{client:?}");
            }
        }
    }
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_trust_the_authority_does_not_connect() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let gateway = gateway(&simulator, &authority).await;
    for client in [Client::Boto3, Client::JavaScript] {
        let calls = vec![Call::converse(PRIMARY, "hello")];
        let stranger = job(&gateway, &Authority::new(), calls);
        client.run(stranger).await[0].raised();
    }
    assert!(simulator.log().is_empty());
    let failures = async || {
        gateway.metrics().await.sum("sluice_tls_handshake_failures_total", &[("reason", "refused")])
    };
    eventually("the failures", failures, |count| *count >= 2.0).await;
}

/// boto3 sends an API key over TLS only.
#[tokio::test(flavor = "multi_thread")]
async fn boto3_is_identified_by_its_api_key() {
    const KEY: &str = "an-api-key-of-team-a";
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let config = Config::four_models(&simulator).tls(&authority.server());
    let config = config.client("team-a", "env:TEAM_A_KEY");
    let gateway = Gateway::start_with(&config, &[("TEAM_A_KEY", KEY)]).await;
    let ask = async |endpoint: String, key: &str| {
        let job = Job {
            ca: Some(authority.file()),
            bearer_token: Some(key.to_owned()),
            ..Job::new(&endpoint, vec![Call::converse(PRIMARY, "hello")])
        };
        Client::Boto3.run(job).await.remove(0)
    };
    let answer = ask(gateway.https_url(), KEY).await;
    assert_eq!(answer.text(), format!("[{PRIMARY}] hello"));
    assert_eq!(gateway.access_log(1).await[0]["client"], "team-a");
    assert_eq!(ask(gateway.https_url(), "another-key-altogether").await.status, Some(403));
    assert!(!gateway.output().contains(KEY));

    let plain = Gateway::with_four_models(&simulator).await;
    let refused = ask(plain.url(), KEY).await;
    assert!(refused.raised().message.contains("HTTPS"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_agreed_on() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let gateway = gateway(&simulator, &authority).await;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let dialer = Dialer::trusting(&authority).offering(offered);
        let dialed = dialer.dial(gateway.address()).await.unwrap();
        assert_eq!(dialed.protocol.as_deref(), agreed, "{offered:?}");
    }
    let unknown = Dialer::trusting(&authority).offering(&["http/0.9"]);
    assert!(unknown.dial(gateway.address()).await.is_err());

    // The connector offers both.
    let url = format!("{}/model/{PRIMARY}/invoke", gateway.https_url());
    let dialer = Dialer::trusting(&authority);
    let answer = http::post_by_tls(&dialer, &url, &[], bodies::messages("hello", 16)).await;
    assert_eq!((answer.status, answer.version), (200, ::http::Version::HTTP_2));
    let dialer = Dialer::trusting(&authority).offering(&["http/1.1"]);
    let mut connection = dialer.dial(gateway.address()).await.unwrap().connection;
    connection.send(Ask::new(&gateway, "hello").into_http1().as_bytes()).await;
    assert_eq!(connection.response().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_an_answer() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let gateway = gateway(&simulator, &authority).await;
    let url = format!("https://localhost:{}/model/{PRIMARY}/invoke", gateway.address().port());
    let mut curl = tokio::process::Command::new("curl");
    curl.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--cacert", &authority.path()]);
    curl.args(["--resolve", &format!("localhost:{}:127.0.0.1", gateway.address().port())]);
    curl.args(["--data", &bodies::messages("hello", 16), "--write-out", "\n%{http_code}", &url]);
    let output = within(LONG, "curl", curl.kill_on_drop(true).output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.trim_end().ends_with("200"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_sets_the_oldest_tls_version() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let config = Config::four_models(&simulator).tls(&authority.server());
    let both = Gateway::start(&config).await;
    let old = Dialer::tls12(&authority);
    assert!(old.dial(both.address()).await.is_ok());
    let new = Gateway::start(&config.set("server.tls.min_version", "1.3")).await;
    assert!(old.dial(new.address()).await.is_err());
    assert!(Dialer::trusting(&authority).dial(new.address()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_starts_is_cut_and_frees_its_slot() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let config = Config::four_models(&simulator)
        .tls(&authority.server())
        .set("server.tls.handshake_timeout", "500ms")
        .set("server.max_connections", 4);
    let gateway = Gateway::start(&config).await;
    // One says nothing, one stops in the middle of its first message.
    let mut silent = Connection::open(gateway.address()).await;
    let mut halting = Connection::open(gateway.address()).await;
    halting.send(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]).await;
    // Meanwhile another one is served.
    let dialer = Dialer::trusting(&authority);
    let mut served = dialer.dial(gateway.address()).await.unwrap().connection;
    served.send(Ask::new(&gateway, "hello").into_http1().as_bytes()).await;
    assert_eq!(served.response().await.unwrap().status, 200);
    let began = Instant::now();
    assert!(silent.closes().await);
    assert!(halting.closes().await);
    assert!(began.elapsed() < Duration::from_secs(5));
    let timeouts = async || {
        gateway.metrics().await.sum("sluice_tls_handshake_failures_total", &[("reason", "timeout")])
    };
    eventually("both are counted", timeouts, |count| *count == 2.0).await;
    // The one that is served, and this look.
    let open = async || gateway.metrics().await.sum("sluice_connections", &[]);
    eventually("the slots", open, |open| *open <= 2.0).await;
    gateway.is_healthy().await;
}

/// A client may be slow after its handshake too.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_or_half_started_connection_is_cut() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let config = Config::four_models(&simulator).set("server.header_read_timeout", "500ms");
    let secure = Gateway::start(&config.clone().tls(&authority.server())).await;
    let plain = Gateway::start(&config).await;
    let dialer = Dialer::trusting(&authority).offering(&["h2"]);
    // What begins like HTTP/2 could still be either.
    for first in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let mut by_tls = dialer.dial(secure.address()).await.unwrap().connection;
        by_tls.send(first.as_bytes()).await;
        assert!(by_tls.closes().await, "{first}");
        let mut in_the_clear = Connection::open(plain.address()).await;
        in_the_clear.send(first.as_bytes()).await;
        assert!(in_the_clear.closes().await, "{first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_tls_is_refused_and_disturbs_no_other() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let gateway = gateway(&simulator, &authority).await;
    for first in [
        &b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0x16, 0x03, 0x01, 0xff, 0xff, 0x00],
        &[0; 2000],
    ] {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(first).await;
        let answer = connection.rest().await;
        // An alert at most, and no HTTP.
        assert!(answer.len() <= 7 && answer.first().is_none_or(|byte| *byte == 0x15), "{answer:?}");
    }
    // Gone at once, before and in the handshake.
    drop(TcpStream::connect(gateway.address()).await.unwrap());
    let answer = Dialer::trusting(&authority).dial(gateway.address()).await;
    assert!(answer.is_ok());
    gateway.is_healthy().await;
    assert!(simulator.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_in_the_clear_unless_it_shares_the_port() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = free.local_addr().unwrap().to_string();
    drop(free);
    let config = Config::four_models(&simulator).tls(&authority.server());
    let apart = Gateway::start(&config).await;
    apart.is_healthy().await;
    let config =
        config.set("server.listen", shared.as_str()).set("server.admin_listen", shared.as_str());
    let together = Gateway::start(&config).await;
    let mut connection =
        Dialer::trusting(&authority).dial(together.address()).await.unwrap().connection;
    connection.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(connection.response().await.unwrap().status, 200);

    // The health check finds both.
    for (gateway, admin) in [(&apart, apart.admin_url()), (&together, together.admin_url())] {
        for more in [&["healthcheck"][..], &["healthcheck", "--ready"]] {
            // Files that have gone bad are not a reason to think that it is dead.
            for cert in [authority.server().cert(), "/nowhere".to_owned()] {
                let (healthy, said) = healthcheck(gateway, &admin, &cert, more).await;
                assert!(healthy, "{admin} {more:?}: {said}");
            }
        }
    }
}

/// Runs the health check as a container does, with the config of the gateway.
async fn healthcheck(
    gateway: &Gateway,
    admin: &str,
    cert: &str,
    arguments: &[&str],
) -> (bool, String) {
    let mut command = sluice();
    command
        .env("SLUICE__SERVER__LISTEN", gateway.address().to_string())
        .env("SLUICE__SERVER__ADMIN_LISTEN", admin.strip_prefix("http://").unwrap())
        .env("SLUICE__SERVER__TLS__CERT", cert)
        .args(arguments);
    let output = within(LONG, "healthcheck", command.output()).await.unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_finish_when_it_stops() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let mut gateway = gateway(&simulator, &authority).await;
    let prompt = "hello sim:tokens=60 sim:token_ms=20";
    let call = Call::invoke_stream(PRIMARY, "").body(bodies::messages(prompt, 200));
    let streaming = tokio::spawn(Client::JavaScript.run(job(&gateway, &authority, vec![call])));
    simulator.sees("the stream", |entry| entry.frames >= 5).await;
    gateway.terminate().await;
    assert!(streaming.await.unwrap()[0].text().starts_with(&format!("[{PRIMARY}] hello")));
    assert!(gateway.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_into_the_files() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let check = async |config: Config| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, config.to_toml()).unwrap();
        let mut command = sluice();
        command.args(["check", "--offline", "--config", path.to_str().unwrap()]);
        let output = within(LONG, "check", command.output()).await.unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said.into_owned())
    };
    let config = Config::four_models(&simulator);
    let (issued, other, old) = (authority.server(), authority.server(), authority.expired_server());
    let (good, said) = check(config.clone().tls(&issued)).await;
    let of_files =
        said.lines().filter(|line| line.contains("warning") && !line.contains("AWS retired"));
    assert!(good && of_files.count() == 0, "{said}");
    let (good, said) = check(config.clone().tls(&issued).set("server.tls.key", other.key())).await;
    assert!(!good && said.contains("server.tls.key: the file"), "{said}");
    let (good, said) = check(config.tls(&old)).await;
    assert!(good && said.contains("has expired on 2020-01-01"), "{said}");
}
