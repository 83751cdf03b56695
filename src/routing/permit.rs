//! One request's way through a target: a permit to send it, and the reservation that its answer holds.
//!
//! A [`Permit`] is admitted by the target's cooldown and quota, and reports the outcome of the attempt back to
//! both. A success turns it into an [`ActiveReservation`], which settles the quota when the answer ends.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::cooldown::{Blocked, Cooldown, CooldownToken, State};
use super::demand::{QuotaDemand, RequestSize};
use super::outage::OutageCause;
use super::target::Target;
use crate::bedrock::Usage;
use crate::fleet::FleetEvent;
use crate::quota::{Dimension, Reservation, until_midnight};

impl Target {
    /// Logs that failures or stalled answers have taken the target out.
    fn log_ejection(&self, cause: &OutageCause, message: &'static str) {
        tracing::warn!(
            target_name = %self.name,
            reason = %cause.message,
            request_id = cause.request_id.map(tracing::field::display),
            "{message}"
        );
    }

    /// Admits one request.
    ///
    /// # Errors
    /// With the reason why it may not be sent now.
    pub fn enter(self: &Arc<Self>, demand: QuotaDemand, now: Instant) -> Result<Permit, Blocked> {
        // The cooldown is checked first, and entered last, so that a lack of quota does not use up a probe.
        self.blocked(demand, now).map_or(Ok(()), Err)?;
        let reservation = demand.draws_on_quota().then(|| self.reserve(demand, now)).transpose()?;
        let (token, is_probe) = {
            let mut cooldown = self.cooldown_for(demand);
            let token = cooldown.enter(now)?;
            (token, cooldown.is_probing() && cooldown.is_out_of_quota())
        };
        if is_probe {
            self.publish(demand, |target| FleetEvent::ProbeStarted { target });
        }
        Ok(Permit { target: Arc::clone(self), token: Some(token), demand, reservation })
    }
}

/// Permission to send one request to a target, with what it has reserved of the target's quota. If it is
/// dropped without a report, as on cancellation, it changes nothing about the target but makes room for
/// another probe; the quota is charged for what was sent.
#[derive(Debug)]
pub struct Permit {
    target: Arc<Target>,
    token: Option<CooldownToken>,
    demand: QuotaDemand,
    reservation: Option<Reservation>,
}

impl Permit {
    /// The target it is for.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The estimated input tokens of the request.
    pub fn input(&self) -> u64 {
        self.demand.input
    }

    /// The request is about to be sent. From here on it is charged the usual cost of such requests, until
    /// more is known.
    pub fn mark_sending(&mut self) {
        let output = self.target.estimator.output(self.demand.max_output);
        let expected = self.target.charge(self.demand.input, output);
        if let Some(reservation) = &mut self.reservation {
            reservation.charge(expected);
        }
    }

    /// The request was answered, after `took`. Its reservation is settled when the answer ends.
    pub fn succeeded(mut self, took: Duration) -> ActiveReservation {
        if self.demand.draws_on_quota() {
            self.target.latency.learn(took);
        }
        self.target.record_success(self.demand.operation);
        let mut was_out_of_quota = false;
        let recovered = self.report(|cooldown, token| {
            was_out_of_quota = cooldown.is_out_of_quota();
            cooldown.succeeded(token, Instant::now())
        });
        if recovered && was_out_of_quota {
            self.target.publish(self.demand, |target| FleetEvent::Recovered { target });
        }
        ActiveReservation {
            target: Arc::clone(&self.target),
            demand: self.demand,
            reservation: self.reservation.take(),
            is_complete: false,
        }
    }

    /// The request was throttled. `dimension` is the quota that ran out. With `has_no_alternative` a few
    /// backoffs come before the cooldown; see [`Cooldown::throttled`].
    pub fn throttled(
        mut self,
        dimension: Dimension,
        has_no_alternative: bool,
        cause: &OutageCause,
    ) {
        let backoff_jitter = has_no_alternative.then(fastrand::f64);
        let mut is_first = false;
        self.report(|cooldown, token| {
            let now = Instant::now();
            is_first = cooldown.throttled(token, now, backoff_jitter);
            cooldown.set_cause(|| cause.clone());
            true
        });
        if is_first {
            self.log_cooldown(cause);
        }
        self.release_reservation();
        // Settled before the throttle empties the quota.
        drop(self.reservation.take());
        if is_first {
            self.target.publish_cooldown(self.demand, Instant::now());
        }
        if is_first && self.demand.draws_on_quota() {
            self.target.quota().throttled(dimension, Instant::now());
        }
    }

    /// Returns the reservation: the target did not process the request, and its state stays as it is.
    pub fn release(mut self) {
        self.release_reservation();
    }

    /// Returns the reservation after an error response that shows nothing about the target's health, such as
    /// one for a fault of the request. The target's state stays as it is. A 424, with which a model reports
    /// that it failed on the request, is charged.
    pub fn release_after_error(mut self, status: http::StatusCode) {
        if status != http::StatusCode::FAILED_DEPENDENCY {
            self.release_reservation();
        }
    }

