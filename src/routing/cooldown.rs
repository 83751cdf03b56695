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
//! Every transition is a plain function of the state and `now`, so that all of it can be tested
//! without a runtime. A request enters with a [`Pass`] and reports back with it. A pass that was
//! given before the last change of state is stale: requests that were under way together when a
//! quota ran out are one throttle, not many, and a success from before says nothing about now.

use std::time::Duration;

use tokio::time::Instant;

/// The time in which replicas hear of each other.
const NEWS_TRAVEL: Duration = Duration::from_millis(250);

/// The numbers that govern one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Cooldown after one throttle.
    pub base: Duration,
    /// Consecutive throttles multiply it, at most by this.
    pub max_multiplier: u32,
    /// Consecutive failures that take a target out.
    pub eject_after: u32,
    /// With at least this many attempts in a minute...
    pub eject_min_requests: u32,
    /// ...a share of answered ones below this takes a target out, too.
    pub eject_below_success_rate: f64,
    /// For how long a target is out then.
    pub eject_cooldown: Duration,
    /// Short pauses before a cooldown when no other target is free: the first one...
    pub backoff_base: Duration,
    /// ...doubling up to this...
    pub backoff_max: Duration,
    /// ...and how many of them.
    pub backoffs: u32,
}

/// Whether a target takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes any traffic.
    Available,
    /// Takes one request that shows whether it works again.
    Probing,
    /// Takes none until then.
    Cooling(Instant),
    /// Takes none until an operator puts it back.
    Drained,
}

/// Leave to send one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Pass {
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
}

