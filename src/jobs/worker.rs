//! The workers: apalis brings tickets, one at a time for each free place, and hands them to the
//! runner. A worker that loses the store is replaced when the store is back.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::ext::BackendExt;
use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use apalis_core::error::WorkerError;
use apalis_core::worker::builder::WorkerBuilder;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tower::limit::ConcurrencyLimitLayer;
use uuid::Uuid;

use super::health::Health;
use super::record::Queue;
use super::runner::Runner;
use super::store::{Store, Ticket};
use crate::config;
use crate::system::time::sleep;

/// How long a worker that stops may take for what it has begun. apalis leaves what it was doing with
/// the store where it is then, while its jobs run on: it may hold the connection, or the lock, that
/// these need to store their ends. A worker that is let go gives both up; its tickets come again, and
/// find their jobs ended or free.
const LETTING_GO: Duration = Duration::from_secs(1);

/// Pause before a worker that ended is replaced.
const PAUSE: Duration = Duration::from_millis(250);

/// The workers of one process, one for each queue.
#[derive(Debug)]
pub(super) struct Workers {
    /// Tells this process's workers from all others, ever.
    process: String,
    store: Store,
    runner: Arc<Runner>,
    health: Arc<Health>,
    stopping: CancellationToken,
    every: Duration,
    places: [usize; 3],
    /// Rung at a submission, so that a worker of the same process looks at once.
    bells: Mutex<[Option<mpsc::Sender<()>>; 3]>,
}

/// Runs a worker on a storage until it ends.
macro_rules! work_on {
    ($storage:expr, $name:expr, $look:expr, $places:expr, $deliver:expr, $until:expr) => {
        WorkerBuilder::new($name)
            .backend($storage.poll_with_strategy($look))
            .layer(ConcurrencyLimitLayer::new($places))
            .build($deliver)
            .run_until($until)
            .await
    };
}

impl Workers {
    pub(super) fn new(
        config: &config::Jobs,
        store: Store,
        runner: &Arc<Runner>,
        health: &Arc<Health>,
        stopping: &CancellationToken,
    ) -> Workers {
        Workers {
            process: Uuid::new_v4().simple().to_string(),
            store,
            runner: Arc::clone(runner),
            health: Arc::clone(health),
            stopping: stopping.clone(),
            every: config.poll_interval,
            places: [config.analysis.workers, config.chat.workers, config.test.workers],
            bells: Mutex::default(),
        }
    }

    /// Has the queue's worker look for tickets now.
    pub(super) fn look(&self, queue: Queue) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get(queue.index()).and_then(Option::as_ref) {
            // A bell that was rung already rings once.
            let _ = bell.try_send(());
        }
    }

    /// Keeps a worker on a queue until the process stops.
    pub(super) async fn serve(self: Arc<Self>, queue: Queue) {
        for life in 1u64.. {
            while !self.health.is_up() {
                tokio::select! {
                    () = sleep(PAUSE) => {}
                    () = self.stopping.cancelled() => return,
                }
            }
            let name = format!("{}-{}-{life}", self.process, queue.name());
            let ended = self.live(queue, name).await;
            if self.stopping.is_cancelled() {
                return;
            }
            if let Err(error) = ended {
                tracing::debug!(queue = queue.name(), %error, "a worker lost the job queue");
                self.store.doubt();
            }
            // It may be the store that is gone, which the next worker should not find out anew.
            self.health.check().await;
            sleep(PAUSE).await;
        }
    }

    async fn live(&self, queue: Queue, name: String) -> Result<(), WorkerError> {
        let places = self.places.get(queue.index()).copied().unwrap_or(1);
        let (bell, rung) = mpsc::channel(1);
        if let Some(place) =
            self.bells.lock().unwrap_or_else(PoisonError::into_inner).get_mut(queue.index())
        {
            *place = Some(bell);
        }
        let look = Look::new(self.every, rung);
        let runner = Arc::clone(&self.runner);
        let deliver = move |ticket: Ticket| {
            let runner = Arc::clone(&runner);
            async move { runner.deliver(queue, ticket.job).await }
        };
        let stopping = self.stopping.clone();
        let stop = async move {
            stopping.cancelled().await;
            Ok::<(), WorkerError>(())
        };
        let work = async {
            match &self.store {
                Store::Sqlite(store) => {
                    work_on!(store.tickets(queue), name, look, places, deliver, stop)
                }
                Store::Redis(store) => {
                    work_on!(store.tickets(queue), name, look, places, deliver, stop)
                }
            }
        };
        let let_go = async {
            self.stopping.cancelled().await;
            sleep(LETTING_GO).await;
        };
        tokio::select! {
            ended = work => ended,
            () = let_go => Ok(()),
        }
    }
}

/// When a worker that found no ticket looks again: at intervals, and when the bell rings.
#[derive(Debug)]
struct Look {
    interval: Interval,
    bell: mpsc::Receiver<()>,
}

impl Look {
    fn new(every: Duration, bell: mpsc::Receiver<()>) -> Look {
        let mut interval = interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Look { interval, bell }
    }
}

impl PollStrategy for Look {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut is_time = false;
        // Polled until they wait, so that each is sure to wake the worker.
        while self.interval.poll_tick(cx).is_ready() {
            is_time = true;
        }
        while let Poll::Ready(Some(())) = self.bell.poll_recv(cx) {
            is_time = true;
        }
        if is_time { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}
