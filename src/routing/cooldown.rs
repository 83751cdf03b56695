//! When a target gets traffic: the cooldown state machine.
//!
//! ```text
//!              throttled, ejected                  time is over
//!   available ----------------------> cooling ----------------------> due
//!    ^                                   ^                             | one request enters
//!    |                                   | throttled, failed           v
//!    +--------------------------------------------------------------- probing
//!                            succeeded
//! ```
//! This is a circuit breaker for quotas. Every transition is a plain function of the state and `now`, so that
//! all of it can be tested without a runtime. A request enters with a [`CooldownToken`] and reports back with
//! it. A token from before the last change of state is stale: requests that were in flight together when a
//! quota ran out count as one throttle, and a success from before shows nothing about now.

use std::time::Duration;

use tokio::time::Instant;

use super::outage::{Outage, OutageCause, Outages};
use crate::config::Config;

/// Time for an event to reach the other replicas.
const EVENT_DELAY: Duration = Duration::from_millis(250);

/// The settings of one target's cooldown.
#[derive(Clone, Debug, PartialEq)]
pub struct CooldownSettings {
    /// Cooldown after one throttle.
    pub base: Duration,
    /// Consecutive throttles multiply it, at most by this.
    pub max_multiplier: u32,
    /// Consecutive failures that eject a target.
    pub eject_after: u32,
    /// Fewest attempts in a minute for the success-rate check.
    pub eject_min_requests: u32,
    /// The target is ejected if a smaller share succeeds.
    pub eject_below_success_rate: f64,
    /// The cooldown of an ejected target.
    pub eject_cooldown: Duration,
    /// The first backoff: a short pause before a cooldown, while no other target is free.
    pub backoff_base: Duration,
    /// The longest backoff. Each one is twice as long as the one before.
    pub backoff_max: Duration,
    /// Most backoffs before the cooldown.
    pub backoffs: u32,
}

impl CooldownSettings {
    /// The settings of targets whose cooldown after one throttle is `base`.
    pub fn new(config: &Config, base: Duration) -> CooldownSettings {
        CooldownSettings {
            base,
            max_multiplier: config.fallback.max_cooldown_multiplier,
            eject_after: config.fallback.eject_after,
            eject_min_requests: config.fallback.eject_min_requests,
            eject_below_success_rate: config.fallback.eject_below_success_rate,
            eject_cooldown: config.fallback.eject_cooldown,
            backoff_base: config.retry.base_delay,
            backoff_max: config.retry.max_delay,
            backoffs: config.retry.attempts.saturating_sub(1),
        }
    }
}

/// Whether a target takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes any traffic.
    Available,
    /// The cooldown is over: the next request is the probe, or a probe is in flight.
    Probing,
    /// Takes none until then.
    Cooling(Instant),
    /// Takes none until an operator puts it back.
    Drained,
}

/// Permission to send one request, and the state of the cooldown that gave it.
#[derive(Debug, PartialEq, Eq)]
pub struct CooldownToken {
    generation: u64,
}

/// Why a request may not enter now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Cooling until then.
    Until(Instant),
    /// Another request is the probe.
    Probing,
    /// Taken out by an operator.
    Drained,
    /// A quota of the day has no room before then.
    DailyQuota(Instant),
}

/// The state of one target. The fields that every request reads come first; see [`Target`](super::Target).
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Cooldown {
    phase: Phase,
    generation: u64,
    throttles: u32,
    backoffs: u32,
    failures: u32,
    /// Answers in a row that broke off or stalled.
    stalls: u32,
    outcomes: Outcomes,
    /// Whether the running cooldown is for want of quota.
    is_quota: bool,
    /// Whether an operator has taken the target out, whatever else it is.
    is_drained: bool,
    /// When this replica was last throttled.
    throttled_here_at: Option<Instant>,
    throttled_at: Option<std::time::SystemTime>,
    settings: CooldownSettings,
    /// Why it was not available.
    outages: Outages,
    /// When it was drained.
    drains: Outages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Available,
    /// Cooling before that time, due from then on.
    Cooling(Instant),
    Probing,
}

