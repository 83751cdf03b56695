//! What the environment says: overrides, and the variables of the legacy application.

use std::time::Duration;

use super::{built_in, built_in_problems, env};
use crate::{Config, Credentials, Env, JobsBackend, Loaded, Priority, Source, Strategy, Target};
use sluice_bedrock::Features;

fn load(text: &str, variables: &[(&str, &str)]) -> Loaded {
    Config::from_toml(text, "config.toml", &env(variables)).unwrap_or_else(|e| panic!("{e}"))
}

fn models(config: &Config) -> Vec<&str> {
    config.targets.iter().map(|target| target.model.as_str()).collect()
}

fn display_names(config: &Config) -> Vec<&str> {
    config.targets.iter().filter_map(|target| target.display_name.as_deref()).collect()
}

fn cooldowns(config: &Config) -> Vec<u64> {
    config.targets.iter().map(|target| target.cooldown.as_secs()).collect()
}

#[test]
fn any_key_can_be_set_by_a_variable() {
    let config = built_in(&[
        ("SLUICE__SERVER__LISTEN", "127.0.0.1:1234"),
        ("SLUICE__SERVER__MAX_CONNECTIONS", "7"),
        ("SLUICE__SERVER__WORKER_THREADS", "2"),
        ("SLUICE__FALLBACK__STRATEGY", "retry_first"),
        ("SLUICE__LOG__ACCESS", "false"),
        ("SLUICE__LEARNING__DECREASE", "0.5"),
        ("SLUICE__HEDGE__MAX_SHARE", "0"),
        ("SLUICE__QUEUE__MAX_PRIORITY", "low"),
        ("SLUICE__QUOTAS__SHARED__RPM", "9"),
        ("SLUICE__LEGACY__MODELS", "['haiku-3']"),
        ("SLUICE__LEGACY__PROMPTS__CHAT", "Hi {{ message }}"),
        ("SLUICE__JOBS__BACKEND", "sqlite"),
        ("SLUICE__JOBS__CHAT_RETRIES", "0"),
        ("SLUICE__CLIENTS__0__NAME", "team-a"),
        ("SLUICE__CLIENTS__0__BEARER_TOKEN", "env:TEAM_A_KEY"),
        ("TEAM_A_KEY", "0123456789abcdef"),
        ("SLUICE__TARGETS__HAIKU_3__QUOTA", "shared"),
        ("SLUICE__TARGETS__SONNET_35__COOLDOWN", "5s"),
        ("SLUICE__targets__sonnet-35-V2__features", "['tools']"),
        ("SLUICE__TARGETS__MY_OWN__MODEL", "m.own"),
        ("SLUICE__ROUTES__0__TARGETS", "[\"my-own\", \"haiku-3\"]"),
        ("SLUICE__ROUTES__4__MODELS", "['m.*']"),
        ("SLUICE__ROUTES__4__TARGETS", "['my-own']"),
    ]);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:1234");
    assert_eq!(config.server.max_connections, 7);
    assert_eq!(config.server.worker_threads, Some(2));
    assert_eq!(config.fallback.strategy, Strategy::RetryFirst);
    assert!(!config.log.access);
    assert_eq!((config.learning.decrease, config.hedge.max_share), (0.5, 0.0));
    assert_eq!(config.queue.max_priority, Priority::Low);
    assert_eq!((config.quotas[0].rpm, config.targets[3].quota), (Some(9), Some(0)));
    assert_eq!((config.legacy.models.as_slice(), config.jobs.chat.retries), (&[3][..], 0));
    assert_eq!(config.legacy.prompts.chat, "Hi {{ message }}");
    assert_eq!(config.jobs.backend, JobsBackend::Sqlite { path: "sluice-jobs.db".into() });
    assert!(config.clients[0].bearer_tokens[0].key.matches("0123456789abcdef"));
    assert_eq!(config.targets[0].cooldown, Duration::from_secs(5));
    assert_eq!(config.targets[1].features, Some(Features::TOOLS));
    assert_eq!((config.targets[4].name.as_str(), config.targets.len()), ("my-own", 5));
    assert_eq!(config.routes[0].targets, [4, 3]);
    assert_eq!(config.routes[4].models, ["m.*"]);
}

