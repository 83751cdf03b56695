//! The names of Bedrock's quotas, as Service Quotas lists them.
//!
//! No field of a quota says what it limits, so its name must. AWS writes the names in a few forms, such as
//! `Cross-region model inference tokens per minute for Anthropic Claude Sonnet 4.5 V1`, `Global cross-region
//! InvokeModel tokens per minute for ...`, `Model invocation max tokens per day for ... (doubled for
//! cross-region calls)` and `[bedrock-mantle endpoint] Input tokens per minute for ...`. A name in another
//! form is [`QuotaName::Other`], and nothing is concluded from it.

/// How a model is called, as quotas tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Scope {
    /// By its own id, in one region.
    OnDemand,
    /// By an inference profile of a geography.
    CrossRegion,
    /// By a global inference profile.
    Global,
    /// At the endpoint `bedrock-mantle`.
    Mantle,
}

/// What is counted, and over which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Unit {
    /// Requests in a minute.
    RequestsPerMinute,
    /// Tokens in a minute: input and output together.
    TokensPerMinute,
    /// Tokens in a day.
    TokensPerDay,
    /// Input tokens in a minute.
    InputTokensPerMinute,
    /// Output tokens in a minute.
    OutputTokensPerMinute,
}

/// What the name of a quota says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuotaName<'a> {
    /// It limits the usual requests to one model.
    Inference(Inference<'a>),
    /// It limits tokens over all models.
    AllModels(Scope, Unit),
    /// It limits requests to a model that Sluice does not count apart: those with the optimized
    /// latency, and those with a context of a million tokens.
    Variant,
    /// It is about something else: batch inference, provisioned throughput, guardrails...
    Other,
}

/// A quota of the usual requests to one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inference<'a> {
    /// How the model is called.
    pub(super) scope: Scope,
    /// What is counted.
    pub(super) unit: Unit,
    /// The model, in AWS's words.
    pub(super) model: &'a str,
    /// Whether calls by a cross-region profile have twice the value.
    pub(super) is_doubled: bool,
}

const MANTLE: &str = "[bedrock-mantle endpoint]";
const DOUBLED: &str = "(doubled for cross-region calls)";
const PER_DAY: &str = "model invocation max tokens per day";
const FAST_PER_DAY: &str = "model invocation max latency-optimized tokens per day";

/// The beginnings of names that say how the model is called. A longer one stands before its part.
const SCOPES: [(&str, Scope); 4] = [
    ("global cross-region", Scope::Global),
    ("global cross region", Scope::Global),
    ("cross-region", Scope::CrossRegion),
    ("on-demand", Scope::OnDemand),
];

const UNITS: [(&str, Unit); 5] = [
    ("requests per minute", Unit::RequestsPerMinute),
    ("tokens per minute", Unit::TokensPerMinute),
    ("tokens per day", Unit::TokensPerDay),
    ("input tokens per minute", Unit::InputTokensPerMinute),
    ("output tokens per minute", Unit::OutputTokensPerMinute),
];

/// Reads the name of a quota.
pub(super) fn parse(name: &str) -> QuotaName<'_> {
    let name = name.trim();
    // Lower case in ASCII keeps the length, so that places in one text are places in the other.
    let lower = name.to_ascii_lowercase();
    let model_at = |rest: &str| name.get(name.len() - rest.len()..).unwrap_or_default();
    if lower.starts_with(FAST_PER_DAY) {
        return QuotaName::Variant;
    }
    if let Some(rest) = lower.strip_prefix(PER_DAY) {
        return of_model(Scope::OnDemand, Unit::TokensPerDay, rest, model_at);
    }
    if let Some(rest) = lower.strip_prefix(MANTLE) {
        return of_unit(Scope::Mantle, rest.trim_start(), model_at);
    }
    let scope = SCOPES.iter().find_map(|(text, scope)| Some((*scope, lower.strip_prefix(text)?)));
    let (scope, rest) = match scope {
        Some((scope, rest)) => (scope, rest),
        // An older name, which says nothing of how the model is called.
        None if lower.starts_with("invokemodel ") => (Scope::OnDemand, lower.as_str()),
        None => return QuotaName::Other,
    };
    let rest = rest.trim_start_matches([',', ' ']);
    if rest.starts_with("latency-optimized") || rest.starts_with("latency optimized") {
        return QuotaName::Variant;
    }
    let calls = ["model inference", "invokemodel", "model invocation"];
    let rest = calls.iter().find_map(|call| rest.strip_prefix(call)).unwrap_or(rest);
    of_unit(scope, rest.trim_start(), model_at)
}

fn of_unit<'a>(scope: Scope, rest: &str, model_at: impl Fn(&str) -> &'a str) -> QuotaName<'a> {
    let found = UNITS.iter().find_map(|(text, unit)| Some((*unit, rest.strip_prefix(text)?)));
    match found {
        Some((unit, rest)) => of_model(scope, unit, rest, model_at),
        None => QuotaName::Other,
    }
}

