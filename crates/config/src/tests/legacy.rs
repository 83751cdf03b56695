//! The legacy endpoints and their prompts: what a file says of them, and what is wrong with it.

use std::time::Duration;

use super::{built_in, config, env, file, only_problem};
use crate::{Config, Env, LegacyAction, LegacyGroup, LegacyMock, LegacyPrompts, Source};

const TARGETS: &str = "
targets.b.model = 'm.b'
targets.a.model = 'm.a'
targets.c.model = 'm.c'
";
const ROUTE: &str = "
[[routes]]
models = ['m.*']
targets = ['c', 'b']
";

#[test]
fn the_defaults_are_those_of_the_legacy_application() {
    let legacy = built_in(&[]).legacy;
    assert!(legacy.enabled && legacy.chat_multi_model);
    assert_eq!(legacy.endpoints, LegacyGroup::ALL);
    assert_eq!((legacy.listen, legacy.models), (None, vec![0, 1, 2, 3]));
    assert_eq!((legacy.max_tokens, legacy.temperature), (8192, 0.7));
    assert_eq!((legacy.mock, legacy.admin_only), (LegacyMock::Never, vec![]));
    assert_eq!(legacy.session_ttl, Duration::from_secs(3600));
    assert_eq!((legacy.max_sessions, legacy.max_turns), (10_000, 20));
    assert_eq!(legacy.max_session_bytes, 32_000_000);
    let LegacyPrompts { analysis_system, analysis, chat_system, chat, test } = legacy.prompts;
    for template in [analysis_system, analysis, chat_system, chat, test] {
        assert!(!template.is_empty());
    }
}

#[test]
fn a_file_sets_every_key() {
    let text = format!(
        "{TARGETS}{ROUTE}[server]\nadmin_key = 'env:KEY'\n[legacy]\nendpoints = ['chat', 'tasks']
listen = '127.0.0.1:8081'\nmodels = ['a', 'b']\nchat_multi_model = false\nmax_tokens = 100
temperature = 1\nmock = 'when_exhausted'\nadmin_only = ['reset_model_cooldowns', 'cancel_task']
session_ttl = '5m'\nmax_sessions = 1\nmax_session_bytes = '1MB'\nmax_turns = 1000\n[legacy.prompts]\ntest = 'Say {{{{ word }}}}.'"
    );
    let variables = env(&[("KEY", "hush-0123456789abcdef")]);
    let loaded = Config::from_toml(&text, "config.toml", &variables).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert!(!format!("{loaded:?}").contains("hush"), "{loaded:?}");
    let Config { legacy, server, .. } = loaded.config;
    assert!(server.admin_key.as_ref().unwrap().matches("hush-0123456789abcdef"));
    assert!(!server.admin_key.unwrap().matches("hush"));
    assert!(legacy.enabled && !legacy.chat_multi_model);
    assert_eq!(legacy.endpoints, [LegacyGroup::Chat, LegacyGroup::Tasks]);
    assert_eq!(legacy.listen, Some("127.0.0.1:8081".parse().unwrap()));
    assert_eq!(legacy.models, [1, 0]);
    assert_eq!((legacy.max_tokens, legacy.temperature), (100, 1.0));
    assert_eq!(legacy.mock, LegacyMock::WhenExhausted);
    let both = [LegacyAction::ResetModelCooldowns, LegacyAction::CancelTask];
    assert_eq!(legacy.admin_only, both);
    assert_eq!(legacy.session_ttl, Duration::from_secs(300));
    assert_eq!((legacy.max_sessions, legacy.max_turns), (1, 1000));
    assert_eq!(legacy.max_session_bytes, 1_000_000);
    assert_eq!(legacy.prompts.test, "Say {{ word }}.");
    assert_eq!(legacy.prompts.chat, built_in(&[]).legacy.prompts.chat);
}

#[test]
fn the_models_are_those_of_the_first_route_or_else_all() {
    assert_eq!(config(&format!("{TARGETS}{ROUTE}")).legacy.models, [2, 0]);
    assert_eq!(config(TARGETS).legacy.models, [0, 1, 2]);
}

#[test]
fn variables_of_the_legacy_application_warn_where_its_endpoints_are_off() {
    let warnings = |text: &str, variables: &[(&str, &str)]| {
        let loaded = Config::from_toml(text, "config.toml", &env(variables)).unwrap();
        let of_404 = loaded.warnings.into_iter().filter(|it| it.contains("answer 404"));
        of_404.collect::<Vec<String>>()
    };
    for variable in [
        ("USE_CELERY", "false"),
        ("BEDROCK_MODEL_ID", "anthropic.claude-v2"),
        ("ENABLE_MODEL_FALLBACK", "true"),
        ("BEDROCK_MAX_TOKENS", "100"),
    ] {
        let [warning] = &*warnings("", &[variable]) else { panic!("{variable:?}") };
        assert!(warning.starts_with(variable.0), "{warning}");
        assert_eq!(warnings(TARGETS, &[variable]), Vec::<String>::new());
        assert_eq!(warnings("legacy.enabled = false", &[variable]), Vec::<String>::new());
    }
    assert_eq!(warnings("", &[("SLUICE__LEGACY__MAX_TURNS", "5")]).len(), 1);
    assert_eq!(warnings("", &[("PORT", "8080"), ("AWS_REGION", "eu-west-1")]).len(), 0);
}

