//! What the policy of a client says to its request, at the points where enough is known of it:
//! when the call is parsed, when the body is there, and when its targets are found.
//!
//! A client without a policy costs a look at a `None`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::exchange::Exchange;
use super::refusal::Refusal;
use crate::bedrock::guardrail::{self, Named};
use crate::bedrock::path::{Call, Resource};
use crate::bedrock::{ModelId, Operation};
use crate::clients::Denied;
use crate::routing::Target;

/// Looks at operation, model and guardrail, before the body is read. `is_own` is a request of
/// another room's, which names the model it prefers and not one that its client asked for.
pub(super) fn check_call(
    exchange: &Exchange,
    call: &Call,
    headers: &HeaderMap,
    is_own: bool,
) -> Result<(), Denied> {
    let Some(policy) = &exchange.policy else { return Ok(()) };
    policy.operation(call.operation)?;
    match &call.resource {
        Resource::Model(model) => {
            if !is_own {
                policy.model(model)?;
            }
            // Also where the upstream is not known to look at them: it may come to.
            policy.guardrail_headers(headers)
        }
        Resource::Guardrail { identifier, version } => policy.guardrail(&Named {
            identifier: Some(identifier.clone()),
            version: Some(version.clone()),
        }),
        Resource::Invocation(_) | Resource::None => Ok(()),
    }
}

/// Looks at what the body names. A Converse body without the guardrail that it must have gets it.
pub(super) fn check_body(
    exchange: &Exchange,
    operation: Operation,
    body: Bytes,
) -> Result<Bytes, Refusal> {
    let Some(policy) = &exchange.policy else { return Ok(body) };
    if operation == Operation::StartAsyncInvoke && policy.has_models() {
        let models = guardrail::async_models(&body)?;
        if models.is_empty() {
            return Err(Denied::Model { model: "none".to_owned() }.into());
        }
        for model in models {
            let known = ModelId::new(&model).map_err(|_| Denied::Model { model })?;
            policy.model(&known)?;
        }
    }
    if !operation.is_converse() || !policy.has_guardrails() {
        return Ok(body);
    }
    let named = guardrail::named_in_converse(&body)?;
    for one in &named {
        policy.guardrail(one)?;
    }
    match policy.forced_guardrail() {
        Some(forced) if named.is_empty() => {
            let changed = guardrail::put_in(&body, &forced.identifier, &forced.version);
            Ok(changed.unwrap_or(body))
        }
        _ => Ok(body),
    }
}

/// Whether a target may be called for the client.
pub(super) fn may_call(exchange: &Exchange, target: &Target) -> bool {
    let policy = exchange.policy.as_ref();
    policy.is_none_or(|policy| policy.may_call(&target.model, &target.base_model))
}

/// Names the guardrail that the request must have, in the headers that go upstream: only there,
/// since a client has ways to have its own headers left out.
pub(super) fn add_guardrail(exchange: &Exchange, operation: Operation, headers: &mut HeaderMap) {
    let forced = exchange.policy.as_ref().and_then(|policy| policy.forced_guardrail());
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
