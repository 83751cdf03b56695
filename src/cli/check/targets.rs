//! Whether the targets answer: each is sent one small request.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use tokio::time::Instant;

use super::super::progress::Progress;
use super::probe::Probe;
use super::report::Report;
use crate::bedrock::sigv4::PayloadHash;
use crate::config::Credentials;
use crate::pipeline::Gateway;
use crate::routing::Target;
use crate::upstream::{BuildRequestError, ExpectedAnswer, Reply, sign};

/// Asks each target by a surface that it has. `principals` are those of the credentials, where they are known.
pub(super) async fn probe(
    gateway: &Gateway,
    principals: &HashMap<Credentials, String>,
    report: &mut Report,
) {
    let (progress, targets) = (Progress::start(), gateway.router.targets());
    for (number, target) in targets.iter().enumerate() {
        progress.show(&format!("asking {} ({} of {})", target.name, number + 1, targets.len()));
        let asked = ask(gateway, target).await;
        progress.clear();
        let principal = principals.get(target.endpoint.credentials.source());
        let principal = principal.map(|arn| format!(", as {arn}")).unwrap_or_default();
        let place = format!("{} in {}{principal}", target.model, target.endpoint.region);
        report.check("target", &format!("{} ({place})", target.name), asked);
    }
}

/// Asks a target, and tells how if that is not the usual way.
async fn ask(gateway: &Gateway, target: &Target) -> Result<String, String> {
    target.endpoint.credentials.settled().await;
    let capabilities = target.capabilities();
    let probe = Probe::new(capabilities.surfaces, capabilities.family, target.model.as_str());
    let (make, limit) = (|| request(target, &probe), target.endpoint.first_byte_timeout);
    let expected = ExpectedAnswer { api: probe.operation.api(), streams: false };
    let origin = target.origin(probe.operation);
    match gateway.upstream.send(origin, make, expected, Instant::now(), limit).await {
        Reply::Success(_) => Ok(probe.way()),
        Reply::Failure(failure) => Err(format!(
            "{} {}",
            failure.reported.name.as_deref().unwrap_or(failure.class.name()),
            failure.reported.message
        )),
    }
}

fn request(target: &Target, probe: &Probe) -> Result<Request<Bytes>, BuildRequestError> {
    let auth = target.endpoint.credentials.auth();
    let auth = auth
        .ok_or_else(|| BuildRequestError::NoCredentials(target.endpoint.credentials.problem()))?;
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::POST;
    let uri = target.uri(probe.operation);
    head.uri = uri.ok_or(BuildRequestError::InvalidPath)?;
    head.headers.insert(HOST, target.origin(probe.operation).host());
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.headers.extend(probe.header());
    let hash = PayloadHash::of(&probe.body);
    sign::authorize(&mut head, || hash, &auth, &target.endpoint.region, SystemTime::now())?;
    Ok(Request::from_parts(head, probe.body.clone()))
}
