//! The translations of one request: its body as each model gets it that does not take it as it came.
//!
//! A translation is made when a candidate needs it, once for all candidates whose models are alike, and kept
//! for retries. What the client says in headers, and Converse takes in its body, goes into the translation.
//!
//! Messages go to Claude by InvokeModel, which has the same schema, and all else goes by Converse.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderMap;

use super::context::RequestContext;
use super::offload::LARGE_TRANSLATION;
use super::remote_media::MediaState;
use super::translated_headers::FromHeaders;
use crate::bedrock::sigv4::PayloadHash;
use crate::bedrock::{Family, ModelId, Operation, body};
use crate::bridge::conversation::Json;
use crate::bridge::invoke::to_claude;
use crate::bridge::remote_media::RemoteMedia;
use crate::bridge::{AnswerContext, CachePolicy, DropPolicy, Hub, Model, Refusal, Source};
use crate::catalogue::Surface;
use crate::routing::Target;

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
    /// What was added to cache the prompt, with commas between the names.
    pub(super) added: Option<Box<str>>,
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
    cache_policy: CachePolicy,
    /// What is at addresses in the request.
    pub(super) media: MediaState,
    /// What may be left out of a request that the gateway made itself, whatever the config says of clients'.
    own_policy: Option<DropPolicy>,
    made: Vec<Made>,
}

/// Why there is no translation.
enum NotMade {
    Refused(Refusal),
    /// These must be fetched first. All else of the request can be translated.
    Needs(Vec<RemoteMedia>),
}

impl From<Refusal> for NotMade {
    fn from(refusal: Refusal) -> NotMade {
        NotMade::Refused(refusal)
    }
}

/// What was made for a model.
#[derive(Debug)]
struct Made {
    model: Arc<Model>,
    by_invoke: bool,
    result: Result<Translated, Refusal>,
}

impl Translations {
    /// None so far, of a request in this form. `is_own` says that the gateway has made it, and not a client.
    pub(super) fn new(
        source: Source,
        requested: &ModelId,
        context: &RequestContext,
        headers: &HeaderMap,
        is_own: bool,
    ) -> Translations {
        let adapting =
            DropPolicy { drops: true, is_for_another_model: true, ..DropPolicy::default() };
        Translations {
            source,
            requested: requested.clone(),
            streams: context.call.streams,
            headers: FromHeaders::read(source, context, headers),
            continues: None,
            is_kept: false,
            cache_policy: context.gateway().cache_policy,
            media: MediaState::new(context.gateway()),
            own_policy: is_own.then_some(adapting),
            made: Vec::new(),
        }
    }

    /// The same of a request that continues a kept response, or whose answer is kept.
    pub(super) fn with_kept(self, continues: Option<Box<str>>, is_kept: bool) -> Translations {
        Translations { continues, is_kept, ..self }
    }

    /// Makes the translation for a target's model, unless it is made, and gives its number; `None` if what is at
    /// addresses must be fetched first. A model that is not the first choice answers in place of the one that was
    /// asked for.
    ///
    /// # Errors
    /// If the model can't carry the request, or no model can.
    pub(super) fn make(
        &mut self,
        target: &Target,
        is_first_choice: bool,
        body: &[u8],
        policy: &DropPolicy,
    ) -> Result<Option<u8>, Refusal> {
        let model = model_of(target);
        let by_invoke = self.goes_by_invoke(target);
        let is_alike = |made: &Made| made.model == model && made.by_invoke == by_invoke;
        let number = match self.made.iter().position(is_alike) {
            Some(number) => number,
            None => {
                let policy = self.own_policy.as_ref().unwrap_or(policy);
                let made = match (by_invoke, is_first_choice) {
                    (true, _) => self.for_claude(target, body, policy),
                    (false, true) => self.for_converse(&model, body, policy),
                    (false, false) => self.for_converse(&model, body, &policy.for_another_model()),
                };
                let result = match made {
                    Ok(translated) => Ok(translated),
                    Err(NotMade::Refused(refusal)) => Err(refusal),
                    Err(NotMade::Needs(media)) => {
                        self.media = MediaState::Needed(media);
                        return Ok(None);
                    }
                };
                self.made.push(Made { model, by_invoke, result });
                self.made.len() - 1
            }
        };
        match self.made.get(number).map(|made| &made.result) {
            Some(Err(refusal)) => Err(refusal.clone()),
            // More models than that are in no route.
            _ => u8::try_from(number).map(Some).map_err(|_| too_many()),
        }
    }

