//! What grows with the config: a reload of many targets, the limits of many clients.
//!
//! Run with `cargo bench --bench scale`.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark's own setup")]

use std::fmt::Write as _;

use divan::{Bencher, black_box};
use sluice::config::{Config, Env, LimitKey, Limits};
use sluice::limits::{Caller, CallerKind, ClientLimits};
use sluice::routing::Router;

/// Targets of the config that is reloaded.
const TARGETS: usize = 20_000;

/// Clients that limits are tracked for at once.
const CLIENTS: usize = 10_000;

fn main() {
    divan::main();
}

/// A config of many targets, in routes of ten, each with this many requests a minute.
fn config(rpm: u32) -> Config {
    let mut text = "[upstream]\nregion = 'us-east-1'\naccess_key_id = 'AKIDBENCH'\n\
                    secret_access_key = 'env:SECRET'\n"
        .to_owned();
    for index in 0..TARGETS {
        let model = "anthropic.claude-3-haiku-20240307-v1:0";
        let _ = writeln!(text, "[targets.t{index}]\nmodel = '{model}'\nrpm = {rpm}");
    }
    for first in (0..TARGETS).step_by(10) {
        let names: Vec<_> = (first..first + 10).map(|index| format!("'t{index}'")).collect();
        let names = names.join(", ");
        let _ = writeln!(text, "[[routes]]\nmodels = ['model-{first}']\ntargets = [{names}]");
    }
    let env: Env = [("SECRET", "not used")].into_iter().collect();
    Config::from_toml(&text, "bench.toml", &env).unwrap_or_else(|error| panic!("{error}")).config
}

/// Builds the routing table of a config that differs from the one before in the quota of each target.
#[divan::bench(sample_count = 5)]
fn reload_of_20_000_changed_targets(bencher: Bencher<'_, '_>) {
    reload(bencher, &config(30));
}

/// The same where nothing has changed.
#[divan::bench(sample_count = 5)]
fn reload_of_20_000_unchanged_targets(bencher: Bencher<'_, '_>) {
    reload(bencher, &config(20));
}

fn reload(bencher: Bencher<'_, '_>, after: &Config) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _within = runtime.enter();
    let before = config(20);
    let router = Router::new(&before, None, None).expect("a router");
    bencher.bench_local(|| Router::new(after, Some((&before, &router)), None).expect("a router"));
}

/// Reads and checks that config.
#[divan::bench(sample_count = 5)]
fn check_of_20_000_targets() -> Config {
    config(black_box(20))
}

/// A request of a client that is not tracked yet, while as many as may be are.
#[divan::bench(sample_count = 1000, sample_size = 1)]
fn limits_of_one_client_too_many(bencher: Bencher<'_, '_>) {
    let limits = ClientLimits::new(
        &Limits {
            key: LimitKey::AccessKey,
            requests_per_second: Some(1),
            burst: None,
            tokens_per_minute: Some(1_000),
            max_concurrent: None,
            max_tracked_clients: CLIENTS,
        },
        None,
    );
    let request = |number: usize| {
        let key = format!("client-{number}");
        let client =
            Caller { kind: CallerKind::Anonymous(key.as_str().into()), access_key_id: None };
        let _ = limits.check_rate(&client);
        let _ = limits.reserve_tokens(&client, 900).map(drop);
    };
    (0..=CLIENTS).for_each(request);
    let mut number = CLIENTS;
    bencher.bench_local(|| {
        number += 1;
        request(black_box(number));
    });
}
