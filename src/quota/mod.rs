//! Keeping within Bedrock's quotas: buckets that mirror them, reservations that requests make of them, and
//! the fair queue of requests that must wait. Also the bounds on what is queued and in flight.
//!
//! A [`DailyQuota`] counts the tokens of a UTC day, which a store keeps.
//!
//! Nothing here knows of targets or HTTP. A [`Quota`] has one lock; a [`Reservation`] settles itself when it
//! is dropped, on every path; the [`FairQueue`] is a plain data structure, generic over its waiters.

mod bucket;
mod daily;
mod daily_quotas;
mod day_clock;
mod estimate;
mod fair_queue;
mod in_flight;
mod limit;
mod queue_limits;
mod queue_signal;
mod quota_limits;
mod reservation;
mod shutdown_deadline;
mod snapshot;
mod tokens;

pub use daily::{DailyQuota, DailyReservation, DailyReservations, DailySnapshot, DayFull};
pub use daily_quotas::DailyQuotas;
pub use day_clock::{DayClock, until_midnight};
pub use estimate::Estimator;
pub use fair_queue::{FairQueue, Flow, Ticket};
pub use in_flight::{InFlightGuard, InFlightLimit, ORDINARY_HEAD, Overloaded};
pub use limit::Learning;
pub use queue_limits::{QueueFull, QueueLimits, QueueSlot};
pub use queue_signal::QueueSignal;
pub use quota_limits::{Dimension, QuotaLimits, SAFETY_MARGIN};
pub use reservation::{Quota, Reservation};
pub use shutdown_deadline::ShutdownDeadline;
pub use snapshot::{Snapshot, TokenLimit};
pub use tokens::{TokenCharge, TokenDemand};
