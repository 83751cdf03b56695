//! The settings of a simulator. The defaults work without changes.
//!
//! The default keys are fake and documented, and are valid for a simulator only.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::account::AccountSettings;

/// The name of the account among the models: its `tpd` counts the tokens of all models together.
pub const ACCOUNT: &str = "*";

/// The access key id that a simulator accepts by default.
pub const DEFAULT_ACCESS_KEY_ID: &str = "AKIDSIMULATOR";
/// The secret of [`DEFAULT_ACCESS_KEY_ID`]; fake, and public on purpose.
pub const DEFAULT_SECRET_ACCESS_KEY: &str = "simulator-secret-key";
/// The bearer key (`AWS_BEARER_TOKEN_BEDROCK`) that a simulator accepts by default; fake too.
pub const DEFAULT_BEARER_TOKEN: &str = "simulator-bearer-key";

/// Everything a simulator is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Accepted SigV4 keys: access key id to secret access key.
    pub keys: HashMap<String, SecretString>,
    /// Accepted bearer key; `None` refuses the bearer form.
    pub bearer_token: Option<SecretString>,
    /// Which endpoints it plays.
    pub endpoint: PlayedEndpoint,
    /// Whether signatures are verified. When not, whatever credentials came are only logged.
    pub verify_signatures: bool,
    /// Seed of the padding and of the latency's jitter: the same seed, the same bytes.
    pub seed: u64,
    /// Latency of models that have none of their own.
    pub latency: Latency,
    /// Quotas, caps and latency per model id as called (`us.` profiles apart from the plain id). Those of a
    /// model at mantle stand under `mantle/` and its id.
    pub models: HashMap<String, ModelSettings>,
    /// The account whose models, profiles and quotas are listed.
    pub account: AccountSettings,
    /// How many requests the log keeps; the oldest go first.
    pub log_capacity: usize,
    /// How many bytes of each request body the log keeps.
    pub log_body_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            keys: HashMap::from([(
                DEFAULT_ACCESS_KEY_ID.to_owned(),
                SecretString::from(DEFAULT_SECRET_ACCESS_KEY),
            )]),
            bearer_token: Some(SecretString::from(DEFAULT_BEARER_TOKEN)),
            endpoint: PlayedEndpoint::Both,
            verify_signatures: true,
            seed: 1,
            latency: Latency::default(),
            models: HashMap::new(),
            account: AccountSettings::default(),
            log_capacity: 10_000,
            log_body_bytes: 4 * 1024,
        }
    }
}

/// Which of Bedrock's endpoints a simulator plays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlayedEndpoint {
    /// Both: the host, the path or the model of a request tells which one it is for.
    #[default]
    Both,
    /// Bedrock Runtime alone.
    Runtime,
    /// The endpoint that has only the APIs of OpenAI and Anthropic.
    Mantle,
}

/// How slow a model is. All zero by default, so that tests are fast.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// Milliseconds before the head of the response.
    pub head_ms: u64,
    /// Milliseconds per output token: before each delta of a stream, summed up for a whole answer.
    pub token_ms: u64,
    /// Share (0.0 to 1.0) by which each of the two varies, up and down, by the seed.
    pub jitter: f64,
}

impl Latency {
    /// The time before the head, varied by `rng`.
    pub fn before_head(&self, rng: &mut fastrand::Rng) -> Duration {
        self.vary(self.head_ms, rng)
    }

    /// The time that `tokens` output tokens take, varied by `rng`.
    pub fn for_tokens(&self, tokens: u64, rng: &mut fastrand::Rng) -> Duration {
        self.vary(self.token_ms.saturating_mul(tokens), rng)
    }

    fn vary(&self, ms: u64, rng: &mut fastrand::Rng) -> Duration {
        // An hour is longer than any client waits, and keeps arithmetic on deadlines safe.
        let whole = Duration::from_millis(ms.min(3_600_000));
        if ms == 0 || self.jitter.is_nan() || self.jitter <= 0.0 {
            return whole;
        }
        let share = self.jitter.min(1.0);
        whole.mul_f64(1.0 + share * (rng.f64() * 2.0 - 1.0))
    }
}

/// A service tier, by its name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServedTier {
    /// The standard tier.
    Default,
    /// For work that can wait.
    Flex,
    /// Served before the others.
    Priority,
    /// Capacity that is paid by the hour.
    Reserved,
}

impl ServedTier {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            ServedTier::Default => "default",
            ServedTier::Flex => "flex",
            ServedTier::Priority => "priority",
            ServedTier::Reserved => "reserved",
        }
    }
}

/// One model's quotas, cap and latency. A field left out means no limit, or the catalogue's value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute, input and output together.
    pub tpm: Option<u64>,
    /// Input tokens per minute, counted apart: checked against input and maximum, and charged the input.
    pub input_tpm: Option<u64>,
    /// Output tokens per minute, counted apart: charged as they are produced.
    pub output_tpm: Option<u64>,
    /// How many milliseconds the minute of `rpm` and `tpm` lasts; 60,000 when left out. With a shorter
    /// one a test plays minutes in seconds.
    pub minute_ms: Option<u64>,
    /// Tokens per UTC day, counted by the rule of `tpm`. Of the model [`ACCOUNT`]: over all models.
    pub tpd: Option<u64>,
    /// How many milliseconds the day of `tpd` lasts; 86,400,000 when left out.
    pub day_ms: Option<u64>,
    /// What an output token costs of the quota; 1 when left out.
    pub burndown: Option<u32>,
    /// The most output tokens a request may ask for; the catalogue's when left out.
    pub max_output_tokens: Option<u64>,
    /// The model's own latency instead of the simulator's.
    pub latency: Option<Latency>,
    /// The service tier that serves its requests; the one that each asks for when left out.
    pub service_tier: Option<ServedTier>,
}
