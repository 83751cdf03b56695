//! A day, compressed: three replicas share the tokens a day of an account over two models. One of them is restarted,
//! and another is killed. The gateway's targets and daily quotas on a paused clock, against the simulator's days.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sluice::bedrock::{ModelId, Operation, Usage};
use sluice::config::{Config, Env, Priority};
use sluice::quota::{DailyQuotas, DayClock, Flow};
use sluice::routing::{Candidate, Candidates, RequestSize, Route, Router, Target, may_recover_by};
use sluice::simulator::{ACCOUNT, ModelSettings, Quotas};
use sluice::storage::sums::{Entry, Period};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const MODELS: [&str; 2] =
    ["anthropic.claude-sonnet-4-20250514-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"];
const CONFIG: &str = r#"
[upstream]
region = "us-east-1"
access_key_id = "AKIDDAY"
secret_access_key = "env:SECRET"
[quotas.account]
tpd = 30000000
[targets.sonnet]
model = "anthropic.claude-sonnet-4-20250514-v1:0"
output_burndown = 5
daily_quota = "account"
[targets.haiku]
model = "anthropic.claude-3-haiku-20240307-v1:0"
output_burndown = 1
daily_quota = "account"
[[routes]]
models = ["anthropic.claude-sonnet-4-20250514-v1:0"]
targets = ["sonnet"]
[[routes]]
models = ["anthropic.claude-3-haiku-20240307-v1:0"]
targets = ["haiku"]
"#;

const TPD: u64 = 30_000_000;
const REPLICAS: usize = 3;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How often a replica syncs with the store, and how long an exchange takes.
const SYNC_EVERY: Duration = Duration::from_secs(5);
const EXCHANGE: Duration = Duration::from_millis(3);

/// What Redis keeps: the figure of each process.
type Store = Arc<Mutex<HashMap<(Arc<str>, Period), HashMap<usize, u64>>>>;

/// One gateway process.
struct Replica {
    config: Config,
    router: Router,
    daily_quotas: Arc<DailyQuotas>,
    process: usize,
    store: Store,
}

impl Replica {
    fn start(process: usize, clock: DayClock, store: &Store) -> Arc<Replica> {
        let env: Env = [("SECRET", "not used")].into_iter().collect();
        let config = Config::from_toml(CONFIG, "day.toml", &env).unwrap().config;
        let daily_quotas = Arc::new(DailyQuotas::on_clock(clock, REPLICAS as u32));
        daily_quotas.share_by_claims();
        let router =
            Router::with_daily_quotas(&config, None, None, Arc::clone(&daily_quotas)).unwrap();
        Arc::new(Replica { config, router, daily_quotas, process, store: Arc::clone(store) })
    }

    /// Writes all figures, and hears the sums a little later.
    async fn sync(&self) {
        let entries = self.daily_quotas.entries(true);
        let sums: Vec<u64> = entries.iter().map(|entry| self.write(entry)).collect();
        sleep(EXCHANGE).await;
        self.daily_quotas.confirm(&entries, &sums);
    }

    fn write(&self, entry: &Entry) -> u64 {
        let mut store = self.store.lock();
        let figures = store.entry((Arc::clone(&entry.name), entry.period)).or_default();
        figures.insert(self.process, entry.own);
        figures.values().sum()
    }

