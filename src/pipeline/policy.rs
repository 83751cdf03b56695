//! What a client's policy allows of its request, and what it adds.
//!
//! The policy is asked in two steps of the stack, both here. [`CheckHead`] refuses what the head
//! shows before the body is read. [`CheckBody`] does the rest once the body is in memory; if it took
//! the body to know the client, that includes the checks of the head. Later steps apply what was
//! decided: routing leaves out targets that are not allowed ([`allows_target`]), and the attempts
//! add the guardrail that the policy forces.
//!
//! A client without a policy costs one `Option` check.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, request};
use http_body::Body;

use super::context::RequestContext;
use super::error::{GatewayError, RequestError};
use super::gateway::Gateway;
use super::headers::ForcedGuardrail;
use super::inbound::InternalRequest;
use super::stage::{AuthorizedRequest, BufferedRequest, ParsedRequest};
use super::step::Step;
use crate::bedrock::guardrail::{self, Named};
use crate::bedrock::path::{Call, Resource};
use crate::bedrock::{ModelId, Operation};
use crate::config::Priority;
use crate::limits::PolicyDenial;
use crate::routing::Target;

static PRIORITY: HeaderName = HeaderName::from_static("x-sluice-priority");

/// Checks operation, model and guardrail before the body is read.
#[derive(Clone, Debug)]
pub(super) struct CheckHead;

impl<B> Step<ParsedRequest<B>> for CheckHead
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Out = ParsedRequest<B>;

    fn apply(&self, request: ParsedRequest<B>) -> Result<ParsedRequest<B>, RequestError> {
        let ParsedRequest { observed, call, .. } = &request;
        // While the client is unknown it has no policy.
        match check_head(&observed.context, call, &observed.inbound.head) {
            Ok(()) => Ok(request),
            Err(denied) => Err(request.observed.reject(denied.into())),
        }
    }
}

/// Checks what the body names, adds the guardrail that the request must have, and sets the
/// request's priority.
#[derive(Clone, Debug)]
pub(super) struct CheckBody;

impl Step<Box<BufferedRequest>> for CheckBody {
    type Out = AuthorizedRequest;

    fn apply(&self, mut request: Box<BufferedRequest>) -> Result<AuthorizedRequest, RequestError> {
        match authorize(&mut request) {
            Ok(guardrail) => Ok(AuthorizedRequest { buffered: request, guardrail }),
            Err(error) => Err(RequestError { error, context: request.context }),
        }
    }
}

fn authorize(request: &mut BufferedRequest) -> Result<Option<ForcedGuardrail>, GatewayError> {
    let BufferedRequest { head, context, call, body, hash, was_pending, .. } = request;
    // Of some APIs only the body shows the model.
    if *was_pending || call.operation.has_model_in_body() {
        if let Some(limit) = max_body(context, head).filter(|limit| body.len() > *limit) {
            return Err(PolicyDenial::Body { limit }.into());
        }
        check_head(context, call, head)?;
    }
    context.call.has_guardrail = has_guardrail(context, call.operation, &head.headers)?;
    if let Some(changed) = check_body(context, call.operation, body)? {
        (*body, *hash) = (changed, None);
    }
    check_client(context, call)?;
    let asked = requested_priority(&head.headers, context.gateway());
    context.caller.priority = context.policy().map_or(asked, |policy| policy.priority(asked));
    Ok(forced_guardrail(context, call.operation)?)
}

fn check_head(
    context: &RequestContext,
    call: &Call,
    head: &request::Parts,
) -> Result<(), PolicyDenial> {
    let Some(policy) = context.policy() else { return Ok(()) };
    let internal = head.extensions.get::<InternalRequest>();
    let part_of = internal.and_then(|internal| internal.part_of.as_ref());
    policy.operation(part_of.map_or(call.operation, |it| it.operation))?;
    match &call.resource {
        Resource::Model(model) => {
            // An internal request names the model that the calling module chose, not one that the
            // client asked for.
            if internal.is_none() {
                policy.model(model)?;
            }
            // Also for operations whose upstream ignores these headers today.
            policy.guardrail_headers(&head.headers)
        }
        Resource::Guardrail { identifier, version } => policy.guardrail(&Named {
            identifier: Some(identifier.clone()),
            version: Some(version.clone()),
        }),
        Resource::Described(identifier) => match ModelId::new(identifier) {
            Ok(model) => policy.model(&model),
            Err(_) => Err(PolicyDenial::Model { model: identifier.clone() }),
        },
        // The model of the others is known once the body is read.
        Resource::Invocation(_)
        | Resource::Response(_)
        | Resource::Listed(_)
        | Resource::InBody
        | Resource::None => Ok(()),
    }
}

