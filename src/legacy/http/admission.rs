//! Admission of a request to a legacy endpoint: its method, its client, the limits, and its body, in
//! this order and in one place for all endpoints.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use http_body::Body;

use super::endpoint::Endpoint;
use super::refusal::Refusal;
use crate::auth::admin_key::{self, PresentedKey};
use crate::auth::{Peer, identify};
use crate::config::LegacyAction;
use crate::legacy::invoke::Caller;
use crate::limits::{CallerKind, ClientRecord, ConcurrencyPermit, LimitExceeded};
use crate::pipeline::Gateway;
use crate::pipeline::body::{self, BodyLimits, head_bytes};
use crate::quota::InFlightGuard;
use crate::telemetry::OTHER;
use crate::telemetry::audit::{self, Actor};

/// A request that an endpoint may answer.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) caller: Caller,
    /// Whether the caller presented the admin key, where the endpoint requires it.
    pub(super) is_admin: bool,
    /// The body; empty for an endpoint that reads none.
    pub(super) body: Bytes,
    pub(super) guards: Guards,
}

/// What a request holds of the limits.
#[derive(Debug, Default)]
pub(super) struct Guards {
    /// A part of what may be in flight.
    in_flight: Option<InFlightGuard>,
    /// One of its client's requests at once.
    _concurrency: Option<ConcurrencyPermit>,
    /// Whether it counted against the rate of its client.
    is_counted: bool,
}

/// The authenticated caller of an endpoint.
#[derive(Debug, Default)]
struct AuthenticatedCaller {
    /// The client's record; `None` without configured clients and for the admin key.
    client: Option<Arc<ClientRecord>>,
    /// Whether the caller presented the admin key.
    is_admin: bool,
}

/// Admits a request, and writes the audit log of one that changes something for others. With
/// `counts_rate` a request that calls a model counts against its client's rate now; a job counts when
/// it calls the model.
///
/// # Errors
/// When the method, the client, a limit or the body forbids it.
pub(super) async fn admit<B>(
    gateway: &Gateway,
    endpoint: &Endpoint<'_>,
    head: &Parts,
    body: &mut B,
    peer: Peer,
    counts_rate: bool,
) -> Result<Admitted, Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin,
{
    check_method(endpoint, &head.method)?;
    let address = peer.address;
    let authenticated = authenticate(gateway, endpoint, head, &peer).inspect_err(|_| {
        if let Some((action, on)) = endpoint.change() {
            audit::record_refusal(action, on, address);
        }
    });
    let AuthenticatedCaller { client, is_admin } = authenticated?;
    let mut guards = enter(gateway, endpoint, head, client.as_ref(), &peer, counts_rate)?;
    let body =
        read_body(gateway, endpoint, client.as_deref(), body, guards.in_flight.as_mut()).await?;
    let name = client.map(|client| Arc::clone(&client.name));
    if let Some((action, on)) = endpoint.change() {
        let actor = if is_admin { "admin_key" } else { name.as_deref().unwrap_or(audit::ANYONE) };
        audit::record(action, on, Actor { name: actor, peer: address });
    }
    let mut caller = Caller::new(gateway, &head.headers, peer, name);
    caller.is_counted = guards.is_counted;
    Ok(Admitted { caller, is_admin, body, guards })
}

fn check_method(endpoint: &Endpoint<'_>, method: &Method) -> Result<(), Refusal> {
    let allowed = endpoint.method();
    if method == allowed || *method == Method::HEAD && allowed == Method::GET {
        return Ok(());
    }
    Err(Refusal::Method { allow: endpoint.allow() })
}

/// Authenticates the caller: by the admin key where the config requires it, else as a client.
/// Health needs no authentication: load balancers have no key, and name the host as they like.
fn authenticate(
    gateway: &Gateway,
    endpoint: &Endpoint<'_>,
    head: &Parts,
    peer: &Peer,
) -> Result<AuthenticatedCaller, Refusal> {
    let admin_only = &gateway.config.legacy.admin_only;
    let is_admin_only = match endpoint {
        Endpoint::Health => return Ok(AuthenticatedCaller::default()),
        Endpoint::CancelTask(_) => admin_only.contains(&LegacyAction::CancelTask),
        Endpoint::ResetCooldowns => admin_only.contains(&LegacyAction::ResetModelCooldowns),
        _ => false,
    };
    if !is_admin_only {
        let certificate = peer.certificate.as_deref();
        let client =
            gateway.authenticator.authenticate_unsigned(head, certificate, SystemTime::now())?;
        return Ok(AuthenticatedCaller { client, is_admin: false });
    }
    let key = gateway.config.server.admin_key.as_ref();
    match key.map(|key| admin_key::presented(key, &head.headers)) {
        Some(PresentedKey::Right) => Ok(AuthenticatedCaller { client: None, is_admin: true }),
        Some(PresentedKey::Wrong) => Err(Refusal::WrongAdminKey),
        // The bearer key of a client is not a wrong admin key.
        Some(PresentedKey::OtherBearer | PresentedKey::Missing) | None => Err(Refusal::AdminKey),
    }
}

/// Applies the limits before the body is read: those of the client, then those of the gateway.
/// Health takes no place, so that load balancers can check it under load, too.
fn enter(
    gateway: &Gateway,
    endpoint: &Endpoint<'_>,
    head: &Parts,
    client: Option<&Arc<ClientRecord>>,
    peer: &Peer,
    counts_rate: bool,
) -> Result<Guards, Refusal> {
    let mut guards = Guards::default();
    if *endpoint == Endpoint::Health {
        let mut in_flight = gateway.in_flight.guard_for_bytes();
        in_flight.reserve_head(head_bytes(head))?;
        guards.in_flight = Some(in_flight);
        return Ok(guards);
    }
    if endpoint.calls_model() {
        let key = &gateway.config.limits.key;
        let registered = client.map(|client| CallerKind::Registered(Arc::clone(client)));
        let caller = identify(&head.headers, peer.address, key, registered);
        let label = client.map_or(OTHER, |client| &*client.name);
        let count_refusal = |limited: &LimitExceeded| {
            gateway.metrics.client_limited.with_label_values(&[label, limited.limit]).inc();
        };
        if counts_rate {
            gateway.limits.check_rate(&caller).inspect_err(count_refusal)?;
            guards.is_counted = true;
        }
        guards._concurrency = gateway.limits.acquire(&caller).inspect_err(count_refusal)?;
    }
    let mut in_flight = gateway.in_flight.enter()?;
    in_flight.reserve_head(head_bytes(head))?;
    guards.in_flight = Some(in_flight);
    Ok(guards)
}

/// Reads the body, or discards it for an endpoint that reads none, within the bounds of the endpoint,
/// of all requests, and of the client.
async fn read_body<B>(
    gateway: &Gateway,
    endpoint: &Endpoint<'_>,
    client: Option<&ClientRecord>,
    body: &mut B,
    in_flight: Option<&mut InFlightGuard>,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin,
{
    let server = &gateway.config.server;
    let max = endpoint.max_body().min(server.max_body);
    let own = client.and_then(ClientRecord::policy).and_then(|policy| policy.max_body(max));
    let limits = BodyLimits { bytes: own.unwrap_or(max), time: server.body_read_timeout };
    if endpoint.reads_body() {
        Ok(body::read(body, limits, in_flight, None, &gateway.buffers).await?.0)
    } else {
        body::discard(body, limits).await?;
        Ok(Bytes::new())
    }
}
