//! Requests that no target of their route can take, whatever its state: what they ask for that no target has.

use crate::bedrock::Features;
use crate::bedrock::betas::{FlaggedMember, Orphan};

/// What runs at the mantle endpoint alone.
const OF_MANTLE: [Features; 3] =
    [Features::WEB_SEARCH, Features::SERVER_TOOLS, Features::BACKGROUND];

/// Where clients of the gateway have tokens counted in that form, unless the config has another prefix.
const COUNT_PATH: &str = "/anthropic/v1/messages/count_tokens";

/// Why no target of a route can take a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unservable {
    /// None has these features.
    #[error("no target of the model {model} has {}{}", missing.names(), hint(*missing))]
    Features { model: String, missing: Features },
    /// The tokens of the model are counted in another form only.
    #[error(
        "Bedrock Runtime's CountTokens does not count for the model {model}; the mantle endpoint does, in the form of Anthropic's API. Send the messages to {COUNT_PATH} of this gateway."
    )]
    CountedAtMantle { model: String },
    /// None takes the flag of a member.
    #[error(
        "{} needs the beta flag {}, which no target of the model {model} takes: without the flag it would be ignored or refused, so the gateway does not send it.{}",
        orphan.member.name(), orphan.flag, instead_of(orphan.member)
    )]
    BetaFlag { model: String, orphan: Orphan },
}

impl Unservable {
    /// The member of the request that asks for it.
    pub(super) fn param(&self) -> Option<&'static str> {
        let missing = match self {
            Unservable::Features { missing, .. } => *missing,
            Unservable::BetaFlag { orphan, .. } => return Some(orphan.member.name()),
            Unservable::CountedAtMantle { .. } => return None,
        };
        let params = [
            (Features::WEB_SEARCH, "tools"),
            (Features::SERVER_TOOLS, "tools"),
            (Features::BACKGROUND, "background"),
            (Features::OUTPUT_CONFIG_FORMAT, "output_config.format"),
        ];
        params.into_iter().find(|(feature, _)| missing.contains(*feature)).map(|(_, param)| param)
    }
}

/// What to do where an endpoint lacks a feature.
fn hint(missing: Features) -> &'static str {
    if OF_MANTLE.into_iter().any(|it| missing.contains(it)) {
        ": Bedrock Runtime runs no tools itself and answers nothing in the background. Leave it out of the request, or add a target with endpoint = \"mantle\" to the route."
    } else if missing.contains(Features::OUTPUT_CONFIG_FORMAT) {
        ": the mantle endpoint does not take it. Send output_format with its beta flag, or add a target at Bedrock Runtime to the route."
    } else {
        ""
    }
}

/// What to send in place of a member.
fn instead_of(member: FlaggedMember) -> &'static str {
    match member {
        FlaggedMember::OutputFormat => {
            " At Bedrock Runtime send output_config.format, which needs no flag."
        }
        _ => "",
    }
}