impl Cooldown {
    /// An available target.
    pub fn new(settings: CooldownSettings) -> Cooldown {
        Cooldown {
            settings,
            phase: Phase::Available,
            generation: 0,
            throttles: 0,
            backoffs: 0,
            failures: 0,
            stalls: 0,
            outcomes: Outcomes::default(),
            is_quota: false,
            throttled_here_at: None,
            throttled_at: None,
            is_drained: false,
            outages: Outages::default(),
            drains: Outages::default(),
        }
    }

    /// Whether the target takes traffic.
    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            _ if self.is_drained => State::Drained,
            Phase::Available => State::Available,
            Phase::Cooling(until) if now < until => State::Cooling(until),
            Phase::Cooling(_) | Phase::Probing => State::Probing,
        }
    }

    /// Whether [`Cooldown::enter`] would admit a request.
    pub fn is_free(&self, now: Instant) -> bool {
        self.blocked(now).is_none()
    }

    /// Whether the running cooldown, or the one before the probe, is for want of quota.
    pub fn is_out_of_quota(&self) -> bool {
        self.is_quota && self.phase != Phase::Available
    }

    /// Consecutive throttles so far.
    pub fn throttles(&self) -> u32 {
        self.throttles
    }

    /// Notes why the target is out, if it is.
    pub fn set_cause(&mut self, cause: impl FnOnce() -> OutageCause) {
        if self.phase != Phase::Available {
            self.outages.begin(cause());
        }
    }

    /// Why the target is out, if that is known.
    pub fn outage(&self) -> Option<&Outage> {
        let is_out = self.phase != Phase::Available;
        self.drains.current().or_else(|| self.outages.current().filter(|_| is_out))
    }

    /// The outage that has ended last.
    pub fn last_outage(&self) -> Option<Outage> {
        let ended = self.outages.last().into_iter().chain(self.drains.last());
        ended.max_by_key(|outage| outage.until).cloned()
    }

    /// When the target was last throttled.
    pub fn throttled_at(&self) -> Option<std::time::SystemTime> {
        self.throttled_at
    }

    /// Why [`Cooldown::enter`] would admit no request now.
    pub fn blocked(&self, now: Instant) -> Option<Blocked> {
        match self.phase {
            _ if self.is_drained => Some(Blocked::Drained),
            Phase::Cooling(until) if now < until => Some(Blocked::Until(until)),
            Phase::Probing => Some(Blocked::Probing),
            Phase::Available | Phase::Cooling(_) => None,
        }
    }

    /// Admits a request, as the probe if the cooldown is over.
    ///
    /// # Errors
    /// With the reason why it may not enter now.
    pub fn enter(&mut self, now: Instant) -> Result<CooldownToken, Blocked> {
        if let Some(blocked) = self.blocked(now) {
            return Err(blocked);
        }
        if self.phase != Phase::Available {
            self.generation += 1;
            self.phase = Phase::Probing;
        }
        Ok(CooldownToken { generation: self.generation })
    }

    /// The request was answered. True if that made the target available again.
    pub fn succeeded(&mut self, token: &CooldownToken, now: Instant) -> bool {
        if self.is_stale(token) {
            return false;
        }
        self.outcomes.note(true, now);
        (self.throttles, self.backoffs, self.failures) = (0, 0, 0);
        let opened = self.phase != Phase::Available;
        if opened {
            self.phase = Phase::Available;
            self.outages.end();
        }
        opened
    }

    /// The request was throttled. `backoff_jitter` is set if no other target is free: then a few backoffs come
    /// before the cooldown. `backoff_jitter` (0 to 1) times `backoff_base` is added to each. True if this is
    /// the first report since the last change of state.
    pub fn throttled(
        &mut self,
        token: &CooldownToken,
        now: Instant,
        backoff_jitter: Option<f64>,
    ) -> bool {
        self.is_quota = true;
        self.throttled_here_at = Some(now);
        self.throttled_at = Some(std::time::SystemTime::now());
        if self.is_stale(token) {
            if let Phase::Cooling(_) = self.phase {
                self.cool(now, self.pause());
            }
            return false;
        }
        match backoff_jitter {
            Some(jitter) if self.backoffs < self.settings.backoffs => {
                self.backoffs += 1;
                let jitter = self.settings.backoff_base.mul_f64(jitter.clamp(0.0, 1.0));
                self.cool(now, self.pause() + jitter);
            }
            _ => {
                self.backoffs = self.settings.backoffs;
                self.throttles = self.throttles.saturating_add(1);
                self.cool(now, self.pause());
            }
        }
        true
    }

    /// Takes the target out for `pause`, for a reason other than a throttle of the minute;
    /// `is_quota` if a longer quota is used up.
    pub fn take_out(&mut self, now: Instant, pause: Duration, is_quota: bool) {
        self.is_quota = is_quota;
        self.throttled_here_at = Some(now);
        self.cool(now, pause);
    }

    /// Whether a request is the probe.
    pub fn is_probing(&self) -> bool {
        self.phase == Phase::Probing
    }

    /// Another replica has begun a cooldown of `pause`, after so many throttles in a row. Here it lasts longer
    /// by `after`, so that the other replica probes first.
    pub fn cooled_elsewhere(
        &mut self,
        now: Instant,
        pause: Duration,
        after: Duration,
        throttles: u32,
        is_quota: bool,
    ) {
        self.is_quota |= is_quota;
        self.throttles = self.throttles.max(throttles);
        if throttles > 0 {
            self.backoffs = self.settings.backoffs;
        }
        self.throttled_at = Some(std::time::SystemTime::now());
        self.cool(now, pause + after);
        self.outages.begin(OutageCause::elsewhere(is_quota));
    }

    /// Another replica probes the target. This one does not for as long as `hold`, unless the outcome comes
    /// before.
    pub fn probed_elsewhere(&mut self, now: Instant, hold: Duration) {
        if let Phase::Cooling(_) = self.phase {
            self.cool(now, hold);
        }
    }

    /// Another replica was answered. True if that makes the target available. It does not if this replica was
    /// throttled just now, which the other can't know yet.
    pub fn recovered_elsewhere(&mut self, now: Instant) -> bool {
        let is_newer_here = self
            .throttled_here_at
            .is_some_and(|at| now.saturating_duration_since(at) < EVENT_DELAY);
        if self.phase == Phase::Available || is_newer_here {
            return false;
        }
        self.phase = Phase::Available;
        self.outages.end();
        self.generation += 1;
        (self.throttles, self.backoffs, self.failures) = (0, 0, 0);
        true
    }

    /// The request failed without being throttled. True if that ejected the target.
    pub fn failed(&mut self, token: &CooldownToken, now: Instant) -> bool {
        if self.is_stale(token) {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        self.outcomes.note(false, now);
        let ejected = self.eject_if_failing(self.failures, now);
        if !ejected {
            self.ended_without_outcome(token, now);
        }
        ejected
    }

    /// An answer that had begun broke off or stalled. True if that ejected the target. Stalls count apart from
    /// failures, since each answer's head counts as a success before.
    pub fn stalled(&mut self, now: Instant) -> bool {
        if self.phase != Phase::Available {
            return false;
        }
        self.stalls = self.stalls.saturating_add(1);
        self.outcomes.turn_success_into_failure(now);
        self.eject_if_failing(self.stalls, now)
    }

    /// An answer is complete.
    pub fn completed(&mut self) {
        self.stalls = 0;
    }

    /// Takes over the state of the same target under an older config.
    pub fn take_over(&mut self, before: &Cooldown) {
        let settings = self.settings.clone();
        let phase = match before.phase {
            // The probe reports to the old state; here the target is due.
            Phase::Probing => Phase::Cooling(Instant::now()),
            phase => phase,
        };
        *self = Cooldown { settings, phase, ..before.clone() };
    }

    /// The request ended without an outcome that concerns the target: it was at fault itself, or cancelled. If
    /// it was the probe, the next request is.
    pub fn ended_without_outcome(&mut self, token: &CooldownToken, now: Instant) {
        if !self.is_stale(token) && self.phase == Phase::Probing {
            self.phase = Phase::Cooling(now);
        }
    }

    /// Takes the target out of traffic, or back to the state that it has otherwise. Requests in flight go on.
    pub fn drain(&mut self, is_drained: bool) {
        self.is_drained = is_drained;
        match is_drained {
            true => self.drains.begin(OutageCause::drained()),
            false => self.drains.end(),
        }
    }

    /// Makes the target available and forgets all outcomes. A drained target stays drained.
    pub fn reset(&mut self) {
        self.outages.end();
        *self = Cooldown {
            generation: self.generation + 1,
            outages: std::mem::take(&mut self.outages),
            drains: std::mem::take(&mut self.drains),
            throttled_at: self.throttled_at,
            is_drained: self.is_drained,
            ..Cooldown::new(self.settings.clone())
        };
    }

    /// Ejects the target if bad outcomes in a row, or those of the last minutes, call for it.
    fn eject_if_failing(&mut self, in_a_row: u32, now: Instant) -> bool {
        let is_out = in_a_row >= self.settings.eject_after
            || self.outcomes.is_success_rate_low(&self.settings);
        if is_out {
            self.outcomes = Outcomes::default();
            self.is_quota = false;
            self.cool(now, self.settings.eject_cooldown);
        }
        is_out
    }

    /// Whether a token is from before the last change of state.
    pub fn is_stale(&self, token: &CooldownToken) -> bool {
        token.generation != self.generation
    }

    /// Starts a cooldown, or extends the one that runs; never shortens it.
    fn cool(&mut self, now: Instant, pause: Duration) {
        let mut until = now + pause;
        if let Phase::Cooling(running) = self.phase {
            until = until.max(running);
        }
        self.phase = Phase::Cooling(until);
        self.generation += 1;
    }

    /// The pause for the present counts.
    fn pause(&self) -> Duration {
        if self.throttles == 0 {
            let doubled =
                self.settings.backoff_base * 2u32.saturating_pow(self.backoffs.saturating_sub(1));
            doubled.min(self.settings.backoff_max)
        } else {
            self.settings.base * self.throttles.min(self.settings.max_multiplier)
        }
    }
}

