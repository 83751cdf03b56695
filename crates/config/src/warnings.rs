//! Warnings: what a configuration allows but its author probably did not mean.

use std::collections::HashSet;

use super::error::suggestion;
use super::model::{
    BudgetStore, ClientAuth, Config, JobsBackend, ResponsesSettings, Route, StoreResponses, Target,
    Unrouted,
};
use sluice_bedrock::{ModelId, region};
use sluice_catalogue::{Endpoint as Service, Surface};

/// The warnings about a configuration, a sentence each.
pub(super) fn of(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let routed: HashSet<usize> =
        config.routes.iter().flat_map(|route| route.targets.iter().copied()).collect();
    let quotas = config.targets.iter().flat_map(|target| [target.quota, target.daily_quota]);
    let drawn_on: HashSet<usize> = quotas.flatten().collect();
    warnings.extend(unknown_region("upstream", &config.upstream.region));
    for (index, target) in config.targets.iter().enumerate() {
        let routed = routed.contains(&index);
        let legacy = config.legacy.enabled && config.legacy.models.contains(&index);
        let name = &target.name;
        if !routed && !legacy {
            warnings.push(format!("no route names target '{name}': it gets no traffic"));
        } else if !routed && config.routes.is_empty() {
            warnings
                .push(format!("no route names target '{name}': only the legacy endpoints use it"));
        }
        if config.upstream.use_fips && !target.endpoint.is_fips() {
            warnings.push(format!(
                "target '{name}' has an endpoint of its own, {}, which use_fips does not change",
                target.endpoint
            ));
        }
        if target.region != config.upstream.region {
            warnings.extend(unknown_region(&format!("target '{name}'"), &target.region));
        }
        for id in [Some(&target.model), target.base_model.as_ref()].into_iter().flatten() {
            warnings.extend(meant(config, target, id).map(|meant| {
                format!(
                    "target '{name}': '{id}' is no model that is known; did you mean '{meant}'?"
                )
            }));
        }
        warnings.extend(elsewhere(target));
        warnings.extend(profile_only(config, target));
        warnings.extend(other_endpoint(target));
        let shared = target.endpoint == config.upstream.endpoint;
        if shared && target.region != config.upstream.region && !target.endpoint.is_loopback() {
            warnings.push(format!(
                "target '{}' signs for {} but is sent to {}, the endpoint of [upstream]",
                target.name, target.region, target.endpoint
            ));
        }
    }
    for (index, quota) in config.quotas.iter().enumerate() {
        if !drawn_on.contains(&index) {
            warnings.push(format!("no target draws on quota '{}'", quota.name));
        }
    }
    if config.routes.is_empty() {
        warnings.push(match config.fallback.unrouted {
            Unrouted::Pass => "there are no routes: no request falls back to another model".into(),
            Unrouted::Reject => "there are no routes: every request is refused".to_owned(),
        });
    }
    let route_waits = config.routes.iter().enumerate().map(|(index, route)| {
        (format!("routes[{index}]"), &route.targets, route.wait_before_fallback)
    });
    let legacy = config
        .legacy
        .enabled
        .then(|| ("legacy".to_owned(), &config.legacy.models, config.legacy.wait_before_fallback));
    for (place, targets, wait) in route_waits.chain(legacy) {
        if !wait.is_zero() && has_one_model(config, targets) {
            warnings.push(format!(
                "{place}.wait_before_fallback has no effect: the targets have one model, so no \
                 other model can answer"
            ));
        }
    }
    let server = &config.server;
    let clients = server.tls.as_ref().and_then(|tls| tls.clients.as_ref());
    if server.listen == server.admin_listen
        && clients.is_some_and(|clients| clients.auth == ClientAuth::Required)
    {
        warnings.push(
            "health and metrics share a port that wants clients' certificates: who asks for them \
             needs one too"
                .to_owned(),
        );
    }
    if config.queue.max_wait > config.server.request_timeout {
        warnings.push("queue.max_wait is longer than server.request_timeout".to_owned());
    }
    let budgets = config.clients.iter().any(|client| client.budget.is_some());
    if budgets && config.state.budgets == BudgetStore::Memory {
        warnings.push(
            "clients have budgets, and neither state.budget_path nor state.redis_url is set: \
             budgets start anew with the process"
                .to_owned(),
        );
    }
    if config.upstream.control_plane.is_some() && config.clients.is_empty() {
        warnings.push(
            "upstream.control_plane is on, but there are no clients, and it is for those that have a \
             name: its calls are refused"
                .to_owned(),
        );
    }
    if stores_unshared_ids(config) {
        warnings.push(
            "replicas share their state, and apis.responses.id_key is not set: the id of a stored response \
             is known to the replica alone that made it"
                .to_owned(),
        );
    }
    if config.jobs.backend != JobsBackend::Off && !config.legacy.enabled {
        warnings.push("jobs.backend is set but the legacy endpoints are off: no job comes".into());
    }
    warnings
}

