//! Clients that show who they are: by signatures of unmodified SDKs with key pairs of the gateway,
//! or by bearer keys. What is refused is refused in the form that SDKs understand.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::clients::{Job, script};
use crate::support::gateway::{run_sluice, sluice};
use crate::support::patience::{LONG, within};
use crate::support::raw::Connection;
use crate::support::{Ask, Authority, Call, Client, Config, Gateway, PRIMARY, Simulator, bodies};

const ID: &str = "SLUICEQ5ZJ2M4TGB7WDKFA";
const SECRET: &str = "test/secret+of/team-a+0123456789abcdefgh";
const VARIABLES: [(&str, &str); 3] = [
    ("TEAM_A_SECRET", SECRET),
    ("OLD_KEY", "the-old-key-of-team-b-0123"),
    ("NEW_KEY", "the-new-key-of-team-b-0123"),
];
const PROFILE_ARN: &str = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-haiku-20240307-v1:0";

async fn gateway(simulator: &Simulator, change: impl FnOnce(Config) -> Config) -> Gateway {
    let config = Config::four_models(simulator).client_that_signs("team-a", ID, "TEAM_A_SECRET");
    Gateway::start_with(&change(config), &VARIABLES).await
}

fn job(gateway: &Gateway, calls: Vec<Call>) -> Job {
    Job::new(&gateway.url(), calls).signed_by(ID, SECRET)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_let_in_with_a_pair_of_the_gateways_and_refused_with_another_secret() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator, |config| config).await;
    for client in Client::ALL {
        let mut calls: Vec<Call> = Call::routed(PRIMARY, "hello").into();
        calls.push(Call::converse(PROFILE_ARN, "hello"));
        if client == Client::Cli {
            calls.retain(|call| !call.is_stream());
        } else {
            calls.push(Call::apply_guardrail("text"));
            calls.push(Call::list_async_invokes());
        }
        // Its region is not the target's, and need not be.
        let job = Job { region: "eu-west-1".to_owned(), ..job(&gateway, calls.clone()) };
        for (call, answer) in calls.iter().zip(client.run(job.clone()).await) {
            assert!(answer.error.is_none(), "{client:?} {call:?}: {:?}", answer.error);
        }
        let before = simulator.log().len();
        let wrong = job.signed_by(ID, "not-the-secret-0123456789");
        for answer in client.run(wrong).await {
            let raised = answer.raised();
            assert!(raised.is("InvalidSignatureException"), "{client:?}: {raised:?}");
            assert!(raised.message.contains("does not match"), "{client:?}: {raised:?}");
        }
        assert_eq!(simulator.log().len(), before, "{client:?}");
    }
    for entry in simulator.log() {
        assert_eq!(entry.signature, Some("valid"));
        assert_eq!(entry.access_key_id.as_deref(), Some(simulator.access_key_id()));
    }
    let metrics = gateway.metrics().await;
    let by = |result| [("by", "key_pair"), ("result", result)];
    assert!(metrics.sum("sluice_authentications_total", &by("ok")) >= 30.0);
    assert!(metrics.sum("sluice_authentications_total", &by("invalid")) >= 20.0);
    // Who only says that it is team-a is not counted as such.
    let refused = [("client", "team-a"), ("outcome", "unauthenticated")];
    assert_eq!(metrics.sum("sluice_requests_total", &refused), 0.0);
    assert!(metrics.sum("sluice_requests_total", &[("client", "team-a")]) >= 30.0);
    assert!(!gateway.output().contains(SECRET));
}

