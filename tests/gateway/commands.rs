//! The commands beside `serve`, as typed by a person.

use std::process::Stdio;

use sluice::simulator::{Fault, FaultRule};

use crate::support::gateway::{Lines, run_sluice, sluice};
use crate::support::patience::{LONG, eventually, within};
use crate::support::screen::Screen;
use crate::support::{Config, Gateway, Simulator, http};

async fn check(config: &str, more: &[&str]) -> (bool, String) {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("config.toml");
    std::fs::write(&path, config).unwrap();
    let arguments = [&["check", "--config", path.to_str().unwrap()], more].concat();
    let (status, stdout, stderr) = run_sluice(&arguments).await;
    (status.success(), stdout + &stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn check_takes_a_good_config() {
    let simulator = Simulator::start().await;
    let (good, said) = check(&Config::four_models(&simulator).to_toml(), &[]).await;
    assert!(good, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_warns_of_regions_and_ids_that_aws_does_not_have_and_of_places_that_differ() {
    let simulator = Simulator::start().await;
    let arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc";
    let config = Config::four_models(&simulator)
        .set("upstream.region", "us-esat-1")
        .every_target("region", "us-east-1")
        .set("targets.haiku.model", "anthropic.claude-3-haiku-20240307-v1")
        .set("targets.haiku.region", "us-east-1")
        .set("targets.nova.model", "eu.amazon.nova-lite-v1:0")
        .set("targets.nova.region", "us-east-1")
        .set("targets.own.model", arn)
        .set("targets.own.region", "us-east-1");
    let (_, said) = check(&config.to_toml(), &[]).await;
    for wanted in [
        "upstream has the region 'us-esat-1', which AWS is not known to have; did you mean 'us-east-1'?",
        "did you mean 'anthropic.claude-3-haiku-20240307-v1:0'?",
        "target 'nova' is called in us-east-1, where AWS has no profiles of the geography 'eu'",
        "target 'own' is called in us-east-1, but its ARN is of eu-west-1",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let (_, said) = check(&Config::four_models(&simulator).to_toml(), &[]).await;
    assert!(!said.contains("did you mean") && !said.contains("is called in"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_probes_each_target_when_asked() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).to_toml();
    let (good, said) = check(&config, &["--probe"]).await;
    assert!(good, "{said}");
    assert_eq!(simulator.models_called().len(), crate::support::MODELS.len());
    simulator.add(FaultRule::always(Fault::AccessDenied).on(crate::support::SECOND));
    let (good, said) = check(&config, &["--probe"]).await;
    assert!(!good && said.contains("AccessDeniedException"), "{said}");
    assert!(said.contains("sonnet-35-v2"), "{said}");
}

/// On a terminal alone.
#[tokio::test(flavor = "multi_thread")]
async fn check_shows_its_progress_to_people() {
    let simulator = Simulator::start().await;
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("config.toml");
    std::fs::write(&path, Config::four_models(&simulator).to_toml()).unwrap();
    let arguments = ["check", "--probe", "--config", path.to_str().unwrap()];
    let mut screen = Screen::start(&arguments, &[]);
    assert!(screen.is_left().await);
    screen.line("target haiku-3", ": ok").await;
    let written = screen.written();
    assert!(written.contains("asking sonnet-35-v2 (2 of 4)"), "{written}");
    assert!(!screen.text().contains("asking"), "it is gone at the end: {}", screen.text());
    let (_, _, stderr) = run_sluice(&arguments).await;
    assert_eq!(stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_takes_the_config_that_is_shipped() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml");
    let files = tempfile::tempdir().unwrap();
    // Credentials are the machine's matter, not the file's.
    let mut command = sluice();
    command.env("AWS_ACCESS_KEY_ID", "AKIDSIMULATOR").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.env("HOME", files.path()).args(["check", "--config", shipped]);
    let output = within(LONG, "check", command.output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("warning"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_each_mistake_its_place_and_the_nearest_key() {
    let target = "[targets.a]\nmodel = \"amazon.nova-lite-v1:0\"\n";
    let route = "[[routes]]\nmodels = [\"m\"]\ntargets = [\"b\"]\n";
    for (config, wanted) in [
        (
            "[server]\nlisten = \"127.0.0.1:0\"\nmax_bdy = \"25MB\"\n",
            vec!["max_bdy", "3", "max_body"],
        ),
        ("[server]\nlisten = \"nowhere\"\n", vec!["listen"]),
        ("[server]\nrequest_timeout = \"soon\"\n", vec!["request_timeout", "2"]),
        ("[server\n", vec!["1"]),
        (&format!("{target}{route}"), vec!["b"]),
        ("[fallback]\nstrategy = \"retry_frist\"\n", vec!["retry_first"]),
        (
            &format!(
                "{target}access_key_id = \"AKID\"\nsecret_access_key = \"literally-a-secret\"\n"
            ),
            vec!["env:"],
        ),
    ] {
        let (good, said) = check(config, &[]).await;
        assert!(!good, "{config}: {said}");
        for part in wanted {
            assert!(said.contains(part), "{config}: no {part} in {said}");
        }
        assert!(!said.contains("literally-a-secret"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_refuses_a_bad_config_with_the_reason() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("config.toml");
    std::fs::write(&path, "[sever]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let (status, stdout, stderr) = run_sluice(&["serve", "--config", path.to_str().unwrap()]).await;
    assert!(!status.success());
    let said = stdout + &stderr;
    assert!(said.contains("sever") && said.contains("server"), "{said}");
    let (status, _, stderr) = run_sluice(&["serve", "--config", "/nowhere/config.toml"]).await;
    assert!(!status.success());
    assert!(stderr.contains("/nowhere/config.toml"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_json_and_knows_the_keys() {
    let (status, stdout, stderr) = run_sluice(&["check", "--schema"]).await;
    assert!(status.success(), "{stderr}");
    let schema: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    for key in ["server", "upstream", "targets", "routes", "fallback", "retry", "queue", "log"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_names_every_command() {
    let (status, help, _) = run_sluice(&["--help"]).await;
    assert!(status.success());
    for command in
        ["serve", "demo", "simulate", "check", "tail", "keys", "completions", "healthcheck"]
    {
        assert!(help.contains(command), "{command}: {help}");
        let (status, help, _) = run_sluice(&[command, "--help"]).await;
        assert!(status.success() && help.contains("Usage"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (status, script, _) = run_sluice(&["completions", shell]).await;
        assert!(status.success() && script.contains("sluice"), "{shell}");
    }
    let (status, version, _) = run_sluice(&["--version"]).await;
    assert!(status.success() && version.contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_variable_overrides_the_file() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("server.max_body", "25MB");
    let gateway = Gateway::start_with(&config, &[("SLUICE__SERVER__MAX_BODY", "1KiB")]).await;
    let url = format!("{}/model/m/invoke", gateway.url());
    assert_eq!(http::post(&url, &[], "x".repeat(2000)).await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_passes_for_a_live_gateway_and_fails_for_a_dead_one() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let admin = gateway.admin_url().replace("http://", "");
    let healthy = async |address: &str| {
        let mut command = sluice();
        command.env("SLUICE__SERVER__ADMIN_LISTEN", address).arg("healthcheck");
        within(LONG, "healthcheck", command.output()).await.unwrap().status.success()
    };
    assert!(healthy(&admin).await);
    drop(gateway);
    assert!(!healthy(&admin).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_on_a_terminal_prints_its_addresses_and_logs_text() {
    let simulator = Simulator::start().await;
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("config.toml");
    std::fs::write(&path, Config::four_models(&simulator).to_toml()).unwrap();
    let arguments = ["serve", "--config", path.to_str().unwrap()];
    let mut screen = Screen::start(&arguments, &[]);
    screen.line("Status page", "/status").await;
    screen.line("Config", "4 targets, 1 route, 0 clients").await;
    screen.line("INFO", "listening").await;
    assert!(!screen.text().contains("{\""), "{}", screen.text());
    screen.terminate();
    assert!(screen.is_left().await);
    let chosen = Screen::start(&arguments, &[("SLUICE__LOG__FORMAT", "json")]);
    chosen.line("{\"", "listening").await;
}

/// The snippets are run as they are printed, so that nobody copies one that does not work.
#[tokio::test(flavor = "multi_thread")]
async fn the_demos_snippets_work_as_printed() {
    let mut demo = sluice()
        .args(["demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = Lines::read(demo.stdout.take().unwrap());
    let stderr = Lines::read(demo.stderr.take().unwrap());
    let printed = async || [stdout.all(), stderr.all()].concat().join("\n");
    let text = eventually("the end", printed, |text| text.contains("Ctrl-C")).await;
    assert!(text.contains("lost to ThrottlingException"), "straight to Bedrock: {text}");
    let table = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, counts) = words.split_at_checked(2)?;
        let counts: Vec<usize> = counts.iter().map_while(|count| count.parse().ok()).collect();
        (counts.len() == 5).then(|| (name.join(" "), counts))
    });
    let table: Vec<_> = table.collect();
    let [(_, straight), (_, fallback), (_, wait)] = &table[..] else { panic!("{text}") };
    let counts =
        [straight, fallback, wait].map(|counts| <[usize; 5]>::try_from(&counts[..]).unwrap());
    let [[_, straight, ..], [all, by_fallback, ..], [all_again, by_wait, _, waited, _]] = counts;
    assert_eq!((all, all_again), (30, 30), "none is lost: {text}");
    assert!(straight < 30 && by_fallback < 30, "the quota does not suffice for all: {text}");
    assert!(by_wait > by_fallback && waited > 0, "the queue lets more of them have it: {text}");

    for api in [
        "-> us.anthropic",
        "chat_completions CreateChatCompletion ",
        "responses CreateResponse ",
        "messages CreateMessage ",
    ] {
        let shown = text.lines().any(|line| line.starts_with("200 success ") && line.contains(api));
        assert!(shown, "{api}: {text}");
    }

    for (first, last, told) in [
        ("curl ", "-d ", "anthropic.claude-"),
        ("curl -s ", "-d ", "chat.completion"),
        ("python3 ", "EOF", "anthropic.claude-"),
        ("Metrics: ", "", "anthropic.claude-"),
    ] {
        let snippet = snippet(&text, first, last);
        let output = shell(snippet.trim_start_matches("Metrics: ")).await;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{snippet}: {output:?}");
        assert!(said.contains(told), "{snippet}: {output:?}");
    }
}

/// The lines from the one that begins with `first` to the next that begins with `last`.
fn snippet(text: &str, first: &str, last: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(first));
    let mut snippet = lines.next().unwrap().to_owned();
    for line in lines {
        if last.is_empty() {
            break;
        }
        snippet += "\n";
        snippet += line;
        if line.trim_start().starts_with(last) {
            break;
        }
    }
    snippet
}

/// A shell whose `python3` has boto3.
async fn shell(script: &str) -> std::process::Output {
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}/.venv/bin:{path}", env!("CARGO_MANIFEST_DIR"));
    let mut command = tokio::process::Command::new("bash");
    command.args(["-c", script]).env_clear().env("PATH", path).kill_on_drop(true);
    within(LONG, script, command.output()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_has_a_manual_page() {
    let (status, page, _) = run_sluice(&["man"]).await;
    assert!(status.success());
    assert!(page.contains(".TH sluice 1") && page.contains("sluice\\-serve(1)"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    let (status, _, said) = run_sluice(&["man", "--dir", pages.to_str().unwrap()]).await;
    assert!(status.success(), "{said}");
    for (name, flag) in
        [("sluice", "version"), ("sluice-serve", "config"), ("sluice-check", "probe")]
    {
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!("\\-\\-{flag}")), "{name}: {page}");
    }
    let (status, _, said) = run_sluice(&["man", "--dir", "/dev/null/pages"]).await;
    assert!(!status.success() && said.contains("/dev/null/pages"), "{said}");
}
