//! What a client says in headers, and goes into the bodies of translated requests: the guardrail, the service tier,
//! the latency and the beta flags.

use http::{HeaderMap, HeaderName};

use super::context::RequestContext;
use crate::api::messages_headers;
use crate::bedrock::betas::{self, Filtered};
use crate::bedrock::{Api, ServiceTier, guardrail};
use crate::bridge::Source;
use crate::catalogue::BetaSurface;

static TRACE: HeaderName = HeaderName::from_static("x-amzn-bedrock-trace");
static LATENCY: HeaderName = HeaderName::from_static("x-amzn-bedrock-performanceconfig-latency");

/// What headers say and Converse takes in its body.
#[derive(Debug, Default)]
pub(super) struct FromHeaders {
    /// The member `guardrailConfig`.
    pub(super) guardrail: Option<String>,
    /// The service tier, by its name in Converse.
    pub(super) tier: Option<&'static str>,
    /// The member `performanceConfig`.
    pub(super) performance: Option<String>,
    /// The beta flags, as Converse takes them and as InvokeModel does.
    pub(super) betas: [Filtered; 2],
}

impl FromHeaders {
    /// Reads them, of a request in this form.
    pub(super) fn read(
        source: Source,
        context: &RequestContext,
        headers: &HeaderMap,
    ) -> FromHeaders {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let mut read = FromHeaders {
            guardrail: guardrail_config(context, headers, source),
            tier: ServiceTier::in_headers(headers).and_then(name_in_converse),
            performance: text(LATENCY.as_str()).filter(|latency| *latency != "standard").map(
                |latency| {
                    let config = serde_json::json!({ "latency": latency });
                    format!("\"performanceConfig\":{config}")
                },
            ),
            ..FromHeaders::default()
        };
        if source.api() == Api::Messages && headers.contains_key(&messages_headers::BETA) {
            let known = &context.gateway().config.known_models;
            read.betas = [BetaSurface::Converse, BetaSurface::InvokeModel].map(|surface| {
                betas::filter(headers.get_all(&messages_headers::BETA), known.betas(surface))
            });
        }
        read
    }
}

/// The guardrail that a request has by its headers or by its client's policy. That of a Converse request is in
/// its body already.
fn guardrail_config(
    context: &RequestContext,
    headers: &HeaderMap,
    source: Source,
) -> Option<String> {
    if source == Source::Converse {
        return None;
    }
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let forced = context.policy().and_then(|policy| policy.forced_guardrail());
    let (identifier, version) = match forced {
        Some(forced) => (forced.identifier.as_str(), Some(forced.version.as_str())),
        None => (text(guardrail::IDENTIFIER)?, text(guardrail::VERSION)),
    };
    let trace = text(TRACE.as_str()).map(str::to_ascii_lowercase);
    let members = [
        ("guardrailIdentifier", Some(identifier)),
        ("guardrailVersion", version),
        ("trace", trace.as_deref()),
    ];
    let config: serde_json::Map<String, serde_json::Value> = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    Some(serde_json::Value::Object(config).to_string())
}

/// The name of a tier in a body of Converse.
fn name_in_converse(tier: ServiceTier) -> Option<&'static str> {
    match tier {
        ServiceTier::Standard => Some("default"),
        ServiceTier::Flex | ServiceTier::Priority | ServiceTier::Reserved => Some(tier.name()),
        ServiceTier::Unknown => None,
    }
}
