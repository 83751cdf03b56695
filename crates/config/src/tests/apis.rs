//! The APIs of OpenAI and Anthropic, and what is stored.

use super::{config, env, only_problem};
use crate::{
    CacheTtl, Config, OnUnsupported, PromptCaching, RecordedParameter, StoreResponses, Translate,
};
use sluice_bedrock::Api;

#[test]
fn every_api_is_served_below_the_prefixes_that_its_sdks_use() {
    let apis = config("").apis;
    assert_eq!(apis.settings(Api::Bedrock), None);
    for (api, prefixes) in [
        (Api::ChatCompletions, &["/openai/v1", "/v1"][..]),
        (Api::Responses, &["/openai/v1", "/v1"]),
        (Api::Messages, &["/anthropic/v1", "/v1"]),
        (Api::Embeddings, &["/openai/v1", "/v1"]),
        (Api::Models, &["/openai/v1", "/anthropic/v1", "/v1"]),
    ] {
        let settings = apis.settings(api).unwrap();
        assert!(settings.enabled, "{api:?}");
        assert_eq!(settings.prefixes, prefixes, "{api:?}");
    }
    assert_eq!((apis.responses.store, apis.responses.id_key), (StoreResponses::Auto, None));
}

#[test]
fn an_api_is_turned_off_or_moved_alone() {
    let text = "[apis.messages]\nenabled = false\n[apis.chat_completions]\nprefixes = ['/ai/v1']";
    let apis = config(text).apis;
    assert!(!apis.messages.enabled);
    assert_eq!(apis.messages.prefixes, ["/anthropic/v1", "/v1"]);
    assert_eq!(apis.chat_completions.prefixes, ["/ai/v1"]);
    assert!(apis.chat_completions.enabled && apis.responses.api.enabled);
}

#[test]
fn a_prefix_that_is_none_or_takes_other_paths_is_refused() {
    let with = |prefixes: &str| format!("[apis.messages]\nprefixes = [{prefixes}]");
    for wrong in
        ["", "/", "v1", "/v1/", "//v1", "/a/../b", "/v1?x=1", "/v%31", "/a/b/c/d/e/f", "/ä"]
    {
        only_problem(&with(&format!("'{wrong}'")), "is not the beginning of a path");
    }
    for taken in ["/model", "/guardrails", "/async-invoke/v1", "/health", "/admin", "/metrics"] {
        only_problem(&with(&format!("'{taken}'")), "is taken");
    }
    only_problem(&with("'/v1', '/v1/models'"), "would take other paths");
    only_problem(&with("'/v1', '/v1'"), "stands there twice");
    only_problem(&with(""), "must not be empty");
}

#[test]
fn ids_of_stored_responses_are_sealed_by_a_long_key() {
    let text = "[apis.responses]\nid_key = 'env:ID_KEY'";
    let load = |key| Config::from_toml(text, "config.toml", &env(&[("ID_KEY", key)]));
    let key = "0123456789abcdef0123456789abcdef";
    let settings = load(key).unwrap().config.apis.responses;
    assert_eq!(settings.id_key.unwrap().expose(), key);
    let why = load(&key[1..]).unwrap_err().to_string();
    assert!(why.contains("shorter than 32 bytes") && !why.contains(&key[1..]), "{why}");
}

#[test]
fn replicas_without_a_common_key_are_warned_of() {
    let said = |keys: &str, model: &str| {
        let text = format!(
            "[state]\nbackend = 'redis'\nredis_url = 'redis://h:1/0'\n[apis.responses]\n{keys}\n\
             [targets.a]\nmodel = '{model}'\n[[routes]]\nmodels = ['x']\ntargets = ['a']"
        );
        let variables = env(&[("ID_KEY", "0123456789abcdef0123456789abcdef")]);
        let loaded = Config::from_toml(&text, "config.toml", &variables).unwrap();
        loaded.warnings.iter().any(|it| it.contains("apis.responses.id_key is not set"))
    };
    let (gpt, claude) = ("us.openai.gpt-5.6-sol", "us.anthropic.claude-sonnet-5-5");
    assert!(said("", gpt));
    for (keys, model) in [
        ("id_key = 'env:ID_KEY'", gpt),
        ("store = 'never'", gpt),
        ("enabled = false", gpt),
        ("", claude),
    ] {
        assert!(!said(keys, model), "{keys} {model}");
    }
}

