//! Whose request it is: verifies its credentials, and tells the region that they are for.

use std::time::{SystemTime, UNIX_EPOCH};

use http::header::AUTHORIZATION;
use http::{StatusCode, request};

use super::State;
use super::apis::Place;
use super::control_plane::USUAL_REGION;
use super::log::Record;
use super::reply::Failure;
use super::signature::{self, Received, Refusal, Verified};
use sluice_bedrock::account::Service;
use sluice_bedrock::{Dialect, ErrorKind};

/// What the clients of OpenAI and Anthropic for Bedrock sign for, after what all others do.
const SERVICES: [&str; 2] = ["bedrock", "bedrock-mantle"];

/// Verifies the credentials of a request to a service, and returns the region that it is signed for.
///
/// # Errors
/// When they are not valid.
pub(super) fn authenticate(
    shared: &State,
    head: &request::Parts,
    body: &[u8],
    service: Service,
    record: &Record,
) -> Result<String, Failure> {
    // Service Quotas takes no API key of Bedrock.
    let takes_key = service == Service::Bedrock;
    let region = verify(shared, head, body, &[service.signing_name()], takes_key, record);
    region.map_err(|refusal| refused(&refusal, Dialect::Bedrock))
}

/// The same in the APIs of OpenAI and Anthropic. Messages takes the key in a header of Anthropic's too.
///
/// # Errors
/// When the credentials are not valid.
pub(super) fn authenticate_in_dialect(
    shared: &State,
    place: Place<'_>,
    head: &request::Parts,
    body: &[u8],
    record: &Record,
) -> Result<String, Failure> {
    let dialect = place.dialect();
    let key = head.headers.get("x-api-key").filter(|_| dialect == Dialect::Anthropic);
    let key = key.filter(|_| !head.headers.contains_key(AUTHORIZATION));
    let region = match key.filter(|_| shared.settings.verify_signatures) {
        Some(key) => {
            let bearer = shared.settings.bearer_token.as_ref();
            let verified = signature::verify_key(key.as_bytes(), bearer);
            let shown = verified.as_ref().map_or_else(Refusal::name, |()| "api_key");
            record.note(|entry| entry.signature = Some(shown));
            verified.map(|()| USUAL_REGION.to_owned())
        }
        None => verify(shared, head, body, &SERVICES, true, record),
    };
    region.map_err(|refusal| refused(&refusal, dialect))
}

fn verify(
    shared: &State,
    head: &request::Parts,
    body: &[u8],
    services: &[&str],
    takes_key: bool,
    record: &Record,
) -> Result<String, Refusal> {
    let settings = &shared.settings;
    if !settings.verify_signatures {
        record.note(|entry| entry.signature = Some("unchecked"));
        return Ok(USUAL_REGION.to_owned());
    }
    let request = Received {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        authority: head.uri.authority().map(|authority| authority.as_str()),
        body,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX / 2);
    let bearer = settings.bearer_token.as_ref().filter(|_| takes_key);
    match signature::verify_for(services, &request, &settings.keys, bearer, now) {
        Ok(Verified::SigV4 { access_key_id, region }) => {
            record.note(|entry| {
                entry.signature = Some("valid");
                entry.access_key_id = Some(access_key_id);
                entry.region = Some(region.clone());
            });
            Ok(region)
        }
        Ok(Verified::Bearer) => {
            record.note(|entry| entry.signature = Some("bearer"));
            Ok(USUAL_REGION.to_owned())
        }
        Err(refusal) => {
            record.note(|entry| entry.signature = Some(refusal.name()));
            Err(refusal)
        }
    }
}

fn refused(refusal: &Refusal, dialect: Dialect) -> Failure {
    let name = match refusal {
        // Clients of OpenAI and Anthropic raise their error of authentication for a wrong key.
        Refusal::UnknownBearer if dialect != Dialect::Bedrock => {
            ErrorKind::UnrecognizedClient.name()
        }
        refusal => refusal.name(),
    };
    Failure::named(name, StatusCode::FORBIDDEN, refusal.to_string())
}
