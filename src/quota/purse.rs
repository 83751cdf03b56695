//! What this replica holds of a limit that all replicas share: units that were leased from the
//! ledger ahead of need.
//!
//! Requests take from the purse and give back to it as from a bucket, and nothing flows in but what
//! the ledger grants. The purse says what it needs: as much as was taken lately in the time of two
//! exchanges, what the requests that wait ask for, and one request more to be ready for the next. What
//! is above that goes back.
//!
//! While the ledger can't be reached, the purse is a bucket again: this replica's share of the flow,
//! by the number of replicas, on top of what it holds. What it so takes without leave is reported to
//! the ledger when that is back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::{Ask, Board, Grant, Seen, Standing, Terms};

/// Rounding of levels must not make a purse refuse what was granted for a request.
const EPSILON: f64 = 1e-6;

/// The time that the rate of use is taken over.
const SMOOTHING: f64 = 1.0;

/// A need that nobody has repeated for this long is nobody's any more.
const NEED_LASTS: Duration = Duration::from_secs(2);

/// The ledger is told of leases that do not change, too, so that they stay valid.
const RENEW: Duration = Duration::from_secs(3);

/// Requests of which a quota holds fewer than so many are large: a part of one is of use to nobody, so
/// nothing is kept for the next one where it could not be whole.
const LARGE: f64 = 8.0;

/// Who waits longer than this for what was booked hears from the ledger each time whether it is there
/// sooner, since what others give back can't have been known.
const LONG: Duration = Duration::from_secs(1);

/// When there will be room is not known, but this is as soon and as late as anybody looks again.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(60);

/// A purse.
#[derive(Clone, Debug)]
pub struct Purse {
    board: Arc<Board>,
    level: f64,
    /// Units that were granted and are there later, by their time.
    booked: Vec<(Instant, f64)>,
    /// Up to when the static share has flowed in, while there is no ledger.
    flowed: Option<Instant>,
    credit: f64,
    acknowledged: f64,
    received: f64,
    used: f64,
    /// Units that are taken in a second.
    rate: f64,
    rated_at: Instant,
    /// Units of one request.
    size: f64,
    taken_at: Instant,
    need: f64,
    needed_at: Instant,
    backlog: f64,
    waited_at: Instant,
    asked: Asked,
    /// Whether more may be taken than it holds, as long as the fleet has it.
    is_lenient: bool,
    /// Whether the ledger had less than was asked for: then it is asked in its turn and not before.
    is_dry: bool,
    told_at: Instant,
    seen: Option<Seen>,
    /// Whether somebody wants to see what the fleet has left.
    is_looked_at: bool,
}

/// What an exchange under way has said.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    credit: f64,
    used: f64,
    want: f64,
}

impl Purse {
    /// An empty purse.
    pub fn new(board: Arc<Board>, now: Instant) -> Purse {
        Purse {
            board,
            level: 0.0,
            booked: Vec::new(),
            flowed: None,
            credit: 0.0,
            acknowledged: 0.0,
            received: 0.0,
            used: 0.0,
            rate: 0.0,
            rated_at: now,
            size: 0.0,
            taken_at: now,
            need: 0.0,
            needed_at: now,
            backlog: 0.0,
            waited_at: now,
            asked: Asked::default(),
            is_lenient: false,
            is_dry: false,
            told_at: now,
            seen: None,
            is_looked_at: false,
        }
    }

    /// One from which more may be taken than it holds, as long as the fleet was last seen to have it, or
    /// its share of it before that: what is owed is leased next. For limits of which nobody waits for his
    /// turn. Replicas that all do so at once may take more than there is, which they lack afterwards.
    pub fn lenient(board: Arc<Board>, now: Instant) -> Purse {
        Purse { is_lenient: true, ..Purse::new(board, now) }
    }

    /// Units that are there now.
    pub fn level(&mut self, terms: Terms, now: Instant) -> f64 {
        let standing = self.board.load_full();
        self.catch_up(terms, &standing, now);
        self.level
    }

