//! The health of the job store.
//!
//! Every call to the store reports its result here. After a failure all further calls fail at once and do
//! not wait for the store, until a check succeeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::JobsError;
use super::grace::GracePeriod;
use super::store::Store;
use crate::config;
use crate::storage::StoreError;
use crate::telemetry::{Dependencies, Metrics};

/// Its name among the dependencies.
const DEPENDENCY: &str = "job_queue";

#[derive(Debug)]
pub(super) struct Health {
    store: Store,
    is_up: AtomicBool,
    /// Why the store is down; `None` before the first check, and while the store is up.
    problem: ArcSwapOption<String>,
    dependencies: Arc<Dependencies>,
    grace: GracePeriod,
}

impl Health {
    /// The health of a store that was not checked yet.
    pub(super) fn new(config: &config::Jobs, store: Store, metrics: &Arc<Metrics>) -> Health {
        let dependencies = Arc::clone(&metrics.dependencies);
        dependencies.is_unchecked(DEPENDENCY);
        let grace = GracePeriod::new(config);
        let (is_up, problem) = (AtomicBool::new(false), ArcSwapOption::empty());
        Health { store, is_up, problem, dependencies, grace }
    }

    /// Whether the last call succeeded.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Fails at once if the last call did.
    pub(super) fn ensure_up(&self) -> Result<(), JobsError> {
        if self.is_up() {
            return Ok(());
        }
        let problem = self.problem.load();
        let problem = problem.as_ref().map_or("not checked yet", |problem| problem.as_str());
        Err(JobsError::Unreachable(problem.to_owned()))
    }

    /// Records the result of a call.
    pub(super) fn record<T>(&self, result: Result<T, StoreError>) -> Result<T, JobsError> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                let is_of_store = error.is_of_store();
                let error = error.to_string();
                if is_of_store {
                    self.set(Err(&error));
                }
                Err(JobsError::Unreachable(error))
            }
        }
    }

    /// Whether this process may take over lapsed claims of others.
    pub(super) fn may_take_over(&self) -> bool {
        self.grace.is_over(Instant::now())
    }

    /// Checks that the store can be read. A store that is down must also accept a write. Returns
    /// whether the store has unfinished jobs.
    pub(super) async fn check(&self) -> Result<bool, JobsError> {
        let has_jobs = self.record(self.store.check(!self.is_up()).await)?;
        self.grace.reached(Instant::now());
        self.set(Ok(()));
        Ok(has_jobs)
    }

    fn set(&self, state: Result<(), &str>) {
        let problem = state.err().map(|problem| Arc::new(problem.to_owned()));
        let known = self.problem.swap(problem);
        let was_up = self.is_up.swap(state.is_ok(), Ordering::AcqRel);
        match state {
            Ok(()) => self.dependencies.works(DEPENDENCY),
            Err(error) => self.dependencies.fails(DEPENDENCY, error),
        }
        match state {
            Ok(()) if !was_up => tracing::info!("the job queue is reachable"),
            // The first failed check is logged, too.
            Err(error) if was_up || known.is_none() => {
                tracing::error!(%error, "the job queue is not reachable");
            }
            _ => {}
        }
    }
}
