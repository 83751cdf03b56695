//! From the requested model to the targets that can serve this request, best first.

use std::future::{Ready, ready};
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Gateway;
use super::collect::Collected;
use super::exchange::Exchange;
use super::refusal::{Refusal, Refused};
use super::step::Step;
use crate::bedrock::body::{self, Peek};
use crate::bedrock::path::{Call, Resource};
use crate::bedrock::{Family, ModelId, Operation};
use crate::routing::Target;

/// A request with the targets that can serve it.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) head: http::request::Parts,
    pub(super) exchange: Box<Exchange>,
    pub(super) call: Call,
    pub(super) body: Bytes,
    /// What was read of the body; nothing where nothing needs to be read.
    pub(super) peek: Peek,
    pub(super) candidates: SmallVec<[Candidate; 4]>,
}

/// A target that can serve a request, and what this request has seen of it.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) target: Arc<Target>,
    /// Attempts made there.
    pub(super) attempts: u32,
    /// Whether this request is done with it.
    pub(super) is_out: bool,
}

impl Candidate {
    fn new(target: Arc<Target>) -> Candidate {
        Candidate { target, attempts: 0, is_out: false }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Route {
    gateway: Arc<Gateway>,
}

impl Route {
    pub(super) fn new(gateway: &Arc<Gateway>) -> Route {
        Route { gateway: Arc::clone(gateway) }
    }
}

impl Step<Collected> for Route {
    type Out = Routed;
    type Future = Ready<Result<Routed, Refused>>;

    fn take(&self, collected: Collected) -> Self::Future {
        let Collected { request, call, body } = collected;
        let mut exchange = request.exchange;
        let routed = match &call.resource {
            Resource::Model(model) => {
                exchange.model_is_configured = self.gateway.router.names(model);
                route(&self.gateway, call.operation, model, &body)
            }
            // Operations without a model are relayed to the default upstream.
            _ => Ok((
                Peek::default(),
                SmallVec::from_iter([Candidate::new(Arc::clone(
                    self.gateway.router.default_target(),
                ))]),
            )),
        };
        ready(match routed {
            Ok((peek, candidates)) => {
                let head = request.arrival.head;
                Ok(Routed { head, exchange, call, body, peek, candidates })
            }
            Err(refusal) => Err(Refused { refusal, exchange }),
        })
    }
}

fn route(
    gateway: &Gateway,
    operation: Operation,
    model: &ModelId,
    body: &[u8],
) -> Result<(Peek, SmallVec<[Candidate; 4]>), Refusal> {
    let targets = gateway
        .router
        .find(&gateway.config, model)
        .ok_or_else(|| Refusal::Unrouted { model: model.to_string() })?;
    let Some(first) = targets.first() else {
        return Err(Refusal::Unrouted { model: model.to_string() });
    };
    // An opaque ARN does not tell its family; the target that it routes to first does.
    let family = match model.family() {
        Family::Unknown => first.family(),
        family => family,
    };
    // A body is read where that decides something: a choice of targets, or a cap.
    let must_read = targets.len() > 1 || first.cap(model).is_some();
    let peek = if must_read { body::peek(operation, family, body)? } else { Peek::default() };
    let candidates = targets
        .iter()
        .enumerate()
        .filter(|(index, target)| {
            *index == 0 || can_stand_in(target, operation, model, family, &peek)
        })
        .map(|(_, target)| Candidate::new(Arc::clone(target)))
        .collect();
    Ok((peek, candidates))
}

/// Whether a target can answer in place of another: the Converse schema is common to all models,
/// any other body is its own family's; and nothing that the request uses may be lost.
fn can_stand_in(
    target: &Target,
    operation: Operation,
    model: &ModelId,
    family: Family,
    peek: &Peek,
) -> bool {
    let same_model = target.base_model.base().is_some() && target.base_model.base() == model.base();
    let same_schema = operation.is_converse()
        || same_model
        || family != Family::Unknown && target.family() == family;
    same_schema && target.can_take(peek, model)
}
