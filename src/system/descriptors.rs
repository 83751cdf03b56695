//! File descriptors: the limit of the process, the shares of clients, upstreams and the process itself, and
//! which errors mean that the gateway has no descriptors left.
//!
//! The system assigns the lowest free number to a new descriptor. The number of a new socket therefore
//! shows that at least as many descriptors are open, which is enough to enforce a share without a count.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit is raised to the hard limit, but not above this: some child processes loop over all
/// descriptors that they could have.
const MAX_LIMIT: u64 = 1 << 20;

/// Bounds of the reserve for the process itself (files, stores, name resolution, the admin port), which is
/// an eighth of the limit.
const MIN_RESERVE: u64 = 16;
const MAX_RESERVE: u64 = 256;

/// Minimum time between two log lines about a lack of descriptors.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The shares of the descriptors of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    limit: u64,
}

/// The gateway lacked a local resource: a descriptor, a port or memory.
#[derive(Debug, thiserror::Error)]
#[error("the gateway has no file descriptors, ports or memory left")]
pub struct Exhausted(#[source] pub Box<dyn Error + Send + Sync>);

/// Raises the soft limit to the hard limit, at most to 2^20. False if the system refused.
pub fn raise_limit() -> bool {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    if current.is_none_or(|current| current >= wanted) {
        return true;
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok()
}

impl Shares {
    /// The shares under the current limit of this process.
    pub fn now() -> Shares {
        Shares::of(getrlimit(Resource::Nofile).current)
    }

    /// The shares of a process that inherits the limits of this one and raises them.
    pub fn raised() -> Shares {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = maximum.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
        Shares::of(current.map(|current| current.max(raised)))
    }

    fn of(limit: Option<u64>) -> Shares {
        Shares { limit: limit.unwrap_or(u64::MAX) }
    }

    /// The most descriptors of the process.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The descriptors that are reserved for the process itself.
    pub fn reserve(&self) -> u64 {
        (self.limit / 8).clamp(MIN_RESERVE, MAX_RESERVE)
    }

    /// The most connections of the admin port.
    pub fn admin(&self) -> usize {
        usize::try_from(self.reserve() / 2).unwrap_or(usize::MAX)
    }

    /// Whether a socket to an upstream is outside the reserve.
    pub fn has_room_for_upstream(&self, socket: &impl AsRawFd) -> bool {
        number(socket) < self.limit.saturating_sub(self.reserve())
    }

    /// Whether a new socket to an upstream would be outside the reserve. The check opens a file, because
    /// several sockets that are opened at once must not use the reserve either.
    pub fn can_open_for_upstream(&self) -> bool {
        match File::open("/dev/null") {
            Ok(file) => self.has_room_for_upstream(&file),
            Err(error) => !is_exhaustion(&error),
        }
    }

    /// Whether a client's socket leaves the reserve free, and an eighth of the limit for upstreams.
    pub fn has_room_for_client(&self, socket: &impl AsRawFd) -> bool {
        number(socket) < self.limit.saturating_sub(self.reserve()).saturating_sub(self.limit / 8)
    }

    /// A warning if the limit is too low for so many connections of clients and so many requests in
    /// flight, each with a connection to an upstream.
    pub fn warning(&self, max_connections: usize, max_in_flight: usize) -> Option<String> {
        let Shares { limit } = *self;
        let own = self.reserve();
        let needed = (max_connections as u64).saturating_add(max_in_flight as u64);
        let needed = needed.saturating_add(own);
        (needed > limit).then(|| {
            format!(
                "{max_connections} connections of clients (server.max_connections), {max_in_flight} \
                 to upstreams (server.max_in_flight) and {own} of the gateway itself need {needed} \
                 file descriptors, but the limit is {limit}; connections above it are refused; \
                 raise the limit (ulimit -n, LimitNOFILE) or lower the keys"
            )
        })
    }
}

fn number(socket: &impl AsRawFd) -> u64 {
    u64::try_from(socket.as_raw_fd()).unwrap_or(0)
}

/// Whether an error means that this process, or its machine, has no resources left to open a file or socket.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::ADDRNOTAVAIL
                // The limit of descriptors that epoll watches for a user.
                | Errno::NOSPC
        )
    )
}

/// Whether the error or one of its causes is an exhaustion of local resources.
pub fn is_caused_by_exhaustion(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|cause| {
        cause.is::<Exhausted>() || cause.downcast_ref::<io::Error>().is_some_and(is_exhaustion)
    })
}

/// Whether a few files can be opened now. Name resolution needs as many, and its error does not say that
/// descriptors were missing.
pub fn can_open_files() -> bool {
    let opened: Result<Vec<_>, _> = (0..4).map(|_| File::open("/dev/null")).collect();
    !opened.is_err_and(|error| is_exhaustion(&error))
}

/// Limits log lines to one in ten seconds.
#[derive(Debug)]
pub struct LogLimit(Option<DefaultDirectRateLimiter>);

impl Default for LogLimit {
    fn default() -> LogLimit {
        LogLimit(Quota::with_period(LOG_INTERVAL).map(RateLimiter::direct))
    }
}

impl LogLimit {
    /// Whether a line may be logged now.
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
    fn clients_upstreams_and_the_admin_port_have_their_shares() {
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
    fn a_warning_names_the_settings_above_the_limit() {
        let shares = Shares::of(Some(1024));
        assert_eq!(shares.warning(500, 300), None);
        let warning = shares.warning(10_000, 5_000).unwrap();
        for part in ["10000", "5000", "128", "15128", "1024", "server.max_connections"] {
            assert!(warning.contains(part), "{part}: {warning}");
        }
    }

    #[test]
    fn only_missing_local_resources_count_as_exhaustion() {
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
    fn one_log_line_is_due_in_an_interval() {
        let log_limit = LogLimit::default();
        assert_eq!((0..1000).filter(|_| log_limit.is_due()).count(), 1);
    }
}
