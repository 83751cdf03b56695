//! Model ids as clients write them: foundation models, inference profiles, ARNs, plain names.
//!
//! A [`ModelId`] is decoded exactly once from the path and encoded exactly once onto the wire;
//! encoding twice, or signing what was encoded once, is the classic way to break SigV4 here.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Longest model id that Bedrock takes, in bytes after decoding.
pub const MAX_MODEL_ID_BYTES: usize = 2048;

/// What stays as it is in a path segment: RFC 3986's unreserved characters, as botocore does it.
pub(super) const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Geographies that prefix the id of a cross-region inference profile.
const GEOGRAPHIES: [&str; 9] = ["us", "eu", "apac", "jp", "au", "us-gov", "global", "in", "ca"];

/// A model id, inference profile or ARN, decoded and checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ModelId {
    text: Box<str>,
    /// Where the base id begins, which ends where the text does.
    base: Option<usize>,
}

/// Why a text is not a model id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModelIdError {
    /// Nothing between the slashes.
    #[error("the model identifier is empty")]
    Empty,
    /// Longer than [`MAX_MODEL_ID_BYTES`].
    #[error("the model identifier is longer than {MAX_MODEL_ID_BYTES} characters")]
    TooLong,
    /// A character that no model id has, among them `%` left over from double encoding.
    #[error("the model identifier has a character that is not allowed")]
    Character,
    /// An empty, `.` or `..` segment, or a slash outside an ARN.
    #[error("the model identifier has a path segment that is not allowed")]
    Segment,
}

impl ModelId {
    /// Checks an id that is already decoded, for example from a config file.
    pub fn new(text: &str) -> Result<ModelId, ModelIdError> {
        check(text)?;
        Ok(ModelId::checked(text.into()))
    }

    /// Decodes an id from its place in a raw path, percent-encoded once or not at all.
    pub fn decode(raw: &str) -> Result<ModelId, ModelIdError> {
        if raw.len() > 3 * MAX_MODEL_ID_BYTES {
            return Err(ModelIdError::TooLong);
        }
        let text = percent_decode_str(raw).decode_utf8().map_err(|_| ModelIdError::Character)?;
        check(&text)?;
        Ok(ModelId::checked(text.into_owned().into()))
    }

    fn checked(text: Box<str>) -> ModelId {
        let id = if text.starts_with("arn:") { arn_resource(&text) } else { Some(&*text) };
        let base = id.map(|id| text.len() - without_geography(id).len());
        ModelId { text, base }
    }

    /// The decoded id.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The id as one path segment: everything but unreserved characters percent-encoded.
    pub fn encode(&self) -> String {
        utf8_percent_encode(&self.text, SEGMENT).to_string()
    }

    /// The id without ARN and geography: `anthropic.claude-3-haiku-20240307-v1:0` for its
    /// foundation-model ARN, for `us.anthropic...` and for that profile's ARN. `None` for what
    /// does not contain its model: application profiles, provisioned, custom and imported models.
    pub fn base(&self) -> Option<&str> {
        self.text.get(self.base?..)
    }

    /// The id within the ARN of a foundation model or a system inference profile.
    pub fn arn_resource(&self) -> Option<&str> {
        arn_resource(&self.text)
    }

    /// The partition and the region that an ARN is of; `None` for what is no ARN, or one without a
    /// region.
    pub fn arn_place(&self) -> Option<(&str, &str)> {
        let mut parts = self.text.strip_prefix("arn:")?.splitn(4, ':');
        let (partition, _, region) = (parts.next()?, parts.next()?, parts.next()?);
        (parts.next().is_some() && !region.is_empty()).then_some((partition, region))
    }

    /// The geography of a cross-region inference profile, by its id or its ARN.
    pub fn geography(&self) -> Option<&str> {
        let id = if self.text.starts_with("arn:") { self.arn_resource()? } else { &self.text };
        let (geography, _) = id.split_once('.')?;
        GEOGRAPHIES.contains(&geography).then_some(geography)
    }

    /// The family that decides how request and response bodies look.
    pub fn family(&self) -> Family {
        self.base().map_or(Family::Unknown, Family::of)
    }
}

impl fmt::Debug for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Models that share the schema of their InvokeModel bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Anthropic's Messages schema.
    Anthropic,
    /// Amazon Nova, much like Converse.
    Nova,
    /// Amazon Titan text.
    TitanText,
    /// Amazon Titan embeddings.
    TitanEmbed,
    /// Meta Llama.
    Llama,
    /// Mistral.
    Mistral,
    /// DeepSeek.
    DeepSeek,
    /// AI21.
    Ai21,
    /// Cohere.
    Cohere,
    /// Qwen.
    Qwen,
    /// OpenAI's open-weight models.
    OpenAi,
    /// Not known: such a body is relayed but not read.
    Unknown,
}

impl Family {
    /// The family of a base model id (see [`ModelId::base`]).
    pub fn of(base: &str) -> Family {
        const PREFIXES: [(&str, Family); 11] = [
            ("anthropic.", Family::Anthropic),
            ("amazon.nova", Family::Nova),
            ("amazon.titan-text", Family::TitanText),
            ("amazon.titan-embed", Family::TitanEmbed),
            ("meta.llama", Family::Llama),
            ("mistral.", Family::Mistral),
            ("deepseek.", Family::DeepSeek),
            ("ai21.", Family::Ai21),
            ("cohere.", Family::Cohere),
            ("qwen.", Family::Qwen),
            ("openai.", Family::OpenAi),
        ];
        PREFIXES
            .into_iter()
            .find(|(prefix, _)| base.starts_with(prefix))
            .map_or(Family::Unknown, |(_, family)| family)
    }
}

