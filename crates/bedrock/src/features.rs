//! What a request may use and not every model takes: images, tools, thinking...

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Features of a request that not every model takes. Serialized as a list of [`Features::NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u16);

impl Features {
    /// Images in the messages.
    pub const VISION: Features = Features(1);
    /// Documents in the messages.
    pub const DOCUMENTS: Features = Features(2);
    /// Video in the messages.
    pub const VIDEO: Features = Features(4);
    /// Audio in the messages.
    pub const AUDIO: Features = Features(8);
    /// Tool definitions, uses or results.
    pub const TOOLS: Features = Features(16);
    /// Extended thinking.
    pub const REASONING: Features = Features(32);
    /// Cache points.
    pub const PROMPT_CACHING: Features = Features(64);

    /// An answer by a JSON schema that the model enforces.
    pub const STRUCTURED_OUTPUT: Features = Features(128);
    /// A setting of the effort for an answer.
    pub const EFFORT: Features = Features(256);
    /// A search of the web that the service runs.
    pub const WEB_SEARCH: Features = Features(512);
    /// Another tool that the service runs.
    pub const SERVER_TOOLS: Features = Features(1024);
    /// An answer that is made after its request has ended.
    pub const BACKGROUND: Features = Features(2048);
    /// A schema for the answer, in the member of Messages that one endpoint alone takes.
    pub const OUTPUT_CONFIG_FORMAT: Features = Features(4096);

    /// Names as a config writes them.
    pub const NAMES: [(&'static str, Features); 7] = [
        ("images", Features::VISION),
        ("documents", Features::DOCUMENTS),
        ("video", Features::VIDEO),
        ("audio", Features::AUDIO),
        ("tools", Features::TOOLS),
        ("thinking", Features::REASONING),
        ("prompt_caching", Features::PROMPT_CACHING),
    ];

    /// Features of a model that have no name in [`Features::NAMES`].
    pub const UNNAMED: Features = Features(128 | 256 | 512);

    /// Features that follow from the endpoint alone, whatever the model is.
    pub const OF_ENDPOINTS: Features = Features(1024 | 2048 | 4096);

    const UNNAMED_NAMES: [(&'static str, Features); 3] = [
        ("structured_output", Features::STRUCTURED_OUTPUT),
        ("effort", Features::EFFORT),
        ("web_search", Features::WEB_SEARCH),
    ];

    const ENDPOINT_NAMES: [(&'static str, Features); 3] = [
        ("server_tools", Features::SERVER_TOOLS),
        ("background", Features::BACKGROUND),
        ("output_config.format", Features::OUTPUT_CONFIG_FORMAT),
    ];

    /// Features that a request can be adapted to the lack of: thinking, effort, caching, and the form of the answer.
    pub const ADAPTED: Features = Features(32 | 64 | 128 | 256);

    /// The feature of a model with this name: one of [`Features::NAMES`], `structured_output`, `effort` or
    /// `web_search`.
    pub fn by_name(name: &str) -> Option<Features> {
        let mut all = Self::NAMES.into_iter().chain(Self::UNNAMED_NAMES);
        all.find(|(known, _)| *known == name).map(|(_, feature)| feature)
    }

    /// Their names, with commas between them.
    pub fn names(self) -> String {
        let all = Self::NAMES.into_iter().chain(Self::UNNAMED_NAMES).chain(Self::ENDPOINT_NAMES);
        let used = all.filter(|(_, feature)| self.contains(*feature)).map(|(name, _)| name);
        used.collect::<Vec<_>>().join(", ")
    }

    /// Whether all of `other` are among these.
    pub fn contains(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether images, documents, video or audio are among them.
    pub(super) fn has_media(self) -> bool {
        self.0 & (1 | 2 | 4 | 8) != 0
    }

    /// The features in both sets.
    pub fn common(self, other: Features) -> Features {
        Features(self.0 & other.0)
    }

    /// These without those of `other`.
    pub fn without(self, other: Features) -> Features {
        Features(self.0 & !other.0)
    }

    /// Whether this set has no feature.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn add(&mut self, other: Features) {
        self.0 |= other.0;
    }
}

impl FromIterator<Features> for Features {
    fn from_iter<I: IntoIterator<Item = Features>>(all: I) -> Features {
        all.into_iter().fold(Features::default(), |sum, one| Features(sum.0 | one.0))
    }
}

impl Serialize for Features {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = Self::NAMES.into_iter().filter(|(_, feature)| self.contains(*feature));
        serializer.collect_seq(named.map(|(name, _)| name))
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Features, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let features = names.iter().map(|name| {
            let known = Self::NAMES.into_iter().find(|(known, _)| known == name);
            known.map(|(_, feature)| feature).ok_or_else(|| D::Error::custom("unknown feature"))
        });
        features.collect()
    }
}