#[test]
fn without_targets_the_endpoints_are_off() {
    for (text, warns) in
        [("", false), ("legacy.enabled = false", false), ("legacy.enabled = true", true)]
    {
        let loaded = file(text).unwrap();
        assert!(!loaded.config.legacy.enabled && loaded.config.legacy.models.is_empty());
        let warned = loaded.warnings.iter().any(|w| w.contains("legacy.enabled has no effect"));
        assert_eq!(warned, warns, "{text}: {:?}", loaded.warnings);
    }
    assert!(!config(&format!("{TARGETS}legacy.enabled = false")).legacy.enabled);
}

#[test]
fn a_target_that_only_the_legacy_endpoints_use_is_no_mistake_if_it_is_named() {
    let warnings =
        |keys: &str| file(&format!("{TARGETS}{ROUTE}[legacy]\n{keys}")).unwrap().warnings;
    assert_eq!(warnings("models = ['a']"), Vec::<String>::new());
    let unused = ["no route names target 'a': it gets no traffic"];
    assert_eq!(warnings(""), unused);
    assert_eq!(warnings("models = ['a']\nenabled = false"), unused);
    let without_routes = file(TARGETS).unwrap().warnings;
    assert!(without_routes[0].contains("'b': only the legacy endpoints"), "{without_routes:?}");
}

/// Models of several families, of which two can't answer.
const FAMILIES: &str = "
targets.claude.model = 'us.anthropic.claude-sonnet-4-6'
targets.nova.model = 'us.amazon.nova-pro-v1:0'
targets.embed.model = 'amazon.titan-embed-text-v2:0'
targets.gpt.model = 'openai.gpt-oss-120b-1:0'
targets.mantle.model = 'openai.gpt-oss-120b'
targets.mantle.endpoint = 'mantle'
targets.hidden.model = 'arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc'
";

#[test]
fn models_of_any_family_answer_that_converse_reaches() {
    let named = "[legacy]\nmodels = ['nova', 'gpt', 'claude', 'hidden']";
    assert_eq!(config(&format!("{FAMILIES}{named}")).legacy.models, [1, 3, 0, 5]);
    for (name, has) in [
        ("embed", "amazon.titan-embed-text-v2:0 has at the runtime endpoint: invoke_model"),
        ("mantle", "openai.gpt-oss-120b has at the mantle endpoint: "),
    ] {
        let text = format!("{FAMILIES}[legacy]\nmodels = ['claude', '{name}']");
        only_problem(&text, &format!("legacy.models[1]: target '{name}' can't answer: "));
        only_problem(&text, has);
    }
    let converse_alone = "targets.claude.surfaces = ['converse']\n[legacy]\nmodels = ['claude']";
    only_problem(&format!("{FAMILIES}{converse_alone}"), "ask Claude by InvokeModel");
}

#[test]
fn of_models_that_are_not_named_those_answer_that_can() {
    let route = "[[routes]]\nmodels = ['m']\ntargets = ['mantle', 'gpt', 'embed', 'claude']\n";
    let of_legacy = |text: &str| {
        let loaded = file(text).unwrap();
        let warnings = loaded.warnings.into_iter().filter(|it| it.contains("legacy"));
        (loaded.config.legacy, warnings.collect::<Vec<_>>())
    };
    let (legacy, warnings) = of_legacy(&format!("{FAMILIES}{route}"));
    assert_eq!((legacy.enabled, &legacy.models), (true, &vec![3, 0]));
    assert_eq!(warnings, Vec::<String>::new(), "who does not want them is not told");
    let (_, warnings) = of_legacy(&format!("{FAMILIES}{route}[legacy]\nmax_turns = 5"));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("legacy: target 'mantle' can't answer: "), "{warnings:?}");
    let none = "targets.e.model = 'amazon.titan-embed-text-v2:0'\n[legacy]\nmax_turns = 5";
    let (legacy, warnings) = of_legacy(none);
    assert!(!legacy.enabled && legacy.models.is_empty());
    assert!(warnings.iter().any(|it| it.contains("answer 404")), "{warnings:?}");
}

