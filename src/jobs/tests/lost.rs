//! Losses: of workers, processes and Redis. No job is lost with them, and each ends once.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::super::record::{Claim, JobResult};
use super::super::store::{ClaimLimits, Start};
use super::super::{JobsError, Queue, State};
use super::servers::RedisServer;
use super::support::{Script, TestStore, ended, eventually, job, reachable, start};
use crate::config;

#[tokio::test]
async fn another_process_takes_over_from_one_that_died() {
    for store in TestStore::all() {
        let config = store.config();
        let doomed = tokio::runtime::Runtime::new().unwrap();
        let never = Script::new(|_, _| std::future::pending());
        let entered = doomed.enter();
        let first = start(&config, never.clone());
        drop(entered);
        reachable(&first).await;
        let id = first.submit(job(Queue::Analysis, "orphan")).await.unwrap();
        eventually("it runs", async || (never.times("orphan") == 1).then_some(())).await;
        // As by SIGKILL: nothing reaches the store.
        doomed.shutdown_background();

        let jobs = start(&config, Script::echo());
        reachable(&jobs).await;
        assert_eq!(ended(&jobs, id).await.result, Some(json!({ "says": "orphan" })));
    }
}

/// A file from the time before a clock that was two days ahead was set right.
#[tokio::test]
async fn a_clock_that_is_set_back_delays_no_job() {
    let store = TestStore::sqlite();
    let mut config = store.config();
    config.analysis.per_minute = 2;
    let config::JobsBackend::Sqlite { path } = &config.backend else { unreachable!() };
    let ahead = SystemTime::now() + Duration::from_secs(2 * 24 * 3600);
    let ahead = i64::try_from(ahead.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let blocked = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&blocked);
    let work = Script::new(move |_, _| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(json!("done"))
        }
    });
    let jobs = start(&config, work);
    reachable(&jobs).await;
    let options = SqliteConnectOptions::new().filename(path);
    let mut file = SqliteConnection::connect_with(&options).await.unwrap();
    for _ in 0..2 {
        let start = "INSERT INTO sluice_starts (queue, at) VALUES ('analysis', ?)";
        sqlx::query(start).bind(ahead).execute(&mut file).await.unwrap();
    }
    let first = jobs.submit(job(Queue::Analysis, "first")).await.unwrap();
    eventually("it starts", async || {
        let record = jobs.record(first).await.ok().flatten()?;
        (record.state == State::Running).then_some(())
    })
    .await;
    // A process that is gone had claimed it.
    let claim = Claim::new(Queue::Analysis, first);
    let take = "UPDATE sluice_jobs SET token = 'of another', leased_until = ? WHERE id = ?";
    let limits =
        ClaimLimits { starts: 9, window: Duration::from_secs(60), lease: Duration::from_secs(30) };
    sqlx::query(take).bind(ahead).bind(first.to_string()).execute(&mut file).await.unwrap();
    let started = jobs.store.start(claim, limits, true).await.unwrap();
    assert!(matches!(started, Start::Run { .. }), "{started:?}");
    assert!(jobs.store.finish(claim, &JobResult::Done(json!("mine"))).await.unwrap());
    // Results are kept for the usual time.
    let expire = "UPDATE sluice_jobs SET expires = ?";
    sqlx::query(expire).bind(ahead).execute(&mut file).await.unwrap();
    jobs.store.tidy(0).await.unwrap();
    let expires: i64 =
        sqlx::query_scalar("SELECT expires FROM sluice_jobs").fetch_one(&mut file).await.unwrap();
    assert!(expires < ahead, "{expires}");
    blocked.add_permits(1);
}

