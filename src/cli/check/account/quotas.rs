//! How the quotas of a config compare with those of the account.
//!
//! Several quotas whose names are about one model, and whose values differ, are not chosen among: they are
//! told, and nothing is concluded from them. A quota that the config does not name is no mistake, since the
//! gateway learns it; the check tells its value.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Severity};
use super::model_name::{ModelNames, Words};
use super::models::Called;
use super::quota_name::{Inference, QuotaName, Scope, Unit, parse};
use super::snapshot::{Quota, Snapshot};
use crate::config::{self, Config, Target};

/// A quota that the config can name.
#[derive(Clone, Copy)]
struct Measure {
    /// The key.
    key: &'static str,
    unit: Unit,
    of_target: fn(&Target) -> Option<u64>,
    of_quota: fn(&config::Quota) -> Option<u64>,
    /// The largest value that the key takes.
    most: u64,
}

/// The largest value of a quota of tokens in a minute.
const MOST_TOKENS: u64 = 1_000_000_000_000;

const MEASURES: [Measure; 5] = [
    Measure {
        key: "rpm",
        unit: Unit::RequestsPerMinute,
        of_target: |target| target.rpm.map(u64::from),
        of_quota: |quota| quota.rpm.map(u64::from),
        most: 10_000_000,
    },
    Measure {
        key: "tpm",
        unit: Unit::TokensPerMinute,
        of_target: |target| target.tpm,
        of_quota: |quota| quota.tpm,
        most: MOST_TOKENS,
    },
    Measure {
        key: "input_tpm",
        unit: Unit::InputTokensPerMinute,
        of_target: |target| target.input_tpm,
        of_quota: |quota| quota.input_tpm,
        most: MOST_TOKENS,
    },
    Measure {
        key: "output_tpm",
        unit: Unit::OutputTokensPerMinute,
        of_target: |target| target.output_tpm,
        of_quota: |quota| quota.output_tpm,
        most: MOST_TOKENS,
    },
    Measure {
        key: "tpd",
        unit: Unit::TokensPerDay,
        of_target: |target| target.tpd,
        of_quota: |quota| quota.tpd,
        most: 1_000_000_000_000_000,
    },
];

/// Minutes of a day.
const MINUTES: u64 = 24 * 60;

/// The quotas of one model, as it is called.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ModelQuotas {
    /// The value of each.
    values: BTreeMap<Unit, u64>,
    /// The names of quotas that contradict one another.
    ambiguous: Vec<String>,
}

