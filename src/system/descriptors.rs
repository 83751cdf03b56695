//! File descriptors: how many the process may have, how they are shared out, and which failures to
//! open something are its own.
//!
//! The system gives the lowest number that is free. So the number of a new socket shows that at least
//! as many descriptors are open. That number is enough to enforce a share, without a count.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit is raised to the hard one, and no further than this: some programs that a process
/// starts go through all descriptors that they could have.
const MOST: u64 = 1 << 20;

/// Descriptors that are kept for the process itself (files, stores, names, the admin port): an eighth
/// of all, within these bounds.
const MIN_RESERVE: u64 = 16;
const MAX_RESERVE: u64 = 256;

/// Minimum time between two log lines about a lack of descriptors.
const ONE_LINE: Duration = Duration::from_secs(10);

/// How the descriptors of this process are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    limit: u64,
}

/// The gateway lacked a local resource: a descriptor, a port or memory.
#[derive(Debug, thiserror::Error)]
#[error("the gateway has no file descriptors, ports or memory left")]
pub struct Exhausted(#[source] pub Box<dyn Error + Send + Sync>);

/// Raises the soft limit as far as it goes. Returns whether it could; if not all stays as it was.
pub fn raise_limit() -> bool {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MOST).min(MOST);
    if current.is_none_or(|current| current >= wanted) {
        return true;
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok()
}

impl Shares {
    /// Of this process, by the limit that it has now.
    pub fn now() -> Shares {
        Shares::of(getrlimit(Resource::Nofile).current)
    }

    /// Of a process that is started with the limits of this one and raises them.
    pub fn raised() -> Shares {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = maximum.unwrap_or(MOST).min(MOST);
        Shares::of(current.map(|current| current.max(raised)))
    }

    fn of(limit: Option<u64>) -> Shares {
        Shares { limit: limit.unwrap_or(u64::MAX) }
    }

    /// All that the process may have.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Those that are kept for the process itself.
    pub fn reserve(&self) -> u64 {
        (self.limit / 8).clamp(MIN_RESERVE, MAX_RESERVE)
    }

    /// The most connections of the admin port.
    pub fn admin(&self) -> usize {
        usize::try_from(self.reserve() / 2).unwrap_or(usize::MAX)
    }

    /// Whether a socket to an upstream leaves the reserve alone.
    pub fn has_room_for_upstream(&self, socket: &impl AsRawFd) -> bool {
        number(socket) < self.limit.saturating_sub(self.reserve())
    }

    /// The same of one that is still to be opened: many that are being opened at once must not take
    /// the reserve either. A file is opened to see.
    pub fn can_open_for_upstream(&self) -> bool {
        match File::open("/dev/null") {
            Ok(file) => self.has_room_for_upstream(&file),
            Err(error) => !is_exhaustion(&error),
        }
    }

    /// Whether a client's socket leaves alone the reserve, and an eighth of all for upstreams.
    pub fn has_room_for_client(&self, socket: &impl AsRawFd) -> bool {
        number(socket) < self.limit.saturating_sub(self.reserve()).saturating_sub(self.limit / 8)
    }

    /// What is too much for the limit, if so many connections of clients may be open, and so many
    /// requests in flight, each with a connection to an upstream.
    pub fn warning(&self, max_connections: usize, max_in_flight: usize) -> Option<String> {
        let Shares { limit } = *self;
        let own = self.reserve();
        let needed = (max_connections as u64).saturating_add(max_in_flight as u64);
        let needed = needed.saturating_add(own);
        (needed > limit).then(|| {
            format!(
                "{max_connections} connections of clients (server.max_connections), as many to \
                 upstreams as requests may be in hand ({max_in_flight}, server.max_in_flight) and \
                 {own} for the gateway itself need {needed} file descriptors, and it may have \
                 {limit}: what is beyond is refused; raise the limit (ulimit -n, LimitNOFILE) or \
                 lower the keys"
            )
        })
    }
}

fn number(socket: &impl AsRawFd) -> u64 {
    u64::try_from(socket.as_raw_fd()).unwrap_or(0)
}

/// Whether an error means that this process, or its machine, has nothing left to open something with.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::ADDRNOTAVAIL
                // The bound on what the process may watch.
                | Errno::NOSPC
        )
    )
}

/// Whether that is among the causes of an error.
pub fn is_caused_by_exhaustion(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|cause| {
        cause.is::<Exhausted>() || cause.downcast_ref::<io::Error>().is_some_and(is_exhaustion)
    })
}

/// Whether a few files can be opened now. Name resolution opens as many, and reports no error about
/// what kept it from that.
pub fn can_open_files() -> bool {
    let opened: Result<Vec<_>, _> = (0..4).map(|_| File::open("/dev/null")).collect();
    !opened.is_err_and(|error| is_exhaustion(&error))
}

/// Lets through one line of the log in a while.
#[derive(Debug)]
pub struct LogLimit(Option<DefaultDirectRateLimiter>);

impl Default for LogLimit {
    fn default() -> LogLimit {
        LogLimit(Quota::with_period(ONE_LINE).map(RateLimiter::direct))
    }
}

impl LogLimit {
    /// Whether this is the one.
    pub fn is_due(&self) -> bool {
        self.0.as_ref().is_none_or(|limiter| limiter.check().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Socket(i32);

    impl AsRawFd for Socket {
        fn as_raw_fd(&self) -> i32 {
            self.0
        }
    }

    #[test]
    fn each_has_its_share() {
        for limit in [64, 256, 1024, 20_000, 1 << 20] {
            let shares = Shares::of(Some(limit));
            let fits = |number: u64| Socket(i32::try_from(number).unwrap());
            let clients = (0..limit).take_while(|&it| shares.has_room_for_client(&fits(it)));
            let clients = clients.count() as u64;
            let upstream = (0..limit).take_while(|&it| shares.has_room_for_upstream(&fits(it)));
            let upstream = upstream.count() as u64;
            assert!(clients >= limit / 2, "{limit}: {clients}");
            assert!(upstream > clients, "{limit}: {upstream}");
            assert!(upstream + shares.admin() as u64 <= limit, "{limit}");
            assert!(shares.admin() >= 8, "{limit}");
        }
        let endless = Shares::of(None);
        assert!(endless.has_room_for_client(&Socket(i32::MAX)));
        assert_eq!(endless.warning(1_000_000, 1_000_000), None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let shares = Shares::of(Some(1024));
        assert_eq!(shares.warning(500, 300), None);
        let warning = shares.warning(10_000, 5_000).unwrap();
        for part in ["10000", "5000", "128", "15128", "1024", "server.max_connections"] {
            assert!(warning.contains(part), "{part}: {warning}");
        }
    }

    #[test]
    fn own_lacks_are_told_from_others() {
        let of = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        for own in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL] {
            assert!(is_exhaustion(&of(own)), "{own:?}");
            let wrapped = Exhausted(Box::new(of(own)));
            assert!(is_caused_by_exhaustion(&wrapped));
        }
        for other in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::TIMEDOUT, Errno::NETUNREACH] {
            assert!(!is_exhaustion(&of(other)), "{other:?}");
        }
        assert!(!is_exhaustion(&io::Error::other("something")));
        assert!(can_open_files());
    }

    #[test]
    fn one_line_in_a_while() {
        let log_limit = LogLimit::default();
        assert_eq!((0..1000).filter(|_| log_limit.is_due()).count(), 1);
    }
}