#[test]
fn a_wrong_override_is_reported_by_its_name() {
    for (variable, value, expected) in [
        ("SLUICE__SERVER__LISEN", "x", "unknown key 'lisen' in [server]; did you mean 'listen'?"),
        ("SLUICE__SERVR__LISTEN", "x", "unknown section 'servr'; did you mean 'server'?"),
        ("SLUICE__SERVER__LISTEN", "x", "server.listen: 'x' is not an address"),
        ("SLUICE__SERVER__LISTEN__X", "x", "server.listen: has no keys below it, so no 'x'"),
        ("SLUICE__SERVER__MAX_HEADERS", "many", "server.max_headers: must be an integer"),
        ("SLUICE__SERVER__MAX_HEADERS", "20\nx = 1", "server.max_headers: must be an integer"),
        ("SLUICE__SERVER__MAX_HEADERS", "1", "server.max_headers: must be from 16 to 4096, not 1"),
        ("SLUICE__HEDGE__MAX_SHARE", "some", "hedge.max_share: must be a number"),
        ("SLUICE__TARGETS__SONET_35__COOLDOWN", "9s", "targets.sonet-35: needs 'model'"),
        ("SLUICE__ROUTES__9__TARGETS", "[]", "routes: '9' is not an index; the next new one is 4"),
        ("SLUICE__UPSTREAM__BEARER_TOKEN", "hush", "takes a reference, not the secret itself"),
        ("SLUICE__", "x", "unknown section ''"),
    ] {
        let problems = built_in_problems(&[(variable, value)]);
        assert!(
            problems.iter().any(|p| p.contains(variable) && p.contains(expected)),
            "{variable}: {problems:?}"
        );
        assert!(!problems.join("").contains("hush"), "{problems:?}");
    }
}

#[test]
fn overrides_beat_the_file_which_beats_legacy_variables_which_beat_defaults() {
    let listen = |text, variables: &[_]| load(text, variables).config.server.listen.to_string();
    let file = "[server]\nlisten = '127.0.0.1:2'";
    let legacy = ("PORT", "1");
    assert_eq!(listen("", &[]), "127.0.0.1:8080");
    assert_eq!(listen("", &[legacy]), "0.0.0.0:1");
    assert_eq!(listen(file, &[legacy]), "127.0.0.1:2");
    assert_eq!(listen(file, &[legacy, ("SLUICE__SERVER__LISTEN", "127.0.0.1:3")]), "127.0.0.1:3");
    // The shipped file given as a file still leaves room for the legacy variables.
    assert_eq!(listen(crate::SHIPPED, &[legacy]), "0.0.0.0:1");
}

#[test]
fn empty_variables_count_as_not_set() {
    let config = built_in(&[("PORT", ""), ("BEDROCK_MODEL_ID", ""), ("SLUICE__LOG__LEVEL", "")]);
    assert_eq!(config, built_in(&[]));
}

#[test]
fn the_region_comes_from_aws_variables() {
    let region = |variables: &[_]| built_in(variables).upstream.region;
    assert_eq!(region(&[]), "us-east-1");
    assert_eq!(region(&[("AWS_DEFAULT_REGION", "eu-west-1")]), "eu-west-1");
    let both = [("AWS_DEFAULT_REGION", "eu-west-1"), ("AWS_REGION", "eu-north-1")];
    assert_eq!(region(&both), "eu-north-1");
    let problems = built_in_problems(&[("AWS_REGION", "Mars")]);
    assert!(problems[0].starts_with("environment variable AWS_REGION: "), "{problems:?}");
}

