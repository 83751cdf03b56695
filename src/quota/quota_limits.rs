//! The configured limits of a quota, and the parts of it that a throttle can name.

use super::tokens::Counting;

/// The configured limits of a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuotaLimits {
    /// Requests per minute.
    pub rpm: Option<u32>,
    /// Tokens per minute, input and output together.
    pub tpm: Option<u64>,
    /// Input tokens per minute. With this or `output_tpm`, input and output are counted apart, and `tpm` does not
    /// count.
    pub input_tpm: Option<u64>,
    /// Output tokens per minute.
    pub output_tpm: Option<u64>,
    /// The lowest limit that is learned, in requests per minute.
    pub floor_rpm: u32,
    /// The lowest limit that is learned, in tokens per minute.
    pub floor_tpm: u64,
    /// The share of a minute's units that its bucket does not hold; see [`SAFETY_MARGIN`].
    pub safety_margin: f64,
}

impl QuotaLimits {
    /// How they count tokens.
    pub(super) fn counting(&self) -> Counting {
        match (self.input_tpm, self.output_tpm) {
            (None, None) => Counting::Together,
            _ => Counting::Apart,
        }
    }
}

/// The share of a minute's units by which a mirror's bucket is smaller than the upstream's, so that it is full
/// a little earlier. A request arrives upstream a little later than it is counted here, and what would flow
/// into a full bucket meanwhile is lost there; and input is reserved here with a margin that is given back at
/// the end. Without this Sluice would admit more than Bedrock does after idle time. Under load it costs
/// nothing.
pub const SAFETY_MARGIN: f64 = 0.03;

/// The part of a quota that ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// The upstream did not name it.
    Unknown,
}

impl Dimension {
    /// The quota that is used up, by a throttle's message.
    pub fn of_throttle(message: &str) -> Dimension {
        let message = message.to_ascii_lowercase();
        match (message.contains("request"), message.contains("token")) {
            (true, false) => Dimension::Requests,
            (false, true) => Dimension::Tokens,
            _ => Dimension::Unknown,
        }
    }
}