#[test]
fn the_address_of_the_api_is_no_address_of_their_own() {
    let listen = |address: &str| {
        let text = format!("[server]\nlisten = '{address}'\n[legacy]\nlisten = '{address}'");
        config(&text).legacy.listen
    };
    assert_eq!(listen("127.0.0.1:8080"), None);
    assert_eq!(listen("127.0.0.1:0"), Some("127.0.0.1:0".parse().unwrap()), "another free port");
}

#[test]
fn bad_values_are_refused_where_they_stand() {
    for (keys, expected) in [
        ("endpoint = []", "unknown key 'endpoint' in [legacy]; did you mean 'endpoints'?"),
        ("endpoints = []", "legacy.endpoints: must not be empty; to serve none of them"),
        ("endpoints = ['chats']", "not \"chats\"; did you mean 'chat'?"),
        ("endpoints = ['chat', 'chat']", "legacy.endpoints[1]: stands there twice"),
        ("listen = ':1'", "legacy.listen: ':1' is not an address"),
        ("listen = '0.0.0.0:8080'", "127.0.0.1:8080, server.listen, share a port"),
        ("listen = '127.0.0.1:9090'", "127.0.0.1:9090, server.admin_listen, share a port"),
        ("models = []", "legacy.models: must not be empty"),
        ("models = ['a', 'a']", "legacy.models[1]: target 'a' is named twice"),
        ("models = ['aa']", "legacy.models[0]: no target is named 'aa'; did you mean 'a'?"),
        ("max_tokens = 0", "legacy.max_tokens: must be from 1 to 10000000, not 0"),
        ("temperature = 1.1", "legacy.temperature: must be from 0 to 1, not 1.1"),
        ("temperature = nan", "legacy.temperature: must be from 0 to 1, not NaN"),
        ("mock = 'always'", "legacy.mock: must be one of \"never\", \"when_exhausted\""),
        ("admin_only = ['cancel_task']", "legacy.admin_only: needs 'admin_key' in [server]"),
        ("admin_only = ['chat']", "legacy.admin_only[0]: must be one of \"cancel_task\""),
        ("session_ttl = '0s'", "legacy.session_ttl: must not be zero"),
        ("max_sessions = 0", "legacy.max_sessions: must be from 1 to 1000000, not 0"),
        ("max_turns = 1001", "legacy.max_turns: must be from 1 to 1000, not 1001"),
        ("prompts = 'x'", "legacy.prompts: must be a table, not a string"),
        ("prompts.chats = ''", "unknown key 'chats' in [legacy.prompts]; did you mean 'chat'?"),
        ("prompts.chat = ' '", "legacy.prompts.chat: the template is empty"),
        ("prompts.test = '''\n\n{% if x %}'''", "prompts.test: the template is wrong in line 2: "),
        ("prompts.chat = 'file:no.jinja'", "legacy.prompts.chat: names the file 'no.jinja': "),
    ] {
        only_problem(&format!("{TARGETS}{ROUTE}[legacy]\n{keys}"), expected);
    }
    let key = "[server]\nadmin_key = 'env:MISSING'\n[legacy]\nadmin_only = ['cancel_task']";
    only_problem(key, "server.admin_key: names the environment variable 'MISSING'");
}

#[test]
fn a_prompt_may_be_a_file_beside_the_config_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let load = |template: &str| {
        std::fs::write(dir.path().join("chat.jinja"), template).unwrap();
        std::fs::write(&path, "[legacy.prompts]\nchat = 'file:chat.jinja'").unwrap();
        Config::load(&Source::File(path.clone()), &Env::default())
    };
    assert_eq!(load("Hi {{ name }}\n").unwrap().config.legacy.prompts.chat, "Hi {{ name }}\n");
    let wrong = load("a\n{{ b }\n").unwrap_err().to_string();
    assert!(wrong.contains("chat.jinja' is wrong in line 2: "), "{wrong}");
    let large = load(&"x".repeat((64 << 10) + 1)).unwrap_err().to_string();
    assert!(large.contains("chat.jinja': it is larger than 64KiB"), "{large}");
    assert!(load("").unwrap_err().to_string().contains("chat.jinja' is empty"));
}

#[test]
fn an_admin_key_is_read_by_reference() {
    let load = |key: &str| {
        let text = "[server]\nadmin_key = 'env:KEY'";
        Config::from_toml(text, "config.toml", &env(&[("KEY", key)]))
    };
    let short = "server.admin_key is shorter than 16 characters".to_owned();
    assert!(load("hush").unwrap().warnings.contains(&short));
    assert!(!load("hush-0123456789abcdef").unwrap().warnings.contains(&short));
    let blank = load("hush hush").unwrap_err().to_string();
    assert!(blank.contains("server.admin_key: names a key with blanks"), "{blank}");
    assert!(!blank.contains("hush"), "{blank}");
    only_problem("[server]\nadmin_key = 'hush'", "takes a reference, not the secret itself");
}
