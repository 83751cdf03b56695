//! Whose credentials sign: where they come from, when they are read again, and what may be in them.

use std::path::Path;

use serde_json::json;

use crate::support::ask::Ask;
use crate::support::endpoint::{Endpoint, Scripted};
use crate::support::gateway::sluice;
use crate::support::patience::{LONG, eventually, within};
use crate::support::{Config, Gateway, Simulator};

/// An STS whose principals have the names of the access keys that ask.
async fn sts(role_key: &'static str) -> Endpoint {
    Endpoint::start(move |request| {
        let key = request.split_once("Credential=").map_or("nobody", |(_, rest)| rest);
        let key = key.split('/').next().unwrap();
        let xmlns = "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"";
        let body = if request.contains("Action=GetCallerIdentity") {
            format!(
                "<GetCallerIdentityResponse {xmlns}><GetCallerIdentityResult>\
                 <Arn>arn:aws:iam::111122223333:user/{key}</Arn><UserId>U</UserId>\
                 <Account>111122223333</Account>\
                 </GetCallerIdentityResult></GetCallerIdentityResponse>"
            )
        } else {
            format!(
                "<AssumeRoleResponse {xmlns}><AssumeRoleResult><Credentials>\
                 <AccessKeyId>{role_key}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
                 <SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>\
                 </Credentials></AssumeRoleResult></AssumeRoleResponse>",
                Simulator::SECRET
            )
        };
        Scripted::ok(body)
    })
    .await
}

