//! The queue's behaviour for its users, on every store.

mod lost;
mod outage;
mod servers;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::sleep;
use uuid::Uuid;

use super::{Failure, JobsError, Queue, State};
use support::{Script, TestStore, ended, eventually, job, reachable, start};

fn transient(message: &str) -> Failure {
    Failure { message: message.to_owned(), is_transient: true, retry_after: None }
}

#[tokio::test]
async fn a_job_is_done_and_its_result_is_kept() {
    for store in TestStore::all() {
        let jobs = store.start(Script::echo()).await;
        let id = jobs.submit(job(Queue::Chat, "hello")).await.unwrap();
        let record = ended(&jobs, id).await;
        assert_eq!((record.state, record.subject.as_str()), (State::Done, "hello"));
        assert_eq!(record.owner.as_deref(), Some("team-a"));
        assert_eq!(record.result, Some(json!({ "says": "hello" })));
        assert_eq!(jobs.record(Uuid::now_v7()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_result_is_removed_after_its_time() {
    for store in TestStore::all() {
        let mut config = store.config();
        // Long enough for the end to be seen on a busy machine.
        config.result_ttl = Duration::from_secs(2);
        let jobs = start(&config, Script::echo());
        reachable(&jobs).await;
        let id = jobs.submit(job(Queue::Chat, "hello")).await.unwrap();
        ended(&jobs, id).await;
        eventually("the result is gone", async || {
            jobs.record(id).await.unwrap().is_none().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn jobs_start_in_order_and_within_the_rate() {
    for store in TestStore::all() {
        let mut config = store.config();
        config.analysis.per_minute = 3;
        config.rate_window = Duration::from_millis(900);
        let work = Script::echo();
        let jobs = start(&config, work.clone());
        reachable(&jobs).await;
        let mut ids = Vec::new();
        for number in 0..10 {
            ids.push(jobs.submit(job(Queue::Analysis, &number.to_string())).await.unwrap());
        }
        for id in ids {
            assert_eq!(ended(&jobs, id).await.state, State::Done);
        }
        let began = work.began.lock().clone();
        for four in began.windows(4) {
            // The store's clock and the test's differ by how long a call takes.
            assert!(four[3].1 - four[0].1 > Duration::from_millis(800), "{began:?}");
        }
        let order: Vec<String> = began.into_iter().map(|(says, _)| says).collect();
        assert_eq!(order, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_queue_that_waits_for_its_rate_does_not_delay_others() {
    for store in TestStore::all() {
        let mut config = store.config();
        config.analysis.per_minute = 1;
        let jobs = start(&config, Script::echo());
        reachable(&jobs).await;
        let first = jobs.submit(job(Queue::Analysis, "first")).await.unwrap();
        ended(&jobs, first).await;
        let second = jobs.submit(job(Queue::Analysis, "second")).await.unwrap();
        eventually("a worker has claimed the second", async || {
            let counts = jobs.stats().await.unwrap().counts["analysis"];
            (counts.waiting == 1 && counts.reserved == 1).then_some(())
        })
        .await;
        let chat = jobs.submit(job(Queue::Chat, "chat")).await.unwrap();
        assert_eq!(ended(&jobs, chat).await.state, State::Done);
        assert_eq!(jobs.record(second).await.unwrap().unwrap().state, State::Waiting);
    }
}

#[tokio::test]
async fn a_transient_failure_is_retried_as_often_as_allowed() {
    for store in TestStore::all() {
        let tries = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&tries);
        let work = Script::new(move |job, _| {
            let tried = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match job.payload["says"].as_str() {
                    Some("third time lucky") if tried == 2 => Ok(json!("done")),
                    Some("hopeless") if job.is_last_try => Err(transient("to the last")),
                    Some("wrong") => Err(Failure { is_transient: false, ..transient("wrong") }),
                    _ => Err(transient("not yet")),
                }
            }
        });
        let jobs = store.start(work).await;
        let lucky = jobs.submit(job(Queue::Chat, "third time lucky")).await.unwrap();
        assert_eq!(ended(&jobs, lucky).await.result, Some(json!("done")));
        assert_eq!(tries.load(Ordering::SeqCst), 3);

        let hopeless = jobs.submit(job(Queue::Test, "hopeless")).await.unwrap();
        let record = ended(&jobs, hopeless).await;
        assert_eq!((record.state, record.error.as_deref()), (State::Failed, Some("to the last")));
        assert_eq!(tries.load(Ordering::SeqCst), 3 + 3, "two retries are the test queue's");

        let wrong = jobs.submit(job(Queue::Chat, "wrong")).await.unwrap();
        assert_eq!(ended(&jobs, wrong).await.error.as_deref(), Some("wrong"));
        assert_eq!(tries.load(Ordering::SeqCst), 3 + 3 + 1);
    }
}

#[tokio::test]
async fn a_job_that_waits_for_a_retry_has_its_own_state() {
    for store in TestStore::all() {
        let mut config = store.config();
        config.retry_base_delay = Duration::from_secs(60);
        config.retry_max_delay = Duration::from_secs(60);
        let jobs = start(&config, Script::new(|_, _| async { Err(transient("busy")) }));
        reachable(&jobs).await;
        let id = jobs.submit(job(Queue::Analysis, "busy")).await.unwrap();
        let record = eventually("it waits", async || {
            jobs.record(id).await.unwrap().filter(|record| record.state == State::Retrying)
        })
        .await;
        assert_eq!(record.error.as_deref(), Some("busy"));
        // Cancelled while it waits, it is not tried again.
        jobs.cancel(id).await.unwrap();
        assert_eq!(ended(&jobs, id).await.state, State::Cancelled);
    }
}

#[tokio::test]
async fn a_cancelled_job_stops_or_never_starts() {
    for store in TestStore::all() {
        let dropped = Arc::new(Notify::new());
        struct Dropped(Arc<Notify>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let notify = Arc::clone(&dropped);
        let work = Script::new(move |_, progress| {
            let guard = Dropped(Arc::clone(&notify));
            async move {
                let _guard = guard;
                progress.report(40).await;
                std::future::pending().await
            }
        });
        let mut config = store.config();
        config.analysis.workers = 1;
        let jobs = start(&config, work.clone());
        reachable(&jobs).await;
        let running = jobs.submit(job(Queue::Analysis, "running")).await.unwrap();
        let waiting = jobs.submit(job(Queue::Analysis, "waiting")).await.unwrap();
        eventually("it runs", async || {
            let record = jobs.record(running).await.unwrap().unwrap();
            ((record.state, record.progress) == (State::Running, 40)).then_some(())
        })
        .await;
        jobs.cancel(waiting).await.unwrap();
        jobs.cancel(running).await.unwrap();
        dropped.notified().await;
        for id in [running, waiting] {
            assert_eq!(jobs.record(id).await.unwrap().unwrap().state, State::Cancelled);
        }
        // The slot is free for the next.
        let next = jobs.submit(job(Queue::Analysis, "next")).await.unwrap();
        eventually("the next runs", async || {
            (jobs.record(next).await.unwrap().unwrap().state == State::Running).then_some(())
        })
        .await;
        assert_eq!(work.times("waiting"), 0);
        // A job ends once.
        jobs.cancel(running).await.unwrap();
        assert_eq!(jobs.record(running).await.unwrap().unwrap().state, State::Cancelled);
    }
}

#[tokio::test]
async fn a_cancellation_by_another_process_stops_the_work() {
    for store in TestStore::all() {
        let work = Script::new(|_, _| std::future::pending());
        let jobs = store.start(work.clone()).await;
        let id = jobs.submit(job(Queue::Chat, "long")).await.unwrap();
        eventually("it runs", async || (work.times("long") == 1).then_some(())).await;
        // In the store alone, as when another process cancels it.
        jobs.store.cancel(id).await.unwrap();
        eventually("the work has stopped", async || jobs.runner.claims().is_empty().then_some(()))
            .await;
    }
}

#[tokio::test]
async fn a_job_that_takes_too_long_or_panics_fails() {
    for store in TestStore::all() {
        let mut config = store.config();
        config.chat.time_limit = Duration::from_millis(200);
        let work = Script::new(|job, _| async move {
            assert_ne!(job.payload["says"], "panic");
            sleep(Duration::from_secs(60)).await;
            Ok(json!(null))
        });
        let jobs = start(&config, work);
        reachable(&jobs).await;
        let slow = jobs.submit(job(Queue::Chat, "slow")).await.unwrap();
        let panics = jobs.submit(job(Queue::Analysis, "panic")).await.unwrap();
        let error = ended(&jobs, slow).await.error.unwrap();
        assert!(error.contains("took longer than 200ms"), "{error}");
        assert_eq!(ended(&jobs, panics).await.error.as_deref(), Some("internal error"));
    }
}

#[tokio::test]
async fn a_full_queue_refuses_jobs() {
    for store in TestStore::all() {
        let mut config = store.config();
        config.max_waiting = 2;
        config.chat.workers = 1;
        let work = Script::new(|_, _| std::future::pending());
        let jobs = start(&config, work.clone());
        reachable(&jobs).await;
        jobs.submit(job(Queue::Chat, "runs")).await.unwrap();
        eventually("it runs", async || (work.times("runs") == 1).then_some(())).await;
        for _ in 0..2 {
            jobs.submit(job(Queue::Chat, "waits")).await.unwrap();
        }
        let refused = jobs.submit(job(Queue::Chat, "too many")).await;
        assert!(matches!(refused, Err(JobsError::Full { queue: "chat", max: 2 })), "{refused:?}");
        jobs.submit(job(Queue::Test, "another queue")).await.unwrap();
    }
}

#[tokio::test]
async fn workers_and_jobs_are_counted() {
    for store in TestStore::all() {
        let jobs = store.start(Script::new(|_, _| std::future::pending())).await;
        jobs.submit(job(Queue::Chat, "runs")).await.unwrap();
        let stats = eventually("all workers are there", async || {
            let stats = jobs.stats().await.unwrap();
            (stats.workers.len() == 3 && stats.counts["chat"].running == 1).then_some(stats)
        })
        .await;
        assert_eq!(stats.counts["chat"].waiting, 0);
        assert_eq!(stats.counts["analysis"], super::Counts::default());
    }
}
