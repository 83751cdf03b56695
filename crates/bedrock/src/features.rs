//! What a request may use and not every model takes: images, tools, thinking...

/// Features of a request that not every model takes.
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

    /// Features without a name in a target's config.
    pub const UNNAMED: Features = Features(128 | 256);

    /// Names as the model catalogue writes them.
    pub const NAMES: [(&'static str, Features); 11] = [
        ("vision", Features::VISION),
        ("pdf_input", Features::DOCUMENTS),
        ("video_input", Features::VIDEO),
        ("audio_input", Features::AUDIO),
        ("function_calling", Features::TOOLS),
        ("reasoning", Features::REASONING),
        ("prompt_caching", Features::PROMPT_CACHING),
        ("native_structured_output", Features::STRUCTURED_OUTPUT),
        ("bedrock_native_structured_output", Features::STRUCTURED_OUTPUT),
        ("output_config", Features::EFFORT),
        ("max_reasoning_effort", Features::EFFORT),
    ];

    /// The features with these names; other names are passed over.
    pub fn from_names<'a>(names: impl Iterator<Item = &'a str>) -> Features {
        let mut features = Features::default();
        for name in names {
            if let Some((_, feature)) = Self::NAMES.iter().find(|(known, _)| *known == name) {
                features.add(*feature);
            }
        }
        features
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

    pub(super) fn add(&mut self, other: Features) {
        self.0 |= other.0;
    }
}

impl FromIterator<Features> for Features {
    fn from_iter<I: IntoIterator<Item = Features>>(all: I) -> Features {
        all.into_iter().fold(Features::default(), |sum, one| Features(sum.0 | one.0))
    }
}
