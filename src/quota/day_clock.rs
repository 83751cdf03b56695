//! The clock that daily quotas count by: the wall clock, or one that follows tokio's time in tests.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::storage::sums::{Kind, Period};

/// A clock of UTC days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DayClock {
    /// The wall clock.
    #[default]
    Wall,
    /// Showed `start` at `origin`, and has followed tokio's time since. With a paused runtime a test plays a day
    /// in moments.
    Following {
        /// What it showed.
        start: SystemTime,
        /// When.
        origin: Instant,
    },
}

impl DayClock {
    /// The time now.
    pub fn now(&self) -> SystemTime {
        match self {
            DayClock::Wall => SystemTime::now(),
            DayClock::Following { start, origin } => *start + origin.elapsed(),
        }
    }
}

/// The time from `now` to the end of its UTC day.
pub fn until_midnight(now: SystemTime) -> Duration {
    Period::at(Kind::Daily, now).end().duration_since(now).unwrap_or_default()
}
