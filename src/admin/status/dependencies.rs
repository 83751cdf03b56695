//! Whether what the gateway depends on works: stores, issuers, collectors, AWS credentials.

use serde::Serialize;

use crate::pipeline::Gateway;
use crate::telemetry::dashboard_totals::each_gauge;

/// The name of the credentials among the dependencies in metrics.
const CREDENTIALS: &str = "credentials";

/// One dependency.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Dependency {
    /// Its name, as in `sluice_dependency_up`.
    name: String,
    up: bool,
    /// What is wrong, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// The dependencies that are in use, by name. Each set of credentials that could not be resolved is one.
pub(super) fn dependencies(gateway: &Gateway) -> Vec<Dependency> {
    let mut all = Vec::new();
    each_gauge(gateway.metrics.dependencies.gauges(), |labels, value| {
        let name = labels.get("dependency").to_owned();
        // That sample is as old as the last scrape of the metrics.
        if name != CREDENTIALS {
            let message = gateway.metrics.dependencies.problem(&name);
            all.push(Dependency { name, up: value > 0.0, message });
        }
    });
    let providers = gateway.router.credentials();
    let failing = providers.iter().filter(|it| it.is_settled() && !it.is_fresh());
    let failing: Vec<Dependency> = failing
        .map(|provider| Dependency {
            name: CREDENTIALS.to_owned(),
            up: false,
            message: Some(provider.problem()),
        })
        .collect();
    if failing.is_empty() && !providers.is_empty() {
        all.push(Dependency { name: CREDENTIALS.to_owned(), up: true, message: None });
    }
    all.extend(failing);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
