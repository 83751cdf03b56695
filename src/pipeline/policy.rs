//! What the policy of a client says to its request, at the points where enough is known of it:
//! when the call is parsed, when the body is there, and when its targets are found.
//!
//! A client without a policy costs a look at a `None`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, request};

use super::InternalRequest;
use super::exchange::Exchange;
use super::refusal::Refusal;
use crate::bedrock::guardrail::{self, Named};
use crate::bedrock::path::{Call, Resource};
use crate::bedrock::{ModelId, Operation};
use crate::limits::Denied;
use crate::routing::Target;

/// Looks at operation, model and guardrail: before the body is read, unless it takes that to know
/// whose the request is.
pub(super) fn check_call(
    exchange: &Exchange,
    call: &Call,
    head: &request::Parts,
) -> Result<(), Denied> {
    let Some(policy) = exchange.policy() else { return Ok(()) };
    policy.operation(call.operation)?;
    match &call.resource {
        Resource::Model(model) => {
            // A request of another room's names the model that is preferred, and not one that its
            // client asked for.
            if head.extensions.get::<InternalRequest>().is_none() {
                policy.model(model)?;
            }
            // Also where the upstream is not known to look at them: it may come to.
            policy.guardrail_headers(&head.headers)
        }
        Resource::Guardrail { identifier, version } => policy.guardrail(&Named {
            identifier: Some(identifier.clone()),
            version: Some(version.clone()),
        }),
        Resource::Described(identifier) => match ModelId::new(identifier) {
            Ok(model) => policy.model(&model),
            Err(_) => Err(Denied::Model { model: identifier.clone() }),
        },
        Resource::Invocation(_) | Resource::None => Ok(()),
    }
}

/// The same for a request that only its body, of this length, has shown to be its client's.
pub(super) fn check_collected(
    exchange: &Exchange,
    call: &Call,
    head: &request::Parts,
    length: usize,
) -> Result<(), Denied> {
    let general = exchange.gateway().config.server.max_body;
    let own = exchange.policy().and_then(|policy| policy.max_body(general));
    if let Some(limit) = own.filter(|limit| length > *limit) {
        return Err(Denied::Body { limit });
    }
    check_call(exchange, call, head)
}

/// Looks at what the body names. A Converse body without the guardrail that it must have gets it:
/// the changed body is returned.
pub(super) fn check_body(
    exchange: &Exchange,
    operation: Operation,
    body: &[u8],
) -> Result<Option<Bytes>, Refusal> {
    let Some(policy) = exchange.policy() else { return Ok(None) };
    if operation == Operation::StartAsyncInvoke && policy.has_models() {
        let models = guardrail::async_models(body)?;
        if models.is_empty() {
            return Err(Denied::Model { model: "none".to_owned() }.into());
        }
        for model in models {
            let known = ModelId::new(&model).map_err(|_| Denied::Model { model })?;
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
    Ok(policy
        .forced_guardrail()
        .filter(|_| named.is_empty())
        .and_then(|forced| guardrail::put_in(body, &forced.identifier, &forced.version)))
}

/// Looks at who makes a call of the control plane, once that is known. What it lists is the account's,
/// so it is nothing for just anybody.
pub(super) fn check_control_plane(exchange: &Exchange, call: &Call) -> Result<(), Denied> {
    let member = exchange.client.as_ref().and_then(|client| client.record());
    let unnamed = || Denied::Unnamed { operation: call.operation.name() };
    member.map(|_| ()).ok_or_else(unnamed)
}

/// Whether a target may be called for the client.
pub(super) fn may_call(exchange: &Exchange, target: &Target) -> bool {
    let policy = exchange.policy();
    policy.is_none_or(|policy| policy.may_call(&target.model, target.base_model()))
}

/// Names the guardrail that the request must have, in the headers that go upstream: only there,
/// since a client has ways to have its own headers left out.
pub(super) fn add_guardrail(exchange: &Exchange, operation: Operation, headers: &mut HeaderMap) {
    let forced = exchange.policy().and_then(|policy| policy.forced_guardrail());
    let Some(forced) = forced.filter(|_| names_guardrail_by_header(operation)) else { return };
    for (name, text) in
        [(guardrail::IDENTIFIER, &forced.identifier), (guardrail::VERSION, &forced.version)]
    {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
}

fn names_guardrail_by_header(operation: Operation) -> bool {
    matches!(operation, Operation::InvokeModel | Operation::InvokeModelWithResponseStream)
}
