//! Targets that the gateway counts apart although AWS counts them together.

use crate::bedrock::ModelId;
use crate::catalogue::Endpoint as Service;
use crate::config::{Config, Target};

/// Warnings about targets of one account, region and model that share no quota. AWS counts a model's on-demand
/// requests, those through profiles of a geography, those through global profiles, and those at the mantle
/// endpoint, each for itself.
pub fn warnings_about_separate_quotas(config: &Config) -> Vec<String> {
    let counted: Vec<_> =
        config.targets.iter().filter_map(|target| Some((target, counted_as(target)?))).collect();
    let mut warnings = Vec::new();
    for (place, (target, counted_as)) in counted.iter().enumerate() {
        let is_apart = |(other, other_as): &&(&Target, CountedAs)| {
            other_as == counted_as
                && is_one_account(target, other)
                && (target.quota.is_none() || target.quota != other.quota)
        };
        let Some((first, _)) = counted.iter().take(place).find(is_apart) else { continue };
        let (name, first) = (&target.name, &first.name);
        warnings.push(format!(
            "targets '{first}' and '{name}' are the same model in one account and region, which AWS counts \
             together, and share no quota here: define it in [quotas] and name it in both"
        ));
    }
    warnings
}

/// How AWS counts the requests of a target.
#[derive(PartialEq, Eq)]
struct CountedAs {
    service: Service,
    region: String,
    model: String,
    /// `us`, `global` and so on; `None` without a cross-region profile.
    geography: Option<String>,
}

/// `None` if the id does not show it.
fn counted_as(target: &Target) -> Option<CountedAs> {
    let model = ModelId::new(&target.model).ok()?;
    let base = match &target.base_model {
        Some(base) => ModelId::new(base).ok()?.base()?.to_owned(),
        None => model.base()?.to_owned(),
    };
    let is_opaque = model.base().is_none();
    let geography = model.geography().map(str::to_owned);
    let region = target.region.clone();
    let service = target.service;
    (!is_opaque).then_some(CountedAs { service, region, model: base, geography })
}

/// Whether two targets are called with the same credentials, at AWS or at the same other place.
fn is_one_account(one: &Target, other: &Target) -> bool {
    let at_aws = one.endpoint.is_of_aws() && other.endpoint.is_of_aws();
    one.credentials == other.credentials && (at_aws || one.endpoint == other.endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    fn warnings(targets: &str) -> Vec<String> {
        let text = format!(
            "[upstream]\nregion = 'us-east-1'\naccess_key_id = 'K'\nsecret_access_key = 'env:S'\n\
             [quotas.q]\ntpm = 1000\n{targets}"
        );
        let env: Env = [("S", "secret")].into_iter().collect();
        let config = Config::from_toml(&text, "config.toml", &env).unwrap().config;
        warnings_about_separate_quotas(&config)
    }

    const HAIKU: &str = "model = 'anthropic.claude-3-haiku-20240307-v1:0'";
    const US_HAIKU: &str = "model = 'us.anthropic.claude-3-haiku-20240307-v1:0'";

    #[test]
    fn targets_that_aws_counts_together_are_named() {
        let found = warnings(&format!("[targets.a]\n{HAIKU}\ntpm = 5\n[targets.b]\n{HAIKU}"));
        assert!(found.len() == 1 && found[0].contains("'a' and 'b'"), "{found:?}");
        let one = format!("[targets.a]\n{HAIKU}\nquota = 'q'\n[targets.b]\n{HAIKU}\ntpm = 5");
        assert_eq!(warnings(&one).len(), 1, "one of them has a quota of its own");
        let vpc = "endpoint_url = 'https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com'";
        let two = format!("[targets.a]\n{HAIKU}\n[targets.b]\n{HAIKU}\n{vpc}");
        assert_eq!(warnings(&two).len(), 1, "another endpoint of the same account");
    }

    #[test]
    fn targets_that_share_a_quota_or_are_counted_apart_are_not() {
        for (a, b) in [
            (format!("{HAIKU}\nquota = 'q'"), format!("{HAIKU}\nquota = 'q'")),
            (HAIKU.to_owned(), US_HAIKU.to_owned()),
            (HAIKU.to_owned(), format!("{HAIKU}\nendpoint = 'mantle'")),
            (US_HAIKU.to_owned(), US_HAIKU.replace("us.", "global.")),
            (HAIKU.to_owned(), format!("{HAIKU}\nregion = 'us-west-2'")),
            (HAIKU.to_owned(), format!("{HAIKU}\nbearer_token = 'env:S'")),
            (HAIKU.to_owned(), HAIKU.replace("haiku", "sonnet").replace("0307", "0229")),
        ] {
            let found = warnings(&format!("[targets.a]\n{a}\n[targets.b]\n{b}"));
            assert!(found.is_empty(), "{a}\n{b}\n{found:?}");
        }
    }
}
