//! The translations of one request: its body as each model gets it that does not take it as it came.
//!
//! A translation is made when a candidate needs it, once for all candidates whose models are alike, and kept
//! for retries. What the client says in headers, and Converse takes in its body, goes into the translation.
//!
//! Messages go to Claude by InvokeModel, which has the same schema, and all else goes by Converse.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use super::context::RequestContext;
use crate::api::messages_headers;
use crate::bedrock::betas::{self, Filtered};
use crate::bedrock::sigv4::PayloadHash;
use crate::bedrock::{Api, Family, ModelId, Operation, ServiceTier, body, guardrail};
use crate::bridge::conversation::Json;
use crate::bridge::invoke::to_claude;
use crate::bridge::{AnswerContext, DropPolicy, Hub, Model, Refusal, Source};
use crate::catalogue::{BetaSurface, Surface};
use crate::routing::Target;

static TRACE: HeaderName = HeaderName::from_static("x-amzn-bedrock-trace");
static LATENCY: HeaderName = HeaderName::from_static("x-amzn-bedrock-performanceconfig-latency");

/// The form in which a request comes, if it can be translated; `family` is that of its body.
pub(super) fn source(operation: Operation, family: Family) -> Option<Source> {
    Some(match operation {
        Operation::CreateChatCompletion => Source::ChatCompletions,
        Operation::CreateResponse => Source::Responses,
        Operation::CreateMessage => Source::Messages,
        Operation::Converse | Operation::ConverseStream => Source::Converse,
        Operation::InvokeModel | Operation::InvokeModelWithResponseStream
            if family == Family::Anthropic =>
        {
            Source::InvokeClaude
        }
        _ => return None,
    })
}

/// How a target gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As it came.
    PassThrough,
    /// Translated; the number of the translation among [`Translations`], once it is made.
    Translated(Option<u8>),
}

/// A request as targets with one model get it.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) operation: Operation,
    pub(super) body: Bytes,
    /// The hash of the body, once it is needed.
    pub(super) hash: OnceLock<PayloadHash>,
    /// What the target does not get, with commas between the names.
    pub(super) dropped: Option<Box<str>>,
    /// The beta flags that it does not get.
    pub(super) dropped_betas: Option<Box<str>>,
    /// What translates the answer back.
    pub(super) back: Back,
}

impl Translated {
    /// What it is translated into, as headers, logs and metrics name it.
    pub(super) fn to(&self) -> &'static str {
        match self.operation.is_converse() {
            true => Surface::Converse.name(),
            false => Surface::InvokeModel.name(),
        }
    }
}

/// What translates an answer back.
#[derive(Debug)]
pub(super) enum Back {
    /// From Converse.
    Converse(AnswerContext),
    /// From InvokeModel of Claude, for a client of Messages.
    Claude,
}

/// The translations of one request.
#[derive(Debug)]
pub(super) struct Translations {
    source: Source,
    requested: ModelId,
    streams: bool,
    headers: FromHeaders,
    /// The id of the kept response that the request continues.
    continues: Option<Box<str>>,
    /// Whether the gateway keeps the answer.
    is_kept: bool,
    made: Vec<Made>,
}

/// What was made for a model.
#[derive(Debug)]
struct Made {
    model: Model,
    by_invoke: bool,
    result: Result<Translated, Refusal>,
}

/// What headers say and Converse takes in its body.
#[derive(Debug, Default)]
struct FromHeaders {
    /// The member `guardrailConfig`.
    guardrail: Option<String>,
    tier: Option<&'static str>,
    /// The member `performanceConfig`.
    performance: Option<String>,
    /// The beta flags, as Converse takes them and as InvokeModel does.
    betas: [Filtered; 2],
}

impl Translations {
    /// None so far, of a request in this form.
    pub(super) fn new(
        source: Source,
        requested: &ModelId,
        context: &RequestContext,
        headers: &HeaderMap,
    ) -> Translations {
        Translations {
            source,
            requested: requested.clone(),
            streams: context.call.streams,
            headers: FromHeaders::read(source, context, headers),
            continues: None,
            is_kept: false,
            made: Vec::new(),
        }
    }

    /// The same of a request that continues a kept response, or whose answer is kept.
    pub(super) fn with_kept(self, continues: Option<Box<str>>, is_kept: bool) -> Translations {
        Translations { continues, is_kept, ..self }
    }

    /// Makes the translation for a target's model, unless it is made, and gives its number. A model that is not
    /// the first choice answers in place of the one that was asked for.
    ///
    /// # Errors
    /// If the model can't carry the request, or no model can.
    pub(super) fn make(
        &mut self,
        target: &Target,
        is_first_choice: bool,
        body: &[u8],
        policy: &DropPolicy,
    ) -> Result<u8, Refusal> {
        let model = model_of(target);
        let by_invoke = self.goes_by_invoke(target);
        let is_alike = |made: &Made| made.model == *model && made.by_invoke == by_invoke;
        let number = match self.made.iter().position(is_alike) {
            Some(number) => number,
            None => {
                let result = match (by_invoke, is_first_choice) {
                    (true, _) => self.for_claude(target, body, policy),
                    (false, true) => self.for_converse(&model, body, policy),
                    (false, false) => self.for_converse(&model, body, &policy.for_another_model()),
                };
                self.made.push(Made { model: model.into_owned(), by_invoke, result });
                self.made.len() - 1
            }
        };
        match self.made.get(number).map(|made| &made.result) {
            Some(Err(refusal)) => Err(refusal.clone()),
            // More models than that are in no route.
            _ => u8::try_from(number).map_err(|_| too_many()),
        }
    }

