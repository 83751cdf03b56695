//! The state of a quota, for display and for the order of targets.

/// The state of a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Snapshot {
    /// The limit in force, in requests per minute; `None` if no limit is known.
    pub rpm: Option<f64>,
    /// Tokens per minute that count now.
    pub tpm: Option<f64>,
    /// The learned requests per minute, where they differ from the configured.
    pub learned_rpm: Option<f64>,
    /// The learned tokens per minute.
    pub learned_tpm: Option<f64>,
    /// The configured requests per minute, where learned ones count in their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured_rpm: Option<f64>,
    /// The configured tokens per minute, where learned ones count in their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured_tpm: Option<f64>,
    /// Requests that are left of it now; where replicas share it, for all of them as of the last sync.
    pub requests_available: Option<f64>,
    /// Tokens that are left of it now; below zero after an answer that cost more than was taken.
    pub tokens_available: Option<f64>,
    /// Requests of these that this replica holds; `None` where it shares the quota with no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_held: Option<f64>,
    /// Tokens of these that this replica holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_held: Option<f64>,
    /// The limit of input tokens, where input and output are counted apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<TokenLimit>,
    /// The limit of output tokens, where input and output are counted apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<TokenLimit>,
    /// Requests that hold a reservation.
    pub in_flight: u64,
}

impl Snapshot {
    /// The free share of the scarcest of its limits; 1 if no limit is known.
    pub fn headroom(&self) -> f64 {
        let share = |available: Option<f64>, limit: Option<f64>| match (available, limit) {
            (Some(available), Some(limit)) if limit > 0.0 => available / limit,
            _ => 1.0,
        };
        let tokens = [self.input, self.output].into_iter().flatten();
        let tokens = tokens.map(|limit| share(limit.available, limit.tpm));
        let together = share(self.tokens_available, self.tpm);
        tokens.fold(share(self.requests_available, self.rpm).min(together), f64::min)
    }
}

/// The state of a limit of input tokens or of output tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct TokenLimit {
    /// Tokens per minute that count now; `None` if no limit is known.
    pub tpm: Option<f64>,
    /// The learned tokens per minute, where they differ from the configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned_tpm: Option<f64>,
    /// Tokens that are left of it now.
    pub available: Option<f64>,
    /// Tokens of these that this replica holds; `None` where it shares the quota with no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<f64>,
}