#[test]
fn the_bedrock_bearer_token_is_used_when_nothing_else_is_configured() {
    let token = ("AWS_BEARER_TOKEN_BEDROCK", "t");
    let bearer = Credentials::Bearer("t".into());
    let config = built_in(&[token]);
    assert_eq!(config.upstream.credentials, bearer);
    assert_eq!(config.targets[0].credentials, bearer);
    let config = load("[upstream]\nprofile = 'p'", &[token]).config;
    assert_eq!(config.upstream.credentials, Credentials::Profile("p".into()));
}

#[test]
fn legacy_timeouts_and_retries() {
    let config = built_in(&[
        ("PORT", "8081"),
        ("BEDROCK_TIMEOUT", "30"),
        ("BEDROCK_RETRY_ATTEMPTS", "5"),
        ("BEDROCK_RETRY_DELAY", "1.5"),
    ]);
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:8081");
    assert_eq!(config.upstream.first_byte_timeout, Duration::from_secs(30));
    assert_eq!(config.targets[0].first_byte_timeout, Duration::from_secs(30));
    assert_eq!(config.retry.attempts, 5);
    assert_eq!(config.retry.base_delay, Duration::from_millis(1500));
    assert_eq!(config.retry.max_delay, Duration::from_secs(6));
}

#[test]
fn a_legacy_delay_does_not_meddle_with_the_delays_of_a_file() {
    let retry = load("[retry]\nbase_delay = '3s'", &[("BEDROCK_RETRY_DELAY", "0.5")]).config.retry;
    assert_eq!(retry.base_delay, Duration::from_secs(3));
    assert_eq!(retry.max_delay, Duration::from_secs(4));
}

#[test]
fn legacy_model_lists_replace_the_built_in_targets() {
    let config = built_in(&[
        ("BEDROCK_MODEL_ID", "amazon.nova-pro-v1:0"),
        (
            "BEDROCK_FALLBACK_MODELS",
            "amazon.nova-lite-v1:0, anthropic.claude-3-haiku-20240307-v1:0,",
        ),
    ]);
    assert_eq!(
        models(&config),
        ["amazon.nova-pro-v1:0", "amazon.nova-lite-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"]
    );
    assert_eq!(
        display_names(&config),
        [
            "amazon.nova-pro-v1:0 (Primary)",
            "amazon.nova-lite-v1:0 (Fallback 1)",
            "Claude Fallback 2"
        ]
    );
    assert_eq!(cooldowns(&config), [60, 30, 30]);
    let caps: Vec<_> = config.targets.iter().map(|target| target.max_output_tokens).collect();
    assert_eq!(caps, [None, None, Some(4096)]);
    assert_eq!(config.routes[0].models, ["amazon.nova-pro-v1:0"]);
    assert_eq!(config.routes[0].targets, [0, 1, 2]);
    assert_eq!(config.routes[1].targets, [1, 0, 2]);
}

#[test]
fn a_legacy_list_alone_keeps_the_other_default() {
    let default = built_in(&[]);
    let config = built_in(&[("BEDROCK_FALLBACK_MODELS", "m.other")]);
    assert_eq!(models(&config), [models(&default)[0], "m.other"]);
    assert_eq!(display_names(&config)[0], "Claude 3.5 Sonnet (Primary)");
    assert_eq!(config.targets[0].max_output_tokens, Some(8192));

    let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
    let config = built_in(&[("BEDROCK_MODEL_ID", haiku)]);
    assert_eq!(models(&config), [haiku, models(&default)[1], models(&default)[2]]);
}

#[test]
fn legacy_lists_that_name_the_defaults_give_the_shipped_targets() {
    let default = built_in(&[]);
    let config = built_in(&[("BEDROCK_MODEL_ID", models(&default)[0])]);
    let unnamed = |config: &Config| -> Vec<Target> {
        let targets = config.targets.iter().cloned();
        targets.map(|target| Target { name: String::new(), ..target }).collect()
    };
    assert_eq!(unnamed(&config), unnamed(&default));
    assert_eq!(config.routes, default.routes);
}