    /// Bytes of the translations that are made.
    pub(super) fn bytes(&self) -> usize {
        let made = self.made.iter().filter_map(|made| made.result.as_ref().ok());
        made.map(|translated| translated.body.len()).sum()
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
    ) -> Result<Translated, NotMade> {
        let [_, betas] = &self.headers.betas;
        let with_media = match self.media.fetched() {
            [] => Cow::Borrowed(body),
            fetched => Cow::Owned(to_claude::with_media(body, fetched)),
        };
        let cached = to_claude::cached_by(&with_media, self.cache_policy, &model_of(target));
        let (cached, added) = match cached {
            Some((cached, added)) => (Cow::Owned(cached), added),
            None => (with_media, Vec::new()),
        };
        let to_claude::Request { body, dropped } =
            to_claude::request(&cached, &betas.kept, policy)?;
        if self.media.can_be_fetched() {
            let needed = to_claude::remote_media(&body);
            if !needed.is_empty() {
                return Err(NotMade::Needs(needed));
            }
        }
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
            hash: hash_of_large(&body),
            body,
            dropped: joined(&dropped, ", "),
            added: joined(&added, ", "),
            dropped_betas: joined(&betas.dropped, ","),
            back: Back::Claude,
        })
    }

    fn for_converse(
        &self,
        model: &Model,
        body: &[u8],
        policy: &DropPolicy,
    ) -> Result<Translated, NotMade> {
        let mut hub = Hub::read(self.source, body, policy)?;
        hub.echo.previous_response_id = self.continues.as_deref().map(str::to_owned);
        hub.echo.is_stored = self.is_kept;
        let headers = &self.headers;
        let mut needed = Vec::new();
        if self.media.can_be_fetched() {
            needed = hub.conversation.remote_media();
            hub.conversation.set_no_media();
        }
        for fetched in self.media.fetched() {
            hub.conversation.set_media(fetched);
        }
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
        let added = hub.conversation.cache_by(self.cache_policy, model);
        let translation = hub.write(model, policy)?;
        if !needed.is_empty() {
            return Err(NotMade::Needs(needed));
        }
        let mut body = translation.body;
        if let Some(performance) = &headers.performance {
            insert_first(&mut body, performance);
        }
        Ok(Translated {
            operation: translation.operation,
            hash: hash_of_large(&body),
            body: body.into(),
            dropped: joined(&translation.dropped, ", "),
            added: joined(&added, ", "),
            dropped_betas: joined(&betas.dropped, ","),
            back: Back::Converse(translation.answer),
        })
    }
}

/// What translations must know of a target's model; its largest answer may have been learned.
fn model_of(target: &Target) -> Arc<Model> {
    let model = target.translated_model();
    match target.named_output() {
        Some(learned) if model.max_output_tokens.is_none() => {
            Arc::new(Model { max_output_tokens: Some(learned), ..Model::clone(model) })
        }
        _ => Arc::clone(model),
    }
}

/// The hash of a large body, which is translated where it delays no other request, and would be hashed where it
/// does.
fn hash_of_large(body: &[u8]) -> OnceLock<PayloadHash> {
    match body.len() > LARGE_TRANSLATION {
        true => OnceLock::from(PayloadHash::of(body)),
        false => OnceLock::new(),
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
