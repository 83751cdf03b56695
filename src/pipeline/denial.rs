//! A target that denies what was asked for: no permission, no such model, an operation that the
//! model does not have. Such a denial may concern the target, so that another one may answer, or the
//! request alone.

use std::hash::{DefaultHasher, Hash, Hasher};

use http::StatusCode;

use super::routed::RoutedRequest;
use crate::bedrock::Extras;
use crate::routing::Target;
use crate::routing::access::{Denial, Verdict};
use crate::upstream::classify::{DenialEvidence, denial_evidence};
use crate::upstream::{Failure, FailureClass};

/// Makes a terminal failure a denial if it is about the model or the operation, and not about the
/// request. A 403 of the first target is relayed: permissions of a fallback must not bypass it. A
/// bidirectional stream has one attempt, so it is not reclassified.
pub(super) fn reclassify(routed: &RoutedRequest, index: usize, failure: &mut Failure) {
    let is_about_model = routed.call.model().is_some() && failure.class == FailureClass::Terminal;
    if !is_about_model || routed.is_bidirectional() {
        return;
    }
    let status = failure.error_status();
    let is_answer =
        status == StatusCode::FORBIDDEN && index == 0 && routed.is_first_choice_model(index);
    if !is_answer && denial_evidence(status, &failure.reported).is_some() {
        failure.class = FailureClass::Denied;
    }
}

/// Reports to a target that it denied the operation. Once that is confirmed, other requests keep away
/// too.
pub(super) fn report(routed: &RoutedRequest, target: &Target, failure: &Failure, extras: Extras) {
    let (operation, status) = (routed.call.operation, failure.error_status());
    let denial = Denial::new(status, &failure.reported, routed.context.request_id);
    let extras = match denial_evidence(status, &failure.reported) {
        Some(DenialEvidence::Certain) => extras,
        Some(DenialEvidence::Possible) | None => extras.max(Extras::Unknown),
    };
    let (target_name, request_id) = (&target.name, routed.context.request_id);
    let (error, reason) = (denial.name.clone(), denial.message.clone());
    let operation_name = operation.name();
    let pause = routed.context.gateway().config.fallback.misconfigured_cooldown;
    match target.denied(operation, denial, (client_hash(routed), extras), pause) {
        Verdict::Suspected => tracing::warn!(
            %target_name, operation = operation_name, status = status.as_u16(), error, reason,
            %request_id,
            "a target denied a request"
        ),
        Verdict::Confirmed(pause) => tracing::warn!(
            %target_name, operation = operation_name, status = status.as_u16(), error, reason,
            pause_s = pause.as_secs(), %request_id,
            "target is misconfigured: it denies the operation"
        ),
    }
}

/// A number that differs between clients.
fn client_hash(routed: &RoutedRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    let key = routed.context.caller.client.as_ref().map(|client| client.key());
    key.hash(&mut hasher);
    hasher.finish()
}