/// `rest` is what follows the unit: ` for ` and the model, or nothing.
fn of_model<'a>(
    scope: Scope,
    unit: Unit,
    rest: &str,
    model_at: impl Fn(&str) -> &'a str,
) -> QuotaName<'a> {
    if rest.trim().is_empty() {
        return QuotaName::AllModels(scope, unit);
    }
    let Some(of) = rest.strip_prefix(" for ") else { return QuotaName::Other };
    let is_doubled = of.trim_end().ends_with(DOUBLED);
    let model = model_at(of).trim_end();
    let end = if is_doubled { model.len().saturating_sub(DOUBLED.len()) } else { model.len() };
    let model = model.get(..end).unwrap_or_default().trim();
    let words = model.to_ascii_lowercase();
    match words.as_str() {
        "" => QuotaName::Other,
        "all models" => QuotaName::AllModels(scope, unit),
        _ if words.ends_with("1m context length") || words.ends_with("1m context") => {
            QuotaName::Variant
        }
        _ => QuotaName::Inference(Inference { scope, unit, model, is_doubled }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_of_awss_names_are_read() {
        use Scope::*;
        use Unit::*;
        for (name, scope, unit, model, is_doubled) in [
            (
                "On-demand model inference requests per minute for Anthropic Claude 3.5 Sonnet V2",
                OnDemand,
                RequestsPerMinute,
                "Anthropic Claude 3.5 Sonnet V2",
                false,
            ),
            (
                "On-demand model inference tokens per minute for Amazon Nova Micro",
                OnDemand,
                TokensPerMinute,
                "Amazon Nova Micro",
                false,
            ),
            (
                "Cross-region model inference tokens per minute for Anthropic Claude Sonnet 4.5 V1",
                CrossRegion,
                TokensPerMinute,
                "Anthropic Claude Sonnet 4.5 V1",
                false,
            ),
            (
                "Cross-Region InvokeModel tokens per minute for Anthropic Claude Opus 4.7",
                CrossRegion,
                TokensPerMinute,
                "Anthropic Claude Opus 4.7",
                false,
            ),
            (
                "Global cross-region model inference requests per minute for Amazon Nova 2 Lite",
                Global,
                RequestsPerMinute,
                "Amazon Nova 2 Lite",
                false,
            ),
            (
                "Global cross-Region model inference tokens per minute for GPT-6 Sol",
                Global,
                TokensPerMinute,
                "GPT-6 Sol",
                false,
            ),
            (
                "Global cross-region model inference tokens per day for Anthropic Claude Haiku 4.5",
                Global,
                TokensPerDay,
                "Anthropic Claude Haiku 4.5",
                false,
            ),
            (
                "Model invocation max tokens per day for Anthropic Claude Sonnet 4 V1 (doubled for cross-region calls)",
                OnDemand,
                TokensPerDay,
                "Anthropic Claude Sonnet 4 V1",
                true,
            ),
            (
                "Model invocation max tokens per day for Kimi K2 Thinking",
                OnDemand,
                TokensPerDay,
                "Kimi K2 Thinking",
                false,
            ),
            (
                "InvokeModel requests per minute for Cohere Command R+",
                OnDemand,
                RequestsPerMinute,
                "Cohere Command R+",
                false,
            ),
            (
                "[bedrock-mantle endpoint] Input tokens per minute for Claude Opus 4.8",
                Mantle,
                InputTokensPerMinute,
                "Claude Opus 4.8",
                false,
            ),
            (
                "[bedrock-mantle endpoint] Output tokens per minute for Claude Fable 5",
                Mantle,
                OutputTokensPerMinute,
                "Claude Fable 5",
                false,
            ),
        ] {
            let wanted = QuotaName::Inference(Inference { scope, unit, model, is_doubled });
            assert_eq!(parse(name), wanted, "{name}");
        }
    }

    #[test]
    fn nothing_is_concluded_from_other_names() {
        for (name, wanted) in [
            (
                "Cross-region model inference tokens per minute for Anthropic Claude Sonnet 4.5 V1 1M Context Length",
                QuotaName::Variant,
            ),
            (
                "Model invocation max tokens per day for Anthropic Claude Sonnet 4.5 V1 1M Context Length (doubled for cross-region calls)",
                QuotaName::Variant,
            ),
            (
                "On-Demand, latency-optimized model inference tokens per minute for Amazon Nova Pro V1",
                QuotaName::Variant,
            ),
            (
                "On-demand latency-optimized model inference requests per minute for Meta Llama 3.1 70B Instruct",
                QuotaName::Variant,
            ),
            (
                "Model invocation max latency-optimized tokens per day for Amazon Nova Pro V1",
                QuotaName::Variant,
            ),
            (
                "On-demand model inference concurrent requests for Amazon Nova Sonic",
                QuotaName::Other,
            ),
            ("Batch inference job size (in GB) for Claude 3 Haiku", QuotaName::Other),
            (
                "Sum of in-progress and submitted batch inference jobs using a base model for Claude 3 Haiku",
                QuotaName::Other,
            ),
            (
                "Model units no-commitment Provisioned Throughputs across base models",
                QuotaName::Other,
            ),
            ("(Guardrails) On-demand ApplyGuardrail requests per second", QuotaName::Other),
            (
                "Global cross-region model inference tokens per day",
                QuotaName::AllModels(Scope::Global, Unit::TokensPerDay),
            ),
            (
                "Model invocation max tokens per day for all models",
                QuotaName::AllModels(Scope::OnDemand, Unit::TokensPerDay),
            ),
            ("[bedrock-mantle endpoint] Requests per second for Claude Opus 4.8", QuotaName::Other),
            ("", QuotaName::Other),
            ("On-demand model inference tokens per minute for ", QuotaName::Other),
        ] {
            assert_eq!(parse(name), wanted, "{name}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(
            start in "(Global cross-region|On-demand|\\[bedrock-mantle endpoint\\]|Model invocation max tokens per day)?",
            rest in "\\PC{0,60}( for )?\\PC{0,30}(\\(doubled for cross-region calls\\))?",
        ) {
            let _ = parse(&format!("{start}{rest}"));
        }
    }
}
