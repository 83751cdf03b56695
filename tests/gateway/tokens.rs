//! Tokens of an issuer, presented as bearer tokens over TLS; the issuer's keys, which come over TLS
//! too, change, and can't always be had.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::clients::Job;
use crate::support::patience::eventually;
use crate::support::{
    Answer, Authority, Call, Client, Config, Gateway, Issuer, PRIMARY, Simulator, TokenKey, http,
};

const KEY: &str = "the-bearer-key-of-team-b-0123";

/// A gateway with TLS that knows team-a by tokens, and team-b by tokens and a key.
fn config(simulator: &Simulator, authority: &Authority, issuer: &str) -> Config {
    Config::four_models(simulator)
        .tls(&authority.server())
        .set("upstream.ca_file", authority.path())
        .issuer(issuer, "unknown_key_interval = '1s'\nleeway = '0s'")
        .client_with("name = 'team-a'\nidentities = [{ issuer = 'corp', value = 'app-a' }]")
        .client_with(
            "name = 'team-b'\nbearer_token = 'env:KEY'\n\
             identities = [{ issuer = 'corp', value = 'app-b' }]",
        )
}

async fn start(config: &Config) -> Gateway {
    Gateway::start_with(config, &[("KEY", KEY)]).await
}

async fn ask_by(client: Client, gateway: &Gateway, ca: &Authority, token: &str) -> Answer {
    let job = Job::new(&gateway.https_url(), vec![Call::converse(PRIMARY, "hello")]);
    client.run(job.bearing(token, &ca.file())).await.remove(0)
}

/// Whether the issuer's keys could be had the last time.
async fn is_up(gateway: &Gateway) -> f64 {
    let metrics = gateway.metrics().await;
    metrics.sum("sluice_dependency_up", &[("dependency", "issuer_corp")])
}

async fn has_keys(gateway: &Gateway) {
    eventually("the keys", async || is_up(gateway).await, |is_up| *is_up == 1.0).await;
}

