//! Whether the targets answer: each is sent a request for one token.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use tokio::time::Instant;

use super::super::progress::Progress;
use super::report::Report;
use crate::bedrock::Operation;
use crate::bedrock::sigv4::PayloadHash;
use crate::config::Credentials;
use crate::pipeline::Gateway;
use crate::routing::Target;
use crate::upstream::{BuildRequestError, ExpectedAnswer, Reply, sign};

/// The smallest request that every chat model takes.
const PROBE: &str =
    r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}],"inferenceConfig":{"maxTokens":1}}"#;

/// Asks each target. `principals` are those of the credentials, where they are known.
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
        report.check(
            "target",
            &format!("{} ({place})", target.name),
            asked.map(|()| String::new()),
        );
    }
}

async fn ask(gateway: &Gateway, target: &Target) -> Result<(), String> {
    target.endpoint.credentials.settled().await;
    let (make, limit) = (|| probe_of(target), target.endpoint.first_byte_timeout);
    let upstream = &gateway.upstream;
    match upstream
        .send(&target.endpoint.origin, make, ExpectedAnswer::default(), Instant::now(), limit)
        .await
    {
        Reply::Success(_) => Ok(()),
        Reply::Failure(failure) => Err(format!(
            "{} {}",
            failure.reported.name.as_deref().unwrap_or(failure.class.name()),
            failure.reported.message
        )),
    }
}

fn probe_of(target: &Target) -> Result<Request<Bytes>, BuildRequestError> {
    let auth = target.endpoint.credentials.auth();
    let auth = auth
        .ok_or_else(|| BuildRequestError::NoCredentials(target.endpoint.credentials.problem()))?;
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::POST;
    let uri = target.uri(Operation::Converse);
    head.uri = uri.ok_or(BuildRequestError::InvalidPath)?;
    head.headers.insert(HOST, target.endpoint.origin.host());
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let hash = PayloadHash::of(PROBE.as_bytes());
    sign::authorize(&mut head, || hash, &auth, &target.endpoint.region, SystemTime::now())?;
    Ok(Request::from_parts(head, Bytes::from_static(PROBE.as_bytes())))
}
