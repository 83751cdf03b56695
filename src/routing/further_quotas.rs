//! The quotas that a target draws on beside that of a minute: quotas of tokens a day, and capacity that is reserved
//! for the service tier `reserved`.
//!
//! Most targets have none of them, and a request then does no more than see so. A request takes all of its target's
//! quotas together or none. One of the reserved tier takes reserved capacity alone; what exceeds that overflows at
//! Bedrock to the standard tier, so it takes the other quotas like any request.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::cooldown::Blocked;
use super::demand::QuotaDemand;
use super::target::Target;
use crate::quota::{
    DailyQuota, DailyReservations, DailySnapshot, DayFull, Quota, Reservation, TokenDemand,
};

/// The quotas of a target beside that of a minute.
#[derive(Debug, Default)]
pub struct FurtherQuotas {
    /// Its own quota of tokens a day, and one that it shares with other models.
    daily: SmallVec<[Arc<DailyQuota>; 2]>,
    /// Where no daily quota is configured: one that counts since a throttle has shown that there is one.
    found: OnceLock<Arc<DailyQuota>>,
    /// Reserved capacity.
    reserved: Option<Arc<Quota>>,
}

impl FurtherQuotas {
    /// These quotas; `None` if there are none.
    pub(super) fn new(
        daily: SmallVec<[Arc<DailyQuota>; 2]>,
        reserved: Option<Arc<Quota>>,
    ) -> Option<Box<FurtherQuotas>> {
        let is_empty = daily.is_empty() && reserved.is_none();
        let found = OnceLock::new();
        (!is_empty).then(|| Box::new(FurtherQuotas { daily, found, reserved }))
    }

    fn daily(&self) -> impl Iterator<Item = &Arc<DailyQuota>> {
        self.daily.iter().chain(self.found.get())
    }

    fn take_daily(&self, tokens: u64) -> Result<Option<DailyReservations>, DayFull> {
        let mut taken = SmallVec::new();
        for quota in self.daily() {
            // If the next one has no room, this one is given back when dropped.
            taken.push(quota.take(tokens)?);
        }
        Ok((!taken.is_empty()).then(|| Box::new(taken)))
    }

    /// The reserved capacity, for a request that may use it.
    fn reserved_for(&self, demand: QuotaDemand) -> Option<&Arc<Quota>> {
        self.reserved.as_ref().filter(|_| demand.is_reserved_tier)
    }
}

impl Target {
    /// What a request takes of its quotas of tokens.
    pub(super) fn token_demand(&self, demand: QuotaDemand) -> TokenDemand {
        let total = demand.tokens();
        match self.quota().counts_apart() {
            true => TokenDemand { total, output: self.estimator.output(demand.max_output) },
            false => total.into(),
        }
    }

    /// Takes all quotas for one request.
    ///
    /// # Errors
    /// With the time at which there may be room.
    pub(super) fn reserve(
        &self,
        demand: QuotaDemand,
        now: Instant,
    ) -> Result<Reservation, Blocked> {
        let Some(further) = self.further_quotas() else {
            return self.quota().take(self.token_demand(demand), now).map_err(Blocked::Until);
        };
        if let Some(reserved) = further.reserved_for(demand)
            && let Ok(reservation) = reserved.take(self.apart(demand), now)
        {
            return Ok(reservation);
        }
        let daily = further.take_daily(demand.tokens());
        let daily = daily.map_err(|full| Blocked::DailyQuota(full.until))?;
        let reservation = self.quota().take(self.token_demand(demand), now);
        let mut reservation = reservation.map_err(Blocked::Until)?;
        daily.into_iter().for_each(|daily| reservation.hold_daily(daily));
        Ok(reservation)
    }

    /// When all quotas are likely to have room for a request.
    pub(super) fn quotas_due(&self, demand: QuotaDemand, now: Instant) -> Instant {
        let due = self.quota().when(self.token_demand(demand), now);
        let Some(further) = self.further_quotas() else { return due };
        let daily = further.daily().map(|quota| quota.when(demand.tokens(), now));
        let due = daily.fold(due, Instant::max);
        further
            .reserved_for(demand)
            .map_or(due, |reserved| due.min(reserved.when(self.apart(demand), now)))
    }