/// The quotas of the account that limit a model.
pub(super) fn quotas_of(called: &Called, snapshot: &Snapshot) -> ModelQuotas {
    let listed = snapshot.model(&called.base);
    let listed = listed.and_then(|model| {
        Some((model.model_name.as_deref()?, model.provider_name.as_deref().unwrap_or_default()))
    });
    let names = ModelNames::of(&called.base, listed);
    let all: Vec<(Inference<'_>, &Quota)> = snapshot
        .quotas
        .iter()
        .flatten()
        .filter_map(|quota| match parse(&quota.name) {
            QuotaName::Inference(name) if names.is_meant_by(&Words::of(name.model)) => {
                Some((name, quota))
            }
            _ => None,
        })
        .collect();
    let mut found = ModelQuotas::default();
    let of = |scope, unit| {
        let all = all.iter().filter(move |(it, _)| (it.scope, it.unit) == (scope, unit));
        all.collect::<Vec<_>>()
    };
    for Measure { unit, .. } in MEASURES.into_iter().filter(|it| it.unit != Unit::TokensPerDay) {
        found.take(unit, &of(called.scope, unit), 1);
    }
    let per_day = of(called.scope, Unit::TokensPerDay);
    if per_day.is_empty() && called.scope == Scope::CrossRegion {
        let shared = of(Scope::OnDemand, Unit::TokensPerDay);
        let is_doubled = shared.iter().any(|(name, _)| name.is_doubled);
        // AWS doubles it unless it has granted the account more tokens per minute.
        let per_minute = of(Scope::CrossRegion, Unit::TokensPerMinute);
        let is_raised = per_minute
            .iter()
            .any(|(_, quota)| quota.default.is_some_and(|default| quota.value > default));
        found.take(Unit::TokensPerDay, &shared, if is_doubled && !is_raised { 2 } else { 1 });
    } else {
        found.take(Unit::TokensPerDay, &per_day, 1);
    }
    found
}

impl ModelQuotas {
    /// Whether so many tokens per day are not used up by those that a minute has.
    fn is_never_short(&self, per_day: u64) -> bool {
        let per_minute = self.values.get(&Unit::TokensPerMinute);
        per_minute.is_some_and(|per_minute| per_minute.saturating_mul(MINUTES) <= per_day)
    }

    fn take(&mut self, unit: Unit, quotas: &[&(Inference<'_>, &Quota)], factor: u64) {
        let Some((_, first)) = quotas.first() else { return };
        if quotas.iter().all(|(_, quota)| quota.value == first.value) {
            self.values.insert(unit, whole(first.value).saturating_mul(factor));
        } else {
            self.ambiguous.extend(quotas.iter().map(|(_, quota)| quota.name.clone()));
        }
    }
}

/// A value as a whole number. Service Quotas has none below 0 or above 10^10.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped before")]
fn whole(value: f64) -> u64 {
    value.clamp(0.0, 1e15) as u64
}

/// Who has a quota in the config.
#[derive(Clone, Copy)]
enum Owner<'c> {
    Target(&'c Target),
    Quota(&'c config::Quota),
}

impl Owner<'_> {
    fn value(self, measure: Measure) -> Option<u64> {
        match self {
            Owner::Target(target) => (measure.of_target)(target),
            Owner::Quota(quota) => (measure.of_quota)(quota),
        }
    }

    fn finding(self, severity: Severity, key: &str, message: String) -> Finding {
        let (section, name) = match self {
            Owner::Target(target) => ("targets", &target.name),
            Owner::Quota(quota) => ("quotas", &quota.name),
        };
        Finding::of(section, severity, "quota", name, key, message)
    }
}

/// What is to be said of the quotas of the targets, each with what it calls and with its account's quotas.
/// `all` are those of one account in one region.
pub(super) fn findings(
    config: &Config,
    all: &[(&Target, Called)],
    snapshot: &Snapshot,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if snapshot.quotas.is_none() {
        return findings;
    }
    let mut shared: BTreeMap<usize, Vec<(&Target, ModelQuotas)>> = BTreeMap::new();
    for (target, called) in all {
        let quotas = quotas_of(called, snapshot);
        if let Some(finding) = unmatched(target, called, &quotas) {
            findings.push(finding);
        }
        findings.extend(empty(target, called, &quotas));
        match target.quota {
            Some(index) => shared.entry(index).or_default().push((target, quotas)),
            None => findings.extend(compared(Owner::Target(target), &quotas)),
        }
    }
    for (index, users) in shared {
        let Some(quota) = config.quotas.get(index) else { continue };
        let Some((first, quotas)) = users.first() else { continue };
        let owner = Owner::Quota(quota);
        let values = |quotas: &ModelQuotas| quotas.values.clone();
        match users.iter().find(|(_, other)| values(other) != values(quotas)) {
            Some((other, _)) => {
                let message = format!(
                    "the account has other quotas for '{}' than for '{}', so the targets do not \
                     share one",
                    other.name, first.name
                );
                findings.push(owner.finding(Severity::Warning, "", message));
            }
            None => findings.extend(compared(owner, quotas)),
        }
    }
    findings.extend(over_a_day(config, all, snapshot));
    findings
}

/// How the quota of tokens per day over all models compares with those that the targets name.
fn over_a_day(config: &Config, all: &[(&Target, Called)], snapshot: &Snapshot) -> Vec<Finding> {
    let per_day =
        |quota: &&Quota| matches!(parse(&quota.name), QuotaName::AllModels(_, Unit::TokensPerDay));
    let mut quotas = over_all_models(snapshot).filter(per_day);
    // Of several, the names do not say which limits what.
    let (Some(quota), None) = (quotas.next(), quotas.next()) else { return Vec::new() };
    let value = whole(quota.value);
    let tpd = i64::try_from(value).unwrap_or(i64::MAX);
    if value == 0 {
        let message = "the account's quota of tokens per day over all models is 0, so AWS throttles \
                       every request: ask AWS Support to raise it";
        return vec![Finding::of("", Severity::Error, "quota_empty", "", "", message.to_owned())];
    }
    let named: BTreeSet<usize> = all.iter().filter_map(|(target, _)| target.daily_quota).collect();
    let named = named.into_iter().filter_map(|index| config.quotas.get(index));
    let mut findings: Vec<Finding> = named
        .filter(|named| named.tpd != Some(value))
        .map(|named| {
            let is = named.tpd.map_or("is not set".to_owned(), |tpd| format!("is {tpd}"));
            let message =
                format!("{is}, but the account has {value} tokens per day over all models");
            let owner = Owner::Quota(named);
            owner.finding(Severity::Warning, "tpd", message).with("tpd", tpd)
        })
        .collect();
    let without: Vec<&Target> =
        all.iter().map(|(target, _)| *target).filter(|it| it.daily_quota.is_none()).collect();
    if let Some(first) = without.first() {
        let name = format!("all-models-{}", first.region);
        let message = format!("the account has {value} tokens per day over all models");
        let severity = Severity::Note;
        findings
            .push(Finding::of("quotas", severity, "quota", &name, "", message).with("tpd", tpd));
        findings.extend(without.iter().map(|target| {
            let message = "is not set; all models share the tokens per day".to_owned();
            let owner = Owner::Target(target);
            owner.finding(severity, "daily_quota", message).with("daily_quota", name.as_str())
        }));
    }
    findings
}

/// A target of whose model no quota was found, or several that contradict one another.
fn unmatched(target: &Target, called: &Called, quotas: &ModelQuotas) -> Option<Finding> {
    let of = |message| {
        let severity = Severity::Note;
        Some(Finding::of_target(severity, "quota_unknown", &target.name, "model", message))
    };
    if !quotas.ambiguous.is_empty() {
        let names = quotas.ambiguous.join("', '");
        return of(format!("several quotas may be those of '{}': '{names}'", called.base));
    }
    if quotas.values.is_empty() {
        return of(format!("no quota of the account names '{}'", called.base));
    }
    None
}

/// Quotas of 0: every request is throttled.
fn empty(target: &Target, called: &Called, quotas: &ModelQuotas) -> Vec<Finding> {
    let zero = quotas.values.iter().filter(|(_, value)| **value == 0);
    let words: Vec<&str> = zero.map(|(unit, _)| words(*unit)).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let message = format!(
        "the account's quota of {} for '{}' is 0, so AWS throttles every request: ask AWS Support \
         to raise it",
        words.join(" and of "),
        called.base
    );
    vec![Finding::of_target(Severity::Error, "quota_empty", &target.name, "model", message)]
}

fn words(unit: Unit) -> &'static str {
    match unit {
        Unit::RequestsPerMinute => "requests per minute",
        Unit::TokensPerMinute => "tokens per minute",
        Unit::TokensPerDay => "tokens per day",
        Unit::InputTokensPerMinute => "input tokens per minute",
        Unit::OutputTokensPerMinute => "output tokens per minute",
    }
}

/// The quotas of the config that are not those of the account, with the lines that set them.
fn compared(owner: Owner<'_>, quotas: &ModelQuotas) -> Vec<Finding> {
    let found = MEASURES.into_iter().filter_map(|measure| {
        let (key, words) = (measure.key, words(measure.unit));
        let own = owner.value(measure);
        let of = |severity, message| Some(owner.finding(severity, key, message));
        let Some(value) = quotas.values.get(&measure.unit).copied() else {
            let is_known = !quotas.values.is_empty() && quotas.ambiguous.is_empty();
            return own.filter(|_| is_known).and_then(|own| {
                let message =
                    format!("is {own}, but the account has no quota of {words} for this model");
                of(Severity::Note, message)
            });
        };
        if value == 0 || value > measure.most || own == Some(value) {
            return None;
        }
        let finding = match own {
            None if measure.unit == Unit::TokensPerDay && quotas.is_never_short(value) => None,
            None => of(Severity::Note, format!("is not set; the account has {value} {words}")),
            Some(own) if own > value => of(
                Severity::Warning,
                format!("is {own}, but the account has {value}: AWS throttles what is above that"),
            ),
            Some(own) => of(
                Severity::Warning,
                format!("is {own}, but the account has {value}: the rest is not used"),
            ),
        };
        finding.map(|finding| finding.with(key, i64::try_from(value).unwrap_or(i64::MAX)))
    });
    found.collect()
}

/// The names of quotas that limit requests to a model which neither ListFoundationModels has nor a target
/// calls. They may be those of a model that AWS names in another way.
pub(super) fn unmatched_names(called: &[Called], snapshot: &Snapshot) -> Vec<String> {
    let (Some(models), Some(quotas)) = (&snapshot.models, &snapshot.quotas) else {
        return Vec::new();
    };
    let listed = models.iter().map(|model| {
        let name = model.model_name.as_deref().unwrap_or_default();
        let provider = model.provider_name.as_deref().unwrap_or_default();
        ModelNames::of(&model.model_id, Some((name, provider)))
    });
    let called = called.iter().map(|called| ModelNames::of(&called.base, None));
    let known: Vec<ModelNames> = listed.chain(called).collect();
    let mut unmatched: Vec<String> = quotas
        .iter()
        .filter_map(|quota| match parse(&quota.name) {
            QuotaName::Inference(name) => Some(name.model.to_owned()),
            _ => None,
        })
        .collect();
    unmatched.sort_unstable();
    unmatched.dedup();
    unmatched.retain(|model| {
        let words = Words::of(model);
        !known.iter().any(|names| names.is_meant_by(&words))
    });
    unmatched
}

/// The quotas over all models that the account has.
pub(super) fn over_all_models(snapshot: &Snapshot) -> impl Iterator<Item = &Quota> {
    let quotas = snapshot.quotas.iter().flatten();
    quotas.filter(|quota| matches!(parse(&quota.name), QuotaName::AllModels(..)))
}

#[cfg(test)]
mod tests;