/// The outcomes of attempts in this minute and the last.
#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    began: Option<Instant>,
    answered: [u32; 2],
    failed: [u32; 2],
}

impl Outcomes {
    fn note(&mut self, answered: bool, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let minutes = now.saturating_duration_since(began).as_secs() / 60;
        if minutes > 0 {
            let last = |[this, _]: [u32; 2]| [0, if minutes == 1 { this } else { 0 }];
            (self.answered, self.failed) = (last(self.answered), last(self.failed));
            self.began = Some(now);
        }
        let [count, _] = if answered { &mut self.answered } else { &mut self.failed };
        *count = count.saturating_add(1);
    }

    /// Turns a success that was counted into a failure.
    fn turn_success_into_failure(&mut self, now: Instant) {
        self.note(false, now);
        let [this, last] = &mut self.answered;
        let count = if *this > 0 { this } else { last };
        *count = count.saturating_sub(1);
    }

    fn is_success_rate_low(&self, settings: &CooldownSettings) -> bool {
        let answered: u32 = self.answered.iter().sum();
        let all = answered + self.failed.iter().sum::<u32>();
        all >= settings.eject_min_requests
            && f64::from(answered) < settings.eject_below_success_rate * f64::from(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::outage::OutageReason;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cooldown() -> Cooldown {
        Cooldown::new(CooldownSettings {
            base: 60 * SECOND,
            max_multiplier: 5,
            eject_after: 3,
            eject_min_requests: 10,
            eject_below_success_rate: 0.5,
            eject_cooldown: 10 * SECOND,
            backoff_base: SECOND,
            backoff_max: 4 * SECOND,
            backoffs: 2,
        })
    }

    #[test]
    fn a_throttle_begins_a_cooldown_and_one_probe_ends_it() {
        let (mut target, now) = (cooldown(), Instant::now());
        let token = target.enter(now).unwrap();
        target.throttled(&token, now, None);
        let due = now + 60 * SECOND;
        assert_eq!(target.state(now), State::Cooling(due));
        assert_eq!(target.enter(due - SECOND), Err(Blocked::Until(due)));
        assert_eq!(target.state(due), State::Probing);
        let probe = target.enter(due).unwrap();
        assert_eq!(target.enter(due), Err(Blocked::Probing));
        assert!(target.succeeded(&probe, due));
        assert_eq!(target.state(due), State::Available);
        assert_eq!(target.throttles(), 0);
    }

    #[test]
    fn a_drained_target_takes_nothing_and_returns_to_its_state() {
        let (mut target, now) = (cooldown(), Instant::now());
        let token = target.enter(now).unwrap();
        target.drain(true);
        assert_eq!(target.state(now), State::Drained);
        assert_eq!(target.enter(now), Err(Blocked::Drained));
        // Requests in flight still count for the target.
        target.throttled(&token, now, None);
        target.drain(false);
        assert_eq!(target.state(now), State::Cooling(now + 60 * SECOND));
        target.drain(true);
        target.reset();
        assert_eq!(target.state(now), State::Drained);
        let mut newer = cooldown();
        newer.take_over(&target);
        assert_eq!(newer.state(now), State::Drained);
        newer.drain(false);
        assert_eq!(newer.state(now), State::Available);
    }

    #[test]
    fn consecutive_throttles_multiply_the_cooldown_up_to_five_times() {
        let (mut target, mut now) = (cooldown(), Instant::now());
        for times in [1, 2, 3, 4, 5, 5, 5] {
            let token = target.enter(now).unwrap();
            target.throttled(&token, now, None);
            let due = now + 60 * SECOND * times;
            assert_eq!(target.state(now), State::Cooling(due));
            now = due;
        }
    }

    #[test]
    fn throttles_of_requests_in_flight_together_count_once_and_extend_the_cooldown() {
        let (mut target, now) = (cooldown(), Instant::now());
        let tokens: Vec<CooldownToken> = (0..50).map(|_| target.enter(now).unwrap()).collect();
        for (i, token) in tokens.iter().enumerate() {
            target.throttled(token, now + SECOND * i as u32, None);
        }
        assert_eq!(target.throttles(), 1);
        assert_eq!(target.state(now), State::Cooling(now + 49 * SECOND + 60 * SECOND));
    }

    #[test]
    fn a_late_success_from_before_does_not_end_a_cooldown() {
        let (mut target, now) = (cooldown(), Instant::now());
        let early = target.enter(now).unwrap();
        let token = target.enter(now).unwrap();
        target.throttled(&token, now, None);
        assert!(!target.succeeded(&early, now));
        assert_eq!(target.state(now), State::Cooling(now + 60 * SECOND));
    }

    #[test]
    fn without_another_target_short_pauses_come_before_a_cooldown() {
        let (mut target, mut now) = (cooldown(), Instant::now());
        for pause in [1, 2, 60] {
            let token = target.enter(now).unwrap();
            target.throttled(&token, now, Some(0.0));
            let due = now + SECOND * pause;
            assert_eq!(target.state(now), State::Cooling(due));
            now = due;
        }
        let probe = target.enter(now).unwrap();
        target.succeeded(&probe, now);
        let token = target.enter(now).unwrap();
        target.throttled(&token, now, Some(0.0));
        assert_eq!(target.state(now), State::Cooling(now + SECOND), "a success starts it over");
    }

    #[test]
    fn a_probe_that_leaves_makes_room_for_the_next() {
        let (mut target, now) = (cooldown(), Instant::now());
        let token = target.enter(now).unwrap();
        target.throttled(&token, now, None);
        let due = now + 60 * SECOND;
        let probe = target.enter(due).unwrap();
        target.ended_without_outcome(&probe, due);
        let probe = target.enter(due).unwrap();
        assert!(!target.failed(&probe, due));
        assert!(target.enter(due).is_ok());
    }

    #[test]
    fn failures_in_a_row_eject() {
        let (mut target, now) = (cooldown(), Instant::now());
        for ejected in [false, false, true] {
            let token = target.enter(now).unwrap();
            assert_eq!(target.failed(&token, now), ejected);
        }
        assert_eq!(target.state(now), State::Cooling(now + 10 * SECOND));
    }

    #[test]
    fn stalled_answers_in_a_row_eject_although_their_heads_came() {
        let (mut target, now) = (cooldown(), Instant::now());
        let stall = |target: &mut Cooldown| {
            let token = target.enter(now).unwrap();
            target.succeeded(&token, now);
            target.stalled(now)
        };
        assert_eq!([stall(&mut target), stall(&mut target)], [false, false]);
        target.completed();
        assert_eq!([(); 3].map(|()| stall(&mut target)), [false, false, true]);
        assert_eq!(target.state(now), State::Cooling(now + 10 * SECOND));
    }

    #[test]
    fn a_poor_share_of_answers_ejects_even_without_a_row_of_failures() {
        let (mut target, now) = (cooldown(), Instant::now());
        let mut ejected_after = None;
        for i in 0..40 {
            let Ok(token) = target.enter(now) else { break };
            if i % 3 == 0 {
                target.succeeded(&token, now);
            } else if target.failed(&token, now) {
                ejected_after = Some(i + 1);
            }
        }
        assert!(matches!(ejected_after, Some(10..=12)), "{ejected_after:?}");
    }

    #[test]
    fn a_long_cooldown_is_not_shortened_by_a_throttle() {
        let (mut target, now) = (cooldown(), Instant::now());
        let token = target.enter(now).unwrap();
        target.take_out(now, 3600 * SECOND, true);
        target.throttled(&token, now, None);
        assert_eq!(target.state(now), State::Cooling(now + 3600 * SECOND));
    }

    #[test]
    fn a_reset_ends_the_cooldown_and_old_tokens_are_stale() {
        let (mut target, now) = (cooldown(), Instant::now());
        let old = target.enter(now).unwrap();
        let token = target.enter(now).unwrap();
        target.throttled(&token, now, None);
        target.reset();
        assert_eq!(target.state(now), State::Available);
        target.throttled(&old, now, None);
        assert_eq!(target.state(now), State::Available);
    }

    #[test]
    fn the_cause_of_an_outage_stands_until_it_ends_and_is_kept_afterwards() {
        let (mut target, now) = (cooldown(), Instant::now());
        let cause = |message: &str| OutageCause {
            reason: OutageReason::Throttled,
            message: message.to_owned(),
            request_id: None,
        };
        target.set_cause(|| cause("not out"));
        assert_eq!(target.outage(), None);
        let token = target.enter(now).unwrap();
        target.throttled(&token, now, None);
        target.set_cause(|| cause("first"));
        let since = target.outage().unwrap().since;
        let due = now + 60 * SECOND;
        let probe = target.enter(due).unwrap();
        target.throttled(&probe, due, None);
        target.set_cause(|| cause("second"));
        let outage = target.outage().unwrap();
        assert_eq!((&*outage.cause.message, outage.since), ("second", since));
        target.drain(true);
        assert_eq!(target.outage().unwrap().cause.reason, OutageReason::Drained);
        target.drain(false);
        let end = due + 200 * SECOND;
        let probe = target.enter(end).unwrap();
        target.succeeded(&probe, end);
        assert_eq!(target.outage(), None);
        let last = target.last_outage().unwrap();
        assert_eq!((&*last.cause.message, last.since), ("second", since));
        assert!(last.until >= Some(since));
    }

    proptest! {
        /// Whatever happens in whatever order: never two probes at once, and a running cooldown
        /// ends early by a reset or a probe's success only.
        #[test]
        fn one_probe_at_a_time(steps in prop::collection::vec((0u8..7, 0u64..90), 1..200)) {
            let (mut target, mut now) = (cooldown(), Instant::now());
            let mut tokens: Vec<CooldownToken> = Vec::new();
            for (step, seconds) in steps {
                now += SECOND * seconds as u32;
                let before = target.state(now);
                let token = (step > 1).then(|| tokens.pop()).flatten();
                match (step, &token) {
                    (0 | 1, _) => if let Ok(token) = target.enter(now) {
                        if before == State::Probing {
                            prop_assert_eq!(target.enter(now), Err(Blocked::Probing));
                        }
                        tokens.push(token);
                    },
                    (2, Some(token)) => { target.succeeded(token, now); }
                    (3, Some(token)) => { target.throttled(token, now, (seconds % 2 == 0).then_some(0.5)); }
                    (4, Some(token)) => { target.failed(token, now); }
                    (5, Some(token)) => target.ended_without_outcome(token, now),
                    (6, _) => target.take_out(now, SECOND * 5, false),
                    _ => {}
                }
                if let State::Cooling(until) = before {
                    let kept = matches!(target.state(now), State::Cooling(still) if still >= until);
                    prop_assert!(kept);
                }
            }
        }
    }
}
