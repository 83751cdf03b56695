//! What a file says, and what is wrong with it.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::{config, env, file, only_problem, problems};
use crate::{Config, ConfigError, Credentials, Env, Source, Strategy};

const TWO_TARGETS: &str = "
[targets.b]
model = 'm.b'
[targets.a]
model = 'm.a'
[[routes]]
models = ['m.*']
targets = ['a', 'b']
";

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_key() {
    assert_eq!(
        problems("[server]\n\n  lisen = '127.0.0.1:1'\n"),
        ["config.toml:3:3: unknown key 'lisen' in [server]; did you mean 'listen'?"]
    );
    assert_eq!(
        problems("[upsteam]\nregion = 'us-east-1'\n"),
        ["config.toml:1:2: unknown section 'upsteam'; did you mean 'upstream'?"]
    );
    assert_eq!(
        problems("[server]\nconnect_timeout = '3s'\n"),
        ["config.toml:2:1: unknown key 'connect_timeout' in [server]; it belongs in [upstream]"]
    );
    assert_eq!(
        problems("[retry]\nbalance = 'latency'\n"),
        ["config.toml:2:1: unknown key 'balance' in [retry]; it belongs in [routes]"]
    );
    assert_eq!(
        problems("[targets.a]\nmodels = 'm'\n").last().unwrap(),
        "config.toml:2:1: unknown key 'models' in [targets.a]; did you mean 'model'?"
    );
    let problems = problems("[weather]\n");
    assert!(problems[0].starts_with("config.toml:1:2: unknown section"), "{problems:?}");
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[log]\nlevel = 'inof'\n[server]\nmax_body = 25\nlisen = 'x'\nmax_connections = 0
[upstream]\nconnect_timeout = '3 apples'\n[targets.x]\nmodle = 'm'\n[[routes]]\nmodels = ['[']
targets = ['y']\n[fallback]\nstrategy = 'fallbackfirst'\n";
    assert_eq!(
        problems(text),
        [
            "config.toml:2:1: log.level: 'inof' is not a level; did you mean 'info'?",
            "config.toml:4:1: server.max_body: must be a size such as \"25MB\", not the number 25",
            "config.toml:5:1: unknown key 'lisen' in [server]; did you mean 'listen'?",
            "config.toml:6:1: server.max_connections: must be from 1 to 1000000, not 0",
            "config.toml:8:1: upstream.connect_timeout: '3 apples' is not a duration; write it \
             like \"60s\", \"500ms\" or \"4h\"",
            "config.toml:9:10: targets.x: needs 'model'",
            "config.toml:10:1: unknown key 'modle' in [targets.x]; did you mean 'model'?",
            "config.toml:12:11: routes[0].models[0]: '[' is not a glob: unclosed character class; \
             missing ']'",
            "config.toml:13:12: routes[0].targets[0]: no target is named 'y'; did you mean 'x'?",
            "config.toml:15:1: fallback.strategy: must be one of \"fallback_first\", \
             \"retry_first\", not \"fallbackfirst\"; did you mean 'fallback_first'?",
        ]
    );
}

#[test]
fn bad_values_are_refused_where_they_stand() {
    for (text, expected) in [
        ("[server]\nlisten = 'localhost:1'", "server.listen: 'localhost:1' is not an address"),
        ("[server]\nrequest_timeout = '0s'", "server.request_timeout: must not be zero"),
        ("[server]\nrequest_timeout = 60", "a duration such as \"60s\", not the number 60"),
        ("[server]\nmax_body = '0B'", "server.max_body: must not be zero"),
        ("[server]\nmax_header_bytes = '4KiB'", "must be from 8KiB to 16MiB"),
        ("[server]\nlisten = '0.0.0.0:9090'", "share a port but are not the same"),
        ("[upstream]\nregion = 'US East'", "upstream.region: 'US East' is not a region"),
        ("[upstream]\nendpoint_url = 'http://h/p'", "upstream.endpoint_url: it must end after"),
        ("[upstream]\nrole_arn = 'admin'", "upstream.role_arn: 'admin' is not the ARN of a role"),
        ("[upstream]\nexternal_id = 'x'", "upstream.external_id: needs 'role_arn'"),
        ("[upstream]\nprofile = ''", "upstream.profile: must not be empty"),
        ("[targets.a]\nmodel = 'm%3A0'", "without percent-encoding"),
        ("[targets.a]\nmodel = ''", "targets.a.model: must not be empty"),
        ("[targets.a]\nmodel = 'a b'", "a model is at most 2048"),
        ("[targets.'a b']\nmodel = 'm'", "a target's name is"),
        ("[targets.a]\nmodel = 'm'\ncooldown = '0s'", "targets.a.cooldown: must not be zero"),
        ("[targets.a]\nmodel = 'm'\nmax_output_tokens = 0", "must be from 1 to"),
        ("[targets.a]\nmodel = 'm'\nassumed_max_output_tokens = 0", "must be from 1 to"),
        ("[upstream]\nassumed_max_output_tokens = 0", "must be from 1 to"),
        ("[retry]\nattempts = 0", "retry.attempts: must be from 1 to 20"),
        ("[retry]\nbase_delay = '9s'", "retry.max_delay: must not be shorter than base_delay"),
        ("[log]\nlevel = ''", "log.level: must not be empty"),
        ("[log]\naccess = 'yes'", "log.access: must be true or false, not a string"),
        ("server = 5", "server: must be a table"),
        ("routes = ['x']", "routes[0]: must be a table"),
    ] {
        only_problem(text, expected);
    }
}