fn arn_resource(text: &str) -> Option<&str> {
    // arn:partition:bedrock:region:account:type/id
    let resource = text.strip_prefix("arn:")?.splitn(5, ':').nth(4)?;
    match resource.split_once('/')? {
        ("foundation-model" | "inference-profile", id) => Some(id),
        _ => None,
    }
}

fn without_geography(id: &str) -> &str {
    match id.split_once('.') {
        Some((geography, rest)) if GEOGRAPHIES.contains(&geography) => rest,
        _ => id,
    }
}

fn check(text: &str) -> Result<(), ModelIdError> {
    if text.is_empty() {
        return Err(ModelIdError::Empty);
    }
    if text.len() > MAX_MODEL_ID_BYTES {
        return Err(ModelIdError::TooLong);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@+=,~".contains(&byte);
    if !text.bytes().all(allowed) {
        return Err(ModelIdError::Character);
    }
    let is_bad = |segment: &str| matches!(segment, "" | "." | "..");
    if text.contains('/') && !text.starts_with("arn:") || text.split('/').any(is_bad) {
        return Err(ModelIdError::Segment);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROFILE_ARN: &str = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-5-sonnet-20241022-v2:0";

    #[test]
    fn colon_raw_and_encoded_are_the_same_model() {
        let raw = ModelId::decode("anthropic.claude-3-haiku-20240307-v1:0").unwrap();
        let encoded = ModelId::decode("anthropic.claude-3-haiku-20240307-v1%3A0").unwrap();
        assert_eq!(raw, encoded);
        assert_eq!(raw.encode(), "anthropic.claude-3-haiku-20240307-v1%3A0");
    }

    #[test]
    fn arn_slashes_raw_and_encoded_are_the_same_model() {
        let raw = ModelId::decode(PROFILE_ARN).unwrap();
        let encoded = ModelId::decode(&raw.encode()).unwrap();
        assert_eq!(raw, encoded);
        assert!(!raw.encode().contains('/'));
    }

    #[test]
    fn base_looks_through_profiles_and_arns() {
        let base = |id: &str| ModelId::new(id).unwrap().base().map(str::to_owned);
        let sonnet = Some("anthropic.claude-3-5-sonnet-20241022-v2:0".to_owned());
        assert_eq!(base("anthropic.claude-3-5-sonnet-20241022-v2:0"), sonnet);
        assert_eq!(base("us.anthropic.claude-3-5-sonnet-20241022-v2:0"), sonnet);
        assert_eq!(base("us-gov.anthropic.claude-3-5-sonnet-20241022-v2:0"), sonnet);
        assert_eq!(base(PROFILE_ARN), sonnet);
        assert_eq!(
            base("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0").as_deref(),
            Some("amazon.nova-lite-v1:0")
        );
        assert_eq!(
            base("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"),
            None
        );
    }

    #[test]
    fn arns_and_profiles_tell_where_they_are() {
        let id = |text: &str| ModelId::new(text).unwrap();
        assert_eq!(id(PROFILE_ARN).arn_place(), Some(("aws", "us-east-1")));
        assert_eq!(id(PROFILE_ARN).geography(), Some("us"));
        let custom = id("arn:aws-us-gov:bedrock:us-gov-west-1:1:provisioned-model/abc");
        assert_eq!(custom.arn_place(), Some(("aws-us-gov", "us-gov-west-1")));
        assert_eq!(custom.geography(), None);
        assert_eq!(id("eu.amazon.nova-lite-v1:0").geography(), Some("eu"));
        for none in ["amazon.nova-lite-v1:0", "arn:aws", "arn:aws:s3:::bucket"] {
            assert_eq!((id(none).arn_place(), id(none).geography()), (None, None), "{none}");
        }
    }

    #[test]
    fn an_invalid_model_id_is_refused() {
        let error = |raw: &str| ModelId::decode(raw).unwrap_err();
        assert_eq!(error(""), ModelIdError::Empty);
        assert_eq!(error("a%253A0"), ModelIdError::Character);
        assert_eq!(error("a%00"), ModelIdError::Character);
        assert_eq!(error("a%ff"), ModelIdError::Character);
        assert_eq!(error("a b"), ModelIdError::Character);
        assert_eq!(error("a/b"), ModelIdError::Segment);
        assert_eq!(error(".."), ModelIdError::Segment);
        assert_eq!(error("%2e%2e"), ModelIdError::Segment);
        assert_eq!(error("arn:aws:bedrock:x:1:custom-model/%2e%2e/y"), ModelIdError::Segment);
        assert_eq!(error(&"a".repeat(2049)), ModelIdError::TooLong);
    }

    proptest! {
        #[test]
        fn decode_never_panics_and_encode_round_trips(raw in "\\PC{0,80}") {
            if let Ok(id) = ModelId::decode(&raw) {
                prop_assert_eq!(ModelId::decode(&id.encode()).unwrap(), id);
            }
        }

        #[test]
        fn every_valid_id_round_trips(id in "[a-z][a-zA-Z0-9._:-]{0,60}") {
            prop_assume!(!matches!(id.as_str(), "." | ".."));
            let id = ModelId::new(&id).unwrap();
            prop_assert_eq!(ModelId::decode(&id.encode()).unwrap(), id);
        }
    }
}
