//! Why something was not fetched, in words for the client: what it is about stands before them.

use std::time::Duration;

use crate::quota::Overloaded;

/// Why something was not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// No config lets this kind of address be fetched.
    #[error("the address must be an https address without a user and a password")]
    Address,
    /// The config does not allow its host.
    #[error("the address is of a host from which this gateway does not fetch")]
    Host,
    /// The config does not allow its port.
    #[error("the address is of a port from which this gateway does not fetch")]
    Port,
    /// There is no such host, none of its addresses is public, or there is no connection.
    #[error("the host of the address can't be reached")]
    Unreachable,
    /// It is redirected again and again.
    #[error("the address is redirected too often")]
    Redirects,
    /// The status is not 200.
    #[error("the address was answered with status {0}")]
    Status(u16),
    /// It has a content encoding, which was not asked for.
    #[error("the answer at the address has a content encoding")]
    Encoded,
    /// It is too long, in bytes.
    #[error("what is at the address is longer than {0} bytes")]
    TooLong(usize),
    /// It did not come in time.
    #[error("what is at the address did not come within {}", humantime::format_duration(*.0))]
    TooSlow(Duration),
    /// The connection broke.
    #[error("what is at the address broke off")]
    Broken,
    /// It is something else.
    #[error("what is at the address is no {0}, by its content type or by its first bytes")]
    Type(&'static str),
    /// Too much else is fetched.
    #[error("the gateway is overloaded, please try again: it fetches from too many addresses")]
    Busy,
    /// Too much else is in flight.
    #[error("the gateway is overloaded, please try again: {0}")]
    NoRoom(#[from] Overloaded),
}

impl MediaError {
    /// Its name in metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            MediaError::Address | MediaError::Host | MediaError::Port => "not_allowed",
            MediaError::Unreachable => "unreachable",
            MediaError::Redirects => "redirects",
            MediaError::Status(_) => "status",
            MediaError::Encoded | MediaError::Type(_) => "wrong_type",
            MediaError::TooLong(_) => "too_long",
            MediaError::TooSlow(_) => "too_slow",
            MediaError::Broken => "broken",
            MediaError::Busy | MediaError::NoRoom(_) => "overloaded",
        }
    }

    /// Whether it is the gateway's lack of room, and not the client's address.
    pub fn is_overload(&self) -> bool {
        matches!(self, MediaError::Busy | MediaError::NoRoom(_))
    }
}
