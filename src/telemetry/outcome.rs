//! What came of a request, as its client saw it.

use super::access_log::SUCCESS;

/// What the client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer.
    Success,
    /// A client's own mistake, as the upstream said.
    ClientError,
    /// A failure of the upstream.
    UpstreamError,
    /// No connection to the upstream in time.
    ConnectTimeout,
    /// No answer of the upstream's began in time.
    FirstByteTimeout,
    /// 429: every target was throttled for as long as the request could wait.
    Throttled,
    /// 429: the client has used up a limit of its own.
    ClientLimited,
    /// 403, 400 or 413: the client's policy has it refused.
    ClientDenied,
    /// 403: the request is no client's.
    Unauthenticated,
    /// 503: the gateway has too much in hand.
    Overloaded,
    /// 503: the gateway had no file descriptor, port or memory left for a connection to the upstream.
    ResourceExhausted,
    /// 429: too many wait already.
    QueueFull,
    /// The gateway refused the request for what it is.
    BadRequest,
    /// 413.
    BodyTooLarge,
    /// The client was too slow with its body.
    BodyTimeout,
    /// The whole request took too long.
    RequestTimeout,
    /// An answer that broke off, at the upstream's end.
    StreamBroken,
    /// An answer that fell silent for too long.
    StreamIdle,
    /// A stream that ended with an exception of the upstream's.
    StreamException,
    /// A stream that ended in order, but without the event that stops it.
    Incomplete,
    /// Nothing: it went away.
    ClientGone,
    /// What it took of an answer until the time for the whole request was over: it had stopped
    /// reading.
    ClientStalled,
    /// The gateway failed on it.
    Panic,
}

impl Outcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Outcome; 23] = [
        Outcome::Success,
        Outcome::ClientError,
        Outcome::UpstreamError,
        Outcome::ConnectTimeout,
        Outcome::FirstByteTimeout,
        Outcome::Throttled,
        Outcome::ClientLimited,
        Outcome::ClientDenied,
        Outcome::Unauthenticated,
        Outcome::Overloaded,
        Outcome::ResourceExhausted,
        Outcome::QueueFull,
        Outcome::BadRequest,
        Outcome::BodyTooLarge,
        Outcome::BodyTimeout,
        Outcome::RequestTimeout,
        Outcome::StreamBroken,
        Outcome::StreamIdle,
        Outcome::StreamException,
        Outcome::Incomplete,
        Outcome::ClientGone,
        Outcome::ClientStalled,
        Outcome::Panic,
    ];

    /// Its label in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Success => SUCCESS,
            Outcome::ClientError => "client_error",
            Outcome::UpstreamError => "upstream_error",
            Outcome::ConnectTimeout => "connect_timeout",
            Outcome::FirstByteTimeout => "first_byte_timeout",
            Outcome::Throttled => "throttled",
            Outcome::ClientLimited => "client_limited",
            Outcome::ClientDenied => "client_denied",
            Outcome::Unauthenticated => "unauthenticated",
            Outcome::Overloaded => "overloaded",
            Outcome::ResourceExhausted => "resource_exhausted",
            Outcome::QueueFull => "queue_full",
            Outcome::BadRequest => "bad_request",
            Outcome::BodyTooLarge => "body_too_large",
            Outcome::BodyTimeout => "body_timeout",
            Outcome::RequestTimeout => "request_timeout",
            Outcome::StreamBroken => "stream_broken",
            Outcome::StreamIdle => "stream_idle",
            Outcome::StreamException => "stream_exception",
            Outcome::Incomplete => "incomplete",
            Outcome::ClientGone => "client_gone",
            Outcome::ClientStalled => "client_stalled",
            Outcome::Panic => "panic",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_at_its_number() {
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, number);
        }
    }
}