/// Whether a request of OpenAI's or Anthropic's APIs has a guardrail, by its headers or by its client's policy.
/// Only the runtime endpoint has guardrails, and only for Chat Completions: a header that would have no effect
/// is refused.
fn has_guardrail(
    context: &RequestContext,
    operation: Operation,
    headers: &HeaderMap,
) -> Result<bool, GatewayError> {
    if !operation.has_model_in_body() || operation.counts_tokens() {
        return Ok(false);
    }
    let is_named = headers.contains_key(guardrail::IDENTIFIER);
    if is_named && operation != Operation::CreateChatCompletion {
        let (operation, header) = (operation.name(), guardrail::IDENTIFIER);
        return Err(GatewayError::GuardrailHeader { operation, header });
    }
    let forced = context.policy().and_then(|policy| policy.forced_guardrail());
    Ok(is_named || forced.is_some())
}

/// Checks what the body names. Returns the changed body if the policy adds its guardrail to it.
fn check_body(
    context: &RequestContext,
    operation: Operation,
    body: &[u8],
) -> Result<Option<Bytes>, GatewayError> {
    let Some(policy) = context.policy() else { return Ok(None) };
    if operation == Operation::StartAsyncInvoke && policy.has_models() {
        let models = guardrail::async_models(body)?;
        if models.is_empty() {
            return Err(PolicyDenial::Model { model: "none".to_owned() }.into());
        }
        for model in models {
            let known = ModelId::new(&model).map_err(|_| PolicyDenial::Model { model })?;
            policy.model(&known)?;
        }
    }
    if !operation.is_converse() || !policy.has_guardrails() {
        return Ok(None);
    }
    let named = guardrail::named_in_converse(body)?;
    for one in &named {
        policy.guardrail(one)?;
    }
    let Some(forced) = policy.forced_guardrail().filter(|_| named.is_empty()) else {
        return Ok(None);
    };
    let changed = guardrail::put_in(body, &forced.identifier, &forced.version);
    Ok(Some(changed.ok_or_else(|| PolicyDenial::OtherGuardrail(forced.clone()))?))
}

/// Checks that the client may make this kind of call at all.
fn check_client(context: &RequestContext, call: &Call) -> Result<(), PolicyDenial> {
    let operation = call.operation;
    // The lists of the control plane are the account's, so only named clients may see them.
    let is_named = context.caller.client.as_ref().is_some_and(|client| client.record().is_some());
    if operation.is_control_plane() && !is_named {
        return Err(PolicyDenial::Unnamed { operation: operation.name() });
    }
    // No budget can count what an asynchronous invocation costs: the policy must name it.
    let is_uncounted = operation == Operation::StartAsyncInvoke && context.account().is_some();
    if is_uncounted && !context.policy().is_some_and(|policy| policy.names(operation)) {
        return Err(PolicyDenial::Uncounted { operation: operation.name() });
    }
    Ok(())
}

/// The client's own bound on a request's body, if that is less than the server's. An internal
/// request has none: it is larger than the request of the client that it was made from.
pub(super) fn max_body(context: &RequestContext, head: &request::Parts) -> Option<usize> {
    if head.extensions.get::<InternalRequest>().is_some() {
        return None;
    }
    context.policy()?.max_body(context.gateway().config.server.max_body)
}

/// Whether the request may be sent to `target`.
pub(super) fn allows_target(context: &RequestContext, target: &Target) -> bool {
    let policy = context.policy();
    policy.is_none_or(|policy| policy.may_call(&target.model, target.base_model()))
}

/// The priority that the client asks for with `x-sluice-priority`, else normal; never above the
/// config's maximum.
fn requested_priority(headers: &HeaderMap, gateway: &Gateway) -> Priority {
    let asked = match headers.get(&PRIORITY).and_then(|value| value.to_str().ok()) {
        Some(text) if text.eq_ignore_ascii_case("high") => Priority::High,
        Some(text) if text.eq_ignore_ascii_case("low") => Priority::Low,
        _ => Priority::Normal,
    };
    asked.min(gateway.config.queue.max_priority)
}

/// The guardrail that the request must have, for an operation that names it in its headers. The
/// attempts set these headers after they removed what the client does not want forwarded: a client
/// could list them in its `connection` header.
fn forced_guardrail(
    context: &RequestContext,
    operation: Operation,
) -> Result<Option<ForcedGuardrail>, PolicyDenial> {
    let is_named_in_headers = matches!(
        operation,
        Operation::InvokeModel
            | Operation::InvokeModelWithResponseStream
            | Operation::CreateChatCompletion
    );
    let forced = context.policy().and_then(|policy| policy.forced_guardrail());
    let Some(forced) = forced.filter(|_| is_named_in_headers) else { return Ok(None) };
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| PolicyDenial::OtherGuardrail(forced.clone()))
    };
    let (identifier, version) = (value(&forced.identifier)?, value(&forced.version)?);
    Ok(Some(ForcedGuardrail { identifier, version }))
}
