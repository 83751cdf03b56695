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
