//! The way of one request, as the gateway's attempt loop goes it.

use std::sync::Arc;
use std::time::Duration;

use sluice::bedrock::{ModelId, Operation};
use sluice::config::{Config, Strategy};
use sluice::quota::{Dimension, Flow, QueueLimits};
use sluice::routing::{Candidate, Candidates, Permit, RequestSize, Route, Router, may_recover_by};
use sluice::simulator::Refused;
use tokio::time::{Instant, sleep, timeout_at};

use super::traffic::Request;
use super::upstream::{TARGETS, Upstream};

/// Everything that requests share.
pub(super) struct World {
    pub(super) config: Config,
    pub(super) router: Router,
    pub(super) waiting: QueueLimits,
    pub(super) upstream: Upstream,
}

/// What came of one request.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) is_answered: bool,
    /// Whether a target had room when it was refused.
    pub(super) was_room: bool,
    /// Time in line.
    pub(super) waited: Duration,
    pub(super) attempts: Vec<Attempt>,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) at: Instant,
    pub(super) is_throttled: bool,
}

/// What a request has come to so far.
struct Journey<'a> {
    world: &'a World,
    request: &'a Request,
    size: RequestSize,
    route: Arc<Route>,
    candidates: Candidates,
    tries: Vec<u32>,
    preferred: Option<usize>,
    patience: Duration,
    outcome: Outcome,
}

impl World {
    pub(super) async fn serve(&self, request: &Request) -> Outcome {
        let model = ModelId::new(TARGETS[0].model).expect("a model id");
        let (_, route) = self.router.find(&self.config, &model).expect("a route");
        let size = RequestSize {
            text_bytes: request.text_bytes,
            media: 0,
            max_output: Some(request.max_output),
            ..RequestSize::default()
        };
        let candidates: Candidates = route
            .targets
            .iter()
            .enumerate()
            .map(|(index, target)| Candidate {
                index,
                target: target.clone(),
                demand: target.demand(Operation::Converse, &size, &model),
                not_before: None,
            })
            .collect();
        let journey = Journey {
            world: self,
            request,
            size,
            tries: vec![0; candidates.len()],
            candidates,
            route,
            preferred: None,
            patience: self.config.queue.max_wait,
            outcome: Outcome::default(),
        };
        journey.run().await
    }
}

impl Journey<'_> {
    async fn run(mut self) -> Outcome {
        while let Some((index, permit)) = self.admit().await {
            if self.attempt(index, permit).await {
                self.outcome.is_answered = true;
                return self.outcome;
            }
        }
        let tokens = self.request.input + self.request.max_output;
        self.outcome.was_room = self.world.upstream.has_room(tokens);
        self.outcome
    }

    /// A target, at once or after a wait in line; `None` if there is none in time.
    async fn admit(&mut self) -> Option<(usize, Permit)> {
        let now = Instant::now();
        if let Some(candidate) = self.preferred.take().and_then(|index| self.candidates.get(index))
            && let Ok(permit) = candidate.target.enter(candidate.demand, now)
        {
            return Some((candidate.index, permit));
        }
        let group = Arc::clone(&self.route.group);
        if let Some(found) = group.enter(self.candidates.iter().cloned()) {
            return Some(found);
        }
        let give_up = now + self.patience;
        if give_up <= now || !may_recover_by(&self.candidates, give_up, now) {
            return None;
        }
        let _place = self.world.waiting.enter(self.request.text_bytes, None).ok()?;
        let flow = Flow { client: self.request.client.into(), priority: self.request.priority };
        let granted = {
            let mut waiting = group.enqueue(flow, self.candidates.clone(), give_up);
            timeout_at(give_up, waiting.granted()).await
        };
        let waited = now.elapsed();
        self.outcome.waited += waited;
        self.patience = self.patience.saturating_sub(waited);
        granted.ok().flatten()
    }

    /// True if the request was answered.
    async fn attempt(&mut self, index: usize, mut permit: Permit) -> bool {
        permit.mark_sending();
        let sent = Instant::now();
        sleep(self.request.network).await;
        let answer = self.world.upstream.begin(TARGETS[index].model, self.request);
        self.outcome.attempts.push(Attempt { at: sent, is_throttled: answer.is_err() });
        match answer {
            Ok(answer) => {
                sleep(self.request.head).await;
                let spending = permit.succeeded(sent.elapsed());
                let usage = answer.end().await;
                sleep(self.request.network).await;
                spending.settle(&usage, &self.size);
                true
            }
            Err(refused) => {
                sleep(self.request.network).await;
                self.throttled(index, permit, refused).await;
                false
            }
        }
    }

    async fn throttled(&mut self, index: usize, permit: Permit, refused: Refused) {
        let dimension = match refused {
            Refused::Requests => Dimension::Requests,
            Refused::Tokens | Refused::TokensPerDay => Dimension::Tokens,
        };
        self.tries[index] += 1;
        let retry = &self.world.config.retry;
        match self.world.config.fallback.strategy {
            Strategy::RetryFirst if self.tries[index] < retry.attempts => {
                permit.release();
                let doubled = retry.base_delay * 2u32.pow(self.tries[index] - 1);
                let jitter = retry.base_delay.mul_f64(fastrand::f64());
                sleep(doubled.min(retry.max_delay) + jitter).await;
                self.preferred = Some(index);
            }
            Strategy::RetryFirst => permit.throttled(dimension, false, &super::throttled()),
            Strategy::FallbackFirst => {
                let now = Instant::now();
                let free = |it: &Candidate| it.index != index && it.target.is_free(it.demand, now);
                let alone = !self.candidates.iter().any(free);
                permit.throttled(dimension, alone, &super::throttled());
            }
        }
    }
}