/// The claims with one that is another.
fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn sdks_present_tokens_and_get_the_reason_of_a_refusal() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let (rsa, ec) = (TokenKey::rsa("rsa-1"), TokenKey::ec("ec-1"));
    let issuer = Issuer::start(&authority, &[&rsa, &ec]).await;
    let gateway = start(&config(&simulator, &authority, &issuer.url())).await;
    has_keys(&gateway).await;
    let ask = async |client, token: &str| ask_by(client, &gateway, &authority, token).await;
    let good = rsa.sign(&issuer.claims("app-a"));
    for client in [Client::Boto3, Client::JavaScript, Client::Rust] {
        for token in [&good, &ec.sign(&issuer.claims("app-b")), KEY] {
            assert_eq!(ask(client, token).await.text(), format!("[{PRIMARY}] hello"));
        }
    }
    let logged = gateway.access_log(9).await;
    let names: Vec<&str> = logged.iter().map(|line| line["client"].as_str().unwrap()).collect();
    assert_eq!(names, ["team-a", "team-b", "team-b"].repeat(3));

    let claims = || issuer.claims("app-a");
    let changed = good.replacen('.', ".e30", 1);
    for (token, class, code, message) in [
        (
            rsa.sign(&with(claims(), "exp", json!(1_700_000_000))),
            "ClientError",
            "ExpiredTokenException",
            "is expired",
        ),
        (
            rsa.sign(&issuer.claims("app-of-nobody")),
            "ClientError",
            "UnrecognizedClientException",
            "no client's",
        ),
        (
            rsa.sign(&with(claims(), "aud", json!("another"))),
            "AccessDeniedException",
            "AccessDeniedException",
            "for another audience",
        ),
        (
            TokenKey::rsa("rsa-1").sign(&claims()),
            "AccessDeniedException",
            "AccessDeniedException",
            "signature is not valid",
        ),
        (
            rsa.sign(&with(claims(), "iss", json!("https://example.com"))),
            "AccessDeniedException",
            "AccessDeniedException",
            "the API key is not valid",
        ),
        (changed, "AccessDeniedException", "AccessDeniedException", "not valid"),
    ] {
        let answer = ask(Client::Boto3, &token).await;
        let raised = answer.raised();
        assert_eq!((raised.class.as_deref(), raised.name.as_str()), (Some(class), code));
        assert_eq!(answer.status, Some(403), "{raised:?}");
        assert!(raised.message.contains(message), "{raised:?}");
        assert!(!raised.message.contains(&token));
    }
    assert_eq!(simulator.log().len(), 9);
    let metrics = gateway.metrics().await;
    let by = |result| [("by", "token"), ("result", result)];
    assert_eq!(metrics.sum("sluice_authentications_total", &by("ok")), 6.0);
    assert_eq!(metrics.sum("sluice_authentications_total", &by("expired")), 1.0);
    // None of it is in the log, nor goes to Bedrock.
    let parts: Vec<&str> = good.split('.').collect();
    assert!(!gateway.output().contains(parts[1]) && !gateway.output().contains(parts[2]));
    assert!(simulator.log().iter().all(|entry| entry.signature == Some("valid")));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_and_the_last_ones_stay_while_there_are_no_newer() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let (old, new) = (TokenKey::rsa("2026"), TokenKey::ec("2027"));
    let issuer = Issuer::start(&authority, &[&old]).await;
    let gateway = start(&config(&simulator, &authority, &issuer.url())).await;
    has_keys(&gateway).await;
    let claims = issuer.claims("app-a");
    let (by_old, by_new) = (old.sign(&claims), new.sign(&claims));
    let ask = async |token: &str| ask_by(Client::Boto3, &gateway, &authority, token).await;
    ask(&by_old).await.text();
    // Over the interval nobody asks for keys when nobody names one that is not known.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(issuer.asked(), 1);

    issuer.has(&[&old, &new]);
    let first = ask(&by_new).await;
    assert!(first.raised().message.contains("does not have"), "{first:?}");
    let taken = async || ask(&by_new).await.error.is_none();
    eventually("the new key", taken, |taken| *taken).await;
    ask(&by_old).await.text();
    issuer.has(&[&new]);

    // Who makes up keys has them asked for once a second at most.
    let (before, began) = (issuer.asked(), tokio::time::Instant::now());
    for number in 0..6 {
        let made_up = TokenKey::ec(&format!("made-up-{number}")).sign(&claims);
        let refused = ask(&made_up).await;
        assert!(refused.raised().message.contains("does not have"), "{refused:?}");
    }
    let allowed = began.elapsed().as_secs() as usize + 2;
    assert!(issuer.asked() - before <= allowed, "{before} {} {allowed}", issuer.asked());
    let gone = async || ask(&by_old).await.error.is_some();
    eventually("the old key is gone", gone, |gone| *gone).await;

    issuer.breaks(true);
    ask(&TokenKey::ec("another").sign(&claims)).await.raised();
    eventually("it is down", async || is_up(&gateway).await, |is_up| *is_up == 0.0).await;
    ask(&by_new).await.text();
    let lines = gateway.log_lines("cannot refresh the issuer's keys; keeping the last ones").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    issuer.breaks(false);
    has_keys(&gateway).await;
    assert_eq!(gateway.log_lines("the issuer's keys are refreshed again").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_its_issuer_and_reports_that() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let key = TokenKey::ec("2026");
    let issuer = Issuer::start(&authority, &[&key]).await;
    issuer.breaks(true);
    let gateway = start(&config(&simulator, &authority, &issuer.url())).await;
    let token = key.sign(&issuer.claims("app-a"));
    let ask = async |token: &str| ask_by(Client::Boto3, &gateway, &authority, token).await;
    let refused = ask(&token).await;
    let raised = refused.raised();
    assert_eq!(raised.class.as_deref(), Some("ServiceUnavailableException"), "{raised:?}");
    assert_eq!(refused.status, Some(503));
    assert_eq!(is_up(&gateway).await, 0.0);
    // Others are not concerned.
    ask(KEY).await.text();
    issuer.breaks(false);
    let taken = async || ask(&token).await.error.is_none();
    eventually("its keys", taken, |taken| *taken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_claims_required_and_keeps_the_keys() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let key = TokenKey::ec("2026");
    let issuer = Issuer::start(&authority, &[&key]).await;
    let first = config(&simulator, &authority, &issuer.url());
    let gateway = start(&first).await;
    has_keys(&gateway).await;
    let ask = async |token: &str| ask_by(Client::Boto3, &gateway, &authority, token).await;
    let token = key.sign(&issuer.claims("app-a"));
    ask(&token).await.text();
    issuer.breaks(true);
    // team-a is somebody else now.
    let file = first.to_toml();
    gateway.reload(&file.replace("\"app-a\"", "\"app-c\"")).await;
    assert!(ask(&token).await.raised().is("UnrecognizedClientException"));
    ask(&key.sign(&issuer.claims("app-c"))).await.text();
    // And tokens are for somebody else.
    gateway.reload(&file.replace("\"sluice\"", "\"else\"")).await;
    assert!(ask(&token).await.raised().message.contains("another audience"));
    let for_else = with(issuer.claims("app-a"), "aud", json!("else"));
    ask(&key.sign(&for_else)).await.text();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_endpoints_take_tokens_too() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let key = TokenKey::ec("2026");
    let issuer = Issuer::start(&authority, &[&key]).await;
    let config = Config::four_models(&simulator)
        .set("upstream.ca_file", authority.path())
        .issuer(&issuer.url(), "")
        .client_with("name = 'team-a'\nidentities = [{ issuer = 'corp', value = 'app-a' }]");
    let gateway = Gateway::start(&config).await;
    has_keys(&gateway).await;
    let url = format!("{}/analyze_section", gateway.url());
    let body = r#"{"session_id": "s", "section_name": "S", "content": "text"}"#;
    let ask = async |token: &str| {
        let authorization = format!("Bearer {token}");
        http::post(&url, &[("authorization", &authorization)], body).await
    };
    assert_eq!(ask(&key.sign(&issuer.claims("app-a"))).await.status, 200);
    let refused = ask(&key.sign(&with(issuer.claims("app-a"), "exp", json!(1)))).await;
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("The token has expired"), "{}", refused.text());
}
