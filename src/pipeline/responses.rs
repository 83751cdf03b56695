//! Stored responses: which request may store one, and where one is that a request names.
//!
//! An upstream keeps a response where it was made: at one endpoint, in one region, of one account. The id that
//! the client gets names this place (`api::response_id`), so a request that continues, reads, cancels or deletes
//! the response goes there and nowhere else. Translated responses are kept by the gateway itself, if at all:
//! `kept_responses.rs` and `keeping.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::context::RequestContext;
use super::error::GatewayError;
use super::gateway::Gateway;
use super::keeping::Keeper;
use super::routed::RoutedRequest;
use crate::api::response_id::{Owner, PREFIX, Place, ResponseIdError, SealError};
use crate::api::response_rewrite::{rewrite_body, rewrite_event};
use crate::bedrock::body::Parameters;
use crate::config::StoreResponses;
use crate::routing::{Route, StoresResponses, Target};

/// What is special to a request of the Responses API.
#[derive(Debug)]
pub(super) struct ResponsesCall {
    /// What its client stores belongs to.
    owner: Owner,
    /// What the member `store` is set to; `None`: as the client has it.
    pub(super) store: Option<bool>,
    /// Whether the answer may be stored.
    pub(super) is_stored: bool,
    /// The upstream's id of the response that the request names.
    pub(super) named: Option<String>,
    /// Whether the gateway keeps the answer, if it is a translated one.
    pub(super) is_kept: bool,
}

/// The places at which the targets of a gateway store responses.
#[derive(Debug)]
pub(crate) struct Places(HashMap<Place, Arc<Target>>);

impl Places {
    /// Those of the targets of a gateway, models without a route among them.
    pub(crate) fn of(gateway: &Gateway) -> Places {
        let router = &gateway.router;
        let unrouted = router.default_route().targets.first();
        let all = router.targets().iter().chain(unrouted);
        Places(all.map(|target| (place(target), Arc::clone(target))).collect())
    }
}

/// The place at which a target stores responses.
fn place(target: &Target) -> Place {
    Place::of(&target.name, &target.endpoint.region, target.capabilities().service)
}

impl ResponsesCall {
    /// That of a request to create a response, whose route is `route`. Gives the route that the request must
    /// take instead, if it continues a stored response.
    pub(super) fn create(
        context: &RequestContext,
        parameters: &Parameters,
        route: &Route,
    ) -> Result<(ResponsesCall, Option<Arc<Route>>), GatewayError> {
        if parameters.has_conversation {
            return Err(GatewayError::Conversation);
        }
        // Ids of items are the upstream's own, so they say nothing of whose the items are.
        if let Some(position) = parameters.item_reference {
            return Err(GatewayError::ItemReference { position });
        }
        let may_store = !forbids_keeping(context);
        let named = parameters.previous_response_id.as_deref();
        let store = match route.stores_responses {
            _ if !may_store => Some(false),
            StoresResponses::Never => Some(false),
            // By default a client's responses would be spread over several regions; but its own word counts, and
            // an answer in the background is one to be fetched.
            StoresResponses::IfAsked if !parameters.names_store && !parameters.background => {
                Some(false)
            }
            StoresResponses::IfAsked | StoresResponses::Always => None,
        };
        let is_stored = store.unwrap_or(parameters.store);
        let is_kept = context.gateway().response_store.is_some() && may_store && parameters.store;
        let owner = owner(context);
        let Some(named) = named else {
            return Ok((ResponsesCall { owner, store, is_stored, named: None, is_kept }, None));
        };
        let (id, route) = open(context, owner, named, Some("previous_response_id"))?;
        Ok((ResponsesCall { owner, store, is_stored, named: Some(id), is_kept }, Some(route)))
    }