    /// What others could have too: what the ledger has left, as far as this replica knows. Below zero
    /// when that much is booked.
    pub fn left_for_all(&self, terms: Terms, now: Instant) -> f64 {
        let held = (self.level + self.booked()).max(0.0);
        let Some(seen) = self.seen else { return (terms.capacity - held).max(0.0) };
        let passed = now.saturating_duration_since(self.told_at).as_secs_f64();
        (seen.level + passed * terms.per_minute / 60.0).min(terms.capacity - held)
    }

    /// Whether the ledger can't be reached, so that there is a share and nothing beside it.
    pub fn is_alone(&self) -> bool {
        self.board.load().alone_since().is_some()
    }

    /// Somebody wants to see what the fleet has left. True if the ledger has to be asked for that.
    pub fn look(&mut self, now: Instant) -> bool {
        let is_old = now.saturating_duration_since(self.told_at) >= LONG;
        self.is_looked_at = is_old && self.board.load().alone_since().is_none();
        self.is_looked_at
    }

    /// When `units` will be there: now, later, or about when.
    pub fn when(&mut self, units: f64, terms: Terms, now: Instant) -> Instant {
        let standing = self.board.load_full();
        self.catch_up(terms, &standing, now);
        let replicas = f64::from(standing.replicas.max(1));
        let mut missing = units.min(terms.capacity.max(1.0)) - self.level;
        if self.is_lenient && standing.alone_since().is_none() {
            missing -= self.seen.map_or(terms.capacity / replicas, |seen| seen.level.max(0.0));
        }
        if missing <= EPSILON {
            return now;
        }
        let (mut last, missing_now) = (now, missing);
        for (due, units) in &self.booked {
            missing -= units;
            last = *due;
            if missing <= EPSILON {
                // A microsecond on top, so that a timer set for this instant never fires too early.
                let due = last + Duration::from_micros(1);
                if standing.alone_since().is_some() || last <= now + LONG {
                    return due;
                }
                // As it will be once what is booked was handed back.
                let left = self.left_for_all(terms, now) + self.booked();
                let seconds = (missing_now - left).max(0.0) * 60.0 / terms.per_minute.max(EPSILON);
                let wait = Duration::try_from_secs_f64(seconds).unwrap_or(LATE).min(LATE);
                return due.min(now + wait.max(SOON));
            }
        }
        let seconds = missing * replicas * 60.0 / terms.per_minute.max(EPSILON);
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(LATE).min(LATE);
        match standing.alone_since() {
            Some(_) => last + wait + Duration::from_micros(1),
            // The ledger may well have it at once.
            None if self.left_for_all(terms, now) >= missing - EPSILON => now + SOON,
            None => last + wait.max(SOON),
        }
    }

    /// Takes `units`, whether they are there or not.
    pub fn take(&mut self, units: f64, now: Instant) {
        self.level -= units;
        self.used += units;
        self.rate = self.rate(now) + units / SMOOTHING;
        self.rated_at = now;
        self.size = if self.size == 0.0 { units } else { self.size * 0.8 + units * 0.2 };
        self.taken_at = now;
        self.need = 0.0;
    }

    /// Gives back what was taken and not used; a negative number takes what was used on top.
    pub fn give_back(&mut self, units: f64) {
        self.level += units;
        self.used -= units;
    }

    /// Counts what was used where there is nothing to hold.
    pub fn count(&mut self, units: f64, now: Instant) {
        self.used += units;
        self.taken_at = now;
    }

    /// Somebody has found too little for `units`. True if that is news.
    pub fn lacks(&mut self, units: f64, now: Instant) -> bool {
        let is_news = self.need(now) == 0.0;
        self.need = if is_news { units } else { self.need.min(units) };
        self.needed_at = now;
        is_news && !self.is_dry
    }

    /// Those who wait need so much together.
    pub fn wait(&mut self, units: f64, now: Instant) {
        self.backlog = units;
        self.waited_at = now;
    }

