//! Whether the targets of a config have models that the account can call, and for how long.

use super::finding::{Finding, Severity};
use super::quota_name::Scope;
use super::snapshot::{Snapshot, is_application_profile};
use super::wire::{Availability, Model};
use crate::bedrock::{Date, ModelId, region};
use crate::catalogue::{Catalogue, Endpoint as Service};
use crate::config::Target;

/// How many days before the end of a model it is warned of, as the config's own warnings do.
const WARNED_DAYS: i64 = 90;

/// The model that a target calls, as the account has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Called {
    /// The base id of the model.
    pub(super) base: String,
    /// How it is called.
    pub(super) scope: Scope,
}

/// What a target calls, or why that is not known.
#[derive(Clone, Debug)]
pub(super) enum Resolved {
    /// A model of the account.
    Model(Called),
    /// The target cannot answer.
    Missing(Finding),
    /// Nothing is known, for this reason, if there is one to tell.
    Unknown(Option<&'static str>),
}

/// Which model of the account a target calls.
pub(super) fn resolve(target: &Target, snapshot: &Snapshot, catalogue: &Catalogue) -> Resolved {
    let Ok(model) = ModelId::new(&target.model) else { return Resolved::Unknown(None) };
    if target.service == Service::Mantle {
        // It has models of its own, which no call lists.
        let base = model.base().unwrap_or(&target.model).to_owned();
        return Resolved::Model(Called { base, scope: Scope::Mantle });
    }
    if is_application_profile(&model) {
        return of_application_profile(target, snapshot);
    }
    let Some(base) = model.base() else {
        let reason = "the lists of AWS have no provisioned, custom or imported models, prompt \
                      routers or endpoints of SageMaker";
        return Resolved::Unknown(Some(reason));
    };
    match model.geography() {
        Some(geography) => of_profile(target, &model, (base, geography), snapshot, catalogue),
        None => of_model(target, base, snapshot, catalogue),
    }
}

fn of_application_profile(target: &Target, snapshot: &Snapshot) -> Resolved {
    match snapshot.described.get(&target.model) {
        None => Resolved::Unknown(None),
        Some(None) => {
            let message = format!("the account has no such inference profile in {}", target.region);
            Resolved::Missing(missing(target, message))
        }
        Some(Some(profile)) => match profile.base() {
            None => Resolved::Unknown(Some("AWS names no model behind it")),
            Some(base) => {
                let scope = match profile.models.len() {
                    _ if profile.is_global() => Scope::Global,
                    0 | 1 => Scope::OnDemand,
                    _ => Scope::CrossRegion,
                };
                Resolved::Model(Called { base, scope })
            }
        },
    }
}

fn of_profile(
    target: &Target,
    model: &ModelId,
    (base, geography): (&str, &str),
    snapshot: &Snapshot,
    catalogue: &Catalogue,
) -> Resolved {
    let scope = if geography == "global" { Scope::Global } else { Scope::CrossRegion };
    let id = model.arn_resource().unwrap_or(&target.model);
    match snapshot.profile(id) {
        Some(profile) => {
            let base = profile.base().unwrap_or_else(|| base.to_owned());
            Resolved::Model(Called { base, scope })
        }
        None if snapshot.profiles.is_none() => {
            Resolved::Model(Called { base: base.to_owned(), scope })
        }
        None => {
            let what = format!("AWS has no inference profile '{id}' in {}", target.region);
            Resolved::Missing(with_other_profile(target, base, snapshot, catalogue, what))
        }
    }
}

fn of_model(target: &Target, base: &str, snapshot: &Snapshot, catalogue: &Catalogue) -> Resolved {
    let called = Called { base: base.to_owned(), scope: Scope::OnDemand };
    if snapshot.models.is_none() {
        return Resolved::Model(called);
    }
    let Some(model) = snapshot.model(base) else {
        let what = format!("AWS has no model '{base}' in {}", target.region);
        return Resolved::Missing(with_other_profile(target, base, snapshot, catalogue, what));
    };
    let types = &model.inference_types_supported;
    if types.is_empty() || types.iter().any(|it| it == "ON_DEMAND") {
        return Resolved::Model(called);
    }
    let key = ("profile_only", "model");
    let error = |message| Finding::of_target(Severity::Error, key.0, &target.name, key.1, message);
    let place = &target.region;
    Resolved::Missing(match best_profile(base, place, snapshot) {
        Some(profile) => error(format!(
            "in {place} '{base}' is called by an inference profile only: use '{profile}'"
        ))
        .with("model", profile),
        None if types.iter().any(|it| it == "INFERENCE_PROFILE") => error(format!(
            "in {place} '{base}' is called by an inference profile only, and the list of \
             profiles has none of it"
        )),
        None => error(format!("in {place} '{base}' needs provisioned throughput")),
    })
}

fn missing(target: &Target, message: String) -> Finding {
    Finding::of_target(Severity::Error, "missing", &target.name, "model", message)
}

/// The finding that there is no such model, with a profile of the same model or of its successor if the
/// account has one.
fn with_other_profile(
    target: &Target,
    base: &str,
    snapshot: &Snapshot,
    catalogue: &Catalogue,
    what: String,
) -> Finding {
    if let Some(profile) = best_profile(base, &target.region, snapshot) {
        return missing(target, format!("{what}: use '{profile}'")).with("model", profile);
    }
    let lifecycle = |id| catalogue.lifecycle(target.service, &id);
    let is_retired = ModelId::new(base).is_ok_and(|id| lifecycle(id).is_some());
    let what = if is_retired { format!("{what}; it may be retired") } else { what };
    match successor(target, base, snapshot, catalogue) {
        Some(next) => {
            missing(target, format!("{what}: use '{next}', its successor")).with("model", next)
        }
        None => missing(target, what),
    }
}

/// The profile of a model that keeps requests nearest to a region.
fn best_profile(base: &str, place: &str, snapshot: &Snapshot) -> Option<String> {
    let near = region::geographies(place).iter().copied().chain(["global"]);
    let named: Vec<String> = near.map(|geography| format!("{geography}.{base}")).collect();
    let known: Vec<&str> = snapshot.profiles_of(base).collect();
    let nearest = named.iter().find(|id| known.contains(&id.as_str())).cloned();
    nearest.or_else(|| known.first().map(|id| (*id).to_owned()))
}

/// The successor of a target's model, if the account has it.
fn successor(
    target: &Target,
    base: &str,
    snapshot: &Snapshot,
    catalogue: &Catalogue,
) -> Option<String> {
    let called = ModelId::new(&target.model).ok()?;
    let named = if called.base() == Some(base) { called } else { ModelId::new(base).ok()? };
    // A day on which the model itself counts as retired, so that its own successor is meant.
    let day = catalogue.lifecycle(target.service, &named)?.retires_on;
    let next = catalogue.successor(target.service, &named, &target.region, day).ok()?;
    let id = next.arn_resource().unwrap_or(next.as_str());
    let is_there = match next.geography() {
        Some(_) => snapshot.profile(id).is_some(),
        None => snapshot.model(id).is_some_and(|model| {
            model.inference_types_supported.iter().any(|it| it == "ON_DEMAND")
        }),
    };
    is_there.then(|| next.to_string())
}

/// What is to be said of a model that the account has: whether it is enabled, and its end.
pub(super) fn findings(
    target: &Target,
    called: &Called,
    snapshot: &Snapshot,
    (catalogue, today): (&Catalogue, Date),
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(snapshot.availability.get(&called.base).and_then(|availability| {
        let is_bare = called.scope == Scope::OnDemand;
        enabled(target, &called.base, availability.as_ref()?, is_bare)
    }));
    if let Some(model) = snapshot.model(&called.base) {
        findings.extend(ending(target, model, snapshot, (catalogue, today)));
    }
    findings.extend(base_model(target, &called.base));
    findings
}

/// Whether the account may use the model.
fn enabled(
    target: &Target,
    base: &str,
    availability: &Availability,
    is_bare: bool,
) -> Option<Finding> {
    let of = |severity, message| {
        Some(Finding::of_target(severity, "not_enabled", &target.name, "model", message))
    };
    let is = |status: &Option<String>, value| status.as_deref() == Some(value);
    let agreement = &availability.agreement_availability.status;
    if is(&availability.authorization_status, "NOT_AUTHORIZED") {
        return of(
            Severity::Error,
            format!("the account is not authorized to use '{base}': enable it in the console"),
        );
    }
    if is(&availability.entitlement_availability, "NOT_AVAILABLE") {
        return of(
            Severity::Error,
            format!("'{base}' is not enabled for the account: enable it in the console"),
        );
    }
    if is_bare && is(&availability.region_availability, "NOT_AVAILABLE") {
        return of(Severity::Error, format!("'{base}' is not available in {}", target.region));
    }
    if is(agreement, "PENDING") {
        return of(Severity::Warning, format!("the agreement for '{base}' is pending"));
    }
    if is(agreement, "NOT_AVAILABLE") || is(agreement, "ERROR") {
        return of(
            Severity::Warning,
            format!(
                "the account has no agreement for '{base}' yet: the first call makes one, for which \
                 the credentials need aws-marketplace:Subscribe"
            ),
        );
    }
    None
}

/// The end of a model, by AWS.
fn ending(
    target: &Target,
    model: &Model,
    snapshot: &Snapshot,
    (catalogue, today): (&Catalogue, Date),
) -> Option<Finding> {
    let lifecycle = &model.model_lifecycle;
    let (id, end) = (&model.model_id, lifecycle.end_of_life_time);
    let days = end.map(|end| today.days_until(end));
    let is_legacy = lifecycle.status.as_deref() == Some("LEGACY");
    let of = |severity, kind, message: String| {
        let next = successor(target, id, snapshot, catalogue);
        let message = match &next {
            Some(next) => format!("{message}: use '{next}', its successor"),
            None => message,
        };
        let finding = Finding::of_target(severity, kind, &target.name, "model", message);
        Some(match next {
            // An ARN of the account's own is not replaced by an id.
            Some(next) if is_named(target) => finding.with("model", next),
            _ => finding,
        })
    };
    match (end, days) {
        (Some(end), Some(..=0)) => {
            of(Severity::Error, "retired", format!("AWS retired '{id}' on {end}"))
        }
        (Some(end), Some(days)) if is_legacy || days <= WARNED_DAYS => {
            let message = format!("AWS retires '{id}' in {days} days, on {end}");
            of(Severity::Warning, "retiring", message)
        }
        _ if is_legacy => {
            let since = lifecycle.legacy_time.map(|day| format!(" since {day}"));
            let since = since.unwrap_or_default();
            let message = format!("AWS calls '{id}' legacy{since}; it names no end yet");
            of(Severity::Warning, "retiring", message)
        }
        _ => None,
    }
}

/// Whether the model of a target tells its base id.
fn is_named(target: &Target) -> bool {
    ModelId::new(&target.model).is_ok_and(|model| model.base().is_some())
}

/// Whether the config names the model behind an opaque ARN rightly.
fn base_model(target: &Target, base: &str) -> Option<Finding> {
    if is_named(target) {
        return None;
    }
    let named = target.base_model.as_deref().map(ModelId::new);
    let message = match &named {
        Some(Ok(named)) if named.base() == Some(base) => return None,
        Some(_) => format!("the model behind the inference profile is '{base}'"),
        None => format!(
            "the model behind the inference profile is '{base}': without it Sluice does not know \
             its limits, features and price"
        ),
    };
    let finding =
        Finding::of_target(Severity::Warning, "base_model", &target.name, "base_model", message);
    Some(finding.with("base_model", base))
}

#[cfg(test)]
mod tests;