#[test]
fn a_route_stores_responses_where_its_targets_are_in_one_region() {
    let text = "
        [apis.responses]
        STORE
        [targets.one]
        model = 'us.openai.gpt-5.6-sol'
        region = 'us-east-1'
        [targets.same]
        model = 'openai.gpt-5.6-sol'
        endpoint = 'mantle'
        region = 'us-east-1'
        [targets.far]
        model = 'eu.openai.gpt-5.6-sol'
        region = 'eu-west-1'
        [targets.claude]
        model = 'eu.anthropic.claude-sonnet-5-5'
        region = 'eu-west-1'
        [targets.anywhere]
        model = 'global.openai.gpt-5.6-sol'
        region = 'us-east-1'
        [[routes]]
        models = ['x']
        targets = [TARGETS]
        ROUTE";
    let stores = |targets: &str, store: &str, route: &str| {
        let text = text.replace("TARGETS", targets).replace("STORE", store).replace("ROUTE", route);
        let config = config(&text);
        let route = &config.routes[0];
        let targets = route.targets.iter().map(|&index| &config.targets[index]);
        config.stores_responses(route.store, targets)
    };
    assert!(stores("'one', 'same'", "", ""));
    assert!(!stores("'one', 'far'", "", ""));
    assert!(stores("'one', 'claude'", "", ""), "claude has no such API");
    assert!(!stores("'anywhere'", "", ""), "its region is not known");
    assert!(!stores("'one'", "store = 'never'", ""));
    assert!(stores("'one', 'far'", "store = 'never'", "store = 'allow'"));
    assert!(!stores("'one'", "store = 'allow'", "store = 'never'"));
}

#[test]
fn a_route_says_which_requests_are_translated() {
    let of = |key: &str| {
        let text =
            format!("[targets.a]\nmodel = 'x'\n[[routes]]\nmodels = ['m']\ntargets = ['a']\n{key}");
        config(&text).routes[0].translate
    };
    assert_eq!(of(""), Translate::Apis);
    assert_eq!(of("translate = true"), Translate::Families);
    assert_eq!(of("translate = false"), Translate::Never);
}

#[test]
fn parameters_that_no_translation_carries_are_refused_or_dropped_by_name() {
    let apis = config("").apis;
    assert_eq!(apis.unsupported.default, OnUnsupported::Refuse);
    let text = "[apis]\non_unsupported = 'drop'\ndrop_parameters = ['seed']\nrefuse_parameters = ['logit_bias']";
    let unsupported = config(text).apis.unsupported;
    assert_eq!(unsupported.default, OnUnsupported::Drop);
    assert_eq!(unsupported.exceptions["seed"], OnUnsupported::Drop);
    assert_eq!(unsupported.exceptions["logit_bias"], OnUnsupported::Refuse);
    only_problem(
        "[apis]\ndrop_parameters = ['seed']\nrefuse_parameters = ['user', 'seed']",
        "'seed' is in apis.drop_parameters, too",
    );
    only_problem("[apis]\non_unsupported = 'ignore'", "one of");
}

#[test]
fn media_are_fetched_from_the_hosts_that_the_config_names() {
    let media = config("").apis.remote_media;
    assert!(media.hosts.is_empty(), "by default nothing is fetched");
    assert_eq!((media.ports.as_slice(), media.max_size), (&[443][..], 5_000_000));
    let text = "[apis.remote_media]\nhosts = ['Images.example.com', '*.cdn.example']\n\
                allow_addresses = ['10.20.0.0/16', 'fd00::/8']";
    let media = config(text).apis.remote_media;
    for host in ["images.example.com", "a.cdn.example", "a.b.cdn.example"] {
        assert!(media.allows_host(host), "{host}");
    }
    for host in ["example.com", "cdn.example", "xcdn.example", "images.example.com.x", ""] {
        assert!(!media.allows_host(host), "{host}");
    }
    assert!(config("[apis.remote_media]\nhosts = ['*']").apis.remote_media.allows_host("x"));
    let with = |keys: &str| format!("[apis.remote_media]\n{keys}");
    only_problem(&with("hosts = ['https://x']"), "is no name of a host");
    only_problem(&with("hosts = ['a.*.com']"), "is no name of a host");
    only_problem(&with("allow_addresses = ['10.0.0.1']"), "is no block of IP addresses");
    only_problem(&with("ports = []"), "must not be empty");
}

#[test]
fn prompts_are_cached_and_parameters_recorded_by_the_operators_leave_alone() {
    let apis = config("").apis;
    let as_sent = PromptCaching { add_points: false, min_ttl: CacheTtl::FiveMinutes };
    assert_eq!((apis.prompt_caching, apis.request_metadata), (as_sent, vec![]));
    let text = "[apis]\nrequest_metadata = ['user', 'metadata']\n\
                [apis.prompt_caching]\nadd_points = true\nmin_ttl = '1h'";
    let apis = config(text).apis;
    assert_eq!(apis.prompt_caching, PromptCaching { add_points: true, min_ttl: CacheTtl::Hour });
    assert_eq!(apis.request_metadata, [RecordedParameter::User, RecordedParameter::Metadata]);
    only_problem("[apis.prompt_caching]\nmin_ttl = '2h'", "one of");
    only_problem("[apis]\nrequest_metadata = ['model']", "one of");
}
