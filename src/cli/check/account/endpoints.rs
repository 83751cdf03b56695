//! Where the services that describe an account listen.
//!
//! The first of these counts: the config's own key; `AWS_ENDPOINT_URL_BEDROCK`,
//! `AWS_ENDPOINT_URL_SERVICE_QUOTAS` or `AWS_ENDPOINT_URL`, as the SDKs read them; the endpoint of the
//! targets if it is on this machine, as a simulator's is; the region's public endpoint. An account behind
//! another endpoint that is not one of AWS is not asked, since its credentials may not be for AWS.

use crate::bedrock::account::Service;
use crate::config::{Config, Endpoint, Env};

/// Where a service listens for the targets of a region that have this endpoint.
///
/// # Errors
/// Why the service is not asked, in a clause.
pub(super) fn endpoint(
    service: Service,
    config: &Config,
    env: &Env,
    region: &str,
    runtime: &Endpoint,
) -> Result<Endpoint, String> {
    let upstream = &config.upstream;
    let (given, key, variable) = match service {
        Service::Bedrock => (
            &upstream.control_plane_endpoint_url,
            "control_plane_endpoint_url",
            "AWS_ENDPOINT_URL_BEDROCK",
        ),
        Service::ServiceQuotas => (
            &upstream.service_quotas_endpoint_url,
            "service_quotas_endpoint_url",
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS",
        ),
    };
    // An endpoint of AWS is of one region.
    let serves = |endpoint: &&Endpoint| region == upstream.region || !endpoint.is_of_aws();
    if let Some(given) = given.as_ref().filter(serves) {
        return Ok(given.clone());
    }
    let is_ignored = env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == Some("true");
    let named = [variable, "AWS_ENDPOINT_URL"]
        .into_iter()
        .find_map(|name| Some((name, env.get(name)?)))
        .filter(|_| !is_ignored);
    if let Some((name, url)) = named {
        // The text is not repeated: it may hold a password.
        let endpoint = Endpoint::parse(url).map_err(|error| format!("{name}: {error}"))?;
        if serves(&&endpoint) {
            return Ok(endpoint);
        }
    }
    if runtime.is_loopback() {
        return Ok(runtime.clone());
    }
    if !runtime.is_of_aws() {
        return Err(format!(
            "{runtime} is not an endpoint of AWS; [upstream] {key} can name where {} listens",
            service.title()
        ));
    }
    let public = match service {
        Service::Bedrock => Endpoint::of_control_plane(region, upstream.use_fips),
        Service::ServiceQuotas => Endpoint::of_service_quotas(region, upstream.use_fips),
    };
    public.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(upstream: &str, variables: &[(&str, &str)], runtime: &str) -> [String; 2] {
        let env: Env =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let text = format!("[upstream]\nregion = 'us-east-1'\n{upstream}");
        let config = Config::from_toml(&text, "config.toml", &Env::default()).unwrap().config;
        let runtime = Endpoint::parse(runtime).unwrap();
        [Service::Bedrock, Service::ServiceQuotas].map(|service| {
            let endpoint = endpoint(service, &config, &env, "eu-west-1", &runtime);
            endpoint.map_or_else(|why| why, |endpoint| endpoint.to_string())
        })
    }

    const PUBLIC: [&str; 2] = [
        "https://bedrock.eu-west-1.amazonaws.com",
        "https://servicequotas.eu-west-1.amazonaws.com",
    ];
    const RUNTIME: &str = "https://bedrock-runtime.eu-west-1.amazonaws.com";

    #[test]
    fn the_config_counts_before_the_environment_and_that_before_the_public_endpoint() {
        assert_eq!(asked("", &[], RUNTIME), PUBLIC);
        let bedrock = ("AWS_ENDPOINT_URL_BEDROCK", "http://env:1");
        let all = ("AWS_ENDPOINT_URL", "http://all:2");
        assert_eq!(asked("", &[bedrock], RUNTIME), ["http://env:1", PUBLIC[1]]);
        assert_eq!(asked("", &[bedrock, all], RUNTIME), ["http://env:1", "http://all:2"]);
        let ignored = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        assert_eq!(asked("", &[bedrock, ignored], RUNTIME), PUBLIC);
        let own = "control_plane_endpoint_url = 'http://own:3'\n\
                   service_quotas_endpoint_url = 'http://own:4'";
        assert_eq!(asked(own, &[bedrock, all], RUNTIME), ["http://own:3", "http://own:4"]);
        // One of AWS is of the region of [upstream] alone.
        let of_aws = "control_plane_endpoint_url = 'https://bedrock.us-east-1.amazonaws.com'";
        assert_eq!(asked(of_aws, &[], RUNTIME), PUBLIC);
    }

    #[test]
    fn a_simulator_is_asked_itself_and_an_unknown_endpoint_sends_nobody_to_aws() {
        let here = "http://127.0.0.1:4599";
        assert_eq!(asked("", &[], here), [here; 2]);
        for why in asked("", &[], "https://proxy.example.com") {
            assert!(why.contains("is not an endpoint of AWS; [upstream] "), "{why}");
        }
        let wrong = ("AWS_ENDPOINT_URL_BEDROCK", "https://user:hush@host");
        let [why, _] = asked("", &[wrong], RUNTIME);
        assert!(why.starts_with("AWS_ENDPOINT_URL_BEDROCK: ") && !why.contains("hush"), "{why}");
    }
}