    /// Whether a target gets the request by InvokeModel. A guardrail goes into the body of Converse.
    fn goes_by_invoke(&self, target: &Target) -> bool {
        self.source == Source::Messages
            && self.headers.guardrail.is_none()
            && target.capabilities().is_invoked_claude()
    }

    /// The translation with this number.
    pub(super) fn get(&self, number: u8) -> Option<&Translated> {
        self.made.get(usize::from(number))?.result.as_ref().ok()
    }

    fn for_claude(
        &self,
        target: &Target,
        body: &[u8],
        policy: &DropPolicy,
    ) -> Result<Translated, Refusal> {
        let [_, betas] = &self.headers.betas;
        let to_claude::Request { body, dropped } = to_claude::request(body, &betas.kept, policy)?;
        let mut body = Bytes::from(body);
        let operation = match self.streams {
            true => Operation::InvokeModelWithResponseStream,
            false => Operation::InvokeModel,
        };
        if let Ok(peek) = body::peek(operation, Family::Anthropic, &body)
            && let Some(cap) = target.cap(&self.requested, peek.thinking_budget)
        {
            body = body::clamp(&body, &peek, cap).unwrap_or(body);
        }
        Ok(Translated {
            operation,
            body,
            hash: OnceLock::new(),
            dropped: joined(&dropped, ", "),
            dropped_betas: joined(&betas.dropped, ","),
            back: Back::Claude,
        })
    }

    fn for_converse(
        &self,
        model: &Model,
        body: &[u8],
        policy: &DropPolicy,
    ) -> Result<Translated, Refusal> {
        let mut hub = Hub::read(self.source, body, policy)?;
        hub.echo.previous_response_id = self.continues.as_deref().map(str::to_owned);
        hub.echo.is_stored = self.is_kept;
        let headers = &self.headers;
        // The operation says it, of Bedrock's own.
        hub.conversation.streams = self.streams;
        if hub.echo.model.is_empty() {
            // Of InvokeModel the path says it.
            self.requested.as_str().clone_into(&mut hub.echo.model);
        }
        let conversation = &mut hub.conversation;
        if let Some(guardrail) = &headers.guardrail {
            conversation.guardrail = Some(Json(Cow::Borrowed(guardrail)));
        }
        if conversation.service_tier.is_none() {
            conversation.service_tier = headers.tier;
        }
        let [betas, _] = &headers.betas;
        if model.is_claude() {
            conversation.betas.extend(betas.kept.iter().map(|flag| Cow::Borrowed(&**flag)));
        }
        let translation = hub.write(model, policy)?;
        let mut body = translation.body;
        if let Some(performance) = &headers.performance {
            insert_first(&mut body, performance);
        }
        Ok(Translated {
            operation: translation.operation,
            body: body.into(),
            hash: OnceLock::new(),
            dropped: joined(&translation.dropped, ", "),
            dropped_betas: joined(&betas.dropped, ","),
            back: Back::Converse(translation.answer),
        })
    }
}

impl FromHeaders {
    fn read(source: Source, context: &RequestContext, headers: &HeaderMap) -> FromHeaders {
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

/// What translations must know of a target's model; its largest answer may have been learned.
fn model_of(target: &Target) -> Cow<'_, Model> {
    let model = target.translated_model();
    match target.named_output() {
        Some(learned) if model.max_output_tokens.is_none() => {
            Cow::Owned(Model { max_output_tokens: Some(learned), ..model.clone() })
        }
        _ => Cow::Borrowed(model),
    }
}

/// Names in one text; `None` if there are none.
fn joined(names: &[impl AsRef<str>], between: &str) -> Option<Box<str>> {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    (!names.is_empty()).then(|| names.join(between).into())
}

/// Puts a member in front of those of an object that has some.
fn insert_first(object: &mut Vec<u8>, member: &str) {
    if object.first() == Some(&b'{') {
        let text = format!("{member},");
        object.splice(1..1, text.bytes());
    }
}

fn too_many() -> Refusal {
    let message = "the route has too many models that need a translation".to_owned();
    Refusal { param: None, message, is_of_model: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_that_can_be_translated_has_a_form() {
        for operation in Operation::ALL {
            for family in [Family::Anthropic, Family::Nova] {
                let Some(source) = source(operation, family) else {
                    assert!(
                        !operation.is_routed()
                            || operation.counts_tokens()
                            || family == Family::Nova
                    );
                    continue;
                };
                assert_eq!(source.api(), operation.api());
            }
        }
    }

    #[test]
    fn a_member_is_inserted_before_the_others() {
        let mut object = br#"{"messages":[]}"#.to_vec();
        insert_first(&mut object, r#""a":1"#);
        assert_eq!(object, br#"{"a":1,"messages":[]}"#);
    }
}
