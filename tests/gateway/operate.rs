//! The commands that operate a running gateway, as a script uses them.

use serde_json::Value;

use crate::support::gateway::{ADMIN_KEY, sluice};
use crate::support::patience::{LONG, within};
use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator};

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs a command with these environment variables alone.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = sluice();
    command.env_clear().envs(variables.iter().copied()).args(arguments);
    let output = within(LONG, "the command", command.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

const KEY: [(&str, &str); 1] = [("SLUICE_ADMIN_KEY", ADMIN_KEY)];

#[tokio::test(flavor = "multi_thread")]
async fn a_script_drains_targets_and_puts_them_back() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let url = gateway.admin_url();
    let drained = run(&["drain", "--url", &url, "sonnet-35", "haiku-3"], &KEY).await;
    assert_eq!(
        (drained.code, drained.stdout.as_str()),
        (0, "sonnet-35: drained\nhaiku-3: drained\n")
    );
    assert_eq!(gateway.target("haiku-3").await["state"], "drained");
    let listed = run(&["targets", "--url", &url], &KEY).await;
    let line = listed.stdout.lines().find(|line| line.starts_with("sonnet-35 ")).unwrap();
    assert!(line.contains("drained") && line.ends_with("in us-east-1"), "{}", listed.stdout);
    let listed = run(&["targets", "--json", "--url", &url], &KEY).await;
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed["targets"][0]["state"], "drained");
    let back = run(&["resume", "--url", &url, "sonnet-35", "nobody", "haiku-3"], &KEY).await;
    assert_eq!((back.code, back.stdout.lines().count()), (1, 2), "the others are done");
    assert!(back.stderr.contains("nobody: 404"), "{}", back.stderr);
    assert_eq!(gateway.target("haiku-3").await["state"], "available");
    let reset = run(&["reset", "--url", &url, "sonnet-35"], &KEY).await;
    assert_eq!((reset.code, reset.stdout.as_str()), (0, "sonnet-35: cooldown reset\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_admin_key_and_a_port_without_tls_are_called_so() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let url = gateway.admin_url();
    let targets = |url| ["targets", "--url", url];
    let missing = run(&targets(url.as_str()), &[]).await.stderr;
    assert!(missing.contains("needs the admin key"), "{missing}");
    assert!(missing.contains("set SLUICE_ADMIN_KEY or --admin-key"), "{missing}");
    let wrong = [("SLUICE_ADMIN_KEY", "another-key-0123456789")];
    let wrong = run(&targets(url.as_str()), &wrong).await.stderr;
    assert!(wrong.contains("401 Unauthorized: the admin key is wrong"), "{wrong}");
    assert!(!wrong.contains("SLUICE_ADMIN_KEY"), "{wrong}");
    let https = url.replace("http://", "https://");
    let plain = run(&targets(https.as_str()), &KEY).await.stderr;
    assert!(plain.contains("the port does not speak TLS; use http://"), "{plain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_targets_says_why_one_is_out_and_for_how_long() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    simulator.throttles(PRIMARY, 1);
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    let listed = run(&["targets", "--url", &gateway.admin_url()], &KEY).await;
    let line = listed.stdout.lines().find(|line| line.starts_with("sonnet-35 ")).unwrap();
    assert!(line.contains(" cooling ") && line.contains(" s  "), "{line}");
    assert!(line.contains("in us-east-1; throttled: ThrottlingException"), "{line}");
    let other = listed.stdout.lines().find(|line| line.starts_with("haiku-3 ")).unwrap();
    assert!(other.ends_with("in us-east-1"), "{other}");
}

/// A model without an announced end, of which no warning tells.
const ACTIVE: &str = "amazon.nova-lite-v1:0";

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_reports_its_result() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1).set("server.config_poll_interval", "0s");
    let gateway = Gateway::start(&config).await;
    let reload = ["reload", "--url", &gateway.admin_url()];
    gateway.write(&config.clone().set("targets.sonnet-35.model", ACTIVE).to_toml());
    let ended = run(&reload, &KEY).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "config reloaded\n"), "{}", ended.stderr);
    assert_eq!(gateway.target("sonnet-35").await["model"], ACTIVE);
    assert_eq!(gateway.reloads("ok").await, 1.0);

    gateway.write(&config.clone().set("server.worker_threads", 3).to_toml());
    let ended = run(&reload, &KEY).await;
    assert!(ended.stdout.contains("after a restart: server.worker_threads"), "{}", ended.stdout);
    gateway.write(&config.clone().set("server.lisen", 1).to_toml());
    let ended = run(&reload, &KEY).await;
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("unknown key 'lisen'"), "{}", ended.stderr);
    assert_eq!(gateway.reloads("refused").await, 1.0);
    let audit = gateway.log_lines("changed on request").await;
    assert!(audit.iter().all(|line| line["audit"] == "reload_config"), "{audit:?}");
    assert_eq!(audit.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_needs_the_admin_key_and_no_other_secret() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).on_known_ports();
    let config = config.client_that_signs("team-a", "TEAM-A", "TEAM_A_SECRET");
    let gateway =
        Gateway::start_with(&config, &[("TEAM_A_SECRET", "a-secret-of-team-a-0123456789")]).await;
    let file = gateway.folder().join("config.toml");
    let file = file.to_str().unwrap();
    let key_file = gateway.folder().join("admin-key");
    std::fs::write(&key_file, ADMIN_KEY).unwrap();
    let reference = format!("file:{}", key_file.display());
    for command in [&["targets"][..], &["top", "--once"], &["reset", "haiku-3"]] {
        let from_config = [command, &["-c", file]].concat();
        let ended = run(&from_config, &KEY).await;
        assert_eq!(ended.code, 0, "{command:?}: {}", ended.stderr);
        let named = [&from_config[..], &["--admin-key", &reference]].concat();
        assert_eq!(run(&named, &[]).await.code, 0, "{command:?}");
        let ended = run(&from_config, &[]).await;
        assert_eq!(ended.code, 1);
        assert!(ended.stderr.contains("server.admin_key") && !ended.stderr.contains("TEAM_A"));
    }
    let url = gateway.admin_url();
    for wrong in [
        &["targets", "--url", &url, "--admin-key", ADMIN_KEY][..],
        &["reload", "--url", &url],
        &["reload", "--url", "http://127.0.0.1:1"],
    ] {
        let ended = run(wrong, &[]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{wrong:?}");
        assert!(!ended.stderr.contains(ADMIN_KEY), "{}", ended.stderr);
    }
    assert_eq!(run(&["drain", "--url", &url], &KEY).await.code, 2, "no target is named");
    let refused = gateway.log_lines("change refused").await;
    assert_eq!((refused.len(), &refused[0]["audit"]), (1, &Value::from("reload_config")));
}