    /// Syncs from now on, also early when something has changed.
    async fn keep_in_sync(self: Arc<Self>) {
        loop {
            self.sync().await;
            let _changed = timeout(SYNC_EVERY, self.daily_quotas.changed()).await;
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn candidates(&self, model: &ModelId, size: &RequestSize) -> (Arc<Route>, Candidates) {
        let (_, route) = self.router.find(&self.config, model).unwrap();
        let candidate = |(index, target): (usize, &Arc<Target>)| {
            let demand = target.demand(Operation::Converse, size, model);
            Candidate { index, target: Arc::clone(target), demand, not_before: None }
        };
        let candidates = route.targets.iter().enumerate().map(candidate).collect();
        (route, candidates)
    }

    /// One request to its end. Whether it was answered.
    async fn ask(&self, upstream: &Quotas, request: Request) -> bool {
        let model = ModelId::new(request.model).unwrap();
        let size = RequestSize {
            text_bytes: request.input as usize * 4,
            max_output: Some(request.max_output),
            ..RequestSize::default()
        };
        let (route, candidates) = self.candidates(&model, &size);
        let group = &route.group;
        let mut permit = match group.enter(candidates.iter().cloned()) {
            Some((_, permit)) => permit,
            None => {
                let until = Instant::now() + Duration::from_secs(5);
                if !may_recover_by(&candidates, until, Instant::now()) {
                    return false;
                }
                let flow = Flow { client: "app".into(), priority: Priority::Normal };
                let mut queued = group.enqueue(flow, candidates.clone(), until);
                match timeout(Duration::from_secs(5), queued.granted()).await {
                    Ok(Some((_, permit))) => permit,
                    _ => return false,
                }
            }
        };
        permit.mark_sending();
        let usage = Usage { input: request.input, ..Usage::default() };
        let Ok(mut answer) = upstream.take(request.model, usage, request.max_output) else {
            permit.exhausted(HOUR, &crate::simulation::throttled());
            return false;
        };
        let reservation = permit.succeeded(Duration::from_millis(500));
        sleep(Duration::from_secs_f64(request.output as f64 / 60.0)).await;
        answer.generated(request.output);
        let usage = answer.usage();
        // Settled here after the upstream: what is known here may be late, but never less.
        drop(answer);
        reservation.settle(&usage, &size);
        true
    }
}

#[derive(Clone, Copy)]
struct Request {
    model: &'static str,
    input: u64,
    max_output: u64,
    output: u64,
}

impl Request {
    fn random(dice: &mut fastrand::Rng) -> Request {
        let max_output = dice.u64(256..4096);
        Request {
            model: MODELS[dice.usize(..2)],
            input: dice.u64(200..8000),
            max_output,
            output: max_output * dice.u64(10..70) / 100,
        }
    }
}

/// The share of the account's day that was charged.
fn share_charged(upstream: &Quotas) -> f64 {
    1.0 - upstream.states()[ACCOUNT].tokens_left_today.unwrap() / TPD as f64
}

#[test]
fn a_day_is_used_up_by_three_replicas_over_restarts_and_never_throttled() {
    fastrand::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let midnight: SystemTime = humantime::parse_rfc3339("2026-11-29T00:00:00Z").unwrap();
        let origin = Instant::now();
        let clock = DayClock::Following { start: midnight, origin };
        let upstream = Quotas::starting_at(midnight);
        upstream.set(ACCOUNT, ModelSettings { tpd: Some(TPD), ..ModelSettings::default() });
        let sonnet = ModelSettings { burndown: Some(5), ..ModelSettings::default() };
        upstream.set(MODELS[0], sonnet);
        let store = Store::default();
        let mut dice = fastrand::Rng::with_seed(1);
        let mut replicas: Vec<_> = (0..REPLICAS).map(|it| Replica::start(it, clock, &store)).collect();
        let mut syncs: Vec<_> =
            replicas.iter().map(|it| tokio::spawn(Arc::clone(it).keep_in_sync())).collect();
        sleep(Duration::from_secs(1)).await;
        let (mut requests, mut restarts) = (JoinSet::new(), 0);
        let (mut asked, mut before_restart) = (0, 0.0);
        // Bursts of up to six requests, for a day and an hour.
        while origin.elapsed() < DAY + HOUR {
            for _ in 0..dice.u32(1..=6) {
                // One replica has most of the traffic.
                let replica = Arc::clone(&replicas[dice.usize(..5).saturating_sub(2)]);
                let (upstream, request) = (upstream.clone(), Request::random(&mut dice));
                asked += 1;
                requests.spawn(async move { replica.ask(&upstream, request).await });
            }
            sleep(Duration::from_secs_f64(dice.f64() * 30.0)).await;
            if restarts < 2 && origin.elapsed() > (8 + 4 * restarts) * HOUR {
                let number = restarts as usize;
                if restarts == 0 {
                    // A restart writes what was used last; requests in flight have ended.
                    while requests.join_next().await.is_some() {}
                    replicas[number].daily_quotas.release_claims();
                    replicas[number].sync().await;
                }
                syncs[number].abort();
                replicas[number] = Replica::start(REPLICAS + number, clock, &store);
                syncs[number] = tokio::spawn(Arc::clone(&replicas[number]).keep_in_sync());
                restarts += 1;
                before_restart = share_charged(&upstream);
            }
            if origin.elapsed() < DAY {
                let share = share_charged(&upstream);
                assert!(share <= 1.0, "{share}");
            }
            if origin.elapsed() > DAY - 60 * Duration::from_secs(1) && restarts == 2 {
                restarts = 3;
                let share = share_charged(&upstream);
                println!("{asked} requests; {share:.4} of the day charged, {before_restart:.4} before the last restart");
                assert!(before_restart > 0.2 && share >= 0.97, "{share}");
            }
        }
        assert_eq!(restarts, 3);
        sleep_until(Instant::now() + HOUR).await;
        let (mut answered, mut refused) = (0, 0);
        while let Some(is_answered) = requests.join_next().await {
            if is_answered.unwrap() { answered += 1 } else { refused += 1 }
        }
        let throttled: u64 = upstream.accounts().values().map(|it| it.throttled).sum();
        assert_eq!(throttled, 0);
        assert!(refused > 0 && answered > 0, "{answered} answered, {refused} refused");
        let next_day = share_charged(&upstream);
        assert!(next_day > 0.01, "the next day has begun: {next_day}");
    });
}