    /// Whether it runs low, and should ask before its time.
    pub fn is_low(&self, now: Instant) -> bool {
        let standing = self.board.load();
        standing.alone_since().is_none()
            && !self.is_dry
            && self.level + self.booked() < self.rate(now) * standing.pause.as_secs_f64()
    }

    /// Forgets what it holds: the upstream has said that there is nothing.
    pub fn void(&mut self) {
        self.level = self.level.min(0.0);
        self.booked.clear();
    }

    /// What it has to say and to ask; `None` when that is nothing. Of an exchange at a time: whatever
    /// comes of it, [`Purse::granted`] or the next ask follows.
    pub fn ask(&mut self, terms: Option<Terms>, now: Instant) -> Option<Ask> {
        let standing = self.board.load_full();
        let Some(terms) = terms else { return self.report(now) };
        self.catch_up(terms, &standing, now);
        let target = self.target(terms, &standing, now);
        if standing.alone_since().is_none() {
            self.hand_back_booked(terms, target, &standing, now);
        }
        let spare = self.level - target;
        // What goes to and fro is of use to nobody.
        let slack = self.size.min(terms.capacity / LARGE);
        if spare > target + slack || spare > 0.0 && target == 0.0 {
            self.level -= spare;
            self.credit += spare;
        }
        let has = self.level + self.booked();
        let need = self.need(now);
        let is_asking = standing.alone_since().is_none()
            && (need > has + EPSILON || has < 0.75 * target || has < -EPSILON);
        let want = if is_asking { (target.max(need) - has).max(0.0) } else { 0.0 };
        let says_nothing = want == 0.0
            && !self.is_looked_at
            && !self.waits_long(now)
            && self.credit == self.acknowledged
            && (has.abs() < EPSILON || now.saturating_duration_since(self.told_at) < RENEW)
            && (self.used.abs() < 0.01 * terms.capacity && target > 0.0
                || self.used.abs() < EPSILON);
        if says_nothing {
            return None;
        }
        let need = if want > 0.0 { (need - has).max(0.0) } else { 0.0 };
        Some(self.asking(Some(terms), has.max(0.0), need, want))
    }

    /// Whether there is nothing that the ledger will have to hear of.
    pub fn is_settled(&self, now: Instant) -> bool {
        self.level.abs() < EPSILON
            && self.booked.is_empty()
            && self.credit == self.acknowledged
            && self.used.abs() < EPSILON
            && self.need(now) == 0.0
            && self.flowed.is_none()
    }

    /// Takes what was granted.
    pub fn granted(&mut self, grant: &Grant, now: Instant) {
        self.told_at = now;
        self.acknowledged = self.asked.credit;
        self.used -= self.asked.used;
        self.is_dry = grant.now + grant.later < self.asked.want;
        self.asked = Asked { credit: self.credit, ..Asked::default() };
        self.seen = Some(Seen { level: grant.level, at: grant.at });
        self.is_looked_at = false;
        self.received += grant.now + grant.later;
        self.level += grant.now;
        if grant.later > 0.0 {
            self.booked.push((now + grant.due, grant.later));
        }
        // What is booked is not there yet, and may be there sooner.
        if self.level >= self.need {
            self.need = 0.0;
        }
    }

    /// The same when nothing need be said but something else is.
    pub fn say(&mut self, terms: Option<Terms>) -> Ask {
        let held = (self.level + self.booked()).max(0.0);
        self.asking(terms, held, 0.0, 0.0)
    }

    fn report(&mut self, now: Instant) -> Option<Ask> {
        (self.used != 0.0).then(|| self.asking(None, 0.0, 0.0, 0.0)).inspect(|_| self.told_at = now)
    }

    fn asking(&mut self, terms: Option<Terms>, held: f64, need: f64, want: f64) -> Ask {
        self.asked = Asked { credit: self.credit, used: self.used, want };
        Ask {
            entry: String::new(),
            lessee: String::new(),
            terms,
            held,
            credit: self.credit,
            acknowledged: self.acknowledged,
            received: self.received,
            used: self.used,
            need,
            want,
            seen: self.seen,
            proposal: None,
        }
    }

