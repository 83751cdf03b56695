//! Clients as their users write them, on models whose own API is another: each must find no difference.
//!
//! The clients are scripts in `tests/clients/translations`. Each works on models by their family, and says which of
//! its cases went through. The simulator refuses what Bedrock refuses, so that a wrong translation fails.

mod anthropic;
mod frameworks;
mod openai;

use std::time::Duration;

use serde_json::json;
use sluice::simulator::{Fault, FaultRule};
use tokio::process::Command;

use crate::support::clients::{fed, installed, repository};
use crate::support::patience::within;
use crate::support::{Config, Gateway, Simulator};

/// The models by the name that a client has for their family.
const MODELS: [(&str, &str); 9] = [
    ("claude", "us.anthropic.claude-sonnet-5-5"),
    ("claude4", "us.anthropic.claude-sonnet-4-6"),
    ("invoked", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("nova", "us.amazon.nova-pro-v1:0"),
    ("nova2", "us.amazon.nova-2-lite-v1:0"),
    ("gpt", "us.openai.gpt-5.6-sol"),
    ("oss", "openai.gpt-oss-120b-1:0"),
    ("throttled", "us.amazon.nova-micro-v1:0"),
    ("breaking", "us.amazon.nova-lite-v1:0"),
];

/// The variable with the key that encrypts what the gateway keeps.
const KEY_VARIABLE: &str = "RESPONSE_KEY";

/// A simulator, and a gateway in front of it with a route for each family.
struct Bench {
    simulator: Simulator,
    gateway: Gateway,
    keeps_responses: bool,
}

impl Bench {
    async fn start() -> Bench {
        Bench::start_with(|config| config).await
    }

    async fn start_with(change: impl Fn(Config) -> Config) -> Bench {
        let simulator = Simulator::start().await;
        simulator.always_throttles("us.amazon.nova-micro-v1:0");
        let breaks = FaultRule::always(Fault::CloseAfterFrames { frames: 4 });
        simulator.add(breaks.on("us.amazon.nova-lite-v1:0"));
        let mut config = Config::without_routes(&simulator)
            .set("queue.max_wait", "200ms")
            .set("retry.attempts", 1);
        for (family, model) in MODELS {
            config = config.set(&format!("targets.{family}.model"), model).route(family, &[family]);
        }
        // This Claude has Messages by InvokeModel alone.
        config = config.set("targets.invoked.surfaces", vec!["invoke_model", "converse"]);
        let variables = [(KEY_VARIABLE, "what-encrypts-responses-in-tests")];
        let gateway = Gateway::start_with(&change(config), &variables).await;
        Bench { simulator, gateway, keeps_responses: false }
    }

    /// The same with a gateway that keeps responses.
    async fn that_keeps_responses() -> Bench {
        let bench = Bench::start_with(|config| {
            config
                .set("response_store.backend", "sqlite")
                .set("response_store.keys", vec![format!("env:{KEY_VARIABLE}")])
                .set("response_store.timeout", "10s")
        });
        Bench { keeps_responses: true, ..bench.await }
    }

    /// Runs a client, which fails with the cases that failed, and returns the names of those that went through.
    async fn run(&self, script: &str, prefix: &str) -> Vec<String> {
        let mut command = if script.ends_with(".mjs") {
            installed("tests/clients/node_modules/zod");
            Command::new("node")
        } else {
            Command::new(installed(".venv/bin/python"))
        };
        command.arg(repository().join("tests/clients/translations").join(script));
        let models: serde_json::Map<String, serde_json::Value> =
            MODELS.map(|(family, _)| (family.to_owned(), family.into())).into_iter().collect();
        let base_url = format!("{}{prefix}", self.gateway.url());
        // The families whose responses the gateway keeps.
        let kept = if self.keeps_responses { vec!["claude claude4 nova nova2"] } else { vec![] };
        let job = json!({
            "base_url": base_url,
            "api_key": "any-key",
            "models": models,
            "kept": kept,
        });
        let work = fed(command, job.to_string().into_bytes());
        let said = within(Duration::from_secs(240), "a client", work).await;
        serde_json::from_str(&said).unwrap()
    }

    /// Asserts that a model was called by these operations alone.
    #[track_caller]
    fn called_only_by(&self, family: &str, operations: &[&str]) {
        let (_, model) = MODELS.iter().find(|(name, _)| *name == family).unwrap();
        let calls = self.simulator.calls_to(model);
        assert!(!calls.is_empty(), "{family} was not called");
        for call in calls {
            let operation = call.operation.unwrap_or_default();
            assert!(operations.contains(&operation), "{family}: {operation}");
        }
    }
}

/// Asserts that these cases went through, each on all these families.
#[track_caller]
fn went_through(done: &[String], cases: &[&str], families: &str) {
    for case in cases {
        for family in families.split(' ') {
            let name = format!("{case} {family}");
            assert!(done.contains(&name), "{name} was not run: {done:?}");
        }
    }
}
