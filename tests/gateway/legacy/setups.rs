//! The four set-ups of the legacy application, by its environment variables alone; those with a
//! queue once more on SQLite, for which it had no variable.

use crate::support::{Config, Gateway, Redis, Simulator};

/// Time for a call to a file where the machine may be busy with other tests.
const PATIENT: &str = "10s";

/// What the queue is kept in.
#[derive(Debug)]
pub enum Queue {
    None,
    Redis(Redis),
    Sqlite,
}

/// A gateway set up as the legacy application was.
#[derive(Debug)]
pub struct Setup {
    pub gateway: Gateway,
    pub simulator: Simulator,
    pub queue: Queue,
    pub fallback: bool,
}

impl Setup {
    pub fn has_queue(&self) -> bool {
        !matches!(self.queue, Queue::None)
    }

    /// Neither queue nor fallback, queue only, fallback only, both.
    pub async fn all() -> Vec<Setup> {
        let mut setups = Vec::new();
        for fallback in [false, true] {
            setups.push(Setup::start(Queue::None, fallback).await);
            setups.push(Setup::start(Queue::Redis(Redis::start().await), fallback).await);
            setups.push(Setup::start(Queue::Sqlite, fallback).await);
        }
        setups
    }

    async fn start(queue: Queue, fallback: bool) -> Setup {
        let simulator = Simulator::start().await;
        let mut variables = vec![
            // Where it listens and what it calls is the test's; the rest is the application's.
            ("SLUICE__SERVER__LISTEN", "127.0.0.1:0".to_owned()),
            ("SLUICE__SERVER__ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            ("SLUICE__UPSTREAM__ENDPOINT_URL", simulator.url().to_owned()),
            ("SLUICE__RETRY__BASE_DELAY", "20ms".to_owned()),
            ("SLUICE__QUEUE__MAX_WAIT", "0s".to_owned()),
            ("SLUICE__JOBS__RETRY_BASE_DELAY", "20ms".to_owned()),
            ("SLUICE__JOBS__RETRY_MAX_DELAY", "50ms".to_owned()),
            ("SLUICE__JOBS__ANALYSIS_PER_MINUTE", "1000".to_owned()),
            ("SLUICE__JOBS__CHAT_PER_MINUTE", "1000".to_owned()),
            ("SLUICE__JOBS__TEST_PER_MINUTE", "1000".to_owned()),
            ("AWS_ACCESS_KEY_ID", simulator.access_key_id().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", Simulator::SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            // The tests tell the application's models apart, whatever AWS still serves.
            ("SLUICE__CATALOGUE__RETIRED", "keep".to_owned()),
            ("ENABLE_MODEL_FALLBACK", fallback.to_string()),
        ];
        match &queue {
            Queue::None => variables.push(("USE_CELERY", "false".to_owned())),
            Queue::Redis(redis) => {
                variables.push(("USE_CELERY", "true".to_owned()));
                variables.push(("REDIS_URL", redis.url()));
            }
            Queue::Sqlite => {
                variables.push(("SLUICE__JOBS__BACKEND", "sqlite".to_owned()));
                variables.push(("SLUICE__JOBS__TIMEOUT", PATIENT.to_owned()));
            }
        }
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let setup = Setup {
            gateway: Gateway::start_by_environment(&variables).await,
            simulator,
            queue,
            fallback,
        };
        if setup.has_queue() {
            reachable(&setup.gateway).await;
        }
        setup
    }
}

/// Waits until the gateway's queue takes jobs.
pub async fn reachable(gateway: &Gateway) {
    let look = async || super::get(gateway, "/queue_stats").await.json();
    let up = |stats: &serde_json::Value| stats["available"] == true;
    crate::support::patience::eventually("the queue is reachable", look, up).await;
}

/// A config with a queue that is quick in everything, on this store.
pub fn queued(simulator: &Simulator, queue: &Queue, folder: &std::path::Path) -> Config {
    let config = Config::four_models(simulator)
        .set("jobs.heartbeat", "1s")
        .set("jobs.poll_interval", "100ms")
        .set("jobs.retry_base_delay", "50ms")
        .set("jobs.retry_max_delay", "500ms")
        .set("jobs.analysis_per_minute", 100_000)
        .set("jobs.chat_per_minute", 100_000);
    match queue {
        Queue::None => config,
        Queue::Redis(redis) => {
            config.set("jobs.backend", "redis").set("jobs.redis_url", redis.reference())
        }
        Queue::Sqlite => config
            .set("jobs.backend", "sqlite")
            .set("jobs.timeout", PATIENT)
            .set("jobs.path", folder.join("jobs.db").to_str().unwrap()),
    }
}
