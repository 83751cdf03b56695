//! Which targets a newer config leaves untouched.
//!
//! Such a target stays the very same: its quota hears of what was reserved before, its line of who
//! joined it before, its cooldown of what is still under way. Targets are left untouched together
//! with all that their routes or quotas connect them to, since these share a line.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::router::{groups, policy};
use super::target::Target;
use crate::config::{self, Config};

/// The targets of `before` that stay under `config`, by their place there. `known` are those that
/// were made of `before`, in its order.
pub(super) fn untouched(
    config: &Config,
    before: &Config,
    known: &[Arc<Target>],
) -> Vec<Option<Arc<Target>>> {
    let nothing = vec![None; config.targets.len()];
    if !is_common_untouched(config, before) {
        return nothing;
    }
    let old = before.targets.iter().enumerate();
    let old: HashMap<&str, _> = old.map(|(at, old)| (old.name.as_str(), (at, old))).collect();
    // Each target's place before, if it was the same there. Names are unique.
    let place = |target: &config::Target| {
        let &(at, old) = old.get(target.name.as_str())?;
        is_same(config, target, before, old).then_some(at)
    };
    let places: Vec<Option<usize>> = config.targets.iter().map(place).collect();
    let members = |groups: Vec<usize>| {
        let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
        groups.into_iter().enumerate().for_each(|(at, it)| members.entry(it).or_default().push(at));
        members
    };
    let groups_before = groups(before);
    let members_before = members(groups_before.clone());
    let mut kept = nothing;
    for group in members(groups(config)).into_values() {
        let here: Option<Vec<usize>> =
            group.iter().map(|at| places.get(*at).copied().flatten()).collect();
        let Some(mut here) = here else { continue };
        here.sort_unstable();
        let there = here.first().and_then(|at| members_before.get(groups_before.get(*at)?));
        if there != Some(&here) {
            continue;
        }
        for at in group {
            let place = places.get(at).copied().flatten();
            if let (Some(slot), Some(place)) = (kept.get_mut(at), place) {
                *slot = known.get(place).cloned();
            }
        }
    }
    kept
}

/// Whether the targets of models without a route stay what they are.
pub(super) fn unrouted_untouched(config: &Config, before: &Config) -> bool {
    is_common_untouched(config, before)
        && config.upstream == before.upstream
        && config.fallback.unrouted_cooldown == before.fallback.unrouted_cooldown
}

/// Whether what all targets go by is the same.
fn is_common_untouched(config: &Config, before: &Config) -> bool {
    policy(config, Duration::ZERO) == policy(before, Duration::ZERO)
        && config.learning == before.learning
        && config.upstream.use_fips == before.upstream.use_fips
}

/// Whether a target of one config is what one of another config is, its quota included.
fn is_same(config: &Config, one: &config::Target, before: &Config, other: &config::Target) -> bool {
    let quota = |config: &Config, target: &config::Target| {
        target.quota.map(|at| config.quotas.get(at).cloned())
    };
    let alone = |target: &config::Target| config::Target { quota: None, ..target.clone() };
    alone(one) == alone(other) && quota(config, one) == quota(before, other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;
    use crate::routing::Router;

    const BEFORE: &str = "
        [upstream]\naccess_key_id = 'K'\nsecret_access_key = 'env:S'
        [quotas.q]\ntpm = 1000
        [targets.a]\nmodel = 'anthropic.claude-3-haiku-20240307-v1:0'\nquota = 'q'
        [targets.b]\nmodel = 'anthropic.claude-3-haiku-20240307-v1:0'\nquota = 'q'\nregion = 'eu-west-1'
        [targets.c]\nmodel = 'amazon.nova-lite-v1:0'
        [targets.d]\nmodel = 'amazon.nova-pro-v1:0'
        [[routes]]\nmodels = ['x']\ntargets = ['c']
        [[routes]]\nmodels = ['y']\ntargets = ['d']
    ";

    fn config(text: &str) -> Config {
        let env: Env = [("S", "secret")].into_iter().collect();
        Config::from_toml(text, "config.toml", &env).unwrap().config
    }

    /// The names of the targets that are the same objects under the other config.
    fn kept(text: &str) -> Vec<String> {
        let (before, after) = (config(BEFORE), config(text));
        let old = Router::new(&before, None, None).unwrap();
        let new = Router::new(&after, Some((&before, &old)), None).unwrap();
        let is_old = |it: &&Arc<Target>| old.targets().iter().any(|old| Arc::ptr_eq(old, it));
        new.targets().iter().filter(is_old).map(|it| it.name.to_string()).collect()
    }

    #[tokio::test]
    async fn what_has_nothing_to_do_with_a_change_stays_the_very_same() {
        let change = |from: &str, to: &str| kept(&BEFORE.replace(from, to));
        assert_eq!(change("", ""), ["a", "b", "c", "d"]);
        let route = format!(
            "{BEFORE}\n[[routes]]\nmodels = ['z']\ntargets = ['a']\n[queue]\nmax_waiting = 1"
        );
        assert_eq!(kept(&route), ["a", "b", "c", "d"], "another route, another queue");
        assert_eq!(change("nova-lite", "nova-micro"), ["a", "b", "d"], "another model");
        assert_eq!(change("tpm = 1000", "tpm = 2000"), ["c", "d"], "a quota that two share");
        assert_eq!(change("eu-west-1", "eu-west-2"), ["c", "d"], "and so share a line");
        assert_eq!(change("['c']", "['c', 'd']"), ["a", "b"], "a line that two come to share");
        let policy = format!("{BEFORE}\n[fallback]\neject_after = 9");
        assert_eq!(kept(&policy), [""; 0], "what all depend on");
    }
}