/// The state of one target; what every request looks at comes first.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Cooldown {
    phase: Phase,
    generation: u64,
    throttles: u32,
    backoffs: u32,
    failures: u32,
    /// Answers in a row that broke off or fell silent.
    stalls: u32,
    outcomes: Outcomes,
    /// Whether the running cooldown is for want of quota.
    is_quota: bool,
    /// Whether an operator has taken the target out, whatever else it is.
    is_drained: bool,
    /// When this process last met a throttle.
    met_at: Option<Instant>,
    throttled_at: Option<std::time::SystemTime>,
    policy: Policy,
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
    pub fn new(policy: Policy) -> Cooldown {
        Cooldown {
            policy,
            phase: Phase::Available,
            generation: 0,
            throttles: 0,
            backoffs: 0,
            failures: 0,
            stalls: 0,
            outcomes: Outcomes::default(),
            is_quota: false,
            met_at: None,
            throttled_at: None,
            is_drained: false,
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

    /// Whether [`Cooldown::enter`] would give a pass.
    pub fn is_free(&self, now: Instant) -> bool {
        self.blocked(now).is_none()
    }

    /// Whether the target is out, or was before its probe, for want of quota.
    pub fn is_out_of_quota(&self) -> bool {
        self.is_quota && self.phase != Phase::Available
    }

    /// Consecutive throttles so far.
    pub fn throttles(&self) -> u32 {
        self.throttles
    }

    /// When the target was last throttled.
    pub fn throttled_at(&self) -> Option<std::time::SystemTime> {
        self.throttled_at
    }

    /// Why [`Cooldown::enter`] would let nobody in now.
    pub fn blocked(&self, now: Instant) -> Option<Blocked> {
        match self.phase {
            _ if self.is_drained => Some(Blocked::Drained),
            Phase::Cooling(until) if now < until => Some(Blocked::Until(until)),
            Phase::Probing => Some(Blocked::Probing),
            Phase::Available | Phase::Cooling(_) => None,
        }
    }

    /// Lets a request in, as the probe if the target is due.
    pub fn enter(&mut self, now: Instant) -> Result<Pass, Blocked> {
        if let Some(blocked) = self.blocked(now) {
            return Err(blocked);
        }
        if self.phase != Phase::Available {
            self.generation += 1;
            self.phase = Phase::Probing;
        }
        Ok(Pass { generation: self.generation })
    }

    /// The request was answered. True if that made the target available again.
    pub fn succeeded(&mut self, pass: &Pass, now: Instant) -> bool {
        if self.is_stale(pass) {
            return false;
        }
        self.outcomes.note(true, now);
        (self.throttles, self.backoffs, self.failures) = (0, 0, 0);
        let opened = self.phase != Phase::Available;
        self.phase = Phase::Available;
        opened
    }

    /// The request was throttled. `alone` says that no other target is free, so that a few short
    /// pauses come before the cooldown, each longer by this share of the first: jitter. True if
    /// this was the first to tell.
    pub fn throttled(&mut self, pass: &Pass, now: Instant, alone: Option<f64>) -> bool {
        self.is_quota = true;
        self.met_at = Some(now);
        self.throttled_at = Some(std::time::SystemTime::now());
        if self.is_stale(pass) {
            if let Phase::Cooling(_) = self.phase {
                self.cool(now, self.pause());
            }
            return false;
        }
        match alone {
            Some(jitter) if self.backoffs < self.policy.backoffs => {
                self.backoffs += 1;
                let jitter = self.policy.backoff_base.mul_f64(jitter.clamp(0.0, 1.0));
                self.cool(now, self.pause() + jitter);
            }
            _ => {
                self.backoffs = self.policy.backoffs;
                self.throttles = self.throttles.saturating_add(1);
                self.cool(now, self.pause());
            }
        }
        true
    }

    /// The target is out for this long, for a reason other than a throttle of the minute;
    /// `is_quota` if a longer quota is used up.
    pub fn out(&mut self, now: Instant, pause: Duration, is_quota: bool) {
        self.is_quota = is_quota;
        self.met_at = Some(now);
        self.cool(now, pause);
    }

    /// Whether a request is the probe.
    pub fn is_probing(&self) -> bool {
        self.phase == Phase::Probing
    }

    /// Another replica found the target out for this long, after so many throttles in a row. Here it
    /// is tried later by `after`, so that the other's probe comes first.
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
            self.backoffs = self.policy.backoffs;
        }
        self.throttled_at = Some(std::time::SystemTime::now());
        self.cool(now, pause + after);
    }

    /// Another replica tries the target: nobody here does for this long, unless it tells before.
    pub fn probed_elsewhere(&mut self, now: Instant, hold: Duration) {
        if let Phase::Cooling(_) = self.phase {
            self.cool(now, hold);
        }
    }

    /// Another replica was answered. True if that makes the target available; not where this process has met a
    /// throttle just now, which the other can't know of yet.
    pub fn recovered_elsewhere(&mut self, now: Instant) -> bool {
        let knows_better =
            self.met_at.is_some_and(|at| now.saturating_duration_since(at) < NEWS_TRAVEL);
        if self.phase == Phase::Available || knows_better {
            return false;
        }
        self.phase = Phase::Available;
        self.generation += 1;
        (self.throttles, self.backoffs, self.failures) = (0, 0, 0);
        true
    }

    /// The request failed without being throttled. True if that took the target out.
    pub fn failed(&mut self, pass: &Pass, now: Instant) -> bool {
        if self.is_stale(pass) {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        self.outcomes.note(false, now);
        let ejected = self.eject_after(self.failures, now);
        if !ejected {
            self.left(pass, now);
        }
        ejected
    }

    /// An answer that had begun broke off or fell silent. True if that took the target out.
    /// Stalls count apart from failures: each answer's head counts as a success before.
    pub fn stalled(&mut self, now: Instant) -> bool {
        if self.phase != Phase::Available {
            return false;
        }
        self.stalls = self.stalls.saturating_add(1);
        self.outcomes.revoke(now);
        self.eject_after(self.stalls, now)
    }

    /// An answer came to its end.
    pub fn completed(&mut self) {
        self.stalls = 0;
    }

    /// Takes over the state of the same target under an older config.
    pub fn take_over(&mut self, before: &Cooldown) {
        let policy = self.policy.clone();
        let phase = match before.phase {
            // The probe reports to the old state; here the target is due.
            Phase::Probing => Phase::Cooling(Instant::now()),
            phase => phase,
        };
        *self = Cooldown { policy, phase, ..before.clone() };
    }

    /// The request ended without telling anything of the target: its own fault, or cancelled.
    /// A probe that ends so makes room for the next.
    pub fn left(&mut self, pass: &Pass, now: Instant) {
        if !self.is_stale(pass) && self.phase == Phase::Probing {
            self.phase = Phase::Cooling(now);
        }
    }

    /// Takes the target out of traffic, or puts it back to what it is otherwise. What is under way
    /// goes on.
    pub fn drain(&mut self, is_drained: bool) {
        self.is_drained = is_drained;
    }

    /// Makes the target available and forgets what was. One that is drained stays so.
    pub fn reset(&mut self) {
        *self = Cooldown {
            generation: self.generation + 1,
            throttled_at: self.throttled_at,
            is_drained: self.is_drained,
            ..Cooldown::new(self.policy.clone())
        };
    }

    /// Takes the target out if so many bad outcomes in a row, or all of a minute, ask for it.
    fn eject_after(&mut self, in_a_row: u32, now: Instant) -> bool {
        let is_out = in_a_row >= self.policy.eject_after || self.outcomes.are_poor(&self.policy);
        if is_out {
            self.outcomes = Outcomes::default();
            self.is_quota = false;
            self.cool(now, self.policy.eject_cooldown);
        }
        is_out
    }

    fn is_stale(&self, pass: &Pass) -> bool {
        pass.generation != self.generation
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

    /// The pause that the present counts ask for.
    fn pause(&self) -> Duration {
        if self.throttles == 0 {
            let doubled =
                self.policy.backoff_base * 2u32.saturating_pow(self.backoffs.saturating_sub(1));
            doubled.min(self.policy.backoff_max)
        } else {
            self.policy.base * self.throttles.min(self.policy.max_multiplier)
        }
    }
}

/// Attempts of this minute and the last, and how many of them were answered.
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

    /// What had counted as answered has failed after all.
    fn revoke(&mut self, now: Instant) {
        self.note(false, now);
        let [this, last] = &mut self.answered;
        let count = if *this > 0 { this } else { last };
        *count = count.saturating_sub(1);
    }

    fn are_poor(&self, policy: &Policy) -> bool {
        let answered: u32 = self.answered.iter().sum();
        let all = answered + self.failed.iter().sum::<u32>();
        all >= policy.eject_min_requests
            && f64::from(answered) < policy.eject_below_success_rate * f64::from(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cooldown() -> Cooldown {
        Cooldown::new(Policy {
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
    fn a_throttle_cools_and_one_probe_opens() {
        let (mut target, now) = (cooldown(), Instant::now());
        let pass = target.enter(now).unwrap();
        target.throttled(&pass, now, None);
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
    fn what_is_drained_takes_nothing_and_comes_back_as_what_it_is_otherwise() {
        let (mut target, now) = (cooldown(), Instant::now());
        let pass = target.enter(now).unwrap();
        target.drain(true);
        assert_eq!(target.state(now), State::Drained);
        assert_eq!(target.enter(now), Err(Blocked::Drained));
        // What was under way still tells of the target.
        target.throttled(&pass, now, None);
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
            let pass = target.enter(now).unwrap();
            target.throttled(&pass, now, None);
            let due = now + 60 * SECOND * times;
            assert_eq!(target.state(now), State::Cooling(due));
            now = due;
        }
    }

    #[test]
    fn requests_under_way_together_are_one_throttle_that_only_extends() {
        let (mut target, now) = (cooldown(), Instant::now());
        let passes: Vec<Pass> = (0..50).map(|_| target.enter(now).unwrap()).collect();
        for (i, pass) in passes.iter().enumerate() {
            target.throttled(pass, now + SECOND * i as u32, None);
        }
        assert_eq!(target.throttles(), 1);
        assert_eq!(target.state(now), State::Cooling(now + 49 * SECOND + 60 * SECOND));
    }

    #[test]
    fn a_late_success_from_before_does_not_end_a_cooldown() {
        let (mut target, now) = (cooldown(), Instant::now());
        let early = target.enter(now).unwrap();
        let pass = target.enter(now).unwrap();
        target.throttled(&pass, now, None);
        assert!(!target.succeeded(&early, now));
        assert_eq!(target.state(now), State::Cooling(now + 60 * SECOND));
    }

    #[test]
    fn alone_it_pauses_shortly_before_it_cools() {
        let (mut target, mut now) = (cooldown(), Instant::now());
        for pause in [1, 2, 60] {
            let pass = target.enter(now).unwrap();
            target.throttled(&pass, now, Some(0.0));
            let due = now + SECOND * pause;
            assert_eq!(target.state(now), State::Cooling(due));
            now = due;
        }
        let probe = target.enter(now).unwrap();
        target.succeeded(&probe, now);
        let pass = target.enter(now).unwrap();
        target.throttled(&pass, now, Some(0.0));
        assert_eq!(target.state(now), State::Cooling(now + SECOND), "a success starts it over");
    }

    #[test]
    fn a_probe_that_leaves_makes_room_for_the_next() {
        let (mut target, now) = (cooldown(), Instant::now());
        let pass = target.enter(now).unwrap();
        target.throttled(&pass, now, None);
        let due = now + 60 * SECOND;
        let probe = target.enter(due).unwrap();
        target.left(&probe, due);
        let probe = target.enter(due).unwrap();
        assert!(!target.failed(&probe, due));
        assert!(target.enter(due).is_ok());
    }

    #[test]
    fn failures_in_a_row_eject() {
        let (mut target, now) = (cooldown(), Instant::now());
        for ejected in [false, false, true] {
            let pass = target.enter(now).unwrap();
            assert_eq!(target.failed(&pass, now), ejected);
        }
        assert_eq!(target.state(now), State::Cooling(now + 10 * SECOND));
    }

    #[test]
    fn answers_that_stall_in_a_row_eject_although_their_heads_came() {
        let (mut target, now) = (cooldown(), Instant::now());
        let stall = |target: &mut Cooldown| {
            let pass = target.enter(now).unwrap();
            target.succeeded(&pass, now);
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
            let Ok(pass) = target.enter(now) else { break };
            if i % 3 == 0 {
                target.succeeded(&pass, now);
            } else if target.failed(&pass, now) {
                ejected_after = Some(i + 1);
            }
        }
        assert!(matches!(ejected_after, Some(10..=12)), "{ejected_after:?}");
    }

    #[test]
    fn a_long_cooldown_is_not_shortened_by_a_throttle() {
        let (mut target, now) = (cooldown(), Instant::now());
        let pass = target.enter(now).unwrap();
        target.out(now, 3600 * SECOND, true);
        target.throttled(&pass, now, None);
        assert_eq!(target.state(now), State::Cooling(now + 3600 * SECOND));
    }

    #[test]
    fn reset_opens_and_old_passes_are_stale() {
        let (mut target, now) = (cooldown(), Instant::now());
        let old = target.enter(now).unwrap();
        let pass = target.enter(now).unwrap();
        target.throttled(&pass, now, None);
        target.reset();
        assert_eq!(target.state(now), State::Available);
        target.throttled(&old, now, None);
        assert_eq!(target.state(now), State::Available);
    }

    proptest! {
        /// Whatever happens in whatever order: never two probes at once, and a running cooldown
        /// ends early by a reset or a probe's success only.
        #[test]
        fn one_probe_at_a_time(steps in prop::collection::vec((0u8..7, 0u64..90), 1..200)) {
            let (mut target, mut now) = (cooldown(), Instant::now());
            let mut passes: Vec<Pass> = Vec::new();
            for (step, seconds) in steps {
                now += SECOND * seconds as u32;
                let before = target.state(now);
                let pass = (step > 1).then(|| passes.pop()).flatten();
                match (step, &pass) {
                    (0 | 1, _) => if let Ok(pass) = target.enter(now) {
                        if before == State::Probing {
                            prop_assert_eq!(target.enter(now), Err(Blocked::Probing));
                        }
                        passes.push(pass);
                    },
                    (2, Some(pass)) => { target.succeeded(pass, now); }
                    (3, Some(pass)) => { target.throttled(pass, now, (seconds % 2 == 0).then_some(0.5)); }
                    (4, Some(pass)) => { target.failed(pass, now); }
                    (5, Some(pass)) => target.left(pass, now),
                    (6, _) => target.out(now, SECOND * 5, false),
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
