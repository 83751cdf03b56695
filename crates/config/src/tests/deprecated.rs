//! Deprecated keys work, and each use is warned of. The schema of these tests has some, since the
//! product's has none.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::schema::tidy;
use super::{env, lines};
use crate::reference::Scope;
use crate::{ConfigError, Draft, Env, Loaded, Origin, schema};

/// The product's schema with a former name of `server.max_body`, of `targets.*.rpm` and of
/// `routes[].targets`, and without a future for `server.max_headers`.
fn with_deprecated_keys() -> Value {
    let mut all = schema();
    let former = |schema: &Value, name: &str| {
        let mut former = schema.clone();
        former["deprecated"] = true.into();
        former["x-deprecated-since"] = "0.2.0".into();
        former["x-replaced-by"] = name.into();
        former
    };
    let sections = &mut all["properties"];
    let server = &mut sections["server"]["properties"];
    server["max_request_bytes"] = former(&server["max_body"], "max_body");
    server["max_headers"]["deprecated"] = true.into();
    server["max_headers"]["x-deprecated-since"] = "0.3.0".into();
    server["max_headers"]["x-instead"] = "the gateway bounds heads by their bytes".into();
    let target = &mut sections["targets"]["additionalProperties"]["properties"];
    target["requests_per_minute"] = former(&target["rpm"], "rpm");
    let route = &mut sections["routes"]["items"]["properties"];
    route["candidates"] = former(&route["targets"], "targets");
    sections["request_limits"] = former(&sections["limits"], "limits");
    all
}

fn load(text: &str, env: &Env) -> Result<Loaded, ConfigError> {
    let origin = Origin::File { base: None };
    Draft::read(text, "config.toml", origin, env, &with_deprecated_keys())?.check(env, Scope::Whole)
}

/// What a file's text leads to, and the warnings about deprecated keys.
fn loaded(text: &str, env: &Env) -> (Loaded, Vec<String>) {
    let loaded = load(text, env).unwrap_or_else(|error| panic!("{error}"));
    let warnings = loaded.warnings.iter().filter(|it| it.contains("deprecated")).cloned();
    let warnings = warnings.collect();
    (loaded, warnings)
}

#[test]
fn a_former_name_works_and_the_warning_says_the_present_one() {
    let text = "[server]\nmax_request_bytes = '1MB'\n[targets.a]\nmodel = 'a.b'\nrequests_per_minute = 7\n\
                [[routes]]\nmodels = ['*']\ncandidates = ['a']\n";
    let (loaded, warnings) = loaded(text, &Env::default());
    assert_eq!(loaded.config.server.max_body, 1_000_000);
    assert_eq!(loaded.config.targets[0].rpm, Some(7));
    assert_eq!(loaded.config.routes[0].targets, [0]);
    let goes = "is deprecated since 0.2.0, and a later version refuses it";
    assert_eq!(
        warnings,
        [
            format!("config.toml:2:1: server.max_request_bytes {goes}; use server.max_body"),
            format!("config.toml:5:1: targets.a.requests_per_minute {goes}; use targets.a.rpm"),
            format!("config.toml:8:1: routes[0].candidates {goes}; use routes[0].targets"),
        ]
    );
}

#[test]
fn the_config_in_force_has_present_names_only() {
    let (loaded, _) = loaded("[server]\nmax_request_bytes = '1MB'\n", &Env::default());
    let shown = loaded.config.effective.to_json().unwrap();
    assert_eq!(shown["server"]["max_body"], "1MB");
    assert_eq!(shown["server"].get("max_request_bytes"), None);
}

#[test]
fn a_section_may_have_a_former_name() {
    let (loaded, warnings) = loaded("[request_limits]\nmax_concurrent = 3\n", &Env::default());
    assert_eq!(loaded.config.limits.max_concurrent, Some(3));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_variable_by_a_former_name_works_and_is_warned_of() {
    let variable = env(&[("SLUICE__SERVER__MAX_REQUEST_BYTES", "2MB")]);
    for file in ["", "[server]\nmax_body = '1MB'\n", "[server]\nmax_request_bytes = '1MB'\n"] {
        let (loaded, warnings) = loaded(file, &variable);
        assert_eq!(loaded.config.server.max_body, 2_000_000, "{file}");
        let at =
            "environment variable SLUICE__SERVER__MAX_REQUEST_BYTES: server.max_request_bytes is";
        assert!(warnings[0].starts_with(at), "{warnings:?}");
    }
}

#[test]
fn a_variable_beats_the_file_also_where_the_file_has_the_former_name() {
    let variable = env(&[("SLUICE__SERVER__MAX_BODY", "2MB")]);
    let (loaded, warnings) = loaded("[server]\nmax_request_bytes = '1MB'\n", &variable);
    assert_eq!(loaded.config.server.max_body, 2_000_000);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_key_by_both_of_its_names_is_refused() {
    let both = "[server]\nmax_body = '1MB'\nmax_request_bytes = '2MB'\n";
    assert_eq!(
        lines(load(both, &Env::default())),
        [
            "config.toml:3:1: server.max_request_bytes: is the former name of server.max_body, which is set too \
          (config.toml:2:1); remove one"
        ]
    );
    let tables = "[limits]\nmax_concurrent = 3\n[request_limits]\nrate = 3\n";
    assert_eq!(lines(load(tables, &Env::default())).len(), 1);
}

#[test]
fn a_wrong_value_is_reported_where_it_stands() {
    let problems = lines(load("[server]\nmax_request_bytes = 'many'\n", &Env::default()));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("config.toml:2:1: server.max_body: "), "{problems:?}");
}

#[test]
fn a_key_that_goes_without_a_successor_still_works_and_the_warning_has_the_advice() {
    let (loaded, warnings) = loaded("[server]\nmax_headers = 20\n", &Env::default());
    assert_eq!(loaded.config.server.max_headers, 20);
    assert_eq!(
        warnings,
        [
            "config.toml:2:1: server.max_headers is deprecated since 0.3.0, and a later version refuses it; the \
          gateway bounds heads by their bytes"
        ]
    );
}

#[test]
fn what_is_not_used_is_not_warned_of() {
    let (_, warnings) = loaded("[server]\nmax_body = '1MB'\n", &Env::default());
    assert_eq!(warnings, [""; 0]);
}

/// A table with a key that had another name.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Renamed {
    /// The largest body.
    #[schemars(extend("x-former-names" = { "max_request_bytes": "0.2.0" }))]
    max_body: u64,
}

#[test]
fn the_schema_gets_a_deprecated_key_for_each_former_name() {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Renamed>().to_value();
    tidy(&mut schema);
    let keys = &schema["properties"];
    assert_eq!(keys["max_body"].get("x-former-names"), None);
    assert_eq!(keys["max_body"].get("deprecated"), None);
    let former = &keys["max_request_bytes"];
    assert_eq!(former["deprecated"], true);
    assert_eq!(former["x-deprecated-since"], "0.2.0");
    assert_eq!(former["x-replaced-by"], "max_body");
    assert_eq!(former["type"], keys["max_body"]["type"]);
    assert_eq!(former["description"], json!("Deprecated since 0.2.0: use `max_body`."));
    assert_eq!(schema["required"], json!(["max_body"]), "the former name is not asked for");
}