#[tokio::test]
async fn a_claim_that_was_not_started_can_be_released() {
    for store in TestStore::all() {
        let mut config = store.config();
        config.analysis.workers = 1;
        let work = Script::new(|_, _| std::future::pending());
        let jobs = start(&config, work.clone());
        reachable(&jobs).await;
        jobs.submit(job(Queue::Analysis, "in the way")).await.unwrap();
        eventually("the worker is busy", async || (work.times("in the way") == 1).then_some(()))
            .await;
        let id = jobs.submit(job(Queue::Analysis, "next")).await.unwrap();
        let claim =
            async || jobs.store.claim(Queue::Analysis, Duration::from_secs(60), true, &[]).await;
        let first = claim().await.unwrap().unwrap();
        assert_eq!(first.job, id);
        assert!(claim().await.unwrap().is_none(), "it is claimed");
        jobs.store.release(first).await.unwrap();
        assert_eq!(claim().await.unwrap().map(|claim| claim.job), Some(id));
    }
}

#[tokio::test]
async fn only_the_last_claim_may_end_a_job() {
    for store in TestStore::all() {
        let mut config = store.config();
        // Nobody works at it but this test.
        config.analysis.workers = 1;
        let blocked = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&blocked);
        let jobs = start(
            &config,
            Script::new(move |_, _| {
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(json!("the worker's"))
                }
            }),
        );
        reachable(&jobs).await;
        jobs.submit(job(Queue::Analysis, "in the way")).await.unwrap();
        let id = jobs.submit(job(Queue::Analysis, "contested")).await.unwrap();
        let limits = |lease| ClaimLimits { starts: 100, window: Duration::from_secs(60), lease };
        let (early, late) = (Claim::new(Queue::Analysis, id), Claim::new(Queue::Analysis, id));
        let started = jobs.store.start(early, limits(Duration::ZERO), true).await;
        assert!(matches!(started, Ok(Start::Run { .. })), "{started:?}");
        sleep(Duration::from_millis(5)).await;
        let lease = Duration::from_secs(60);
        let started = jobs.store.start(late, limits(lease), true).await;
        assert!(matches!(started, Ok(Start::Run { .. })), "{started:?}");
        // A third has to wait for the second.
        let third = Claim::new(Queue::Analysis, id);
        let held = jobs.store.start(third, limits(lease), true).await.unwrap();
        assert!(matches!(held, Start::Held(due) if due > Duration::from_secs(50)), "{held:?}");

        assert_eq!(jobs.store.renew(&[early, late], lease).await.unwrap(), [early]);
        let too_late = JobResult::Done(json!("early's"));
        assert!(!jobs.store.finish(early, &too_late).await.unwrap());
        assert!(!jobs.store.retry(early, "no").await.unwrap());
        assert!(jobs.store.finish(late, &JobResult::Done(json!("late's"))).await.unwrap());
        assert!(!jobs.store.finish(late, &JobResult::Failed("again".to_owned())).await.unwrap());
        assert_eq!(ended(&jobs, id).await.result, Some(json!("late's")));
        // The worker does not run it again.
        blocked.add_permits(1);
        let next = jobs.submit(job(Queue::Analysis, "next")).await.unwrap();
        blocked.add_permits(1);
        assert_eq!(ended(&jobs, next).await.state, State::Done);
        assert_eq!(ended(&jobs, id).await.result, Some(json!("late's")));
    }
}

#[tokio::test]
async fn jobs_outlast_an_outage_of_redis() {
    let store = TestStore::Redis(RedisServer::absent());
    let TestStore::Redis(server) = &store else { unreachable!() };
    let gate = Arc::new(Semaphore::new(0));
    let open = Arc::clone(&gate);
    let work = Script::new(move |job, _| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(job.payload)
        }
    });
    let jobs = start(&store.config(), work.clone());
    let refused = jobs.submit(job(Queue::Chat, "too early")).await;
    assert!(matches!(refused, Err(JobsError::Unreachable(_))), "{refused:?}");

    server.resume();
    reachable(&jobs).await;
    let id = jobs.submit(job(Queue::Chat, "survivor")).await.unwrap();
    eventually("it runs", async || (work.times("survivor") == 1).then_some(())).await;

    server.kill();
    eventually("the loss is noticed", async || {
        jobs.submit(job(Queue::Chat, "meanwhile")).await.is_err().then_some(())
    })
    .await;
    assert!(jobs.record(id).await.is_err());
    // The work ends while the store is away.
    open.add_permits(1);
    sleep(Duration::from_millis(300)).await;
    server.resume();
    reachable(&jobs).await;
    assert_eq!(ended(&jobs, id).await.result, Some(json!({ "says": "survivor" })));
    assert_eq!(work.times("survivor"), 1, "the work was not done twice");

    open.add_permits(1);
    let after = jobs.submit(job(Queue::Chat, "after")).await.unwrap();
    assert_eq!(ended(&jobs, after).await.state, State::Done);
}

