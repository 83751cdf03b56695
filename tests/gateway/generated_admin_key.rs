//! The admin key that a gateway generates at its first start, as an operator of a container meets it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::gateway::run_sluice;
use crate::support::{Config, Gateway, Simulator, http};

const FILE: &str = "admin-key";

/// A config whose admin port other machines reach, and that names no key.
fn config(simulator: &Simulator, file: &Path) -> Config {
    Config::four_models(simulator)
        .without_admin_key()
        .set("server.admin_listen", "0.0.0.0:0")
        .set("server.open_metrics", true)
        .set("server.admin_key_file", file.to_str().unwrap())
}

async fn status(gateway: &Gateway, key: Option<&str>) -> u16 {
    let url = format!("{}/admin/targets", gateway.admin_url());
    let headers: Vec<_> = key.into_iter().map(|key| ("x-sluice-admin-key", key)).collect();
    http::request("GET", &url, &headers, "").await.status
}

/// What `sluice keys admin` prints for the config of this gateway.
async fn printed(config: &Path) -> String {
    let arguments = ["keys", "admin", "--config", config.to_str().unwrap()];
    let (status, key, error) = run_sluice(&arguments).await;
    assert!(status.success(), "{error}");
    key.trim_end().to_owned()
}

/// Why `sluice keys admin` prints no key for this config.
async fn not_printed(config: &Path) -> String {
    let (status, _, error) =
        run_sluice(&["keys", "admin", "--config", config.to_str().unwrap()]).await;
    assert!(!status.success());
    error
}

fn config_of(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("config.toml")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_generates_an_admin_key_that_opens_the_admin_port() {
    let simulator = Simulator::start().await;
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join(FILE);
    let gateway = Gateway::start(&config(&simulator, &file)).await;
    let key = printed(&config_of(&gateway)).await;
    assert_eq!(status(&gateway, None).await, 401);
    assert_eq!(status(&gateway, Some("another-key-0123456789")).await, 401);
    assert_eq!(status(&gateway, Some(&key)).await, 200);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let lines = gateway.log_lines("generated an admin key").await;
    assert_eq!(lines[0]["file"], file.to_str().unwrap());
    assert!(!gateway.output().contains(&key));

    // The next start, and another replica with the same folder, have the same key.
    let second = Gateway::start(&config(&simulator, &file)).await;
    assert_eq!(printed(&config_of(&second)).await, key);
    assert_eq!(status(&second, Some(&key)).await, 200);
    assert!(!second.output().contains("generated an admin key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_generated_key() {
    let simulator = Simulator::start().await;
    let state = tempfile::tempdir().unwrap();
    let config = config(&simulator, &state.path().join(FILE));
    let gateway = Gateway::start(&config).await;
    let key = printed(&config_of(&gateway)).await;
    gateway.reload(&config.set("retry.attempts", 2).to_toml()).await;
    assert_eq!(status(&gateway, Some(&key)).await, 200);
    assert_eq!(status(&gateway, None).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_config_is_used_in_place_of_a_generated_one() {
    let simulator = Simulator::start().await;
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join(FILE);
    let config = config(&simulator, &file).set("server.admin_key", "env:OWN_KEY");
    let own = "an-own-admin-key-0123456789";
    let gateway = Gateway::start_with(&config, &[("OWN_KEY", own)]).await;
    assert_eq!(status(&gateway, Some(own)).await, 200);
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_no_key_is_generated_or_needed() {
    let simulator = Simulator::start().await;
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join(FILE);
    let config = config(&simulator, &file).set("server.admin_listen", "127.0.0.1:0");
    let gateway = Gateway::start(&config).await;
    assert_eq!(status(&gateway, None).await, 200);
    assert!(!file.exists());
    let path = config_of(&gateway);
    let (status, _, error) =
        run_sluice(&["keys", "admin", "--config", path.to_str().unwrap()]).await;
    assert!(!status.success());
    assert!(error.contains("has no admin key"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_for_a_key_the_gateway_serves_and_its_admin_port_stays_closed() {
    let simulator = Simulator::start().await;
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("missing").join(FILE);
    let gateway = Gateway::start(&config(&simulator, &file)).await;
    assert_eq!(status(&gateway, None).await, 403);
    gateway.is_healthy().await;
    let lines = gateway.log_lines("cannot keep a generated admin key").await;
    assert_eq!(lines[0]["level"], "WARN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_missing_file_is_reported_as_such() {
    let simulator = Simulator::start().await;
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join(FILE);
    std::os::unix::fs::symlink(state.path().join("missing"), &file).unwrap();
    let gateway = Gateway::start(&config(&simulator, &file)).await;
    let lines = gateway.log_lines("cannot keep a generated admin key").await;
    assert!(lines[0]["error"].as_str().unwrap().contains("symbolic link"), "{}", lines[0]);
    assert!(!gateway.output().contains("generated an admin key;"));
    let error = not_printed(&config_of(&gateway)).await;
    assert!(error.contains("a symbolic link to a file that does not exist"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_reached_is_not_said_to_be_missing() {
    let simulator = Simulator::start().await;
    let state = tempfile::tempdir().unwrap();
    // A part of the path that is no folder fails for every user; permissions do not stop root.
    let no_folder = state.path().join("plain");
    std::fs::write(&no_folder, "").unwrap();
    let gateway = Gateway::start(&config(&simulator, &no_folder.join(FILE))).await;
    let error = not_printed(&config_of(&gateway)).await;
    assert!(error.contains("can't read the admin key"), "{error}");
    assert!(error.contains("Not a directory"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_everyone_can_read_is_warned_of_at_start() {
    let simulator = Simulator::start().await;
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join(FILE);
    let mode = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::write(&file, "an-own-admin-key-0123456789").unwrap();
    mode(0o644);
    let gateway = Gateway::start(&config(&simulator, &file)).await;
    let lines = gateway.log_lines("every user of this machine has access").await;
    assert_eq!((&lines[0]["level"], &lines[0]["mode"]), (&"WARN".into(), &"0644".into()));
    assert_eq!(lines[0]["file"], file.to_str().unwrap());
    mode(0o640);
    let gateway = Gateway::start(&config(&simulator, &file)).await;
    gateway.is_healthy().await;
    assert!(!gateway.output().contains("every user of this machine"));
}
