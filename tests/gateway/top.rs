//! `sluice top` in a terminal of its own, in front of a running gateway: what it shows, what its keys
//! do, and how it leaves the terminal.

use crate::support::gateway::{ADMIN_KEY, run_sluice, sluice};
use crate::support::patience::{LONG, within};
use crate::support::screen::Screen;
use crate::support::{Ask, Authority, Config, Gateway, PRIMARY, Simulator};

const KEY_VARIABLE: &str = "SLUICE_ADMIN_KEY";

fn top(gateway: &Gateway, variables: &[(&str, &str)]) -> Screen {
    Screen::start(&["top", "--url", &gateway.admin_url()], variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooldown_is_seen_and_reset_and_a_target_drained() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let mut screen = top(&gateway, &[(KEY_VARIABLE, ADMIN_KEY)]);
    screen.line("sonnet-35 ", "available").await;
    assert!(screen.is_raw() && screen.is_taken());
    simulator.throttles(PRIMARY, 1);
    Ask::new(&gateway, "hello").send().await;
    screen.line("sonnet-35 ", "cooling").await;
    // A question comes first, and anything but yes is no.
    screen.press("r");
    screen.shows("Reset the cooldown of sonnet-35").await;
    screen.press("n");
    screen.shows("q quit").await;
    assert_eq!(gateway.target("sonnet-35").await["state"], "cooling");
    screen.press("ry");
    screen.shows("sonnet-35: cooldown reset").await;
    screen.line("sonnet-35 ", "available").await;
    assert_eq!(gateway.target("sonnet-35").await["state"], "available");
    screen.press("\u{1b}[Bdy");
    screen.line("sonnet-35-v2 ", "drained").await;
    assert_eq!(gateway.target("sonnet-35-v2").await["state"], "drained");
    screen.press("uy");
    screen.line("sonnet-35-v2 ", "available").await;
    screen.press("q");
    assert!(screen.is_left().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_gateway_is_reported_and_shown_again_when_it_returns() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).on_known_ports();
    let gateway = Gateway::start(&config).await;
    let mut screen = top(&gateway, &[(KEY_VARIABLE, ADMIN_KEY), ("NO_COLOR", "1")]);
    screen.line("sonnet-35 ", "available").await;
    gateway.kill().await;
    screen.shows("connection lost").await;
    screen.line("sonnet-35 ", "available").await;
    let _back = Gateway::start(&config).await;
    screen.shows("ready").await;
    screen.press("\u{3}");
    assert!(screen.is_left().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_leaves_the_terminal_as_it_was() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let mut screen = top(&gateway, &[(KEY_VARIABLE, ADMIN_KEY)]);
    screen.shows("sonnet-35").await;
    screen.terminate();
    assert!(screen.is_left().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_one_frame_is_printed_when_asked_for() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let url = gateway.admin_url();
    let (status, _, stderr) = run_sluice(&["top", "--url", &url]).await;
    assert!(!status.success() && stderr.contains("--once"), "{stderr}");
    let (status, _, stderr) = run_sluice(&["top", "--url", &url, "--once"]).await;
    assert!(!status.success() && stderr.contains(KEY_VARIABLE), "{stderr}");
    let mut command = sluice();
    command.args(["top", "--url", &url, "--once"]).env(KEY_VARIABLE, ADMIN_KEY);
    let output = within(LONG, "a frame", command.output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !text.contains('\u{1b}'), "{text}");
    for part in ["Sluice", "ready", "sonnet-35", "haiku-3", "Clients", "Requests without an answer"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_gets_the_whole_state_as_json() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let mut command = sluice();
    command.args(["top", "--url", &gateway.admin_url(), "--json"]).env(KEY_VARIABLE, ADMIN_KEY);
    let output = within(LONG, "the state", command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let state: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&state["state"], &state["targets"][0]["name"]),
        (&"ready".into(), &"sonnet-35".into())
    );
}

/// Runs `sluice top --once` with these arguments and variables. Whether it succeeded, and what it printed.
async fn printed(arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = sluice();
    command.args(["top", "--once"]).args(arguments).envs(variables.iter().copied());
    let output = within(LONG, "a frame", command.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout) + &text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_port_with_tls_is_trusted_by_its_config_or_by_an_authority() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let mut config = Config::four_models(&simulator).tls(&authority.server()).on_known_ports();
    let table: toml::Table = config.to_toml().parse().unwrap();
    let listen = table["server"]["listen"].as_str().unwrap().to_owned();
    config = config.set("server.admin_listen", listen.as_str());
    let gateway = Gateway::start(&config).await;
    let key = (KEY_VARIABLE, ADMIN_KEY);
    // The config is at hand: its certificate is the one that is accepted.
    let file = gateway.folder().join("config.toml");
    let file = file.to_str().unwrap();
    let (is_shown, text) = printed(&["--config", file], &[key]).await;
    assert!(is_shown && text.contains("sonnet-35"), "{text}");
    // From elsewhere an authority vouches for it.
    let url = gateway.https_url();
    let (is_shown, text) =
        printed(&["--url", &url], &[key, ("SSL_CERT_FILE", &authority.path())]).await;
    assert!(is_shown && text.contains("sonnet-35"), "{text}");
    let stranger = Authority::new();
    let (is_shown, text) =
        printed(&["--url", &url], &[key, ("SSL_CERT_FILE", &stranger.path())]).await;
    assert!(!is_shown && text.contains("certificate"), "{text}");
    // Another certificate than that of the config is refused.
    std::fs::write(
        gateway.folder().join("other.toml"),
        config.clone().tls(&authority.server()).to_toml(),
    )
    .unwrap();
    let other = gateway.folder().join("other.toml");
    let (is_shown, text) = printed(&["--config", other.to_str().unwrap()], &[key]).await;
    assert!(!is_shown && text.contains("not the certificate that the config names"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_address_is_reported_before_the_screen_is_taken() {
    let (status, _, stderr) = run_sluice(&["top", "--url", "http://127.0.0.1:1", "--once"]).await;
    assert!(!status.success() && stderr.contains("does not answer"), "{stderr}");
}