    /// When the quotas of the day may have room for a request that they have none for now; `None` if they have.
    pub fn day_full_until(&self, demand: QuotaDemand, now: Instant) -> Option<Instant> {
        let further = self.further_quotas().filter(|_| demand.draws_on_quota())?;
        if self.has_reserved_room(demand, now) {
            return None;
        }
        let until = further.daily().map(|quota| quota.when(demand.tokens(), now)).max()?;
        (until > now).then_some(until)
    }

    /// Whether reserved capacity has room for a request, which then need not wait for any other quota.
    pub fn has_reserved_room(&self, demand: QuotaDemand, now: Instant) -> bool {
        let reserved = self.further_quotas().and_then(|further| further.reserved_for(demand));
        reserved.is_some_and(|reserved| reserved.when(self.apart(demand), now) <= now)
    }

    /// The upstream has refused a request for its tokens of the day. The target itself cools down for `pause`; its
    /// daily quotas learn from it.
    pub(super) fn refused_for_the_day(&self, pause: Duration) {
        let further = self.further.get_or_init(Box::default);
        if further.daily.is_empty() {
            let found = further.found.get_or_init(|| DailyQuota::unconfigured(&self.name));
            found.refused(&self.name, pause);
            return;
        }
        // If one of them is mostly used, that is the one.
        let has_mostly_used = further.daily.iter().any(|quota| quota.is_mostly_used());
        for quota in &further.daily {
            if !has_mostly_used || quota.is_mostly_used() {
                quota.refused(&self.name, pause);
            }
        }
    }

    /// The states of its daily quotas.
    pub fn daily_snapshots(&self) -> Vec<DailySnapshot> {
        let further = self.further_quotas().into_iter();
        further.flat_map(FurtherQuotas::daily).map(|quota| quota.snapshot()).collect()
    }

    /// The reserved capacity, if it has some.
    pub fn reserved_quota(&self) -> Option<&Arc<Quota>> {
        self.further_quotas()?.reserved.as_ref()
    }

    /// The free share of the scarcest of its quotas.
    pub fn headroom(&self, now: Instant) -> f64 {
        let headroom = self.quota().headroom(now);
        let further = self.further_quotas().into_iter();
        further.flat_map(FurtherQuotas::daily).map(|it| it.headroom()).fold(headroom, f64::min)
    }

    /// Forgets what throttles have shown of the daily quotas.
    pub(super) fn reset_further_quotas(&self, now: Instant) {
        let Some(further) = self.further_quotas() else { return };
        further.daily().for_each(|quota| quota.reset());
        further.reserved.iter().for_each(|reserved| reserved.reset(now));
    }

    /// Has all replicas forget what throttles have shown of the daily quotas.
    pub(super) fn publish_reset_of_days(&self) {
        let further = self.further_quotas().into_iter();
        further.flat_map(|further| &further.daily).for_each(|quota| quota.reset_for_all());
    }

    /// Takes over what the same target under an older config has found out. Configured daily quotas are the same
    /// objects in both.
    pub(super) fn take_over_further_quotas(&self, before: &Target, now: Instant) {
        let Some(before) = before.further_quotas() else { return };
        if let Some(found) = before.found.get()
            && self.further_quotas().is_none_or(|further| further.daily.is_empty())
        {
            let _first = self.further.get_or_init(Box::default).found.set(Arc::clone(found));
        }
        if let (Some(reserved), Some(before)) = (self.reserved_quota(), &before.reserved) {
            reserved.take_over(before, now);
        }
    }

    fn further_quotas(&self) -> Option<&FurtherQuotas> {
        self.further.get().map(AsRef::as_ref)
    }

    /// What a request takes of quotas that count input and output apart.
    fn apart(&self, demand: QuotaDemand) -> TokenDemand {
        let output = self.estimator.output(demand.max_output);
        TokenDemand { total: demand.tokens(), output }
    }
}
