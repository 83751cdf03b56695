//! `sluice check --account`: compares a config with what AWS says of the accounts of its targets.
//!
//! For each account and region it reads the models, the inference profiles, whether the targets' models are
//! enabled, and the quotas (`read`, `wire`, `endpoints`, `snapshot`). What follows from them for the targets
//! is computed without I/O: whether each can answer (`models`), whether the catalogue is right about it
//! (`facts`), and whether the config has the account's quotas (`quotas`, `quota_name`, `model_name`).

mod endpoints;
mod facts;
mod finding;
mod model_name;
mod models;
mod quota_name;
mod quotas;
mod read;
mod snapshot;
mod wire;

use std::collections::HashMap;

use super::super::progress::Progress;
use super::report::{AccountRecord, Report};
use crate::bedrock::account::Service;
use crate::catalogue;
use crate::config::{Config, Credentials, Endpoint, Env, Locations, Target, describe};
use crate::telemetry::Metrics;
use crate::upstream::credentials::Resolved as Keys;
use crate::upstream::{ConnectionGauges, Origin, Upstream};
pub(super) use finding::{Finding, Severity};
use finding::{corrections_of, paste_of};
use models::{Called, Resolved};
use read::Reader;
pub(super) use snapshot::Skipped;
use snapshot::Snapshot;

/// The targets that call one account in one region. Those with an endpoint that is not one of AWS are apart.
struct Place<'c> {
    credentials: &'c Credentials,
    region: &'c str,
    endpoint: &'c Endpoint,
    targets: Vec<&'c Target>,
}

/// Compares the config with each account. `keys` are the credentials that were resolved.
pub(super) async fn check(
    config: &Config,
    locations: &Locations,
    keys: &HashMap<Credentials, Keys>,
    report: &mut Report,
) {
    let metrics = Metrics::new();
    let gauges = ConnectionGauges::of(&metrics);
    let upstream = Upstream::new(&config.upstream, gauges, metrics.upstream_resent.clone());
    let (env, progress) = (Env::of_process(), Progress::start());
    let mut all = Vec::new();
    for place in places(config) {
        // That they can't be resolved is reported already.
        let Some(auth) = keys.get(place.credentials).and_then(|it| it.auth(place.credentials))
        else {
            continue;
        };
        let origins = [Service::Bedrock, Service::ServiceQuotas].map(|service| {
            let endpoint = endpoints::endpoint(service, config, &env, place.region, place.endpoint);
            endpoint.map(|endpoint| Origin::new(&endpoint))
        });
        let credentials = describe(place.credentials);
        let show = |what: &str| {
            progress.show(&format!("reading {what}: {credentials} in {}", place.region));
        };
        let reader = Reader::new(&upstream, &config.known_models, &auth, place.region, origins);
        let snapshot = reader.read(&place.targets, show).await;
        progress.clear();
        let Compared { findings, unmatched_quotas } = compare(config, &place, &snapshot);
        report.account(record(&place, &snapshot, unmatched_quotas));
        for finding in &findings {
            let keys: Vec<&str> = finding.key.iter().map(String::as_str).collect();
            report.finding(finding, &locations.of(&keys));
        }
        all.extend(findings);
    }
    report.paste(&paste_of(&all));
    report.corrections(corrections_of(&all, config.day));
}

/// The accounts and regions of the targets, in the order of the config.
fn places(config: &Config) -> Vec<Place<'_>> {
    let mut places: Vec<Place<'_>> = Vec::new();
    for target in &config.targets {
        let Target { credentials, region, endpoint, .. } = target;
        let is_same = |place: &&mut Place<'_>| {
            (place.credentials, place.region) == (credentials, region.as_str())
                && (place.endpoint == endpoint
                    || place.endpoint.is_of_aws() && endpoint.is_of_aws())
        };
        match places.iter_mut().find(is_same) {
            Some(place) => place.targets.push(target),
            None => places.push(Place { credentials, region, endpoint, targets: vec![target] }),
        }
    }
    places
}

/// What follows from an account for the config.
struct Compared {
    findings: Vec<Finding>,
    /// The models in names of quotas that are not in the list of models.
    unmatched_quotas: Vec<String>,
}

fn compare(config: &Config, place: &Place<'_>, snapshot: &Snapshot) -> Compared {
    let (mut findings, mut known) = (Vec::new(), Vec::new());
    for target in &place.targets {
        match models::resolve(target, snapshot, &config.known_models) {
            Resolved::Missing(finding) => findings.push(finding),
            Resolved::Unknown(None) => {}
            Resolved::Unknown(Some(reason)) => {
                let message = format!("'{}' is not checked: {reason}", target.model);
                let severity = Severity::Note;
                let name = &target.name;
                findings.push(Finding::of_target(severity, "unchecked", name, "model", message));
            }
            Resolved::Model(called) => {
                let known_models = &config.known_models;
                let day = (&**known_models, config.day);
                findings.extend(models::findings(target, &called, snapshot, day));
                // What AWS lists are facts about Bedrock Runtime.
                let is_listed = target.service == catalogue::Endpoint::Runtime;
                let model = snapshot.model(&called.base).filter(|_| is_listed);
                findings.extend(
                    model
                        .iter()
                        .flat_map(|model| facts::findings(target, model, snapshot, known_models)),
                );
                known.push((*target, called));
            }
        }
    }
    findings.extend(quotas::findings(config, &known, snapshot));
    let called: Vec<Called> = known.into_iter().map(|(_, called)| called).collect();
    Compared { findings, unmatched_quotas: quotas::unmatched_names(&called, snapshot) }
}

fn record(place: &Place<'_>, snapshot: &Snapshot, unmatched_quotas: Vec<String>) -> AccountRecord {
    let over_all = quotas::over_all_models(snapshot);
    AccountRecord {
        account: snapshot.account_id().map(str::to_owned),
        region: place.region.to_owned(),
        credentials: describe(place.credentials),
        models: snapshot.models.as_ref().map(Vec::len),
        profiles: snapshot.profiles.as_ref().map(Vec::len),
        quotas: snapshot.quotas.as_ref().map(Vec::len),
        skipped: snapshot.skipped.clone(),
        quotas_over_all_models: over_all.map(|it| (it.name.clone(), it.value)).collect(),
        unmatched_quotas,
    }
}
