//! The connections of the admin port. They are few, and a new one always finds a place: if there is
//! none, the one that has been quiet for longest is closed for it. So nobody who opens connections
//! and keeps them can silence health.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;

/// All that are open.
#[derive(Debug)]
pub(super) struct Guests {
    most: usize,
    open: Mutex<Vec<Arc<Guest>>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Guest {
    began: Instant,
    /// What it does, once it is spoken to.
    activity: OnceLock<Arc<Activity>>,
    leaving: CancellationToken,
}

/// The place of a connection, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    guest: Arc<Guest>,
    guests: Arc<Guests>,
}

impl Guests {
    /// At most so many at once.
    pub(super) fn new(most: usize) -> Guests {
        Guests { most: most.max(1), open: Mutex::default() }
    }

    /// A place for a new one, which may cost another its own.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let guest = Arc::new(Guest {
            began: Instant::now(),
            activity: OnceLock::new(),
            leaving: CancellationToken::new(),
        });
        let mut open = self.open();
        while open.len() >= self.most && make_room(&mut open) {}
        open.push(Arc::clone(&guest));
        drop(open);
        Place { guest, guests: Arc::clone(self) }
    }

    /// Closes the one that can best be done without; false if there is none.
    pub(super) fn make_room(&self) -> bool {
        make_room(&mut self.open())
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Guest>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(open: &mut Vec<Arc<Guest>>) -> bool {
    let found = open.iter().enumerate().min_by_key(|(_, guest)| guest.worth());
    let Some(index) = found.map(|(index, _)| index) else { return false };
    open.remove(index).leaving.cancel();
    true
}

impl Guest {
    /// One that has a request is worth more than one that has none, and of those the one that had one
    /// last.
    fn worth(&self) -> (bool, Instant) {
        match self.activity.get() {
            Some(activity) => activity.standing(),
            None => (false, self.began),
        }
    }

    /// It is spoken to, and this is what it does.
    pub(super) fn does(&self, activity: &Arc<Activity>) {
        let _ = self.activity.set(Arc::clone(activity));
    }

    /// Waits until its place is another's.
    pub(super) async fn leaves(&self) {
        self.leaving.cancelled().await;
    }
}

impl Place {
    /// Whose it is.
    pub(super) fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.open().retain(|guest| !Arc::ptr_eq(guest, &self.guest));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::super::activity::Patience;
    use super::*;
    use crate::config::{Config, Env};
    use crate::quota::InFlightLimit;

    fn activity() -> Arc<Activity> {
        let second = Duration::from_secs(1);
        let patience =
            Patience { header_read: second, keep_alive: second, max_resets: 1, max_head: 8192 };
        let env = Env::from_iter([("A", "")]);
        let config = Config::from_toml("", "config.toml", &env).unwrap().config;
        let load = InFlightLimit::new(&config.server);
        Activity::new(patience, load, false, Instant::now())
    }

    fn is_leaving(place: &Place) -> bool {
        place.guest().leaves().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn the_quietest_makes_room() {
        let guests = Arc::new(Guests::new(3));
        let config = crate::config::Config::from_toml("", "", &Default::default()).unwrap().config;
        let mut places = Vec::new();
        for _ in 0..3 {
            let place = guests.enter();
            place.guest().does(&activity());
            places.push(place);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The first has a request under way, the second had the last one.
        let busy = places[0].guest().activity.get().unwrap().asked(&config.server);
        drop(places[1].guest().activity.get().unwrap().asked(&config.server));
        let fourth = guests.enter();
        assert!(is_leaving(&places[2]));
        assert!(!is_leaving(&places[0]) && !is_leaving(&places[1]) && !is_leaving(&fourth));
        // A place that is left is free for all.
        drop(places.remove(1));
        let fifth = guests.enter();
        assert!(!is_leaving(&places[0]) && !is_leaving(&fourth) && !is_leaving(&fifth));
        assert!(guests.make_room() && guests.make_room());
        assert!(!is_leaving(&places[0]), "who has a request goes last");
        assert!(guests.make_room() && is_leaving(&places[0]));
        assert!(!guests.make_room());
        drop(busy);
    }
}
