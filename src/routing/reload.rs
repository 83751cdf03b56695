//! Which targets a reload of the config leaves unchanged.
//!
//! An unchanged target stays the same object: its quota keeps what requests in flight have reserved, its queue
//! keeps its waiters, its cooldown keeps track of attempts under way. Since a group shares a queue, its
//! targets are unchanged together or not at all.

use std::collections::HashMap;
use std::time::Duration;

use super::cooldown::CooldownSettings;
use super::grouping::group_numbers;
use crate::config::{self, Config};

/// For each target of `config`, its index in `before` if it is unchanged.
pub(super) fn unchanged_targets(config: &Config, before: &Config) -> Vec<Option<usize>> {
    let mut unchanged = vec![None; config.targets.len()];
    if !is_common_unchanged(config, before) {
        return unchanged;
    }
    let old = before.targets.iter().enumerate();
    let old: HashMap<&str, _> = old.map(|(at, old)| (old.name.as_str(), (at, old))).collect();
    // Names are unique, so each target is compared with one other.
    let old_index = |target: &config::Target| {
        let &(at, old) = old.get(target.name.as_str())?;
        is_same(config, target, before, old).then_some(at)
    };
    let old_indices: Vec<Option<usize>> = config.targets.iter().map(old_index).collect();
    let members = |numbers: Vec<usize>| {
        let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
        let numbered = numbers.into_iter().enumerate();
        numbered.for_each(|(at, number)| members.entry(number).or_default().push(at));
        members
    };
    let numbers_before = group_numbers(before);
    let members_before = members(numbers_before.clone());
    for group in members(group_numbers(config)).into_values() {
        let here: Option<Vec<usize>> =
            group.iter().map(|at| old_indices.get(*at).copied().flatten()).collect();
        let Some(mut here) = here else { continue };
        here.sort_unstable();
        let there = here.first().and_then(|at| members_before.get(numbers_before.get(*at)?));
        if there != Some(&here) {
            continue;
        }
        for at in group {
            if let (Some(slot), Some(index)) = (unchanged.get_mut(at), old_indices.get(at)) {
                *slot = *index;
            }
        }
    }
    unchanged
}

/// Whether targets of models without a route are unchanged.
pub(super) fn are_unrouted_unchanged(config: &Config, before: &Config) -> bool {
    is_common_unchanged(config, before)
        && config.upstream == before.upstream
        && config.fallback.unrouted_cooldown == before.fallback.unrouted_cooldown
}

/// Whether the settings that all targets share are the same.
fn is_common_unchanged(config: &Config, before: &Config) -> bool {
    CooldownSettings::new(config, Duration::ZERO) == CooldownSettings::new(before, Duration::ZERO)
        && config.learning == before.learning
        && config.upstream.use_fips == before.upstream.use_fips
}

/// Whether a target is the same in both configs, its quota included.
fn is_same(config: &Config, one: &config::Target, before: &Config, other: &config::Target) -> bool {
    let quotas = |config: &Config, target: &config::Target| {
        let named = |at: Option<usize>| at.map(|at| config.quotas.get(at).cloned());
        [named(target.quota), named(target.daily_quota)]
    };
    // The same quota may have another index.
    let (quota, daily_quota) = (other.quota, other.daily_quota);
    let with_index_of_other = config::Target { quota, daily_quota, ..one.clone() };
    with_index_of_other == *other && quotas(config, one) == quotas(before, other)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bedrock::{Date, ModelId};
    use crate::config::Env;
    use crate::routing::{Router, Target};

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
    fn unchanged(text: &str) -> Vec<String> {
        let (before, after) = (config(BEFORE), config(text));
        let old = Router::new(&before, None, None).unwrap();
        let new = Router::new(&after, Some((&before, &old)), None).unwrap();
        let is_old = |it: &&Arc<Target>| old.targets().iter().any(|old| Arc::ptr_eq(old, it));
        new.targets().iter().filter(is_old).map(|it| it.name.to_string()).collect()
    }

    /// The models that answer on a day: of the target, and of a request that no route names.
    fn answering(router: &Router, config: &Config) -> [String; 2] {
        let opus = ModelId::new("us.anthropic.claude-opus-4-1-20250805-v1:0").unwrap();
        let (_, route) = router.find(config, &opus).unwrap();
        [&router.targets()[0], &route.targets[0]].map(|target| target.model.to_string())
    }

    #[tokio::test]
    async fn a_new_day_replaces_the_models_that_it_retires_and_leaves_all_other_targets() {
        let text = "[upstream]\naccess_key_id = 'K'\nsecret_access_key = 'env:S'
            [targets.a]\nmodel = 'anthropic.claude-opus-4-1-20250805-v1:0'
            [targets.b]\nmodel = 'amazon.nova-lite-v1:0'
            [[routes]]\nmodels = ['x']\ntargets = ['a']
            [[routes]]\nmodels = ['y']\ntargets = ['b']";
        let on = |day: &str| config(text).on(Date::parse(day).unwrap());
        let (before, after) = (on("2027-01-07"), on("2027-01-08"));
        let old = Router::new(&before, None, None).unwrap();
        let opus = "anthropic.claude-opus-4-1-20250805-v1:0";
        assert_eq!(answering(&old, &before), [opus.to_owned(), format!("us.{opus}")]);
        let new = Router::new(&after, Some((&before, &old)), None).unwrap();
        let next = "us.anthropic.claude-opus-4-5-20251101-v1:0";
        assert_eq!(answering(&new, &after), [next, next]);
        assert_eq!(new.targets()[0].named_model(), opus);
        assert!(Arc::ptr_eq(&new.targets()[1], &old.targets()[1]));
        let next_day = on("2027-01-09");
        let newer = Router::new(&next_day, Some((&after, &new)), None).unwrap();
        assert!(Arc::ptr_eq(&newer.targets()[0], &new.targets()[0]), "nothing else is retired");
    }

    #[tokio::test]
    async fn targets_that_a_change_does_not_affect_stay_the_same_objects() {
        let change = |from: &str, to: &str| unchanged(&BEFORE.replace(from, to));
        assert_eq!(change("", ""), ["a", "b", "c", "d"]);
        let route = format!(
            "{BEFORE}\n[[routes]]\nmodels = ['z']\ntargets = ['a']\n[queue]\nmax_waiting = 1"
        );
        assert_eq!(unchanged(&route), ["a", "b", "c", "d"], "another route, another queue");
        assert_eq!(change("nova-lite", "nova-micro"), ["a", "b", "d"], "another model");
        assert_eq!(change("tpm = 1000", "tpm = 2000"), ["c", "d"], "a quota that two share");
        assert_eq!(change("eu-west-1", "eu-west-2"), ["c", "d"], "and so share a queue");
        assert_eq!(change("['c']", "['c', 'd']"), ["a", "b"], "a queue that two now share");
        let policy = format!("{BEFORE}\n[fallback]\neject_after = 9");
        assert_eq!(unchanged(&policy), [""; 0], "a setting that all depend on");
    }
}
