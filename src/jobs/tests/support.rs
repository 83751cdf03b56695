//! Queues on real stores: a SQLite file, a Redis server and a Redis Cluster of the test's own.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::super::{Failure, Job, JobHandler, Jobs, NewJob, ProgressReporter, Queue, Record};
use super::servers::{RedisCluster, RedisServer};
use crate::config::{self, Config, Env, Source};
use crate::telemetry::Metrics;

/// Longer than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A store of the test's own, with nothing in it.
pub(super) enum TestStore {
    Sqlite(TempDir),
    Redis(RedisServer),
    Cluster(RedisCluster),
}

impl TestStore {
    pub(super) fn sqlite() -> TestStore {
        TestStore::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(super) fn redis() -> TestStore {
        TestStore::Redis(RedisServer::start())
    }

    pub(super) fn all() -> [TestStore; 3] {
        [TestStore::sqlite(), TestStore::redis(), TestStore::Cluster(RedisCluster::start())]
    }

    /// A config for this store, quick in everything.
    pub(super) fn config(&self) -> config::Jobs {
        let mut jobs = Config::load(&Source::BuiltIn, &Env::default()).unwrap().config.jobs;
        jobs.backend = match self {
            TestStore::Sqlite(folder) => {
                config::JobsBackend::Sqlite { path: folder.path().join("jobs.db") }
            }
            TestStore::Redis(server) => redis_backend(&server.url()),
            TestStore::Cluster(cluster) => redis_backend(&cluster.url()),
        };
        // Nothing here is about a store that is slow, but the machine may be.
        jobs.timeout = Duration::from_secs(10);
        jobs.heartbeat = Duration::from_secs(1);
        jobs.poll_interval = Duration::from_millis(50);
        jobs.retry_base_delay = Duration::from_millis(20);
        jobs.retry_max_delay = Duration::from_millis(100);
        for queue in [&mut jobs.analysis, &mut jobs.chat, &mut jobs.test] {
            queue.per_minute = 1000;
        }
        jobs
    }

    /// Starts a queue on it and waits until it is reachable.
    pub(super) async fn start(&self, handler: Script) -> Jobs {
        let jobs = start(&self.config(), handler);
        reachable(&jobs).await;
        jobs
    }
}

fn redis_backend(url: &str) -> config::JobsBackend {
    config::JobsBackend::Redis { url: url.into(), prefix: "sluice".to_owned() }
}

/// Starts a queue, whether its store is there or not.
pub(super) fn start(config: &config::Jobs, handler: Script) -> Jobs {
    let metrics = Arc::new(Metrics::new());
    Jobs::start(config, &metrics, Arc::new(handler)).unwrap().unwrap()
}

/// Waits until the store answers.
pub(super) async fn reachable(jobs: &Jobs) {
    eventually("the store is reachable", async || jobs.health.is_up().then_some(())).await;
}

/// Looks again and again until there is something to see.
pub(super) async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits for a job's end.
pub(super) async fn ended(jobs: &Jobs, id: Uuid) -> Record {
    use super::super::State::{Cancelled, Done, Failed};
    eventually("the job ends", async || {
        let record = jobs.record(id).await.ok().flatten()?;
        matches!(record.state, Done | Failed | Cancelled).then_some(record)
    })
    .await
}

/// A job that says this.
pub(super) fn job(queue: Queue, says: &str) -> NewJob {
    let owner = Some("team-a".to_owned());
    NewJob { queue, owner, subject: says.to_owned(), payload: json!({ "says": says }) }
}

type Play =
    dyn Fn(Job, ProgressReporter) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync;

/// What jobs do in a test, and a diary of when they began.
#[derive(Clone)]
pub(super) struct Script {
    play: Arc<Play>,
    pub(super) began: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Script {
    pub(super) fn new<F>(
        play: impl Fn(Job, ProgressReporter) -> F + Send + Sync + 'static,
    ) -> Script
    where
        F: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        let play = move |job, progress| play(job, progress).boxed();
        Script { play: Arc::new(play), began: Arc::default() }
    }

    /// Each job answers with what it was told.
    pub(super) fn echo() -> Script {
        Script::new(|job, _| async move { Ok(job.payload) })
    }

    /// How often a job that says this began.
    pub(super) fn times(&self, says: &str) -> usize {
        self.began.lock().iter().filter(|(said, _)| said == says).count()
    }
}

impl JobHandler for Script {
    fn run(
        &self,
        job: Job,
        progress: ProgressReporter,
    ) -> BoxFuture<'static, Result<Value, Failure>> {
        let says = job.payload["says"].as_str().unwrap().to_owned();
        self.began.lock().push((says, Instant::now()));
        (self.play)(job, progress)
    }
}