    /// Takes the target out for `pause`; `is_quota` if a longer quota than a minute's is used up.
    pub fn take_out(mut self, pause: Duration, is_quota: bool, cause: &OutageCause) {
        self.report(|cooldown, _| {
            let now = Instant::now();
            cooldown.take_out(now, pause, is_quota);
            cooldown.set_cause(|| cause.clone());
            true
        });
        self.log_cooldown(cause);
        self.target.publish_cooldown(self.demand, Instant::now());
        self.release_reservation();
    }

    /// The request was throttled for its tokens of the day. Takes the target out for `pause`, or until the day
    /// ends.
    pub fn exhausted(self, pause: Duration, cause: &OutageCause) {
        if self.demand.draws_on_quota() {
            self.target.refused_for_the_day(pause);
        }
        self.take_out(pause.min(until_midnight(SystemTime::now())), true, cause);
    }

    /// The request failed without being throttled; `was_read` if the upstream had read it.
    pub fn failed(mut self, was_read: bool, cause: &OutageCause) {
        let mut ejected = false;
        self.report(|cooldown, token| {
            let now = Instant::now();
            let is_stale = cooldown.is_stale(token);
            ejected = cooldown.failed(token, now);
            if !is_stale {
                cooldown.set_cause(|| cause.clone());
            }
            true
        });
        if ejected {
            self.target.log_ejection(cause, "target ejected after failures");
        }
        match &mut self.reservation {
            Some(reservation) if was_read => reservation.charge(self.demand.input),
            _ => self.release_reservation(),
        }
    }

    /// Logs that the target has begun to cool down.
    fn log_cooldown(&self, cause: &OutageCause) {
        let now = Instant::now();
        let State::Cooling(until) = self.target.state_for(self.demand, now) else { return };
        tracing::info!(
            target_name = %self.target.name,
            cause = cause.reason.name(),
            reason = %cause.message,
            request_id = cause.request_id.map(tracing::field::display),
            pause_ms = u64::try_from((until - now).as_millis()).unwrap_or(u64::MAX),
            "target cools down"
        );
    }

    fn release_reservation(&mut self) {
        if let Some(reservation) = &mut self.reservation {
            reservation.charge_nothing();
        }
    }

    fn report(&mut self, transition: impl FnOnce(&mut Cooldown, &CooldownToken) -> bool) -> bool {
        let Some(token) = self.token.take() else { return false };
        let changed = transition(&mut self.target.cooldown_for(self.demand), &token);
        if changed {
            self.target.signal().notify();
        }
        changed
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(token) = self.token.take() else { return };
        let now = Instant::now();
        let is_freed = {
            let mut cooldown = self.target.cooldown_for(self.demand);
            let was_free = cooldown.is_free(now);
            cooldown.ended_without_outcome(&token, now);
            cooldown.is_free(now) && !was_free
        };
        if is_freed {
            self.target.signal().notify();
        }
    }
}

/// What an answer under way has reserved of its target's quota, settled when dropped.
#[derive(Debug)]
pub struct ActiveReservation {
    target: Arc<Target>,
    demand: QuotaDemand,
    reservation: Option<Reservation>,
    is_complete: bool,
}

impl ActiveReservation {
    /// The target that answers.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The input tokens that were reserved.
    pub fn input(&self) -> u64 {
        self.demand.input
    }

    /// About so many output tokens were relayed: an answer that ends early is charged for them.
    pub fn observe_output(&mut self, output: u64) {
        let charge = self.target.charge(self.demand.input, output);
        if let Some(reservation) = &mut self.reservation {
            reservation.charge(charge);
        }
    }

    /// The answer broke off or stalled, which is a failure of the target. Operations without a model have
    /// nothing in common, so there it changes nothing.
    pub fn stalled(&self, cause: &OutageCause) {
        if self.demand.operation.is_none() {
            return;
        }
        let ejected = {
            let (mut cooldown, now) = (self.target.cooldown_for(self.demand), Instant::now());
            let ejected = cooldown.stalled(now);
            if ejected {
                cooldown.set_cause(|| cause.clone());
            }
            ejected
        };
        if ejected {
            self.target.log_ejection(cause, "target ejected after stalled answers");
            self.target.signal().notify();
        }
    }

    /// The answer is complete.
    pub fn completed(&mut self) {
        self.is_complete = true;
        self.target.cooldown_for(self.demand).completed();
    }

    /// Settles with the usage that the answer reports, and learns from it.
    pub fn settle(mut self, usage: &Usage, size: &RequestSize) {
        let charge = self.target.charge(usage.input + usage.cache_write, usage.output);
        if let Some(reservation) = &mut self.reservation {
            reservation.charge(charge);
        }
        if !self.demand.draws_on_quota() {
            return;
        }
        if self.is_complete {
            self.target.learn_from_answer(self.demand, size, usage);
        }
        let input = usage.input + usage.cache_read + usage.cache_write;
        let (text, media, max) = (size.text_bytes, size.media, self.demand.max_output);
        self.target.estimator.learn(text, media, input, max, usage.output);
    }
}
