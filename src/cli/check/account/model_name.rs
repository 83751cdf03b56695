//! Whether the name of a quota is about a model.
//!
//! Service Quotas names models in words: `Anthropic Claude 3.5 Sonnet V2`, `Meta Llama 3.1 70B Instruct`. The
//! same model is named by ListFoundationModels (`Claude 3.5 Sonnet v2`) and in its id
//! (`anthropic.claude-3-5-sonnet-20241022-v2:0`). Two names are of one model if they have the same words,
//! in any order. Only the provider and a first version (`V1`) may be left out. A name that is merely
//! similar is no match.

/// The words of a name, in lower case and sorted. Letters and digits that touch are two words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    sorted: Vec<String>,
    /// All of them in their order, with nothing between them.
    joined: String,
}

/// The names of a model.
#[derive(Clone, Debug)]
pub(super) struct ModelNames {
    names: Vec<Words>,
    /// The words that may stand in a quota's name in addition: those of the provider.
    provider: Vec<String>,
}

impl ModelNames {
    /// The names of a model with this base id. `listed` is its name and its provider's by
    /// ListFoundationModels, if that has it.
    pub(super) fn of(id: &str, listed: Option<(&str, &str)>) -> ModelNames {
        let (prefix, own) = id.split_once('.').unwrap_or(("", id));
        let mut provider = Words::of(prefix).sorted;
        // Some providers are named with these words in one place and without them in another.
        provider.extend(["ai", "labs"].map(str::to_owned));
        let mut names = vec![Words::of(&title(own))];
        if let Some((name, provider_name)) = listed {
            provider.extend(Words::of(provider_name).sorted);
            names.push(Words::of(name));
            names.push(Words::of(&format!("{provider_name} {name}")));
        }
        names.retain(|words| !words.sorted.is_empty());
        ModelNames { names, provider }
    }

    /// Whether the words of a quota are about this model.
    pub(super) fn is_meant_by(&self, words: &Words) -> bool {
        self.names.iter().any(|name| name.joined == words.joined || self.are_same(name, words))
    }

    /// Whether `words` are those of `name`, and perhaps some of the provider's.
    fn are_same(&self, name: &Words, words: &Words) -> bool {
        let mut rest = words.sorted.clone();
        for word in &name.sorted {
            let Some(at) = rest.iter().position(|other| other == word) else { return false };
            rest.remove(at);
        }
        rest.iter().all(|word| self.provider.contains(word))
    }
}

impl Words {
    /// The words of a text.
    pub(super) fn of(text: &str) -> Words {
        let lower = text.to_lowercase().replace('+', " plus ");
        let is_part = |c: char| c.is_alphanumeric() || c == '.';
        let words = lower.split(|c| !is_part(c)).map(|word| word.trim_matches('.'));
        let words = words.filter(|word| !["", "v1", "v1.0"].contains(word));
        let split: Vec<String> = words.flat_map(parts).collect();
        let joined = split.concat();
        let mut sorted = split;
        sorted.sort_unstable();
        Words { sorted, joined }
    }
}