#[test]
fn routes_name_each_model_and_each_target_once() {
    let twice =
        problems("targets.a.model = 'm'\n[[routes]]\nmodels = ['m', 'm']\ntargets = ['a', 'a']");
    assert_eq!(
        twice,
        [
            "config.toml:3:16: routes[0].models[1]: 'm' is already named in routes[0]",
            "config.toml:4:17: routes[0].targets[1]: target 'a' is named twice",
        ]
    );
    let empty = problems("[[routes]]\nmodels = []\ntargets = []");
    assert_eq!(
        empty,
        [
            "config.toml:2:1: routes[0].models: must not be empty",
            "config.toml:3:1: routes[0].targets: must not be empty",
        ]
    );
}

#[test]
fn syntax_errors_name_the_line() {
    for (text, place) in [("a = [1,\n", "1:"), ("[a]\n[a]\n", "2:"), ("x\n", "1:")] {
        let problems = problems(text);
        assert!(problems[0].starts_with(&format!("config.toml:{place}")), "{problems:?}");
    }
}

#[test]
fn targets_keep_the_order_of_the_file_and_routes_point_at_them() {
    let config = config(TWO_TARGETS);
    let names: Vec<_> = config.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(config.routes[0].targets, [1, 0]);
}

#[test]
fn targets_take_over_from_the_upstream_what_they_do_not_set() {
    let config = config(
        "[upstream]\nregion = 'eu-west-1'\nprofile = 'p'\nidle_timeout = '9s'
[targets.plain]\nmodel = 'm'
[targets.own]\nmodel = 'm'\nregion = 'us-west-2'\nrole_arn = 'arn:aws:iam::1:role/r'
idle_timeout = '5s'\nfirst_byte_timeout = '7s'
[targets.far]\nmodel = 'm'\nendpoint_url = 'http://127.0.0.1:9'",
    );
    let [plain, own, far] = config.targets.as_slice() else { panic!("three targets") };
    assert_eq!(plain.region, "eu-west-1");
    assert_eq!(plain.endpoint, config.upstream.endpoint);
    assert_eq!(plain.credentials, Credentials::Profile("p".into()));
    assert_eq!(plain.idle_timeout, Duration::from_secs(9));
    assert_eq!(plain.first_byte_timeout, Duration::from_secs(120));
    assert_eq!(own.endpoint.to_string(), "https://bedrock-runtime.us-west-2.amazonaws.com");
    assert!(matches!(&own.credentials, Credentials::AssumeRole { base_profile: None, .. }));
    assert_eq!(own.idle_timeout, Duration::from_secs(5));
    assert_eq!(own.first_byte_timeout, Duration::from_secs(7));
    assert_eq!(far.endpoint.to_string(), "http://127.0.0.1:9");
}

#[test]
fn a_given_upstream_endpoint_serves_targets_of_every_region() {
    let text = |url| {
        format!(
            "[upstream]\nendpoint_url = '{url}'\n[targets.a]\nmodel = 'm'\nregion = 'eu-west-1'"
        )
    };
    let warns = |url| {
        let loaded = file(&text(url)).unwrap();
        assert_eq!(loaded.config.targets[0].endpoint.to_string(), url);
        loaded.warnings.iter().any(|warning| warning.contains("signs for eu-west-1"))
    };
    assert!(!warns("http://127.0.0.1:4599"));
    assert!(warns("https://vpce.example.com"));
}