/// A number that a longer run sets.
fn set(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signature_of_a_random_request_is_taken_just_if_botocore_computes_it() {
    const USUAL: u64 = 1200;
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator, |config| config).await;
    let address = gateway.address();
    let mut job = json!({
        "host": address.ip().to_string(), "port": address.port(), "access_key_id": ID,
        "secret_access_key": SECRET, "seed": set("DIFFERENTIAL_SEED").unwrap_or(7),
        "models": [PRIMARY, PROFILE_ARN, "eu.anthropic.claude-3-haiku-20240307-v1:0"],
    });
    let (count, seconds) = (set("DIFFERENTIAL_COUNT"), set("DIFFERENTIAL_SECONDS"));
    match (count, seconds) {
        (None, Some(seconds)) => job["seconds"] = seconds.into(),
        _ => job["count"] = count.unwrap_or(USUAL).into(),
    }
    let run = script("signature_oracle.py", &job);
    let limit = Duration::from_secs(120 + seconds.unwrap_or(0) + count.unwrap_or(0) / 20);
    let said = within(limit, "the script", run).await;
    assert_eq!(said["wrong"], json!([]));
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let changes = said["changes"].as_object().unwrap();
    println!("{} taken, {} refused, {} unread", said["taken"], said["refused"], said["unread"]);
    let signed = &changes["none"];
    assert!(number(&signed["taken"]) > number(&signed["refused"]), "{signed}");
    // Each change is made, and those that make no difference are taken.
    assert!(changes.len() > 50 && number(&said["refused"]) > USUAL / 2, "{said}");
    for harmless in [
        "query shuffled",
        "query escape in the other case",
        "header blanks",
        "header name in the other case",
        "headers shuffled",
        "headers joined",
        "header that is not signed",
        "authorization without blanks",
    ] {
        assert!(number(&changes[harmless]["taken"]) > 0, "{harmless}: {said}");
    }
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_raises_for_each_mistake_what_it_raises_at_bedrock() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator, |config| config).await;
    let address = gateway.address();
    let job = json!({
        "host": address.ip().to_string(), "port": address.port(), "region": "us-east-1",
        "access_key_id": ID, "secret_access_key": SECRET, "models": [PRIMARY],
    });
    let said = script("boto3_mistakes.py", &job).await;
    assert_eq!(said["none"], Value::Null);
    for (mistake, code, message) in [
        (
            "unknown_key",
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        (
            "wrong_secret",
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
        ),
        ("skewed_clock", "InvalidSignatureException", "Signature expired: "),
        ("fast_clock", "InvalidSignatureException", "Signature not yet current: "),
        ("unsigned", "MissingAuthenticationTokenException", "Missing Authentication Token"),
    ] {
        let raised = &said[mistake];
        assert_eq!(raised["class"], "ClientError", "{mistake}: {raised}");
        assert_eq!((&raised["code"], &raised["status"]), (&json!(code), &json!(403)), "{mistake}");
        assert!(raised["message"].as_str().unwrap().starts_with(message), "{mistake}: {raised}");
    }
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_head_is_sent_before_the_body_arrives() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator, |config| config).await;
    let mut connection = Connection::open(gateway.address()).await;
    let credential = "Credential=NOBODY/20261123/us-east-1/bedrock/aws4_request";
    let head = format!(
        "POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\
         x-amz-date: 20261123T120000Z\r\nauthorization: AWS4-HMAC-SHA256 {credential}, \
         SignedHeaders=host;x-amz-date, Signature=00\r\n\r\n"
    );
    connection.send(head.as_bytes()).await;
    let refused = connection.response().await.unwrap();
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("x-amzn-errortype"), Some("UnrecognizedClientException"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_an_unknown_key_and_a_large_body_can_read_the_refusal() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator, |config| config).await;
    let body = bodies::messages(&"x".repeat(8_000_000), 10);
    let calls = vec![Call::invoke(PRIMARY, "").body(body); 3];
    for client in Client::SDKS {
        let stranger = Job::new(&gateway.url(), calls.clone()).signed_by("NOBODY", SECRET);
        for answer in client.run(stranger).await {
            let raised = answer.raised();
            assert!(raised.is("UnrecognizedClientException"), "{client:?}: {raised:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_count_by_authenticated_name_whichever_key_is_used() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator, |config| {
        let both = "name = 'team-b'\nbearer_token = 'env:NEW_KEY'\n\
             keys = [{ access_key_id = 'TEAM-B', secret_access_key = 'env:TEAM_A_SECRET' }]";
        config.client_with(both).set("limits.requests_per_second", 1).set("limits.burst", 2)
    })
    .await;
    // Ten requests that are not team-b's leave it what it has.
    let calls: Vec<Call> = (0..10).map(|_| Call::converse(PRIMARY, "hello")).collect();
    let forged =
        Job::at_once(&gateway.url(), calls).signed_by("TEAM-B", "not-the-secret-0123456789");
    for answer in Client::Boto3.run(forged).await {
        assert!(answer.raised().is("InvalidSignatureException"));
    }
    let bearer =
        || Ask::new(&gateway, "hi").header("authorization", "Bearer the-new-key-of-team-b-0123");
    let signed = Job::new(&gateway.url(), vec![Call::converse(PRIMARY, "hello")]);
    let answer = Client::Rust.run(signed.signed_by("TEAM-B", SECRET)).await;
    assert!(answer[0].error.is_none(), "{answer:?}");
    let statuses = [bearer().send().await.status, bearer().send().await.status];
    assert_eq!(statuses, [200, 429]);
    let metrics = gateway.metrics().await;
    let limited = [("client", "team-b"), ("limit", "requests_per_second")];
    assert_eq!(metrics.sum("sluice_client_limited_total", &limited), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_keys_work_side_by_side_until_the_old_one_expires() {
    let simulator = Simulator::start().await;
    let end = std::time::SystemTime::now() + Duration::from_secs(6);
    let seconds = |end: std::time::SystemTime| {
        end.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as f64
    };
    let expires = humantime::format_rfc3339_seconds(end);
    let gateway = gateway(&simulator, |config| {
        config.client_with(&format!(
            "name = 'team-b'\nbearer_tokens = [{{ token = 'env:OLD_KEY', expires = '{expires}' }}, \
             {{ token = 'env:NEW_KEY' }}]\n\
             keys = [{{ access_key_id = 'OLD', secret_access_key = 'env:OLD_KEY', expires = '{expires}' }}]"
        ))
    })
    .await;
    let with = async |key: &str| {
        Ask::new(&gateway, "hi").header("authorization", format!("Bearer {key}")).send().await
    };
    let [_, (_, old), (_, new)] = VARIABLES;
    // One of the bearer keys has no end.
    let metrics = gateway.metrics().await;
    let ends = metrics.sum("sluice_client_key_expiry_seconds", &[("client", "team-b")]);
    assert_eq!(ends, metrics.sum("sluice_client_key_expiry_seconds", &[("kind", "key_pair")]));
    assert_eq!(ends, seconds(end));
    assert_eq!([with(old).await.status, with(new).await.status], [200, 200]);
    let left = end.duration_since(std::time::SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(left).await;
    let expired = with(old).await;
    assert_eq!(expired.status, 403);
    assert_eq!(expired.header("x-amzn-errortype"), Some("ExpiredTokenException"));
    assert!(expired.text().contains("the API key has expired"), "{}", expired.text());
    // The log names the client that must change its key, and not the key.
    let log = gateway.access_log(3).await;
    assert_eq!((&log[2]["client"], &log[2]["status"]), (&"team-b".into(), &403.into()));
    assert!(!gateway.output().contains(old));
    assert_eq!(with(new).await.status, 200);
    let job = Job::new(&gateway.url(), vec![Call::converse(PRIMARY, "hi")]).signed_by("OLD", old);
    let raised = Client::Boto3.run(job).await.remove(0);
    assert!(raised.raised().is("ExpiredTokenException"), "{raised:?}");
}

/// boto3 sends bearer keys over TLS alone.
#[tokio::test(flavor = "multi_thread")]
async fn boto3_changes_its_bearer_key_without_a_request_refused() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let base = Config::four_models(&simulator).tls(&authority.server());
    let with = |tokens: &str| {
        let client = format!("name = 'team-b'\nbearer_tokens = [{tokens}]");
        base.clone().client_with(&client)
    };
    let [_, (_, old), (_, new)] = VARIABLES;
    let gateway = Gateway::start_with(&with("{ token = 'env:OLD_KEY' }"), &VARIABLES).await;
    let ask = async |key: &str| {
        let job = Job::new(&gateway.https_url(), vec![Call::converse(PRIMARY, "hi")]);
        Client::Boto3.run(job.bearing(key, &authority.file())).await.remove(0)
    };
    ask(old).await.text();
    let answer = ask(new).await;
    let raised = answer.raised();
    assert_eq!(raised.class.as_deref(), Some("AccessDeniedException"));
    assert!(raised.message.contains("the API key is not valid"), "{raised:?}");
    // Both are good from the reload on, until the old one's end.
    let both = |end: std::time::SystemTime| {
        let expires = humantime::format_rfc3339_seconds(end);
        with(&format!(
            "{{ token = 'env:OLD_KEY', expires = '{expires}' }}, {{ token = 'env:NEW_KEY' }}"
        ))
    };
    let (now, hour) = (std::time::SystemTime::now(), Duration::from_secs(3600));
    gateway.reload(&both(now + hour).to_toml()).await;
    ask(old).await.text();
    ask(new).await.text();
    gateway.reload(&both(now - Duration::from_secs(1)).to_toml()).await;
    let answer = ask(old).await;
    let raised = answer.raised();
    assert_eq!(raised.class.as_deref(), Some("ClientError"));
    assert!(raised.is("ExpiredTokenException"), "{raised:?}");
    ask(new).await.text();
    gateway.reload(&with("{ token = 'env:NEW_KEY' }").to_toml()).await;
    assert!(ask(old).await.raised().is("AccessDeniedException"));
    ask(new).await.text();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_replay_protection_a_request_is_taken_once_and_sdks_work_on() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator, |config| config.set("auth.replay_protection", true)).await;
    // This one signs an id of each call. The others don't: there the prompts must differ.
    for client in [Client::JavaScript, Client::JavaScriptHttp1] {
        let calls = (0..5).map(|_| Call::converse(PRIMARY, "the same")).collect::<Vec<_>>();
        for answer in client.run(Job { concurrency: 5, ..job(&gateway, calls) }).await {
            assert!(answer.error.is_none(), "{client:?}: {answer:?}");
        }
    }
    for client in [Client::Boto3, Client::Cli, Client::Rust] {
        let calls = (0..5).map(|n| Call::converse(PRIMARY, &format!("{client:?} {n}")));
        for answer in client.run(job(&gateway, calls.collect())).await {
            assert!(answer.error.is_none(), "{client:?}: {answer:?}");
        }
    }
    let metrics = gateway.metrics().await;
    let replayed = [("result", "replayed")];
    assert_eq!(metrics.sum("sluice_authentications_total", &replayed), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clamped_body_is_signed_anew_after_the_clients_signature_was_checked() {
    let simulator = Simulator::start().await;
    let gateway =
        gateway(&simulator, |config| config.set("targets.sonnet-35.max_output_tokens", 10)).await;
    simulator.throttles(PRIMARY, 1);
    let call = Call::invoke(PRIMARY, "hi").body(bodies::messages("hi", 500));
    let answer = Client::Boto3.run(job(&gateway, vec![call])).await.remove(0);
    assert!(answer.error.is_none(), "{answer:?}");
    assert!(simulator.log().iter().all(|entry| entry.signature == Some("valid")));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_the_command_makes_work() {
    let (status, said, _) = run_sluice(&["keys", "new", "--name", "team-a"]).await;
    assert!(status.success());
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{name} in {said}")).to_owned()
    };
    let (id, secret) = (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"));
    let key = value("AWS_BEARER_TOKEN_BEDROCK");
    assert!(id.starts_with("SLUICE") && id.len() == 22 && secret.len() == 40, "{said}");
    assert!(key.starts_with("sluice-") && key.len() == 50, "{said}");
    let client = said.split("[[clients]]\n").nth(1).unwrap();
    let variable = |said: &str| {
        let (_, rest) = said.split_once("\"env:").unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let named = variable(&said);
    assert!(named.starts_with("TEAM_A_SECRET_"), "{said}");
    assert_eq!(value(&named), secret);
    assert!(!client.contains(&secret) && !client.contains(&key), "{said}");

    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).client_with(client);
    let gateway = Gateway::start_with(&config, &[(named.as_str(), secret.as_str())]).await;
    let job = Job::new(&gateway.url(), vec![Call::converse(PRIMARY, "hi")]).signed_by(&id, &secret);
    assert!(Client::Boto3.run(job).await[0].error.is_none());
    let bearer = Ask::new(&gateway, "hi").header("authorization", format!("Bearer {key}"));
    assert_eq!(bearer.send().await.status, 200);

    let mut hash = sluice();
    hash.args(["keys", "hash"]);
    hash.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = hash.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, format!("{key}\n").as_bytes()).await.unwrap();
    drop(stdin);
    let output = within(LONG, "the digest", child.wait_with_output()).await.unwrap();
    let digest = String::from_utf8(output.stdout).unwrap();
    assert!(digest.starts_with("sha256:") && client.contains(digest.trim()), "{digest}");

    let (_, again, _) = run_sluice(&["keys", "new", "--name", "team-a", "--pair"]).await;
    assert!(!again.contains(&id) && !again.contains("bearer_token"), "{again}");
    assert_ne!(variable(&again), named, "the first secret stays where it is");
    let (_, bearer, _) = run_sluice(&["keys", "new", "--name", "team-a", "--bearer"]).await;
    assert!(!bearer.contains("access_key_id") && bearer.contains("bearer_token"), "{bearer}");
    let (status, _, said) = run_sluice(&["keys", "new", "--name", "team a"]).await;
    assert!(!status.success() && said.contains("a client's name"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_pair_is_rotated_without_a_restart_and_without_a_refusal() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().to_str().unwrap();
    let new = async |more: &[&str]| {
        let arguments = ["keys", "new", "--name", "search", "--pair", "--file", keys];
        let (status, said, _) = run_sluice(&[&arguments, more].concat()).await;
        assert!(status.success(), "{said}");
        let value =
            |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        let (id, secret) = (value("AWS_ACCESS_KEY_ID="), value("AWS_SECRET_ACCESS_KEY="));
        let file = value("# Its secret, for the file ").trim_end_matches(':').to_owned();
        std::fs::write(file, format!("{secret}\n")).unwrap();
        let (_, lines) = said.rsplit_once(":\n").unwrap();
        (id, secret, lines.to_owned())
    };
    let (old_id, old_secret, client) = new(&[]).await;
    let client = client.split("[[clients]]\n").nth(1).unwrap().to_owned();
    let config = Config::four_models(&simulator);
    let gateway = Gateway::start(&config.clone().client_with(&client)).await;
    let (id, secret, line) = new(&["--rotate"]).await;
    let both = config.client_with(&format!("{client}\n{line}"));
    gateway.reload(&both.to_toml()).await;
    for (id, secret) in [(&old_id, &old_secret), (&id, &secret)] {
        let call = Call::converse(PRIMARY, "hi");
        let job = Job::new(&gateway.url(), vec![call]).signed_by(id, secret);
        assert!(Client::Boto3.run(job).await[0].error.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_config_refuses_has_no_digest() {
    for (key, wanted) in
        [("tiny\n", "shorter than 16 characters"), ("a key with blanks in it", "blanks")]
    {
        let mut hash = sluice();
        hash.args(["keys", "hash"]).stdin(std::process::Stdio::piped());
        hash.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = hash.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stdin, key.as_bytes()).await.unwrap();
        drop(stdin);
        let output = within(LONG, "the refusal", child.wait_with_output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{said}");
        assert!(said.contains(wanted) && !said.contains(key.trim()), "{said}");
    }
}