/// Writes a profile `account-b` and gives the path of its file.
fn profile(folder: &Path, key: &str, secret: &str) -> String {
    let path = folder.join("credentials");
    let text =
        format!("[account-b]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The keys of another account, in the environment.
const OTHER: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIDOTHER"), ("AWS_SECRET_ACCESS_KEY", "not-the-secret-of-b")];

async fn answers(gateway: &Gateway) {
    let status = async || Ask::new(gateway, "hello").send().await.status;
    eventually("it is answered", status, |status| *status == 200).await;
}

async fn check(config: &Config, more: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("config.toml");
    std::fs::write(&path, config.to_toml()).unwrap();
    let mut command = sluice();
    command.args(["check", "--config", path.to_str().unwrap()]).args(more);
    command.envs(variables.iter().copied()).env("HOME", files.path());
    let output = within(LONG, "check", command.output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_counts_before_keys_in_the_environment() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = profile(folder.path(), simulator.access_key_id(), Simulator::SECRET);
    let config =
        Config::four_models(&simulator).without_credentials().set("upstream.profile", "account-b");
    let mut variables = vec![("AWS_SHARED_CREDENTIALS_FILE", file.as_str())];
    variables.extend(OTHER);
    let gateway = Gateway::start_with(&config, &variables).await;
    answers(&gateway).await;
    let (good, said) = check(&config, &[], &variables).await;
    assert!(good && said.contains(simulator.access_key_id()), "{said}");
    assert!(!said.contains("AKIDOTHER"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_assumes_a_role_counts_before_keys_in_the_environment() {
    let simulator = Simulator::that_knows("AKIDROLE").await;
    let sts = sts("AKIDROLE").await;
    let folder = tempfile::tempdir().unwrap();
    let file = profile(folder.path(), "AKIDPROFILE", "the-secret-of-b");
    let config = Config::four_models(&simulator)
        .without_credentials()
        .set("upstream.profile", "account-b")
        .set("upstream.role_arn", "arn:aws:iam::111122223333:role/r");
    let url = sts.url();
    let mut variables =
        vec![("AWS_SHARED_CREDENTIALS_FILE", file.as_str()), ("AWS_ENDPOINT_URL_STS", &url)];
    variables.extend(OTHER);
    let gateway = Gateway::start_with(&config, &variables).await;
    answers(&gateway).await;
    let seen = sts.seen();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|request| request.contains("Credential=AKIDPROFILE/")), "{seen:?}");
    // Without a profile the default chain assumes the role.
    let config = config.without_upstream("profile");
    let gateway = Gateway::start_with(&config, &variables).await;
    answers(&gateway).await;
    assert!(sts.seen().last().unwrap().contains("Credential=AKIDOTHER/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_not_there_is_not_made_up_for() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = profile(folder.path(), "AKIDPROFILE", "the-secret-of-b");
    let mut variables = vec![("AWS_SHARED_CREDENTIALS_FILE", file.as_str())];
    variables.extend(OTHER);
    for role in [None, Some("arn:aws:iam::111122223333:role/r")] {
        let config = Config::four_models(&simulator).without_credentials();
        let mut config = config.set("upstream.profile", "account-c");
        if let Some(role) = role {
            config = config.set("upstream.role_arn", role);
        }
        let (good, said) = check(&config, &[], &variables).await;
        assert!(!good && said.contains("account-c"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_credentials_of_each_target() {
    let simulator = Simulator::start().await;
    let sts = sts("AKIDROLE").await;
    let folder = tempfile::tempdir().unwrap();
    let file = profile(folder.path(), simulator.access_key_id(), Simulator::SECRET);
    let config = Config::models(&simulator, 2)
        .without_credentials()
        .set("targets.sonnet-35-v2.profile", "account-b");
    let url = sts.url();
    let mut variables =
        vec![("AWS_SHARED_CREDENTIALS_FILE", file.as_str()), ("AWS_ENDPOINT_URL_STS", &url)];
    variables.extend(OTHER);
    let (_, said) = check(&config, &["--probe"], &variables).await;
    let line = |start: &str| said.lines().find(|line| line.starts_with(start)).unwrap_or(&said);
    let b = format!("arn:aws:iam::111122223333:user/{}", simulator.access_key_id());
    assert!(line("principal: profile account-b").ends_with(&b), "{said}");
    assert!(line("principal: the default chain").ends_with("user/AKIDOTHER"), "{said}");
    assert!(line("target sonnet-35-v2").contains(&b), "{said}");
    assert!(line("target sonnet-35 ").contains("user/AKIDOTHER"), "{said}");
    // Not asked without need.
    let before = sts.seen().len();
    check(&config, &[], &variables).await;
    assert_eq!(sts.seen().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_does_not_ask_sts_about_a_simulator() {
    let simulator = Simulator::start().await;
    let (good, said) = check(&Config::four_models(&simulator), &["--probe"], &[]).await;
    assert!(good && said.contains("not asked for"), "{said}");
}

/// How often the log says that credentials are there.
fn resolved(gateway: &Gateway) -> usize {
    gateway.output().lines().filter(|line| line.contains("credentials resolved")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_file_is_read_when_it_changes_and_at_a_signal() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = profile(folder.path(), "AKIDOLD", "an-old-secret");
    let variables = [("AWS_SHARED_CREDENTIALS_FILE", file.as_str())];
    let config =
        Config::four_models(&simulator).without_credentials().set("upstream.profile", "account-b");
    for (interval, by_signal) in [("50ms", false), ("0s", true)] {
        profile(folder.path(), "AKIDOLD", "an-old-secret");
        let config = config.clone().set("server.config_poll_interval", interval);
        let gateway = Gateway::start_with(&config, &variables).await;
        gateway.log_lines("credentials resolved").await;
        // No request asks for renewal.
        profile(folder.path(), simulator.access_key_id(), Simulator::SECRET);
        if by_signal {
            gateway.hang_up().await;
        }
        eventually("they are read", async || resolved(&gateway), |count| *count == 2).await;
        assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        // What is read again without a change is no news.
        let before = gateway.reloads("ok").await;
        gateway.hang_up().await;
        let reloads = async || gateway.reloads("ok").await;
        eventually("the reload", reloads, |count| *count > before).await;
        assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        assert_eq!(resolved(&gateway), 2, "{}", gateway.output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_keys_are_read_again_and_said_to_be_new_only_when_they_are() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = profile(folder.path(), "AKIDOLD", "an-old-secret");
    let config = Config::models(&simulator, 1)
        .without_credentials()
        .set("upstream.profile", "account-b")
        .set("server.config_poll_interval", "0s");
    let variables = [("AWS_SHARED_CREDENTIALS_FILE", file.as_str())];
    let gateway = Gateway::start_with(&config, &variables).await;
    gateway.log_lines("credentials resolved").await;
    for _ in 0..5 {
        assert_ne!(Ask::new(&gateway, "hello").send().await.status, 200);
    }
    profile(folder.path(), simulator.access_key_id(), Simulator::SECRET);
    answers(&gateway).await;
    // The log may be behind the answer.
    let lines = async || resolved(&gateway);
    eventually("the new keys are in the log", lines, |count| *count >= 2).await;
    assert_eq!(resolved(&gateway), 2, "{}", gateway.output());
}

fn keys(simulator: &Simulator) -> String {
    json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": simulator.access_key_id(),
        "SecretAccessKey": Simulator::SECRET,
        "Token": "a-session-token",
        "Expiration": "2100-01-01T00:00:00Z",
        "LastUpdated": "2020-01-01T00:00:00Z",
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_of_containers_and_instances_are_asked_without_a_proxy() {
    let simulator = Simulator::start().await;
    let given = keys(&simulator);
    let local = Endpoint::start(move |request| {
        let line = request.lines().next().unwrap_or_default();
        let body = match line {
            line if line.starts_with("PUT ") => "an-instance-token",
            line if line.contains("-extended/") => {
                return Scripted { status: 404, ..Scripted::ok("") };
            }
            line if line.contains("/security-credentials/ ") => "role",
            _ => &given,
        };
        Scripted::ok(body).header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
    })
    .await;
    let proxy = Endpoint::start(|_| Scripted { status: 502, ..Scripted::ok("") }).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let sources = "[profile container]\nrole_arn = arn:aws:iam::111122223333:role/r\n\
                   credential_source = EcsContainer\n\
                   [profile instance]\nrole_arn = arn:aws:iam::111122223333:role/r\n\
                   credential_source = Ec2InstanceMetadata\n";
    std::fs::write(&file, sources).unwrap();
    let (url, proxy_url) = (format!("{}/creds", local.url()), proxy.url());
    let instance = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &local.url()),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let container = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "the-token-of-the-pod".to_owned()),
    ];
    let config = Config::four_models(&simulator).without_credentials();
    for variables in [&container, &instance] {
        let mut variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
            variables.push((name, &proxy_url));
        }
        variables.push(("AWS_CONFIG_FILE", file.to_str().unwrap()));
        let gateway = Gateway::start_with(&config, &variables).await;
        answers(&gateway).await;
        assert_eq!(proxy.seen(), [""; 0]);
        // As the source of a profile's role, too: STS itself is asked by way of the proxy.
        let before = local.seen().len();
        let source = if variables[0].0.contains("CONTAINER") { "container" } else { "instance" };
        let config = config.clone().set("upstream.profile", source);
        let (good, _) = check(&config, &[], &variables).await;
        assert!(!good);
        assert!(local.seen().len() > before, "{source}");
        let tokens = ["the-token-of-the-pod", "an-instance-token"];
        let seen = proxy.seen();
        assert!(seen.iter().all(|it| tokens.iter().all(|token| !it.contains(token))), "{seen:?}");
        proxy.forget();
    }
    assert!(local.seen().iter().any(|it| it.contains("the-token-of-the-pod")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_break_at_the_end_of_a_secret_is_no_part_of_it() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1);
    let secret = format!("{}\n", Simulator::SECRET);
    let given = config.clone().set("upstream.secret_access_key", "env:A_SECRET");
    for variables in
        [[("A_SECRET", secret.as_str())], [("A_SECRET", &secret.replace('\n', "\r\n"))]]
    {
        let gateway = Gateway::start_with(&given, &variables).await;
        answers(&gateway).await;
    }
    // The default chain's own variables.
    let key = format!("{}\n", simulator.access_key_id());
    let token = "a-session-token\n".to_owned();
    let variables = [
        ("AWS_ACCESS_KEY_ID", key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", &secret),
        ("AWS_SESSION_TOKEN", &token),
    ];
    let gateway = Gateway::start_with(&config.clone().without_credentials(), &variables).await;
    answers(&gateway).await;
    // What a client shows.
    let client = config.clone().client("team", "env:A_KEY");
    let gateway = Gateway::start_with(&client, &[("A_KEY", "the-key-of-the-team-1234\n")]).await;
    let status = async || {
        let ask = Ask::new(&gateway, "hello");
        ask.header("authorization", "Bearer the-key-of-the-team-1234").send().await.status
    };
    eventually("it is answered", status, |status| *status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_control_characters_in_a_secret_are_refused_by_check_and_not_shown() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1);
    let bare = config.clone().without_credentials();
    for broken in ["hush-one\nhush-two", "hush-one\n\n", "hush-one\thush-two", "hush-one\u{85}hush"]
    {
        let static_keys = config.clone().set("upstream.secret_access_key", "env:A_SECRET");
        let bearer = bare.clone().set("upstream.bearer_token", "env:A_SECRET");
        let client = config.clone().client("team", "env:A_SECRET");
        let admin = config.clone().set("server.admin_key", "env:A_SECRET");
        for config in [static_keys, bearer, client, admin] {
            let (good, said) = check(&config, &[], &[("A_SECRET", broken)]).await;
            assert!(!good && said.contains("A_SECRET") && !said.contains("hush"), "{said}");
        }
        let chain = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", broken)];
        for variables in [&chain[..], &[("AWS_BEARER_TOKEN_BEDROCK", broken)]] {
            let (good, said) = check(&bare, &[], variables).await;
            assert!(
                !good && said.contains("control character") && !said.contains("hush"),
                "{said}"
            );
        }
    }
}
