//! What holds for whatever stands in the shared Redis.

use std::time::Duration;

use sluice::fleet::{FleetEvent, ReceivedEvent};

/// Events of other replicas, as messages and as fields of the hash of cooldowns: what parses is written so that it
/// parses to the same.
pub fn fleet_event(text: &str) {
    if let Some(received) = ReceivedEvent::parse(text) {
        let (verb, pause, throttles, is_quota, target) = received.event.arguments();
        let ReceivedEvent { from, version, .. } = &received;
        let message = format!("{from} {version} {verb} {pause} {throttles} {is_quota} {target}");
        assert_eq!(ReceivedEvent::parse(&message).as_ref(), Some(&received));
    }
    let (now, value) = text.split_once('\n').unwrap_or(("1", text));
    let now = now.parse().unwrap_or(1);
    if let Some(event) = FleetEvent::running_cooldown("a", value, now) {
        let FleetEvent::Cooled { pause, throttles, is_quota, .. } = &event else {
            unreachable!("{event:?}")
        };
        assert!(*pause > Duration::ZERO);
        let until = u128::from(now) + pause.as_micros();
        let value = format!("{until} {throttles} {}", u8::from(*is_quota));
        assert_eq!(FleetEvent::running_cooldown("a", &value, now), Some(event));
    }
}
