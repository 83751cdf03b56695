//! Quotas of a few requests a minute, which nobody configured: how many attempts are throttled until
//! they are learned. The gateway's targets, line and learning on a paused clock, against the
//! simulator's quotas.

use std::sync::Arc;
use std::time::Duration;

use sluice::bedrock::{ModelId, Operation, Usage};
use sluice::config::{Config, Env, Priority};
use sluice::quota::{Dimension, Flow};
use sluice::routing::{Candidate, Candidates, RequestSize, Route, Router, Target};
use sluice::simulator::{ModelSettings, Quotas};
use tokio::time::{Instant, sleep_until, timeout};

const MODEL: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const CONFIG: &str = r#"
[upstream]
region = "us-east-1"
access_key_id = "AKIDSMALL"
secret_access_key = "env:SECRET"
[targets.haiku]
model = "anthropic.claude-3-haiku-20240307-v1:0"
cooldown = "10s"
[[routes]]
models = ["anthropic.claude-3-haiku-20240307-v1:0"]
targets = ["haiku"]
"#;

const LASTS: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(240);

struct World {
    config: Config,
    router: Router,
    upstream: Quotas,
}

impl World {
    fn new(rpm: u64) -> World {
        let env: Env = [("SECRET", "not used")].into_iter().collect();
        let config = Config::from_toml(CONFIG, "small.toml", &env).unwrap().config;
        let router = Router::new(&config, None, None).unwrap();
        let upstream = Quotas::default();
        upstream.set(MODEL, ModelSettings { rpm: Some(rpm), ..ModelSettings::default() });
        World { config, router, upstream }
    }

    /// The route, and the candidates of a request.
    fn candidates(&self) -> (Arc<Route>, Candidates) {
        let model = ModelId::new(MODEL).unwrap();
        let (_, route) = self.router.find(&self.config, &model).unwrap();
        let size = RequestSize { text_bytes: 100, max_output: Some(10), ..RequestSize::default() };
        let targets = route.targets.iter().enumerate();
        let candidate = |(index, target): (usize, &Arc<Target>)| {
            let target = Arc::clone(target);
            let demand = target.demand(Operation::Converse, &size, &model);
            Candidate { index, target, demand, not_before: None }
        };
        let candidates = targets.map(candidate).collect();
        (route, candidates)
    }

    /// One request, until it is answered.
    async fn ask(&self) {
        let (route, candidates) = self.candidates();
        let group = &route.group;
        loop {
            let flow = Flow { client: "app".into(), priority: Priority::Normal };
            let in_a_day = Instant::now() + Duration::from_secs(24 * 60 * 60);
            let mut permit = match group.enter(candidates.iter().cloned()) {
                Some((_, permit)) => permit,
                None => match group.enqueue(flow, candidates.clone(), in_a_day).granted().await {
                    Some((_, permit)) => permit,
                    None => return,
                },
            };
            permit.mark_sending();
            let usage = Usage { input: 25, ..Usage::default() };
            match self.upstream.take(MODEL, usage, 10) {
                Ok(_answer) => {
                    drop(permit.succeeded(Duration::from_millis(800)));
                    return;
                }
                Err(_) => {
                    permit.throttled(Dimension::Requests, true, &crate::simulation::throttled())
                }
            }
        }
    }
}

/// Asks every `pause` for an hour. The calls that the upstream let in, and those that it throttled.
fn play(rpm: u64, pause: Duration) -> (u64, u64) {
    fastrand::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = Arc::new(World::new(rpm));
        let start = Instant::now();
        let mut at = start;
        while at < start + LASTS {
            sleep_until(at).await;
            let world = Arc::clone(&world);
            tokio::spawn(async move { timeout(PATIENCE, world.ask()).await });
            at += pause;
        }
        let account = world.upstream.accounts()[MODEL];
        (account.calls, account.throttled)
    })
}

#[test]
fn quotas_of_a_few_requests_a_minute_are_learned() {
    for rpm in [1, 2, 4, 6, 9, 12] {
        // Twice as many requests as the quota takes.
        let (calls, throttled) = play(rpm, Duration::from_secs(30) / rpm as u32);
        let whole = rpm * 60;
        println!("{rpm} a minute: {throttled} throttled, {calls} calls");
        // At one a minute each try of more is a throttle.
        let share = if rpm == 1 { 4 } else { 10 };
        assert!(throttled * share <= calls, "{rpm} a minute: {throttled} throttled, {calls} calls");
        assert!(calls * 10 >= whole * 7, "{rpm} a minute: {calls} calls, {throttled} throttled");
    }
}
