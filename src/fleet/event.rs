//! Events about targets that replicas publish to one another, as they stand in Redis and on its channel.

use std::time::Duration;

/// Something that a replica has experienced at a target. `target` is the name that all replicas know it by.
#[derive(Clone, Debug, PartialEq)]
pub enum FleetEvent {
    /// A cooldown has begun.
    Cooled {
        /// The target.
        target: String,
        /// The length of the cooldown.
        pause: Duration,
        /// Throttles in a row.
        throttles: u32,
        /// Whether a lack of quota is the reason.
        is_quota: bool,
    },
    /// A target works again.
    Recovered {
        /// The target.
        target: String,
    },
    /// A request probes a target.
    ProbeStarted {
        /// The target.
        target: String,
    },
    /// An operator has reset a target: what was inferred about it is to be forgotten.
    TargetReset {
        /// The target.
        target: String,
    },
    /// The same for all targets.
    Reset,
}

/// An event from another replica.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedEvent {
    /// The replica that has published it.
    pub from: String,
    /// The number of changes of cooldowns, this one included; 0 for an event that changes none.
    pub version: u64,
    /// What has happened.
    pub event: FleetEvent,
}

impl ReceivedEvent {
    /// Parses a message of the channel: `from version verb milliseconds throttles is_quota target`.
    /// Returns `None` for a text of another form.
    pub fn parse(text: &str) -> Option<ReceivedEvent> {
        let mut words = text.splitn(7, ' ');
        let (from, version, verb) = (words.next()?, words.next()?, words.next()?);
        let (pause, throttles, is_quota) = (words.next()?, words.next()?, words.next()?);
        let target = words.next()?.to_owned();
        let event = match verb {
            "cooled" => FleetEvent::Cooled {
                target,
                pause: Duration::from_millis(pause.parse().ok()?),
                throttles: throttles.parse().ok()?,
                is_quota: is_quota == "1",
            },
            "opened" => FleetEvent::Recovered { target },
            "probed" => FleetEvent::ProbeStarted { target },
            "reset_target" => FleetEvent::TargetReset { target },
            "reset" => FleetEvent::Reset,
            _ => return None,
        };
        Some(ReceivedEvent { from: from.to_owned(), version: version.parse().ok()?, event })
    }
}

impl FleetEvent {
    /// The arguments of `publish.lua`: verb, milliseconds, throttles, whether quota is the reason, target.
    pub fn arguments(&self) -> (&'static str, u64, u32, &'static str, &str) {
        match self {
            FleetEvent::Cooled { target, pause, throttles, is_quota } => {
                let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                ("cooled", pause, *throttles, if *is_quota { "1" } else { "0" }, target)
            }
            FleetEvent::Recovered { target } => ("opened", 0, 0, "0", target),
            FleetEvent::ProbeStarted { target } => ("probed", 0, 0, "0", target),
            FleetEvent::TargetReset { target } => ("reset_target", 0, 0, "0", target),
            FleetEvent::Reset => ("reset", 0, 0, "0", ""),
        }
    }

    /// A field of the hash of cooldowns, `until throttles is_quota` in microseconds of Redis's clock, as an event
    /// at `now`. `None` when the cooldown is over.
    pub fn running_cooldown(target: &str, value: &str, now: u64) -> Option<FleetEvent> {
        let mut words = value.split(' ');
        let until: u64 = words.next()?.parse().ok()?;
        let throttles = words.next()?.parse().ok()?;
        let is_quota = words.next()? == "1";
        let pause = Duration::from_micros(until.checked_sub(now).filter(|left| *left > 0)?);
        Some(FleetEvent::Cooled { target: target.to_owned(), pause, throttles, is_quota })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_parsed_whatever_the_name_of_its_target() {
        let received = ReceivedEvent::parse("r1 7 cooled 1500 2 1 my target").unwrap();
        let pause = Duration::from_millis(1500);
        let target = "my target".to_owned();
        let event = FleetEvent::Cooled { target, pause, throttles: 2, is_quota: true };
        assert_eq!(received, ReceivedEvent { from: "r1".to_owned(), version: 7, event });
        for text in ["", "r 1", "r 1 melted 0 0 0 t", "r x reset 0 0 0 ", "r 1 cooled -5 0 0 t"] {
            assert_eq!(ReceivedEvent::parse(text), None, "{text}");
        }
        assert_eq!(ReceivedEvent::parse("r 8 reset 0 0 0 ").unwrap().event, FleetEvent::Reset);
        let reset = FleetEvent::TargetReset { target: "my target".to_owned() };
        assert_eq!(ReceivedEvent::parse("r 9 reset_target 0 0 0 my target").unwrap().event, reset);
    }

    #[test]
    fn a_cooldown_that_is_over_is_no_event() {
        let running = FleetEvent::running_cooldown("t", "2000000 3 0", 1_500_000).unwrap();
        let pause = Duration::from_millis(500);
        let target = "t".to_owned();
        assert_eq!(running, FleetEvent::Cooled { target, pause, throttles: 3, is_quota: false });
        assert_eq!(FleetEvent::running_cooldown("t", "2000000 3 0", 2_000_000), None);
        assert_eq!(FleetEvent::running_cooldown("t", "soon", 0), None);
    }
}
