//! What replicas tell each other of targets, as it stands in Redis and on its channel.

use std::time::Duration;

/// Something that a replica has met.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A target is out.
    Cooled {
        /// The target's name among all replicas.
        target: String,
        /// For how long.
        pause: Duration,
        /// Throttles in a row.
        throttles: u32,
        /// Whether for want of quota.
        is_quota: bool,
    },
    /// A target works again.
    Opened {
        /// Its name.
        target: String,
    },
    /// A request tries a target.
    Probed {
        /// Its name.
        target: String,
    },
    /// What is inferred about a target is to be forgotten.
    TargetReset {
        /// Its name.
        target: String,
    },
    /// The same for all targets.
    Reset,
}

/// A notice of another replica.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Received {
    pub(super) from: String,
    /// The number of changes of cooldowns, this one included; 0 for what changes none.
    pub(super) version: u64,
    pub(super) notice: Notice,
}

/// A message of the channel: `from version verb milliseconds throttles is_quota target`.
pub(super) fn read(text: &str) -> Option<Received> {
    let mut words = text.splitn(7, ' ');
    let (from, version, verb) = (words.next()?, words.next()?, words.next()?);
    let (pause, throttles, is_quota) = (words.next()?, words.next()?, words.next()?);
    let target = words.next()?.to_owned();
    let notice = match verb {
        "cooled" => Notice::Cooled {
            target,
            pause: Duration::from_millis(pause.parse().ok()?),
            throttles: throttles.parse().ok()?,
            is_quota: is_quota == "1",
        },
        "opened" => Notice::Opened { target },
        "probed" => Notice::Probed { target },
        "reset_target" => Notice::TargetReset { target },
        "reset" => Notice::Reset,
        _ => return None,
    };
    Some(Received { from: from.to_owned(), version: version.parse().ok()?, notice })
}

/// What `notice.lua` takes: verb, milliseconds, throttles, whether for want of quota, target.
pub(super) fn arguments(notice: &Notice) -> (&'static str, u64, u32, &'static str, &str) {
    match notice {
        Notice::Cooled { target, pause, throttles, is_quota } => {
            let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            ("cooled", pause, *throttles, if *is_quota { "1" } else { "0" }, target)
        }
        Notice::Opened { target } => ("opened", 0, 0, "0", target),
        Notice::Probed { target } => ("probed", 0, 0, "0", target),
        Notice::TargetReset { target } => ("reset_target", 0, 0, "0", target),
        Notice::Reset => ("reset", 0, 0, "0", ""),
    }
}

/// One field of the hash, `until throttles is_quota` with microseconds of Redis's clock, as a notice
/// to who reads it at `now`. `None` when it is over.
pub(super) fn standing(target: &str, value: &str, now: u64) -> Option<Notice> {
    let mut words = value.split(' ');
    let until: u64 = words.next()?.parse().ok()?;
    let throttles = words.next()?.parse().ok()?;
    let is_quota = words.next()? == "1";
    let pause = Duration::from_micros(until.checked_sub(now).filter(|left| *left > 0)?);
    Some(Notice::Cooled { target: target.to_owned(), pause, throttles, is_quota })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_whatever_the_targets_name_is() {
        let received = read("r1 7 cooled 1500 2 1 my target").unwrap();
        let pause = Duration::from_millis(1500);
        let target = "my target".to_owned();
        let notice = Notice::Cooled { target, pause, throttles: 2, is_quota: true };
        assert_eq!(received, Received { from: "r1".to_owned(), version: 7, notice });
        for text in ["", "r 1", "r 1 melted 0 0 0 t", "r x reset 0 0 0 ", "r 1 cooled -5 0 0 t"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("r 8 reset 0 0 0 ").unwrap().notice, Notice::Reset);
        let reset = Notice::TargetReset { target: "my target".to_owned() };
        assert_eq!(read("r 9 reset_target 0 0 0 my target").unwrap().notice, reset);
    }

    #[test]
    fn what_is_over_is_not_read() {
        let read = standing("t", "2000000 3 0", 1_500_000).unwrap();
        let pause = Duration::from_millis(500);
        let target = "t".to_owned();
        assert_eq!(read, Notice::Cooled { target, pause, throttles: 3, is_quota: false });
        assert_eq!(standing("t", "2000000 3 0", 2_000_000), None);
        assert_eq!(standing("t", "soon", 0), None);
    }
}
