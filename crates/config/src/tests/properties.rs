//! No input, however wrong, brings the loader down.

use proptest::prelude::*;

use super::{env, file};
use crate::{Config, Source};

/// Lines made of the config's own words, so that random texts reach past the parser.
fn plausible_line() -> impl Strategy<Value = String> {
    let header = prop::sample::select(vec![
        "[server]",
        "[server.tls]",
        "[upstream]",
        "[targets.a]",
        "[targets.b-c]",
        "[[routes]]",
        "[fallback]",
        "[retry]",
        "[queue]",
        "[log]",
        "[quotas.a]",
        "[limits]",
        "[[clients]]",
        "[legacy]",
        "[legacy.prompts]",
        "[jobs]",
        "[learning]",
        "[nope]",
        "[targets]",
        "[[targets]]",
        "[routes]",
    ]);
    let key = prop::sample::select(vec![
        "listen",
        "cert",
        "client_ca",
        "proxy",
        "trust",
        "use_fips",
        "max_body",
        "request_timeout",
        "region",
        "endpoint_url",
        "model",
        "models",
        "targets",
        "cooldown",
        "strategy",
        "level",
        "access_key_id",
        "role_arn",
        "bearer_token",
        "features",
        "max_wait",
        "attempts",
        "quota",
        "rpm",
        "key",
        "burst",
        "decrease",
        "name",
        "endpoints",
        "admin_only",
        "chat",
        "backend",
        "redis_url",
        "path",
        "heartbeat",
        "chat_time_limit",
        "server.listen",
        "x",
    ]);
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        any::<bool>().prop_map(|b| b.to_string()),
        "\\PC{0,12}".prop_map(|s| format!("{s:?}")),
        prop::sample::select(vec![
            "'60s'",
            "'1e400MB'",
            "'99999999999999y'",
            "'a'",
            "['a', 'b-c']",
            "[]",
            "{ a = 1 }",
            "'http://h'",
            "'http://[::1'",
            "'env:X'",
            "'{a,'",
            "'[!'",
            "1979-05-27",
            "[[1]]",
            "'info,[x{y}]=z'",
            "'redis'",
            "'rediss://a:b@[::1'",
            "'sha256:00'",
            "['chat', 'chat']",
            "'{% if x %}{{'",
            "'file:..'",
        ])
        .prop_map(str::to_owned),
    ];
    prop_oneof![
        1 => header.prop_map(str::to_owned),
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
    ]
}

proptest! {
    #[test]
    fn no_text_panics_the_loader(text in "\\PC{0,200}") {
        let _ = file(&text);
    }

    #[test]
    fn no_plausible_file_panics_the_loader(lines in prop::collection::vec(plausible_line(), 0..20)) {
        let text = lines.join("\n");
        match file(&text) {
            Ok(loaded) => for route in &loaded.config.routes {
                prop_assert!(route.targets.iter().all(|i| *i < loaded.config.targets.len()));
            },
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn no_override_panics_the_loader(
        name in "SLUICE__(SERVER|TARGETS|ROUTES|UPSTREAM|X)?(__([A-Z_]{0,4}|0|4|MODEL|LISTEN|HAIKU-3)){0,3}",
        value in "\\PC{0,20}",
    ) {
        let _ = Config::load(&Source::BuiltIn, &env(&[(&name, &value)]));
    }

    #[test]
    fn no_legacy_value_panics_the_loader(
        name in prop::sample::select(vec![
            "PORT", "AWS_REGION", "BEDROCK_MODEL_ID", "BEDROCK_FALLBACK_MODELS", "BEDROCK_TIMEOUT",
            "BEDROCK_RETRY_ATTEMPTS", "BEDROCK_RETRY_DELAY", "ENABLE_MODEL_FALLBACK",
            "BEDROCK_MAX_TOKENS", "BEDROCK_TEMPERATURE", "CHAT_ENABLE_MULTI_MODEL", "USE_CELERY",
            "REDIS_URL",
        ]),
        value in prop_oneof!["\\PC{0,20}", any::<f64>().prop_map(|n| n.to_string())],
    ) {
        let queue = ("SLUICE__JOBS__BACKEND", "redis");
        let _ = Config::load(&Source::BuiltIn, &env(&[(name, &value), queue]));
    }
}

#[test]
fn deep_nesting_is_refused_without_exhausting_the_stack() {
    let depth = 100_000;
    for text in [
        format!("[{}]", vec!["a"; depth].join(".")),
        format!("{} = 1", vec!["a"; depth].join(".")),
        format!("a = {}", "[".repeat(depth)),
        format!("a = {}", "{a=".repeat(depth)),
    ] {
        assert!(file(&text).is_err());
    }
}
