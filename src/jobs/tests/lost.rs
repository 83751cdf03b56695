//! What is lost on the way: workers, processes, Redis. No job is lost with them, and none has two
//! ends.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::super::record::{End, Hold};
use super::super::store::{Limits, Start};
use super::super::{JobsError, Queue, State};
use super::support::{Place, RedisServer, Script, ended, eventually, job, reachable, start};
use crate::config;

#[tokio::test]
async fn another_process_takes_over_from_one_that_died() {
    for place in Place::both() {
        let config = place.config();
        let doomed = tokio::runtime::Runtime::new().unwrap();
        let never = Script::new(|_, _| std::future::pending());
        let entered = doomed.enter();
        let first = start(&config, never.clone());
        drop(entered);
        reachable(&first).await;
        let id = first.submit(job(Queue::Analysis, "orphan")).await.unwrap();
        eventually("it runs", async || (never.times("orphan") == 1).then_some(())).await;
        // As by SIGKILL: nothing is told to the store.
        doomed.shutdown_background();

        let jobs = start(&config, Script::echo());
        reachable(&jobs).await;
        assert_eq!(ended(&jobs, id).await.result, Some(json!({ "says": "orphan" })));
    }
}

/// What is in a file since the clock was two days ahead, and was set right.
#[tokio::test]
async fn a_clock_that_was_ahead_holds_nothing_up() {
    let place = Place::sqlite();
    let mut config = place.config();
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
    let due: Vec<i64> =
        sqlx::query_scalar("SELECT run_at FROM Jobs").fetch_all(&mut file).await.unwrap();
    assert_eq!(due, [0], "a ticket waits for no time");
    // Another process held it that is no more.
    let hold = Hold::new(first);
    let take = "UPDATE sluice_jobs SET token = 'of another', leased_until = ? WHERE id = ?";
    let limits =
        Limits { starts: 9, window: Duration::from_secs(60), lease: Duration::from_secs(30) };
    sqlx::query(take).bind(ahead).bind(first.to_string()).execute(&mut file).await.unwrap();
    let started = jobs.store.start(hold, Queue::Analysis, limits).await.unwrap();
    assert!(matches!(started, Start::Run { .. }), "{started:?}");
    assert!(jobs.store.finish(hold, &End::Done(json!("mine"))).await.unwrap());
    // Results are kept as long as others.
    let expire = "UPDATE sluice_jobs SET expires = ?";
    sqlx::query(expire).bind(ahead).execute(&mut file).await.unwrap();
    jobs.store.tidy().await.unwrap();
    let expires: i64 =
        sqlx::query_scalar("SELECT expires FROM sluice_jobs").fetch_one(&mut file).await.unwrap();
    assert!(expires < ahead, "{expires}");
    blocked.add_permits(1);
}

#[tokio::test]
async fn only_the_last_hold_may_end_a_job() {
    for place in Place::both() {
        let mut config = place.config();
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
        let limits = |lease| Limits { starts: 100, window: Duration::from_secs(60), lease };
        let (early, late) = (Hold::new(id), Hold::new(id));
        let started = jobs.store.start(early, Queue::Analysis, limits(Duration::ZERO)).await;
        assert!(matches!(started, Ok(Start::Run { .. })), "{started:?}");
        sleep(Duration::from_millis(5)).await;
        let lease = Duration::from_secs(60);
        let started = jobs.store.start(late, Queue::Analysis, limits(lease)).await;
        assert!(matches!(started, Ok(Start::Run { .. })), "{started:?}");
        // A third has to wait for the second.
        let held = jobs.store.start(Hold::new(id), Queue::Analysis, limits(lease)).await.unwrap();
        assert!(matches!(held, Start::Held(due) if due > Duration::from_secs(50)), "{held:?}");

        assert_eq!(jobs.store.renew(&[early, late], lease).await.unwrap(), [early]);
        let too_late = End::Done(json!("early's"));
        assert!(!jobs.store.finish(early, &too_late).await.unwrap());
        assert!(!jobs.store.retry(early, "no").await.unwrap());
        assert!(jobs.store.finish(late, &End::Done(json!("late's"))).await.unwrap());
        assert!(!jobs.store.finish(late, &End::Failed("again".to_owned())).await.unwrap());
        assert_eq!(ended(&jobs, id).await.result, Some(json!("late's")));
        // Its ticket comes to a worker in the end, who finds nothing to do.
        blocked.add_permits(1);
        let next = jobs.submit(job(Queue::Analysis, "next")).await.unwrap();
        blocked.add_permits(1);
        assert_eq!(ended(&jobs, next).await.state, State::Done);
        assert_eq!(ended(&jobs, id).await.result, Some(json!("late's")));
    }
}

#[tokio::test]
async fn redis_may_be_late_and_may_go_and_come_back() {
    let place = Place::Redis(RedisServer::absent());
    let Place::Redis(server) = &place else { unreachable!() };
    let gate = Arc::new(Semaphore::new(0));
    let open = Arc::clone(&gate);
    let work = Script::new(move |job, _| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(job.payload)
        }
    });
    let jobs = start(&place.config(), work.clone());
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
    // The work goes on and ends while there is nobody to tell.
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

#[tokio::test]
async fn a_record_without_a_ticket_gets_one() {
    let place = Place::redis();
    let Place::Redis(server) = &place else { unreachable!() };
    let jobs = place.start(Script::echo()).await;
    // A submission that broke off between its two steps, some time ago.
    let id = uuid::Uuid::now_v7();
    let mut connection = redis::Client::open(server.url())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let fields = [
        ("queue", "chat"),
        ("state", "waiting"),
        ("subject", "half"),
        ("payload", r#"{"says":"half"}"#),
        ("progress", "0"),
        ("starts", "0"),
        ("failures", "0"),
        ("leased_until", "0"),
        ("submitted", "1"),
    ];
    let () = redis::pipe()
        .hset_multiple(format!("{{sluice}}:job:{id}"), &fields)
        .sadd("{sluice}:chat:waiting", id.to_string())
        .query_async(&mut connection)
        .await
        .unwrap();
    jobs.store.tidy().await.unwrap();
    assert_eq!(ended(&jobs, id).await.result, Some(json!({ "says": "half" })));
}

#[tokio::test]
async fn what_runs_is_done_before_the_queue_stops_and_what_waits_is_left() {
    for place in Place::both() {
        let mut config = place.config();
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