    /// What it should hold.
    fn target(&self, terms: Terms, standing: &Standing, now: Instant) -> f64 {
        let need = self.need(now);
        let is_idle = now.saturating_duration_since(self.taken_at) >= standing.idle;
        if is_idle && need == 0.0 {
            return 0.0;
        }
        let replicas = f64::from(standing.replicas.max(1));
        // One request to be ready for the next, where all can have that.
        let ready = if self.size * replicas <= terms.capacity / 4.0 { self.size } else { 0.0 };
        let flow = self.rate(now) * 2.0 * standing.pause.as_secs_f64();
        let is_large = self.size > terms.capacity / LARGE && ready == 0.0;
        let flow = if is_large && flow < self.size { 0.0 } else { flow };
        // More than the bucket holds is there when it is full.
        let size = self.size.min(terms.capacity);
        let most = (terms.capacity * standing.max_lease).max(size).max(need);
        (flow + ready + self.backlog(now).max(need)).min(most)
    }

    /// Gives back what was booked, where nobody needs it or it can be had sooner: what was taken for
    /// requests that have come to less is there again.
    fn hand_back_booked(&mut self, terms: Terms, target: f64, standing: &Standing, now: Instant) {
        let margin = standing.pause * 2;
        let is_late = |due: Instant| due > now + margin;
        let late: f64 = self.booked.iter().filter(|(due, _)| is_late(*due)).map(|it| it.1).sum();
        if late <= EPSILON {
            return;
        }
        let missing = target - self.level;
        let is_of_no_use = missing <= EPSILON;
        let comes_sooner = || {
            let due = self.booked_for(self.need(now))?;
            let left = self.left_for_all(terms, now) + late;
            let want = missing - (self.booked() - late);
            let seconds = (want - left).max(0.0) * 60.0 / terms.per_minute.max(EPSILON);
            let wait = Duration::try_from_secs_f64(seconds).unwrap_or(LATE).min(LATE);
            (now + wait + margin < due).then_some(())
        };
        if is_of_no_use || comes_sooner().is_some() {
            self.booked.retain(|(due, _)| !is_late(*due));
            self.credit += late;
        }
    }

    /// When what is booked will be enough for `units`; `None` if they are there or are not booked.
    fn booked_for(&self, units: f64) -> Option<Instant> {
        let mut missing = units - self.level;
        if missing <= EPSILON {
            return None;
        }
        for (due, units) in &self.booked {
            missing -= units;
            if missing <= EPSILON {
                return Some(*due);
            }
        }
        None
    }

    /// Whether somebody waits long for what is booked.
    fn waits_long(&self, now: Instant) -> bool {
        self.booked_for(self.need(now)).is_some_and(|due| due > now + LONG)
    }

    fn booked(&self) -> f64 {
        self.booked.iter().map(|(_, units)| units).sum()
    }

    fn need(&self, now: Instant) -> f64 {
        let is_old = now.saturating_duration_since(self.needed_at) > NEED_LASTS;
        if is_old { 0.0 } else { self.need }
    }

    fn backlog(&self, now: Instant) -> f64 {
        let is_old = now.saturating_duration_since(self.waited_at) > NEED_LASTS;
        if is_old { 0.0 } else { self.backlog }
    }

