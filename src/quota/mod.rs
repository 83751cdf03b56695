//! Staying under Bedrock's quotas: buckets that mirror them, reservations that one request takes
//! of them, and the fair line of requests that must wait.
//!
//! Nothing here knows of targets or HTTP. A [`Quota`] has one owner and one lock; a
//! [`Reservation`] settles itself when it is dropped, on whatever path; the [`FairQueue`] is a
//! plain data structure, whose waiters are whatever its user makes them.

mod bell;
mod bucket;
mod curfew;
mod estimate;
mod fair_queue;
mod limit;
mod load;
mod purse;
mod reservation;
mod waiting_room;

pub use bell::Bell;
pub use curfew::Curfew;
pub use estimate::Estimator;
pub use fair_queue::{FairQueue, Flow, Ticket};
pub use limit::Learning;
pub use load::{Load, ORDINARY_HEAD, Overloaded, Share};
pub use purse::Purse;
pub use reservation::{Dimension, Limits, Quota, Reservation, Snapshot, UNFILLED};
pub use waiting_room::{Full, Place, WaitingRoom};
