//! Outages of the store that outlast leases, and failovers: a job of a live worker stays where it is.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::super::{Failure, Queue, State};
use super::servers::RedisCluster;
use super::support::{Script, TestStore, ended, eventually, job, reachable, start};
use crate::config;

/// Jobs that end when the gate is opened for them.
fn gated() -> (Script, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let work = Script::new(move |job, _| {
        let gate = Arc::clone(&closed);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(job.payload)
        }
    });
    (work, gate)
}

/// Makes the store unusable for so long.
async fn outage(store: &TestStore, config: &config::Jobs, time: Duration) {
    match (store, &config.backend) {
        (TestStore::Sqlite(_), config::JobsBackend::Sqlite { path }) => {
            let options = SqliteConnectOptions::new().filename(path);
            let mut other = SqliteConnection::connect_with(&options).await.unwrap();
            other.execute("PRAGMA busy_timeout = 5000").await.unwrap();
            other.execute("BEGIN EXCLUSIVE").await.unwrap();
            sleep(time).await;
            other.execute("ROLLBACK").await.unwrap();
        }
        (TestStore::Redis(server), _) => {
            server.kill();
            sleep(time).await;
            server.resume();
        }
        _ => unreachable!("this store has no outage here"),
    }
}

/// The process that runs the job notices later than the other that the store is back.
#[tokio::test]
async fn a_running_job_is_not_taken_over_after_an_outage_longer_than_its_lease() {
    for store in [TestStore::sqlite(), TestStore::redis()] {
        let mut config = store.config();
        config.timeout = Duration::from_millis(500);
        let (work, gate) = gated();
        let mut slow = config.clone();
        slow.poll_interval = Duration::from_secs(1);
        let owner = start(&slow, work.clone());
        reachable(&owner).await;
        let id = owner.submit(job(Queue::Chat, "long")).await.unwrap();
        eventually("it runs", async || (work.times("long") == 1).then_some(())).await;
        let other = start(&config, work.clone());
        reachable(&other).await;

        outage(&store, &config, Duration::from_secs(4)).await;
        reachable(&other).await;
        reachable(&owner).await;
        // The other works on all that is there to claim.
        gate.add_permits(1);
        assert_eq!(ended(&other, id).await.result, Some(json!({ "says": "long" })));
        gate.add_permits(1);
        let next = other.submit(job(Queue::Chat, "next")).await.unwrap();
        assert_eq!(ended(&other, next).await.state, State::Done);
        assert_eq!(work.times("long"), 1, "the job ran once");
    }
}

/// The network may bring a submission that failed when its caller was answered otherwise long ago.
#[tokio::test]
async fn a_submission_that_arrives_after_it_was_given_up_never_runs() {
    for store in TestStore::all() {
        let work = Script::echo();
        let jobs = store.start(work.clone()).await;
        let (early, late) = (Uuid::now_v7(), Uuid::now_v7());
        // One is stored before it is given up, and may have run; the other one afterwards.
        jobs.store.submit(early, &job(Queue::Test, "early")).await.unwrap();
        for id in [early, late] {
            jobs.store.abandon(Queue::Test, id).await.unwrap();
        }
        jobs.store.submit(late, &job(Queue::Test, "late")).await.unwrap();
        let next = jobs.submit(job(Queue::Test, "next")).await.unwrap();
        assert_eq!(ended(&jobs, next).await.state, State::Done);
        assert_eq!(work.times("late"), 0);
        assert_eq!(jobs.record(late).await.unwrap().unwrap().state, State::Cancelled);
        let counts = jobs.stats().await.unwrap().counts["test"];
        assert_eq!((counts.waiting, counts.running), (0, 0));
    }
}

/// A worker that waits until another start is allowed keeps no job from other processes.
#[tokio::test]
async fn another_process_runs_what_waits_behind_a_retry() {
    for store in TestStore::all() {
        let mut config = store.config();
        // A claim that is not renewed lasts longer than the test.
        config.heartbeat = Duration::from_secs(60);
        config.retry_base_delay = Duration::ZERO;
        let mut limited = config.clone();
        limited.chat.per_minute = 1;
        let failing = Script::new(|_, _| async {
            let message = "busy".to_owned();
            Err(Failure { message, is_transient: true, retry_after: None })
        });
        let first = start(&limited, failing.clone());
        reachable(&first).await;
        let retried = first.submit(job(Queue::Chat, "retried")).await.unwrap();
        eventually("it waits for its retry", async || {
            let record = first.record(retried).await.unwrap()?;
            (record.state == State::Retrying).then_some(())
        })
        .await;
        // Until then the first process may claim the next job itself, and keep that one for its turn.
        eventually("the retry has the turn", async || {
            let turn = timeout(Duration::from_secs(1), first.runner.turn(Queue::Chat));
            turn.await.is_err().then_some(())
        })
        .await;
        let waits = first.submit(job(Queue::Chat, "waits")).await.unwrap();
        let second = start(&config, Script::echo());
        reachable(&second).await;
        assert_eq!(ended(&second, waits).await.state, State::Done);
        assert_eq!(failing.times("waits"), 0);
    }
}

#[tokio::test]
async fn running_and_waiting_jobs_outlive_the_failover_of_a_cluster() {
    let (cluster, replica) = RedisCluster::with_replica();
    let store = TestStore::Cluster(cluster);
    let TestStore::Cluster(cluster) = &store else { unreachable!() };
    let mut config = store.config();
    config.analysis.workers = 3;
    let (work, gate) = gated();
    let processes = [start(&config, work.clone()), start(&config, work.clone())];
    for process in &processes {
        reachable(process).await;
    }
    let mut ids = Vec::new();
    for number in 0..12 {
        let submitted = job(Queue::Analysis, &number.to_string());
        ids.push(processes[number % 2].submit(submitted).await.unwrap());
    }
    eventually("all workers are busy", async || (work.began.lock().len() == 6).then_some(())).await;
    let written = cluster.master().replication_offset();
    eventually("the replica has all", async || {
        (replica.replication_offset() >= written).then_some(())
    })
    .await;

    cluster.master().kill();
    for process in &processes {
        eventually("the loss is noticed", async || (!process.health.is_up()).then_some(())).await;
    }
    eventually("the replica takes over", async || {
        replica.ask(&["ROLE"]).starts_with("master").then_some(())
    })
    .await;
    for process in &processes {
        reachable(process).await;
    }
    gate.add_permits(ids.len());
    for id in ids {
        assert_eq!(ended(&processes[0], id).await.state, State::Done);
    }
    let mut began: Vec<String> = work.began.lock().iter().map(|(says, _)| says.clone()).collect();
    began.sort_unstable_by_key(|says| says.parse::<u32>().unwrap());
    let once: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    assert_eq!(began, once, "each ran once");
    gate.add_permits(1);
    let next = processes[1].submit(job(Queue::Analysis, "next")).await.unwrap();
    assert_eq!(ended(&processes[0], next).await.state, State::Done);
}
