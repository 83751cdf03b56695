//! The outcome of a request, as its client saw it.

/// The outcome of a request or an attempt with a complete answer.
pub const SUCCESS: &str = "success";

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete answer.
    Success,
    /// The upstream rejected the request as the client's mistake.
    ClientError,
    /// The upstream failed.
    UpstreamError,
    /// No connection to the upstream in time.
    ConnectTimeout,
    /// The upstream did not start to answer in time.
    FirstByteTimeout,
    /// 429: all targets were throttled for as long as the request could wait.
    Throttled,
    /// 429: the client has used up a limit of its own.
    ClientLimited,
    /// 403, 400 or 413: the client's policy forbids it.
    ClientDenied,
    /// 403: authentication failed; 503 if the keys of the issuer could not be fetched.
    Unauthenticated,
    /// 503: too many requests or bytes are in flight.
    Overloaded,
    /// 503: the gateway had no file descriptor, port or memory left for a connection to the upstream.
    ResourceExhausted,
    /// 429: the queue is full; 503 if waiting for quota would not help.
    QueueFull,
    /// The gateway refused an invalid request.
    BadRequest,
    /// 413: the body is too large.
    BodyTooLarge,
    /// The client was too slow with its body.
    BodyTimeout,
    /// The whole request took too long.
    RequestTimeout,
    /// The upstream closed the connection before its answer was complete.
    StreamBroken,
    /// The upstream stalled within its answer.
    StreamIdle,
    /// The stream ended with an exception event of the upstream.
    StreamException,
    /// The stream ended without its stop event.
    Incomplete,
    /// The client went away.
    ClientGone,
    /// The client stopped reading its answer until the request's time was over.
    ClientStalled,
    /// The gateway panicked.
    Panic,
}

impl Outcome {
    /// All outcomes, indexed by their discriminants.
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

    /// The label in metrics and logs.
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

    /// Whether an operator should look into it: not if the client caused it, or went away.
    pub fn is_failure(self) -> bool {
        match self {
            Outcome::Success
            | Outcome::ClientError
            | Outcome::ClientLimited
            | Outcome::ClientDenied
            | Outcome::Unauthenticated
            | Outcome::BadRequest
            | Outcome::BodyTooLarge
            | Outcome::BodyTimeout
            | Outcome::ClientGone
            | Outcome::ClientStalled => false,
            Outcome::UpstreamError
            | Outcome::ConnectTimeout
            | Outcome::FirstByteTimeout
            | Outcome::Throttled
            | Outcome::Overloaded
            | Outcome::ResourceExhausted
            | Outcome::QueueFull
            | Outcome::RequestTimeout
            | Outcome::StreamBroken
            | Outcome::StreamIdle
            | Outcome::StreamException
            | Outcome::Incomplete
            | Outcome::Panic => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_at_its_index() {
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, number);
        }
    }
}
