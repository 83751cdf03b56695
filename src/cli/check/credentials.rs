//! The credentials of a config: whether they resolve, and whose they are.

use std::collections::HashMap;

use super::super::progress::Progress;
use super::report::Report;
use crate::config::{self, Config, Credentials, Env};
use crate::upstream::credentials::{Resolved, Sts, resolve_once};

/// The distinct credentials of a config, each with one of its regions and the targets that use it.
fn distinct(config: &Config) -> Vec<(&Credentials, Sts<'_>, Vec<&str>)> {
    let mut all: Vec<(&Credentials, Sts<'_>, Vec<&str>)> = Vec::new();
    let use_fips = config.upstream.use_fips;
    let of_upstream = (&config.upstream.credentials, &config.upstream.region, None);
    let of_targets = config.targets.iter();
    let of_targets = of_targets.map(|it| (&it.credentials, &it.region, Some(it.name.as_str())));
    for (credentials, region, target) in std::iter::once(of_upstream).chain(of_targets) {
        match all.iter_mut().find(|(known, ..)| *known == credentials) {
            Some((.., targets)) => targets.extend(target),
            None => {
                let sts = Sts { region, use_fips };
                all.push((credentials, sts, target.into_iter().collect()));
            }
        }
    }
    all
}

/// Most targets that a line names.
const MAX_NAMED: usize = 8;

/// Which targets use the credentials, in a phrase. Beyond the bound they are counted.
fn users(targets: &[&str]) -> Option<String> {
    match targets {
        [] => None,
        [target] => Some(format!("for target {target}")),
        _ => {
            let (named, others) = targets.split_at(targets.len().min(MAX_NAMED));
            let others = match others.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            Some(format!("for targets {}{others}", named.join(", ")))
        }
    }
}

/// Resolves the credentials, and returns those that were found.
pub(super) async fn resolve(
    config: &Config,
    report: &mut Report,
) -> HashMap<Credentials, Resolved> {
    let mut found = HashMap::new();
    let progress = Progress::start();
    for (credentials, sts, targets) in distinct(config) {
        let name = config::describe(credentials);
        progress.show(&format!("resolving credentials: {name}"));
        let resolved = resolve_once(credentials, sts).await;
        progress.clear();
        match resolved {
            Ok(resolved) => {
                let key = resolved.access_key_id();
                let key = key.map(|key| format!("access key {key}"));
                let users = users(&targets);
                let details: Vec<String> = key.into_iter().chain(users).collect();
                report.check("credentials", &name, Ok(details.join(", ")));
                found.insert(credentials.clone(), resolved);
            }
            Err(problem) => {
                report.check("credentials", &name, Err(problem));
            }
        }
    }
    found
}

/// The principals of the credentials, by STS. No answer from STS is not an error: it may be unreachable
/// from here, and an upstream can be reached without it.
pub(super) async fn principals(
    config: &Config,
    resolved: &HashMap<Credentials, Resolved>,
    report: &mut Report,
) -> HashMap<Credentials, String> {
    let mut principals = HashMap::new();
    let progress = Progress::start();
    for (credentials, sts, _) in distinct(config) {
        let name = config::describe(credentials);
        let Some(found) = resolved.get(credentials) else { continue };
        if !asks_sts(config, credentials) {
            report.note(format!(
                "principal: {name}: not asked for, since its upstream is on this machine"
            ));
            continue;
        }
        progress.show(&format!("asking STS whose credentials these are: {name}"));
        let principal = found.principal(sts).await;
        progress.clear();
        match principal {
            Some(Ok(arn)) => {
                report.note(format!("principal: {name}: {arn}"));
                principals.insert(credentials.clone(), arn);
            }
            Some(Err(problem)) => report.note(format!("principal: {name}: not known: {problem}")),
            None => report
                .note(format!("principal: {name}: not known: STS does not know bearer tokens")),
        }
    }
    principals
}

/// Whether STS is asked about these: not when all that they sign for stays on this machine, as a
/// simulator does, unless the environment names an STS.
fn asks_sts(config: &Config, credentials: &Credentials) -> bool {
    let targets = config.targets.iter().map(|it| (&it.credentials, &it.endpoint));
    let upstream = (&config.upstream.credentials, &config.upstream.endpoint);
    let mut signed_for = targets.chain([upstream]).filter(|(by, _)| *by == credentials);
    let env = Env::of_process();
    ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"].iter().any(|name| env.get(name).is_some())
        || signed_for.any(|(_, endpoint)| !endpoint.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::users;

    #[test]
    fn many_targets_are_counted() {
        assert_eq!(users(&[]), None);
        assert_eq!(users(&["a"]).as_deref(), Some("for target a"));
        assert_eq!(users(&["a", "b"]).as_deref(), Some("for targets a, b"));
        let many = ["t"; 11];
        let expected = "for targets t, t, t, t, t, t, t, t and 3 more";
        assert_eq!(users(&many).as_deref(), Some(expected));
    }
}
