//! The audit trail: changes of a running gateway, with their authors. Each call is logged, whether it was
//! allowed or not. Entries that anyone can provoke, such as refusals, are rate-limited like all
//! others of that kind.

use std::net::SocketAddr;

use super::process_log::UNLIMITED;

/// The actor where no authentication is required.
pub const ANYONE: &str = "anyone";

/// The author of a change: the name and the address.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// A client's name, `admin_key` or [`ANYONE`].
    pub name: &'a str,
    /// The peer of the connection.
    pub peer: SocketAddr,
}

/// Logs a change: `action` as in `reset_cooldown`, `on` as in a target's name.
pub fn record(action: &str, on: &str, by: Actor<'_>) {
    let on = first_chars(on);
    if by.name == ANYONE {
        tracing::info!(audit = action, on, by = by.name, peer = %by.peer, "changed on request");
    } else {
        tracing::info!(
            name: UNLIMITED, audit = action, on, by = by.name, peer = %by.peer, "changed on request"
        );
    }
}

/// Most characters of a caller's text that are logged.
const MAX_NAMED: usize = 64;

/// Logs that a change was refused.
pub fn record_refusal(action: &str, on: &str, peer: SocketAddr) {
    let on = first_chars(on);
    tracing::warn!(audit = action, on, %peer, "change refused");
}

fn first_chars(text: &str) -> &str {
    text.char_indices().nth(MAX_NAMED).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}
