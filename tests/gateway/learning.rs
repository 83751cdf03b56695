//! Quotas that nobody configured, learned from throttles, and the config read again.

use sluice::simulator::ModelSettings;

use crate::support::gateway::ADMIN_KEY;
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator, http};

const TARGET: &str = "sonnet-35";

async fn start(simulator: &Simulator) -> (Config, Gateway) {
    let config = Config::models(simulator, 1)
        .set("retry.attempts", 1)
        .set("targets.sonnet-35.cooldown", "300ms")
        .set("queue.max_wait", "100ms");
    let gateway = Gateway::start(&config).await;
    (config, gateway)
}

/// Sends requests until one is refused, and some more.
async fn load(gateway: &Gateway, ask: impl Fn() -> Ask) {
    let mut refused = 0;
    for _ in 0..400 {
        let answer = ask().send().await;
        assert!([200, 429].contains(&answer.status), "{}", answer.text());
        refused += u32::from(answer.status == 429);
        if refused == 20 {
            return;
        }
    }
    panic!("never throttled: {:?}", gateway.target(TARGET).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_per_minute_are_learned_and_survive_a_reload() {
    let simulator = Simulator::start().await;
    simulator.limits(PRIMARY, ModelSettings { rpm: Some(100), ..ModelSettings::default() });
    let (config, gateway) = start(&simulator).await;
    assert_eq!(gateway.quota(TARGET).await.learned_rpm, None);
    load(&gateway, || Ask::new(&gateway, "hello")).await;
    let quota = gateway.quota(TARGET).await;
    let learned = quota.learned_rpm.unwrap();
    assert!((45.0..=105.0).contains(&learned), "the quota is 100, learned {learned}");
    assert_eq!(quota.learned_tpm, None, "the throttles named requests");
    let metric = async || {
        let labels = [("target", TARGET), ("kind", "requests")];
        gateway.metrics().await.sum("sluice_quota_learned", &labels)
    };
    assert_eq!(metric().await, learned);
    let throttled = simulator.accounts()[PRIMARY].throttled;
    assert!(throttled <= 4, "{throttled} of the refusals were asked of the upstream");

    let reloads = async |result| {
        gateway.metrics().await.sum("sluice_config_reloads_total", &[("result", result)])
    };
    gateway.reload(&config.clone().set("queue.max_wait", "200ms").to_toml()).await;
    assert_eq!((reloads("ok").await, reloads("refused").await), (1.0, 0.0));
    assert_eq!(gateway.quota(TARGET).await.learned_rpm, Some(learned));
    assert_eq!(metric().await, learned);
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_six_a_minute_is_learned_from_two_throttles() {
    let simulator = Simulator::start().await;
    simulator.limits(PRIMARY, ModelSettings { rpm: Some(6), ..ModelSettings::default() });
    let (_, gateway) = start(&simulator).await;
    let learned = async || {
        Ask::new(&gateway, "hello").send().await;
        gateway.quota(TARGET).await.learned_rpm
    };
    let learned = eventually("it is learned", learned, Option::is_some).await.unwrap();
    assert!((1.0..=6.5).contains(&learned), "the quota is 6, learned {learned}");
    let throttled = simulator.accounts()[PRIMARY].throttled;
    assert!(throttled <= 5, "{throttled} of the refusals were asked of the upstream");
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_forgets_learned_limits() {
    let simulator = Simulator::start().await;
    simulator.limits(PRIMARY, ModelSettings { rpm: Some(30), ..ModelSettings::default() });
    let config = Config::models(&simulator, 2);
    for reset in ["admin", "legacy"] {
        let gateway = Gateway::start(&config).await;
        let model = async || {
            let answer = Ask::new(&gateway, "hello").send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.header("x-sluice-model").map(str::to_owned)
        };
        let learned = async || gateway.quota(TARGET).await.learned_rpm;
        for _ in 0..40 {
            model().await;
        }
        assert!(learned().await.is_some());
        // The account has its quota again, and the operator says so.
        simulator.limits(PRIMARY, ModelSettings::default());
        let url = match reset {
            "admin" => format!("{}/admin/targets/{TARGET}/reset", gateway.admin_url()),
            _ => format!("{}/reset_model_cooldowns", gateway.url()),
        };
        let done = http::post(&url, &[("x-sluice-admin-key", ADMIN_KEY)], "").await;
        assert_eq!(done.status, 200, "{}", done.text());
        assert_eq!(learned().await, None);
        for _ in 0..20 {
            assert_eq!(model().await.as_deref(), Some(PRIMARY), "{reset}");
        }
        simulator.limits(PRIMARY, ModelSettings { rpm: Some(30), ..ModelSettings::default() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_per_minute_are_learned() {
    let simulator = Simulator::start().await;
    simulator.limits(PRIMARY, ModelSettings { tpm: Some(40_000), ..ModelSettings::default() });
    let (_, gateway) = start(&simulator).await;
    load(&gateway, || Ask::new(&gateway, "hello sim:tokens=900").max_tokens(1_000)).await;
    let quota = gateway.quota(TARGET).await;
    let learned = quota.learned_tpm.unwrap();
    assert!((18_000.0..=42_000.0).contains(&learned), "the quota is 40,000, learned {learned}");
    assert_eq!(quota.learned_rpm, None, "the throttles named tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_effect_and_a_bad_file_changes_nothing() {
    let simulator = Simulator::start().await;
    let (config, gateway) = start(&simulator).await;
    let model = async || {
        let answer = Ask::new(&gateway, "hello").send().await;
        answer.header("x-sluice-model").map(str::to_owned)
    };
    assert_eq!(model().await.as_deref(), Some(PRIMARY));
    let other = config.set("targets.sonnet-35.model", crate::support::SECOND);
    gateway.reload(&other.to_toml()).await;
    assert_eq!(model().await.as_deref(), Some(crate::support::SECOND));
    let files = [
        "this is no TOML [".to_owned(),
        other.clone().set("queue.max_wait", "soon").to_toml(),
        other.route("elsewhere", &["nowhere"]).to_toml(),
    ];
    for (count, file) in files.iter().enumerate() {
        gateway.reload(file).await;
        let metrics = gateway.metrics().await;
        let refused = metrics.sum("sluice_config_reloads_total", &[("result", "refused")]);
        assert_eq!(refused, (count + 1) as f64);
        assert_eq!(model().await.as_deref(), Some(crate::support::SECOND), "{file}");
    }
    gateway.is_healthy().await;
}