    /// That of a request about the stored response `named`, and the route that the request takes.
    pub(super) fn on_stored(
        context: &RequestContext,
        named: &str,
    ) -> Result<(ResponsesCall, Arc<Route>), GatewayError> {
        let owner = owner(context);
        let (id, route) = open(context, owner, named, None)?;
        let call =
            ResponsesCall { owner, store: None, is_stored: true, named: Some(id), is_kept: false };
        Ok((call, route))
    }

    /// What seals the ids in the answer of `target`; `None` if it names no stored response. One that is not stored
    /// itself names the response that it continues.
    pub(super) fn sealer(&self, gateway: &Arc<Gateway>, target: &Target) -> Option<IdSealer> {
        (self.is_stored || self.named.is_some()).then(|| IdSealer {
            gateway: Arc::clone(gateway),
            place: place(target),
            owner: self.owner,
        })
    }
}

/// What keeps the answer to a translated request; `None` if it is not to be kept.
pub(super) fn keeper(routed: &RoutedRequest) -> Option<Keeper> {
    let call = routed.responses.as_ref().filter(|call| call.is_kept)?;
    let context = &routed.context;
    Some(Keeper {
        store: context.gateway().response_store.clone()?,
        owner: call.owner,
        id: format!("{PREFIX}{}", context.request_id.simple()),
        request: routed.body.clone(),
    })
}

/// Whether a chat that asks to be stored must not be.
pub(super) fn forbids_stored_chat(context: &RequestContext, parameters: &Parameters) -> bool {
    parameters.store && forbids_storing(context)
}

/// Whether the client's policy or the config allows nothing to be stored.
fn forbids_storing(context: &RequestContext) -> bool {
    forbids_keeping(context)
        || context.gateway().config.apis.responses.store == StoreResponses::Never
}

/// Whether the client's policy allows nothing to be kept, neither by upstreams nor here.
pub(super) fn forbids_keeping(context: &RequestContext) -> bool {
    context.policy().is_some_and(|policy| !policy.has_stored_responses())
}

/// The error of an id that is unknown, or another client's. `param` is the member of the request that has it.
pub(super) fn not_found(id: &str, param: Option<&'static str>) -> GatewayError {
    GatewayError::StoredResponse { error: ResponseIdError::Malformed, id: id.into(), param }
}

/// The upstream's id behind the id that a client names, in this member of its request or in the path, and the
/// route to the target that has the response.
fn open(
    context: &RequestContext,
    owner: Owner,
    named: &str,
    param: Option<&'static str>,
) -> Result<(String, Arc<Route>), GatewayError> {
    let refuse = |error: ResponseIdError| {
        let id = named.into();
        GatewayError::StoredResponse { error, id, param }
    };
    if forbids_storing(context) {
        return Err(not_found(named, param));
    }
    let gateway = context.gateway();
    let find = |place| gateway.places().0.get(&place).cloned();
    let stored = gateway.response_ids.open(named, owner, find).map_err(refuse)?;
    Ok((stored.id, gateway.router.route_to(stored.place)))
}

/// The client that what a request stores belongs to.
pub(super) fn owner(context: &RequestContext) -> Owner {
    context.caller.client.as_ref().map_or_else(Owner::nobody, Owner::of)
}

/// Seals the ids of the responses that one target stores for one client.
#[derive(Debug)]
pub(super) struct IdSealer {
    gateway: Arc<Gateway>,
    place: Place,
    owner: Owner,
}

impl IdSealer {
    /// An event with sealed ids; `None` if it has none.
    pub(super) fn seal_event(&self, data: &[u8]) -> Result<Option<Bytes>, SealError> {
        rewrite_event(data, |id| self.seal(id))
    }

    /// A body with sealed ids; `None` if it has none.
    pub(super) fn seal_body(&self, body: &[u8]) -> Result<Option<Bytes>, SealError> {
        rewrite_body(body, |id| self.seal(id))
    }

    fn seal(&self, id: &str) -> Result<String, SealError> {
        self.gateway.response_ids.seal(self.place, self.owner, id)
    }
}
