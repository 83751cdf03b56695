//! How fast jobs start, and what they do while models are throttled.

use std::time::Duration;

use tokio::time::Instant;

use super::setups::{Queue, queued, reachable};
use super::{FINDING, analyze, ended};
use crate::support::{Gateway, PRIMARY, Redis, SECOND, Simulator};

/// A minute of the test's config.
const MINUTE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn thirty_analyses_start_five_a_minute_and_all_succeed_while_the_primary_is_throttled() {
    for queue in [Queue::Sqlite, Queue::Redis(Redis::start().await)] {
        let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
        let config = queued(&simulator, &queue, folder.path())
            .set("jobs.rate_window", "1s")
            .set("jobs.analysis_per_minute", 5);
        // With Redis two replicas share the rate.
        let gateway = Gateway::start(&config).await;
        let other = match queue {
            Queue::Redis(_) => Some(Gateway::start(&config).await),
            _ => None,
        };
        reachable(&gateway).await;
        simulator.always_throttles(PRIMARY);
        simulator.says(SECOND, FINDING);
        let began = Instant::now();
        let mut accepted = Vec::new();
        for number in 0..30 {
            accepted.push(analyze(&gateway, "s", &format!("Section {number}")).await.json());
        }
        for task in &accepted {
            let ended = ended(&gateway, task).await;
            assert_eq!(ended["state"], "SUCCESS", "{ended}");
            assert_eq!(ended["result"]["result"]["feedback_items"][0]["id"], "f1");
        }
        assert!(began.elapsed() >= 5 * MINUTE, "{:?}", began.elapsed());
        let mut answered: Vec<u64> =
            simulator.calls_to(SECOND).into_iter().map(|entry| entry.at_ms).collect();
        answered.sort_unstable();
        assert_eq!(answered.len(), 30);
        for six in answered.windows(6) {
            // From leave to start to the upstream takes a little, sometimes less, sometimes more.
            assert!(six[5] - six[0] > 850, "{answered:?}");
        }
        drop(other);
    }
}