#[test]
fn credentials_are_one_kind_or_refused() {
    let parse = |keys: &str| file(&format!("[upstream]\n{keys}")).map(|l| l.config.upstream);
    let role = parse("role_arn = 'arn:aws:iam::1:role/r'\nexternal_id = 'x'\nprofile = 'p'");
    assert_eq!(
        role.unwrap().credentials,
        Credentials::AssumeRole {
            role_arn: "arn:aws:iam::1:role/r".into(),
            external_id: Some("x".into()),
            base_profile: Some("p".into()),
        }
    );
    for keys in [
        "profile = 'p'\nbearer_token = 'env:T'",
        "role_arn = 'arn:aws:iam::1:role/r'\naccess_key_id = 'A'\nsecret_access_key = 'env:T'",
    ] {
        let loaded =
            Config::from_toml(&format!("[upstream]\n{keys}"), "config.toml", &env(&[("T", "t")]));
        let error = loaded.unwrap_err().to_string();
        assert!(error.contains("choose one kind of credentials"), "{error}");
    }
    let error = parse("access_key_id = 'A'").unwrap_err().to_string();
    assert!(error.contains("needs 'secret_access_key'"), "{error}");
}

#[test]
fn secrets_come_by_reference_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "hush-file\n").unwrap();
    let text = "[upstream]\naccess_key_id = 'env:ID'\nsecret_access_key = 'env:KEY'
[targets.a]\nmodel = 'm'\nbearer_token = 'file:token'";
    let path = dir.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    let env = env(&[("ID", "AKIDEXAMPLE"), ("KEY", "hush-env")]);
    let loaded = Config::load(&Source::File(path), &env).unwrap();

    let Credentials::Static { access_key_id, secret_access_key, .. } =
        &loaded.config.upstream.credentials
    else {
        panic!("static credentials")
    };
    assert_eq!(access_key_id, "AKIDEXAMPLE");
    assert_eq!(secret_access_key.expose_secret(), "hush-env");
    assert_eq!(loaded.config.targets[0].credentials, Credentials::Bearer("hush-file".into()));
    let shown = format!("{loaded:?} {env:?}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_literal_secret_is_refused_and_not_repeated() {
    for text in [
        "[upstream]\nbearer_token = 'hush'",
        "[upstream]\naccess_key_id = 'hush/hush+'\nsecret_access_key = 'hush'",
        "[upstream]\nendpoint_url = 'https://user:hush@host'",
        "[upstream]\nbearer_token = 'hush",
        "[upstream]\nbearer_token = 40404",
    ] {
        let error = problems(text).join("\n");
        assert!(error.starts_with("config.toml:2:"), "{error}");
        assert!(!error.contains("hush") && !error.contains("40404"), "{error}");
    }
    let refused = problems("[upstream]\nbearer_token = 'hush'");
    assert!(refused[0].contains("write \"env:NAME\" or \"file:PATH\""), "{refused:?}");
}

#[test]
fn warnings_point_at_what_is_probably_not_meant() {
    let loaded = file("[targets.a]\nmodel = 'm'").unwrap();
    assert!(loaded.warnings.iter().any(|w| w.contains("no route names target 'a'")));
    assert!(loaded.warnings.iter().any(|w| w.contains("there are no routes")));
    assert_eq!(file(TWO_TARGETS).unwrap().warnings, Vec::<String>::new());
    let long = format!("{TWO_TARGETS}\n[queue]\nmax_wait = '10m'");
    assert!(file(&long).unwrap().warnings[0].contains("queue.max_wait"));
}

#[test]
fn log_levels_may_be_filter_directives() {
    for level in ["info", "WARN", "info,sluice=debug", "sluice::pipeline=trace,off"] {
        assert_eq!(config(&format!("[log]\nlevel = '{level}'")).log.level, level);
    }
    for level in ["inof", "info,", "sluice=loud", "sluice"] {
        assert!(file(&format!("[log]\nlevel = '{level}'")).is_err(), "{level}");
    }
}

#[test]
fn a_file_without_targets_has_none_and_enumerations_read_as_written() {
    let config = config("[fallback]\nstrategy = 'retry_first'");
    assert!(config.targets.is_empty() && config.routes.is_empty());
    assert_eq!(config.fallback.strategy, Strategy::RetryFirst);
}

#[test]
fn an_unreadable_file_is_named() {
    let missing = Source::File("/nonexistent/sluice.toml".into());
    let error = Config::load(&missing, &Env::default()).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert!(error.to_string().contains("/nonexistent/sluice.toml"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big.toml");
    std::fs::File::create(&path).unwrap().set_len((64 << 20) + 1).unwrap();
    let error = Config::load(&Source::File(path), &Env::default()).unwrap_err();
    assert!(error.to_string().contains("64MiB"), "{error}");
}
