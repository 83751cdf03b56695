//! What callers have changed in a running gateway, and who: a line of the process log for each call,
//! whether it was let do so or not. Of calls that anybody can make, refused ones among them, there are
//! only so many lines, as for every kind of line that anybody can provoke.

use std::net::SocketAddr;

use super::process_log::UNLIMITED;

/// Who calls where nobody has to show who they are.
pub const ANYONE: &str = "anyone";

/// Who has called: by which right, and from where.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// A client's name, `admin_key` or [`ANYONE`].
    pub who: &'a str,
    /// The other end of the connection.
    pub peer: SocketAddr,
}

/// Notes that somebody has done something: `what` as in `reset_cooldown`, `on` as in a target's name.
pub fn done(what: &str, on: &str, by: By<'_>) {
    let on = first_chars(on);
    if by.who == ANYONE {
        tracing::info!(audit = what, on, by = by.who, peer = %by.peer, "changed on request");
    } else {
        tracing::info!(
            name: UNLIMITED, audit = what, on, by = by.who, peer = %by.peer, "changed on request"
        );
    }
}

/// Most characters that are noted of what somebody has named.
const MAX_NAMED: usize = 64;

/// Notes that somebody wanted to and was refused.
pub fn refused(what: &str, on: &str, peer: SocketAddr) {
    let on = first_chars(on);
    tracing::warn!(audit = what, on, %peer, "a change on request was refused");
}

fn first_chars(text: &str) -> &str {
    text.char_indices().nth(MAX_NAMED).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}