/// Whether responses may be stored, and their ids are sealed by a key that other replicas do not have.
fn stores_unshared_ids(config: &Config) -> bool {
    let ResponsesSettings { api, id_key, .. } = &config.apis.responses;
    let stores = |route: &Route| {
        let targets = route.targets.iter().filter_map(|index| config.targets.get(*index));
        let mut able =
            targets.filter(|target| config.surfaces_of(target).contains(Surface::Responses));
        route.store != StoreResponses::Never && able.next().is_some()
    };
    config.state.shared.is_some()
        && api.enabled
        && id_key.is_none()
        && config.routes.iter().any(stores)
}

/// Whether the targets with these indices have the same model, in whatever regions.
fn has_one_model(config: &Config, targets: &[usize]) -> bool {
    let base = |target: &Target| {
        let model = ModelId::new(target.base_model.as_ref().unwrap_or(&target.model)).ok()?;
        model.base().map(str::to_owned)
    };
    let mut models = targets.iter().filter_map(|index| config.targets.get(*index)).map(base);
    let first = models.next().flatten();
    targets.len() < 2 || first.is_some() && models.all(|model| model == first)
}

/// The id that was probably meant by one that is not known; of a profile that of the profile.
fn meant(config: &Config, target: &Target, id: &str) -> Option<String> {
    let model = ModelId::new(id).ok()?;
    let meant = config.known_models.probably_meant(target.service, &model)?;
    Some(match model.geography().filter(|_| !id.starts_with("arn:")) {
        Some(geography) => format!("{geography}.{meant}"),
        None => meant.to_owned(),
    })
}

/// The warning about a region that AWS is not known to have.
fn unknown_region(place: &str, name: &str) -> Option<String> {
    let hint = suggestion(name, region::known());
    region::partition(name)
        .is_none()
        .then(|| format!("{place} has the region '{name}', which AWS is not known to have{hint}"))
}

/// The warning about a target that calls a model by its bare id, although it has inference profiles alone.
fn profile_only(config: &Config, target: &Target) -> Option<String> {
    let model = ModelId::new(&target.model).ok()?;
    let is_bare = target.service == Service::Runtime && model.base() == Some(&target.model);
    let facts = config.facts_of(target).filter(|_| is_bare)?;
    if facts.on_demand != Some(false) {
        return None;
    }
    let near = config.known_models.profile_near(&model, &target.region);
    let any = || Some(format!("{}.{model}", facts.profiles.first()?));
    let hint = near.or_else(any).map(|profile| format!(", such as '{profile}'"));
    Some(format!(
        "target '{}': Bedrock Runtime has '{model}' by inference profiles only: name one{}",
        target.name,
        hint.unwrap_or_default()
    ))
}

/// The warning about a target whose URL is that of the endpoint that it does not name.
fn other_endpoint(target: &Target) -> Option<String> {
    let Target { name, service, endpoint, .. } = target;
    let is_runtime = || endpoint.authority().host().contains("bedrock-runtime");
    match service {
        Service::Runtime if endpoint.is_mantle() => Some(format!(
            "target '{name}' is sent to {endpoint}, a mantle endpoint, which has no native operations; set \
             endpoint = \"mantle\""
        )),
        Service::Mantle if endpoint.is_of_aws() && is_runtime() => Some(format!(
            "target '{name}' has endpoint = \"mantle\", but is sent to {endpoint}, which is of Bedrock \
             Runtime"
        )),
        _ => None,
    }
}

/// The warning about a target whose model is not in the target's region.
fn elsewhere(target: &Target) -> Option<String> {
    let (model, name, region) = (ModelId::new(&target.model).ok()?, &target.name, &target.region);
    if let Some((_, own)) = model.arn_place().filter(|(_, own)| own != region) {
        return Some(format!("target '{name}' is called in {region}, but its ARN is of {own}"));
    }
    if let Some((partition, _)) = model.arn_place()
        && region::partition(region).is_some_and(|own| own != partition)
    {
        return Some(format!(
            "target '{name}': its ARN is of '{partition}', where {region} is not"
        ));
    }
    let geography = model.geography().filter(|it| region::is_elsewhere(it, region))?;
    Some(format!(
        "target '{name}' is called in {region}, where AWS has no profiles of the geography \
         '{geography}': '{model}'"
    ))
}
