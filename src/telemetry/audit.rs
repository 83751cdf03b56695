//! What callers have changed in a running gateway, and who: a line of the process log for each call,
//! whether it was let do so or not.

use std::net::SocketAddr;

/// Who has called: by which right, and from where.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// A client's name, `admin_key` or `anyone`.
    pub who: &'a str,
    /// The other end of the connection.
    pub peer: SocketAddr,
}

/// Notes that somebody has done something: `what` as in `reset_cooldown`, `on` as in a target's name.
pub fn done(what: &str, on: &str, by: By<'_>) {
    tracing::info!(audit = what, on, by = by.who, peer = %by.peer, "changed on request");
}

/// Most characters that are noted of what somebody without the right to it has named.
const MAX_NAMED: usize = 64;

/// Notes that somebody wanted to and was refused.
pub fn refused(what: &str, on: &str, peer: SocketAddr) {
    let on: String = on.chars().take(MAX_NAMED).collect();
    tracing::warn!(audit = what, on, %peer, "a change on request was refused");
}