    fn rate(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.rated_at).as_secs_f64();
        self.rate * (-passed / SMOOTHING).exp()
    }

    /// Lets come in what is due by now.
    fn catch_up(&mut self, terms: Terms, standing: &Standing, now: Instant) {
        let level = &mut self.level;
        self.booked.retain(|(due, units)| {
            let is_due = *due <= now;
            if is_due {
                *level += units;
            }
            !is_due
        });
        let Some(since) = standing.alone_since() else {
            self.flowed = None;
            return;
        };
        let replicas = f64::from(standing.replicas.max(1));
        let most = (terms.capacity / replicas).max(self.need(now).min(terms.capacity)).max(1.0);
        if self.flowed.is_none() && !standing.has_met && self.seen.is_none() {
            // Nobody has used anything yet, as far as anybody knows.
            self.mint(terms.capacity / replicas);
        }
        if self.flowed.is_none() && self.is_lenient {
            // Nobody is refused because the ledger is gone.
            self.mint((terms.capacity / replicas - self.level).max(0.0));
        }
        // The ledger has lent what flows in until then, to this replica or to others.
        let lent = self.seen.map_or(0.0, |seen| (-seen.level).max(0.0) * 60.0 / terms.per_minute);
        let lent = Duration::try_from_secs_f64(lent).unwrap_or(LATE).min(LATE);
        let begins = self.booked.last().map_or(since, |(due, _)| *due).max(self.told_at + lent);
        let from = self.flowed.unwrap_or(since).max(begins);
        if now > from {
            let flow = now.duration_since(from).as_secs_f64() * terms.per_minute / 60.0 / replicas;
            self.mint(flow.min((most - self.level).max(0.0)));
        }
        self.flowed = Some(from.max(now));
    }

    fn mint(&mut self, units: f64) {
        self.level += units;
        self.credit -= units;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Learned, Link};

    const TERMS: Terms = Terms { per_minute: 600.0, capacity: 600.0 };
    const SECOND: Duration = Duration::from_secs(1);

    fn board(link: Link) -> Arc<Board> {
        Arc::new(Board::from_pointee(Standing {
            link,
            has_met: true,
            replicas: 3,
            pause: Duration::from_millis(100),
            max_lease: 0.25,
            idle: 5 * SECOND,
        }))
    }

    fn set(board: &Board, link: Link) {
        board.store(Arc::new(Standing { link, ..Standing::clone(&board.load()) }));
    }

    fn grant(now: f64, later: f64, due: Duration) -> Grant {
        let learned = Learned::default();
        let (level, at, used_in_a_minute) = (0.0, 0, 0.0);
        Grant { now, later, due, level, at, used_in_a_minute, learned }
    }

    fn ask(purse: &mut Purse, now: Instant) -> Option<Ask> {
        purse.ask(Some(TERMS), now)
    }

    #[test]
    fn it_asks_for_what_those_who_wait_need_and_tells_when_that_is_there() {
        let now = Instant::now();
        let mut purse = Purse::new(board(Link::Shared), now);
        assert!(ask(&mut purse, now).is_none(), "nobody wants anything");
        assert!(purse.when(5.0, TERMS, now) > now);
        assert!(purse.lacks(5.0, now));
        assert!(!purse.lacks(5.0, now), "it is known");
        purse.wait(12.0, now);
        let asked = ask(&mut purse, now).unwrap();
        assert_eq!((asked.need, asked.want), (5.0, 12.0));
        purse.granted(&grant(2.0, 10.0, SECOND), now);
        assert_eq!(purse.level(TERMS, now), 2.0);
        let due = purse.when(5.0, TERMS, now);
        assert!(due >= now + SECOND && due < now + SECOND + SECOND / 100);
        assert_eq!(purse.when(5.0, TERMS, due), due);
        assert_eq!(purse.level(TERMS, due), 12.0);
    }

    #[test]
    fn what_is_not_used_is_given_back() {
        let now = Instant::now();
        let mut purse = Purse::new(board(Link::Shared), now);
        purse.lacks(1.0, now);
        ask(&mut purse, now).unwrap();
        purse.granted(&grant(100.0, 0.0, Duration::ZERO), now);
        purse.take(1.0, now);
        let idle = now + 6 * SECOND;
        let back = ask(&mut purse, idle).unwrap();
        assert_eq!((back.held, back.credit, back.want), (0.0, 99.0, 0.0));
        purse.granted(&grant(0.0, 0.0, Duration::ZERO), idle);
        assert!(purse.is_settled(idle));
    }

    #[test]
    fn a_debt_is_leased_next() {
        let now = Instant::now();
        let mut purse = Purse::new(board(Link::Shared), now);
        purse.take(10.0, now);
        purse.give_back(-30.0);
        let later = now + 10 * SECOND;
        let asked = ask(&mut purse, later).unwrap();
        assert_eq!((asked.need, asked.want), (40.0, 40.0), "as a whole");
    }

    /// One that has taken 800 where there are 600, and booked what is owed.
    fn overdrawn(now: Instant) -> Purse {
        let mut purse = Purse::new(board(Link::Shared), now);
        purse.lacks(600.0, now);
        ask(&mut purse, now).unwrap();
        purse.granted(&grant(600.0, 0.0, Duration::ZERO), now);
        purse.take(800.0, now);
        let asked = ask(&mut purse, now).unwrap();
        assert_eq!((asked.held, asked.need, asked.want), (0.0, 200.0, 200.0), "the debt alone");
        purse.granted(&Grant { level: -200.0, ..grant(0.0, 200.0, 20 * SECOND) }, now);
        purse
    }

    #[test]
    fn what_a_large_request_did_not_use_is_not_kept_for_the_next() {
        let now = Instant::now();
        let mut purse = overdrawn(now);
        purse.give_back(795.0);
        let soon = now + SECOND / 10;
        let back = ask(&mut purse, soon).unwrap();
        assert_eq!((back.held, back.credit, back.want), (0.0, 795.0, 0.0));
        purse.granted(&Grant { level: 596.0, ..grant(0.0, 0.0, Duration::ZERO) }, soon);
        assert!(purse.is_settled(soon + 3 * SECOND));
    }

    #[test]
    fn what_was_booked_for_later_is_handed_back_where_it_is_there_sooner() {
        let now = Instant::now();
        let mut purse = overdrawn(now);
        assert!(!purse.lacks(600.0, now) || purse.when(600.0, TERMS, now) > now + 10 * SECOND);
        purse.give_back(795.0);
        let soon = now + SECOND / 10;
        // Five are missing of six hundred, and flow in within half a second.
        let when = purse.when(600.0, TERMS, now);
        assert!(
            (now + SECOND / 2..now + SECOND).contains(&when),
            "so it is told: {:?}",
            when - now
        );
        let asked = ask(&mut purse, soon).unwrap();
        assert_eq!((asked.held, asked.credit, asked.need, asked.want), (595.0, 200.0, 5.0, 5.0));
        purse.granted(&Grant { level: -4.0, ..grant(1.0, 4.0, SECOND * 2 / 5) }, soon);
        assert_eq!(purse.when(600.0, TERMS, soon + SECOND / 2), soon + SECOND / 2);
    }

    #[test]
    fn who_waits_long_hears_what_others_gave_back() {
        let now = Instant::now();
        let mut purse = Purse::new(board(Link::Shared), now);
        purse.lacks(600.0, now);
        ask(&mut purse, now).unwrap();
        // Another has it all.
        purse.granted(&Grant { level: -600.0, ..grant(0.0, 600.0, 60 * SECOND) }, now);
        let soon = now + SECOND / 10;
        purse.lacks(600.0, soon);
        let asked = ask(&mut purse, soon).unwrap();
        assert_eq!((asked.held, asked.credit, asked.want), (600.0, 0.0, 0.0), "it only listens");
        purse.granted(&Grant { level: -10.0, ..grant(0.0, 0.0, Duration::ZERO) }, soon);
        purse.lacks(600.0, soon);
        let asked = ask(&mut purse, soon).unwrap();
        assert_eq!((asked.held, asked.credit, asked.want), (0.0, 600.0, 600.0), "it has come back");
    }

    #[test]
    fn what_is_booked_shortly_stays_booked() {
        let now = Instant::now();
        let mut purse = Purse::new(board(Link::Shared), now);
        purse.lacks(1.0, now);
        purse.wait(20.0, now);
        ask(&mut purse, now).unwrap();
        purse.granted(&Grant { level: -30.0, ..grant(0.0, 10.0, SECOND) }, now);
        for tenth in 1..9 {
            let then = now + tenth * SECOND / 10;
            purse.lacks(1.0, then);
            purse.wait(20.0, then);
            let asked = ask(&mut purse, then).unwrap();
            assert_eq!((asked.held, asked.credit), (10.0, 0.0), "{tenth}");
            let level = -30.0 + f64::from(tenth);
            purse.granted(&Grant { level, ..grant(0.0, 0.0, Duration::ZERO) }, then);
        }
    }

    #[test]
    fn what_all_have_left_is_shown_beside_what_it_holds() {
        let now = Instant::now();
        let mut purse = Purse::new(board(Link::Shared), now);
        assert_eq!(purse.left_for_all(TERMS, now), 600.0, "nobody has used anything yet");
        assert!(!purse.look(now) && purse.look(now + 2 * SECOND));
        assert!(ask(&mut purse, now + 2 * SECOND).is_some(), "it is asked for that alone");
        purse.granted(&Grant { level: 250.0, ..grant(0.0, 0.0, Duration::ZERO) }, now);
        assert_eq!(purse.left_for_all(TERMS, now + SECOND), 260.0);
        assert!(ask(&mut purse, now + SECOND).is_none(), "and once");
    }

    #[test]
    fn alone_it_has_its_share_of_the_flow_and_says_so_afterwards() {
        let now = Instant::now();
        let board = board(Link::Shared);
        let mut purse = Purse::new(Arc::clone(&board), now);
        purse.lacks(4.0, now);
        ask(&mut purse, now).unwrap();
        purse.granted(&grant(4.0, 0.0, Duration::ZERO), now);
        set(&board, Link::Alone(now));
        assert_eq!(purse.level(TERMS, now), 4.0, "what it holds stays");
        // A third of ten in a second.
        let level = purse.level(TERMS, now + 3 * SECOND);
        assert!((level - 14.0).abs() < 1e-6, "{level}");
        let later = now + 600 * SECOND;
        assert_eq!(purse.level(TERMS, later), 200.0, "no more than its share of the capacity");
        purse.take(200.0, later);
        set(&board, Link::Returning(now));
        let told = ask(&mut purse, later).unwrap();
        assert_eq!((told.credit, told.want), (-196.0, 0.0));
        set(&board, Link::Shared);
        purse.granted(&grant(0.0, 0.0, Duration::ZERO), later);
        assert_eq!(purse.level(TERMS, later + SECOND), 0.0, "nothing flows in any more");
    }

    #[test]
    fn what_was_lent_before_is_not_there_twice() {
        let now = Instant::now();
        let board = board(Link::Shared);
        let mut purse = Purse::new(Arc::clone(&board), now);
        purse.lacks(4.0, now);
        ask(&mut purse, now).unwrap();
        // The ledger has lent all that flows in within the next second.
        purse.granted(&Grant { level: -10.0, ..grant(0.0, 4.0, SECOND / 2) }, now);
        set(&board, Link::Alone(now));
        assert_eq!(purse.level(TERMS, now + SECOND), 4.0);
        let level = purse.level(TERMS, now + 4 * SECOND);
        assert!((level - 14.0).abs() < 1e-3, "{level}");
    }

    #[test]
    fn a_lenient_one_takes_what_the_fleet_was_seen_to_have() {
        let now = Instant::now();
        let mut purse = Purse::lenient(board(Link::Shared), now);
        assert_eq!(purse.when(200.0, TERMS, now), now, "its share, before anything is known");
        assert!(purse.when(201.0, TERMS, now) > now);
        purse.take(10.0, now);
        ask(&mut purse, now).unwrap();
        purse.granted(&Grant { level: 50.0, ..grant(10.0, 0.0, Duration::ZERO) }, now);
        assert_eq!(purse.when(50.0, TERMS, now), now);
        purse.take(50.0, now);
        assert!(purse.when(1.0, TERMS, now) > now);
    }
}