/// The runs of digits, with the points between them, and of other characters: `llama` and `3.1` of
/// `llama3.1`.
fn parts(word: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut was_number = None;
    for c in word.chars() {
        let is_number = match c {
            '.' => was_number == Some(true),
            c => c.is_ascii_digit(),
        };
        if c == '.' && !is_number {
            was_number = None;
            continue;
        }
        match parts.last_mut() {
            Some(part) if was_number == Some(is_number) => part.push(c),
            _ => parts.push(c.to_string()),
        }
        was_number = Some(is_number);
    }
    let parts = parts.iter().map(|part| part.trim_matches('.').to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

/// The words of an id without its provider, its date and the revision at its end: `claude 3.5 sonnet v2` of
/// `claude-3-5-sonnet-20241022-v2:0`.
fn title(id: &str) -> String {
    let id = id.split(':').next().unwrap_or(id);
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let is_date = |word: &str| is_number(word) && word.len() == 8;
    let mut title = String::new();
    let mut was_number = false;
    for word in id.split('-').filter(|word| !is_date(word)) {
        // Small numbers in a row are parts of a version: `4-5`, and `llama3-1`.
        let is_version = is_number(word) && word.len() == 1;
        let joins = was_number && is_version;
        title.push_str(if joins { "." } else { " " });
        title.push_str(word);
        was_number = word.bytes().last().is_some_and(|byte| byte.is_ascii_digit());
    }
    title
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Named = (&'static str, Option<(&'static str, &'static str)>, &'static str);

    /// Ids, with the name and the provider of ListFoundationModels, and a name in quotas.
    const SAME: [Named; 30] = [
        ("anthropic.claude-3-haiku-20240307-v1:0", None, "Anthropic Claude 3 Haiku"),
        ("anthropic.claude-3-haiku-20240307-v1:0", None, "Anthropic Claude 3 Haiku V1"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", None, "Anthropic Claude 3.5 Sonnet"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", None, "Anthropic Claude 3.5 Sonnet V2"),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", None, "Anthropic Claude 3.7 Sonnet V1"),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", None, "Anthropic Claude Sonnet 3.7 V1"),
        ("anthropic.claude-sonnet-4-20250514-v1:0", None, "Anthropic Claude Sonnet 4 V1"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", None, "Anthropic Claude Sonnet 4.5 V1"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", None, "Claude Sonnet 4.5"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", None, "Anthropic Claude Haiku 4.5"),
        ("anthropic.claude-opus-4-1-20250805-v1:0", None, "Anthropic Claude Opus 4.1"),
        ("anthropic.claude-sonnet-4-6", None, "Anthropic Claude Sonnet 4.6"),
        ("anthropic.claude-fable-5-1", None, "Claude Fable 5.1"),
        ("amazon.nova-lite-v1:0", None, "Amazon Nova Lite"),
        ("amazon.nova-pro-v1:0", None, "Amazon Nova Pro V1"),
        ("amazon.nova-2-lite-v1:0", None, "Amazon Nova 2 Lite"),
        ("meta.llama3-1-70b-instruct-v1:0", None, "Meta Llama 3.1 70B Instruct"),
        ("meta.llama3-70b-instruct-v1:0", None, "Meta Llama 3 70B Instruct"),
        ("meta.llama4-scout-17b-instruct-v1:0", None, "Meta Llama 4 Scout 17B Instruct"),
        ("openai.gpt-oss-120b-1:0", Some(("gpt-oss-120b", "OpenAI")), "OpenAI GPT OSS 120B"),
        ("openai.gpt-6-sol", None, "GPT-6 Sol"),
        ("deepseek.r1-v1:0", Some(("DeepSeek-R1", "DeepSeek")), "DeepSeek R1 V1"),
        ("cohere.command-r-plus-v1:0", Some(("Command R+", "Cohere")), "Cohere Command R Plus"),
        ("cohere.embed-v4:0", Some(("Embed v4", "Cohere")), "Cohere Embed V4"),
        (
            "amazon.titan-embed-text-v2:0",
            Some(("Titan Text Embeddings V2", "Amazon")),
            "Amazon Titan Text Embeddings V2",
        ),
        (
            "mistral.pixtral-large-2502-v1:0",
            Some(("Pixtral Large (25.02)", "Mistral AI")),
            "Mistral Pixtral Large 25.02 V1",
        ),
        (
            "mistral.mistral-large-2407-v1:0",
            Some(("Mistral Large (24.07)", "Mistral AI")),
            "Mistral AI Mistral Large 24.07",
        ),
        ("writer.palmyra-x4-v1:0", Some(("Palmyra X4", "Writer")), "Writer AI Palmyra X4 V1"),
        (
            "twelvelabs.marengo-embed-2-7-v1:0",
            Some(("Marengo Embed v2.7", "TwelveLabs")),
            "TwelveLabs Marengo Embed V2.7",
        ),
        (
            "moonshot.kimi-k2-thinking",
            Some(("Kimi K2 Thinking", "Moonshot AI")),
            "Kimi K2 Thinking",
        ),
    ];

    #[test]
    fn a_quota_is_found_by_the_model_it_names() {
        for (id, listed, quota) in SAME {
            assert!(ModelNames::of(id, listed).is_meant_by(&Words::of(quota)), "{id}: {quota}");
        }
    }

    #[test]
    fn a_quota_of_another_model_is_no_match() {
        for (id, listed, quota) in [
            ("anthropic.claude-3-5-sonnet-20240620-v1:0", None, "Anthropic Claude 3.5 Sonnet V2"),
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", None, "Anthropic Claude 3.5 Sonnet"),
            ("anthropic.claude-sonnet-4-20250514-v1:0", None, "Anthropic Claude Sonnet 4.5 V1"),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", None, "Anthropic Claude Sonnet 4 V1"),
            ("anthropic.claude-opus-4-20250514-v1:0", None, "Anthropic Claude Opus 4.1"),
            ("anthropic.claude-opus-5", None, "Anthropic Claude Opus 5.5"),
            ("amazon.nova-lite-v1:0", None, "Amazon Nova 2 Lite"),
            ("amazon.nova-2-lite-v1:0", None, "Amazon Nova Lite"),
            ("cohere.command-r-v1:0", Some(("Command R", "Cohere")), "Cohere Command R Plus"),
            ("openai.gpt-6-sol", None, "GPT-6.1 Sol"),
            ("openai.gpt-oss-20b-1:0", Some(("gpt-oss-20b", "OpenAI")), "OpenAI GPT OSS 120B"),
            ("meta.llama3-70b-instruct-v1:0", None, "Meta Llama 3.1 70B Instruct"),
            (
                "twelvelabs.marengo-embed-3-0-v1:0",
                Some(("Marengo Embed 3.0", "TwelveLabs")),
                "TwelveLabs Marengo Embed V2.7",
            ),
            (
                "mistral.mistral-large-2402-v1:0",
                Some(("Mistral Large (24.02)", "Mistral AI")),
                "Mistral AI Mistral Large 24.07",
            ),
            ("amazon.nova-lite-v1:0", None, ""),
        ] {
            assert!(!ModelNames::of(id, listed).is_meant_by(&Words::of(quota)), "{id}: {quota}");
        }
    }

    #[test]
    fn models_of_one_list_do_not_share_a_quota() {
        for (quota_of, listed, quota) in SAME {
            for (id, other, _) in SAME {
                let is_same = id == quota_of;
                let names = ModelNames::of(id, other);
                assert!(
                    is_same || !names.is_meant_by(&Words::of(quota)),
                    "{id} by {quota} ({listed:?})"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn comparing_never_panics(id in "\\PC{0,30}", name in "\\PC{0,30}", quota in "\\PC{0,40}") {
            let _ = ModelNames::of(&id, Some((&name, "Some AI"))).is_meant_by(&Words::of(&quota));
        }
    }
}
