//! `encrypted_content` of reasoning items: the model's signed and redacted thinking on its way through the
//! client, which brings it back unread in the next turn.
//!
//! It is not encrypted. It has a mark with a version before base64 of a JSON array: `{"t","s"}` is a text with
//! its signature, `{"r"}` is redacted. The text is in there, too, although the client sees it as a summary:
//! the model refuses a signature whose text has changed. The model's own seal guards both.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::conversation::BlockKind;
use crate::json::{write_escaped, write_str};

/// The mark of our own content, with its version.
const MARK: &str = "sluice1.";

/// Thinking that is being sealed.
#[derive(Debug, Default)]
pub(super) struct Seal {
    parts: Vec<u8>,
}

/// What came back.
#[derive(Debug, PartialEq)]
pub(super) enum Unsealed<'a> {
    /// Ours.
    Blocks(Vec<BlockKind<'a>>),
    /// Another service's.
    Foreign,
    /// Ours, but changed.
    Damaged,
}

impl Seal {
    /// Adds thinking with its signature. The text is as it stands between quotes in JSON.
    pub(super) fn add_signed(&mut self, escaped_text: &[u8], signature: &str) {
        self.begin_part();
        self.parts.extend_from_slice(b"{\"t\":\"");
        self.parts.extend_from_slice(escaped_text);
        self.parts.extend_from_slice(b"\",\"s\":");
        write_str(&mut self.parts, signature);
        self.parts.push(b'}');
    }

    /// Adds redacted thinking.
    pub(super) fn add_redacted(&mut self, data: &str) {
        self.begin_part();
        self.parts.extend_from_slice(b"{\"r\":");
        write_str(&mut self.parts, data);
        self.parts.push(b'}');
    }

    /// The bytes that it holds.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// The content; `None` if nothing needs to come back.
    pub(super) fn finish(&self) -> Option<String> {
        if self.parts.is_empty() {
            return None;
        }
        let mut json = Vec::with_capacity(self.parts.len() + 2);
        json.push(b'[');
        json.extend_from_slice(&self.parts);
        json.push(b']');
        let mut content = MARK.to_owned();
        URL_SAFE_NO_PAD.encode_string(&json, &mut content);
        Some(content)
    }

    fn begin_part(&mut self) {
        if !self.parts.is_empty() {
            self.parts.push(b',');
        }
    }
}

/// Seals one part of an answer.
pub(super) fn seal_signed(text: &str, signature: &str) -> Option<String> {
    let mut escaped = Vec::with_capacity(text.len());
    write_escaped(&mut escaped, text);
    let mut seal = Seal::default();
    seal.add_signed(&escaped, signature);
    seal.finish()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    t: Option<String>,
    s: Option<String>,
    r: Option<String>,
}

/// Opens what a client brought back.
pub(super) fn unseal(content: &str) -> Unsealed<'static> {
    let Some(sealed) = content.strip_prefix(MARK) else { return Unsealed::Foreign };
    let Ok(json) = URL_SAFE_NO_PAD.decode(sealed) else { return Unsealed::Damaged };
    let Ok(parts) = serde_json::from_slice::<Vec<Part>>(&json) else { return Unsealed::Damaged };
    let blocks = parts.into_iter().map(|part| match part {
        Part { t: Some(text), s: Some(signature), r: None } => Some(BlockKind::Reasoning {
            text: Cow::Owned(text),
            signature: Some(Cow::Owned(signature)),
        }),
        Part { t: None, s: None, r: Some(data) } => {
            Some(BlockKind::RedactedReasoning(Cow::Owned(data)))
        }
        _ => None,
    });
    blocks.collect::<Option<Vec<_>>>().map_or(Unsealed::Damaged, Unsealed::Blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_comes_back_as_it_was() {
        let mut seal = Seal::default();
        seal.add_signed(br#"a \"quote\"\n"#, "sig==");
        seal.add_redacted("cmVk");
        let content = seal.finish().unwrap();
        let Unsealed::Blocks(blocks) = unseal(&content) else { panic!("{content}") };
        let expected = [
            BlockKind::Reasoning { text: "a \"quote\"\n".into(), signature: Some("sig==".into()) },
            BlockKind::RedactedReasoning("cmVk".into()),
        ];
        assert_eq!(blocks, expected);
    }

    #[test]
    fn content_of_others_and_content_that_was_changed_are_told_apart() {
        assert_eq!(unseal("gAAAAABo"), Unsealed::Foreign);
        assert_eq!(unseal("sluice1.%%"), Unsealed::Damaged);
        let odd = format!("{MARK}{}", URL_SAFE_NO_PAD.encode(r#"[{"t":"x"}]"#));
        assert_eq!(unseal(&odd), Unsealed::Damaged);
        assert_eq!(unseal(MARK), Unsealed::Damaged);
    }

    #[test]
    fn nothing_is_sealed_if_there_is_nothing() {
        assert_eq!(Seal::default().finish(), None);
    }
}