/// What version 0.1 left in Redis: records and sets, and a queue of ids that is not used any more.
#[tokio::test]
async fn jobs_that_an_earlier_version_stored_in_redis_are_run() {
    let store = TestStore::redis();
    let TestStore::Redis(server) = &store else { unreachable!() };
    let client = redis::Client::open(server.url()).unwrap();
    let connect = async || client.get_multiplexed_async_connection().await.ok();
    let mut connection = eventually("Redis answers", connect).await;
    let (waiting, running) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    for (id, state) in [(waiting, "waiting"), (running, "running")] {
        let payload = format!(r#"{{"says":"{state}"}}"#);
        let fields = [
            ("queue", "chat"),
            ("state", state),
            ("subject", "old"),
            ("payload", &payload),
            ("progress", "0"),
            ("starts", "0"),
            ("failures", "0"),
            ("token", "a worker that is gone"),
            ("leased_until", "1"),
            ("submitted", "1"),
        ];
        let () = redis::pipe()
            .hset_multiple(format!("{{sluice}}:job:{id}"), &fields)
            .sadd(format!("{{sluice}}:chat:{state}"), id.to_string())
            .query_async(&mut connection)
            .await
            .unwrap();
    }
    let jobs = store.start(Script::echo()).await;
    for (id, state) in [(waiting, "waiting"), (running, "running")] {
        assert_eq!(ended(&jobs, id).await.result, Some(json!({ "says": state })));
    }
    let left: Vec<String> = redis::cmd("ZRANGE")
        .arg("{sluice}:chat:ready")
        .arg(0)
        .arg(-1)
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_record_without_what_its_state_promises_is_an_error_and_no_empty_result() {
    let store = TestStore::redis();
    let TestStore::Redis(server) = &store else { unreachable!() };
    let client = redis::Client::open(server.url()).unwrap();
    let connect = async || client.get_multiplexed_async_connection().await.ok();
    let mut connection = eventually("Redis answers", connect).await;
    let jobs = store.start(Script::echo()).await;
    let whole = [("queue", "chat"), ("subject", "old"), ("progress", "0")];
    let damaged = |lost: &str| whole.into_iter().filter(|(name, _)| *name != lost).collect();
    let damages: [(&str, Vec<(&str, &str)>); 5] = [
        ("done", whole.to_vec()),
        ("failed", whole.to_vec()),
        ("retrying", whole.to_vec()),
        ("waiting", damaged("subject")),
        ("running", damaged("progress")),
    ];
    for (state, mut fields) in damages {
        fields.push(("state", state));
        let id = uuid::Uuid::now_v7();
        let () = redis::pipe()
            .hset_multiple(format!("{{sluice}}:job:{id}"), &fields)
            .query_async(&mut connection)
            .await
            .unwrap();
        let error = jobs.record(id).await.unwrap_err().to_string();
        assert!(error.contains("can't be read"), "{state}: {error}");
        // One record that can't be read says nothing about the store.
        jobs.stats().await.unwrap();
    }
}

#[tokio::test]
async fn jobs_that_an_earlier_version_stored_in_a_file_are_run() {
    let store = TestStore::sqlite();
    let config = store.config();
    let config::JobsBackend::Sqlite { path } = &config.backend else { unreachable!() };
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut file = SqliteConnection::connect_with(&options).await.unwrap();
    // The tables of version 0.1, as far as they matter here.
    let tables = "
        CREATE TABLE Jobs (job BLOB, id TEXT UNIQUE, status TEXT NOT NULL DEFAULT 'Pending');
        CREATE TABLE sluice_jobs (
            id TEXT NOT NULL PRIMARY KEY, queue TEXT NOT NULL, state TEXT NOT NULL, owner TEXT,
            subject TEXT NOT NULL, payload TEXT, progress INTEGER NOT NULL DEFAULT 0,
            starts INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0, token TEXT,
            leased_until INTEGER NOT NULL DEFAULT 0, result TEXT, error TEXT, expires INTEGER);
        INSERT INTO Jobs (job, id) VALUES ('{}', '01KA');";
    sqlx::raw_sql(tables).execute(&mut file).await.unwrap();
    let (waiting, running) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    for (id, state, token) in [(waiting, "waiting", None), (running, "running", Some("gone"))] {
        let insert = "INSERT INTO sluice_jobs (id, queue, state, subject, payload, token)
                      VALUES (?, 'chat', ?, 'old', ?, ?)";
        sqlx::query(insert)
            .bind(id.to_string())
            .bind(state)
            .bind(json!({ "says": state }).to_string())
            .bind(token)
            .execute(&mut file)
            .await
            .unwrap();
    }
    drop(file);
    let jobs = store.start(Script::echo()).await;
    for (id, state) in [(waiting, "waiting"), (running, "running")] {
        assert_eq!(ended(&jobs, id).await.result, Some(json!({ "says": state })));
    }
}

/// As after an outage of the store that outlasts the lease.
#[tokio::test]
async fn a_job_whose_lease_lapsed_runs_on_if_its_process_is_alive() {
    for store in TestStore::all() {
        let gate = Arc::new(Semaphore::new(0));
        let open = Arc::clone(&gate);
        let handler = Script::new(move |job, _| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(job.payload)
            }
        });
        let mut config = store.config();
        // No claim is renewed within the test.
        config.poll_interval = Duration::from_secs(60);
        let jobs = start(&config, handler.clone());
        reachable(&jobs).await;
        let id = jobs.submit(job(Queue::Chat, "long")).await.unwrap();
        eventually("it runs", async || (handler.times("long") == 1).then_some(())).await;
        let [claim] = jobs.runner.claims()[..] else { panic!("one claim") };
        jobs.store.renew(&[claim], Duration::ZERO).await.unwrap();
        sleep(Duration::from_millis(5)).await;
        // The worker looks for jobs, and finds none but its own.
        let other = jobs.submit(job(Queue::Chat, "other")).await.unwrap();
        eventually("the other runs", async || (handler.times("other") == 1).then_some(())).await;
        open.add_permits(2);
        assert_eq!(ended(&jobs, id).await.result, Some(json!({ "says": "long" })));
        assert_eq!(ended(&jobs, other).await.state, State::Done);
        assert_eq!(handler.times("long"), 1, "the job ran once");
    }
}

#[tokio::test]
async fn the_queue_stops_after_running_jobs_and_leaves_waiting_ones() {
    for store in TestStore::all() {
        let mut config = store.config();
        config.chat.workers = 1;
        let work = Script::new(|job, _| async move {
            sleep(Duration::from_millis(300)).await;
            Ok(job.payload)
        });
        let jobs = start(&config, work.clone());
        reachable(&jobs).await;
        let runs = jobs.submit(job(Queue::Chat, "runs")).await.unwrap();
        let waits = jobs.submit(job(Queue::Chat, "waits")).await.unwrap();
        eventually("it runs", async || (work.times("runs") == 1).then_some(())).await;
        jobs.stop().await;
        assert_eq!(jobs.store.record(runs).await.unwrap().unwrap().state, State::Done);
        assert_eq!(jobs.store.record(waits).await.unwrap().unwrap().state, State::Waiting);
        assert_eq!(work.times("waits"), 0);

        let next = start(&config, Script::echo());
        reachable(&next).await;
        assert_eq!(ended(&next, waits).await.state, State::Done);
    }
}