#[test]
fn fallback_can_be_turned_off() {
    let config = built_in(&[("ENABLE_MODEL_FALLBACK", "False")]);
    assert_eq!(config.targets.len(), 1);
    assert_eq!(config.targets[0].name, "sonnet-35");
    assert_eq!(config.routes.len(), 1);
    let config = built_in(&[("ENABLE_MODEL_FALLBACK", "false"), ("BEDROCK_MODEL_ID", "m.x")]);
    assert_eq!(models(&config), ["m.x"]);
    assert_eq!(built_in(&[("ENABLE_MODEL_FALLBACK", "true")]), built_in(&[]));
}

#[test]
fn cross_region_inference_prefixes_models_and_routes_match_both_forms() {
    let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
    let on = ("USE_CROSS_REGION_INFERENCE", "true");
    for (region, prefix) in [
        ("us-west-2", "us."),
        ("eu-central-1", "eu."),
        ("ap-northeast-1", "apac."),
        ("us-gov-west-1", "us-gov."),
    ] {
        let config = built_in(&[on, ("AWS_REGION", region)]);
        assert_eq!(models(&config)[3], format!("{prefix}{haiku}"));
        assert_eq!(config.routes[3].models, [haiku.to_owned(), format!("{prefix}{haiku}")]);
    }
    let arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/x";
    let config = built_in(&[
        on,
        ("BEDROCK_MODEL_ID", arn),
        ("BEDROCK_FALLBACK_MODELS", "us.m.x,m.y"),
        ("SLUICE__UPSTREAM__REGION", "eu-west-1"),
    ]);
    assert_eq!(models(&config), [arn, "us.m.x", "eu.m.y"]);

    let loaded = Config::load(&Source::BuiltIn, &env(&[on, ("AWS_REGION", "sa-east-1")])).unwrap();
    assert_eq!(models(&loaded.config)[3], haiku);
    assert!(loaded.warnings[0].contains("USE_CROSS_REGION_INFERENCE"), "{:?}", loaded.warnings);
}

#[test]
fn legacy_targets_act_only_without_a_file() {
    let variables = [("BEDROCK_MODEL_ID", "m.x"), ("USE_CROSS_REGION_INFERENCE", "true")];
    let text = "[targets.a]\nmodel = 'm.a'";
    assert_eq!(models(&load(text, &variables).config), ["m.a"]);
}

#[test]
fn an_invalid_legacy_value_is_reported_by_its_variable() {
    for (variable, value) in [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "9090"),
        ("BEDROCK_TIMEOUT", "-1"),
        ("BEDROCK_TIMEOUT", "soon"),
        ("BEDROCK_TIMEOUT", "0"),
        ("BEDROCK_TIMEOUT", "1e300"),
        ("BEDROCK_RETRY_ATTEMPTS", "0"),
        ("BEDROCK_RETRY_ATTEMPTS", "three"),
        ("BEDROCK_RETRY_DELAY", "NaN"),
        ("ENABLE_MODEL_FALLBACK", "maybe"),
        ("USE_CROSS_REGION_INFERENCE", "2"),
        ("BEDROCK_MODEL_ID", "not a model"),
        ("BEDROCK_FALLBACK_MODELS", "m.x,m%3Ay"),
        ("BEDROCK_MAX_TOKENS", "0"),
        ("BEDROCK_MAX_TOKENS", "many"),
        ("BEDROCK_TEMPERATURE", "1.5"),
        ("BEDROCK_TEMPERATURE", "NaN"),
        ("BEDROCK_TEMPERATURE", "warm"),
        ("CHAT_ENABLE_MULTI_MODEL", "2"),
        ("USE_CELERY", "redis"),
    ] {
        let problems = built_in_problems(&[(variable, value)]);
        let expected = format!("environment variable {variable}: ");
        assert!(problems.iter().all(|p| p.starts_with(&expected)), "{value}: {problems:?}");
    }
}

fn redis(url: &str) -> JobsBackend {
    JobsBackend::Redis { url: url.into(), prefix: "sluice".into() }
}

