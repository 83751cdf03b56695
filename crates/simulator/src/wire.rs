//! A connection as a fault sees it: how it is to end.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How a connection ends when a fault ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionFault {
    /// Closed in the usual way.
    Close,
    /// Closed with a TCP reset.
    Reset,
    /// Closed after bytes that are not HTTP.
    Garbage,
}

/// A connection as a fault sees it.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// The connection's number, from 1.
    pub(super) number: u64,
    /// How to end it, once a fault ends it.
    pub(super) fault: Mutex<Option<ConnectionFault>>,
    /// Notified when a fault ends it.
    pub(super) broken: Notify,
}

impl Wire {
    /// Ends the connection, and with it all streams that it carries.
    pub(super) fn break_connection(&self, how: ConnectionFault) {
        *self.fault.lock() = Some(how);
        self.broken.notify_one();
    }
}