#[test]
fn the_four_set_ups_of_the_legacy_application_need_no_file() {
    let (queue, no_fallback) = (("USE_CELERY", "true"), ("ENABLE_MODEL_FALLBACK", "false"));
    let (off, on) = (JobsBackend::Off, redis("redis://localhost:6379/0"));
    for (variables, backend, models) in [
        (vec![no_fallback], &off, 1),
        (vec![no_fallback, queue], &on, 1),
        (vec![], &off, 4),
        (vec![queue], &on, 4),
    ] {
        let config = built_in(&variables);
        assert!(config.legacy.enabled);
        assert_eq!((&config.jobs.backend, config.legacy.models.len()), (backend, models));
    }
    let listed = built_in(&[
        queue,
        ("BEDROCK_MODEL_ID", "m.x"),
        ("BEDROCK_FALLBACK_MODELS", "m.y,m.z"),
        ("USE_CROSS_REGION_INFERENCE", "true"),
    ]);
    assert_eq!((listed.jobs.backend, listed.legacy.models), (on, vec![0, 1, 2]));
}

#[test]
fn legacy_figures_of_requests() {
    let variables = [
        ("BEDROCK_MAX_TOKENS", "4096"),
        ("BEDROCK_TEMPERATURE", "0"),
        ("CHAT_ENABLE_MULTI_MODEL", "False"),
        ("USE_CELERY", "off"),
    ];
    for config in [built_in(&variables), load("targets.a.model = 'm'", &variables).config] {
        let legacy = &config.legacy;
        assert_eq!((legacy.max_tokens, legacy.temperature), (4096, 0.0));
        assert!(!legacy.chat_multi_model);
        assert_eq!(config.jobs.backend, JobsBackend::Off);
    }
    let file = "[legacy]\nmax_tokens = 5\ntemperature = 1\nchat_multi_model = true
[jobs]\nbackend = 'sqlite'";
    let config = load(file, &[&variables[..3], &[("USE_CELERY", "true")]].concat()).config;
    assert_eq!((config.legacy.max_tokens, config.legacy.temperature), (5, 1.0));
    assert!(config.legacy.chat_multi_model);
    assert!(matches!(config.jobs.backend, JobsBackend::Sqlite { .. }));
}

#[test]
fn the_redis_url_is_used_where_redis_is_and_never_shown() {
    let url = ("REDIS_URL", "redis://:hush@cache:6379/2");
    for variables in [vec![url], vec![url, ("USE_CELERY", "false")]] {
        let loaded = Config::load(&Source::BuiltIn, &env(&variables)).unwrap();
        assert_eq!(loaded.config.jobs.backend, JobsBackend::Off);
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }
    for chosen in ["USE_CELERY", "SLUICE__JOBS__BACKEND"] {
        let on = if chosen == "USE_CELERY" { "true" } else { "redis" };
        let config = built_in(&[url, (chosen, on)]);
        assert_eq!(config.jobs.backend, redis(url.1), "{chosen}");
        assert!(!format!("{config:?}").contains("hush"), "{config:?}");
    }
    let file = "[jobs]\nbackend = 'redis'";
    assert_eq!(load(file, &[url]).config.jobs.backend, redis(url.1));
    let own = format!("{file}\nredis_url = 'redis://own'");
    assert_eq!(load(&own, &[url]).config.jobs.backend, redis("redis://own"));

    let problems = built_in_problems(&[("USE_CELERY", "true"), ("REDIS_URL", "hush")]);
    let expected = "environment variable REDIS_URL: jobs.redis_url: names something that is not";
    assert!(problems[0].starts_with(expected), "{problems:?}");
    assert!(!problems[0].contains("hush"), "{problems:?}");
    let problems = built_in_problems(&[("SLUICE__JOBS__REDIS_URL", url.1)]);
    assert!(problems[0].contains("env:NAME") && !problems[0].contains("hush"), "{problems:?}");
}

#[test]
fn the_environment_is_not_read_unless_given() {
    let loaded = Config::load(&Source::BuiltIn, &Env::default()).unwrap();
    assert_eq!(loaded.config.upstream.region, "us-east-1");
    assert_eq!(loaded.warnings, Vec::<String>::new());
}
