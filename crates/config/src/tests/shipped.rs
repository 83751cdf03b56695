//! The shipped file, the code's defaults, the schema and the documentation say the same.

use serde_json::Value;

use super::{built_in, config};
use crate::raw::RawConfig;
use crate::{Config, Legacy, SHIPPED, Tls, schema};
use sluice_bedrock::{Date, ModelId};
use sluice_catalogue::Catalogue;

const DOCUMENTATION: &str = include_str!("../../../../docs/configuration.md");

/// The shipped file with every key and table that is commented out (`#key = ...`, no space) put in.
fn uncommented() -> toml::Table {
    let is_key = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines = SHIPPED.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if is_key(key) => key,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n").parse().unwrap()
}

/// Every key of the schema: section (tables with free names and lists of tables too), key, and the
/// key's schema.
fn keys() -> Vec<(String, String, Value)> {
    fn walk(section: &str, table: &Value, keys: &mut Vec<(String, String, Value)>) {
        for (key, schema) in table["properties"].as_object().unwrap() {
            keys.push((section.to_owned(), key.clone(), schema.clone()));
            if schema["properties"].is_object() {
                walk(&format!("{section}.{key}"), schema, keys);
            }
        }
    }
    let schema = schema();
    let mut keys = Vec::new();
    for (section, inner) in schema["properties"].as_object().unwrap() {
        let table = match section.as_str() {
            "targets" | "quotas" | "prices" => &inner["additionalProperties"],
            "routes" | "clients" | "issuers" => &inner["items"],
            _ => inner,
        };
        walk(section, table, &mut keys);
    }
    assert!(keys.len() > 100, "the walk over the schema finds its keys");
    assert!(keys.iter().any(|key| key.0 == "legacy.prompts"), "and those of tables in tables");
    keys
}

#[test]
fn the_shipped_file_equals_the_defaults_of_the_code() {
    let shipped = uncommented();
    let mut raw = RawConfig::default();
    raw.server.tls = Some(Tls::default());
    let mut defaults = serde_json::to_value(raw).unwrap();
    for given in ["cert", "key"] {
        defaults["server"]["tls"][given] = Value::Null;
    }
    for (section, key, schema) in keys() {
        let tables: Vec<&str> = section.split('.').collect();
        if matches!(tables[0], "targets" | "quotas" | "prices" | "routes" | "clients" | "issuers") {
            continue;
        }
        let table = tables.iter().fold(&shipped, |table, name| table[*name].as_table().unwrap());
        let value = table.get(&key);
        let value = value.unwrap_or_else(|| panic!("the shipped file shows {section}.{key}"));
        let default = &defaults.pointer(&format!("/{}", tables.join("/"))).unwrap()[&key];
        if default.is_object() {
            continue;
        }
        assert_eq!(default, schema.get("default").unwrap_or(&Value::Null), "{section}.{key}");
        if !default.is_null() {
            assert_eq!(&serde_json::to_value(value).unwrap(), default, "{section}.{key}");
        }
    }
}

#[test]
fn the_shipped_file_and_the_built_in_config_set_no_scalar_away_from_its_default() {
    let empty = config("");
    for given in [config(SHIPPED), built_in(&[])] {
        let legacy = Legacy { enabled: false, models: vec![], ..given.legacy.clone() };
        assert_eq!(Config { targets: vec![], routes: vec![], legacy, ..given }, empty);
    }
}

#[test]
fn no_model_of_the_shipped_file_is_legacy_or_retired() {
    let shipped = config(SHIPPED);
    assert_eq!(shipped.targets.len(), 4);
    for target in &shipped.targets {
        let model = ModelId::new(&target.model).unwrap();
        assert_eq!(Catalogue::shipped().lifecycle(target.service, &model), None, "{model}");
        assert_eq!(model.geography(), Some("us"), "{model}");
    }
    each_model_is_first_answered_by_itself(&shipped);
}

#[test]
fn the_shipped_file_shows_every_key_of_tables_with_names_and_of_lists() {
    let shipped = uncommented();
    for (section, key, _) in keys() {
        let credential = shipped["upstream"].get(&key).is_some();
        let shown = match section.as_str() {
            "targets" => shipped["targets"]["sonnet"].get(&key).is_some() || credential,
            "quotas" => shipped["quotas"]["example"].get(&key).is_some(),
            "prices" => shipped["prices"]["anthropic.claude-*"].get(&key).is_some(),
            "clients.guardrail" => shipped["clients"][0]["guardrail"].get(&key).is_some(),
            "routes" | "clients" | "issuers" => shipped[&section][0].get(&key).is_some(),
            _ => continue,
        };
        assert!(shown, "{section}.{key}");
    }
}

#[test]
fn the_built_in_config_has_the_legacy_models() {
    let config = built_in(&[]);
    let targets: Vec<_> = config
        .targets
        .iter()
        .map(|t| {
            let name = t.display_name.as_deref().unwrap();
            (t.name.as_str(), t.model.as_str(), name, t.cooldown.as_secs(), t.max_output_tokens)
        })
        .collect();
    let primary = "Claude 3.5 Sonnet (Primary)";
    assert_eq!(
        targets,
        [
            ("sonnet-35", "anthropic.claude-3-5-sonnet-20240620-v1:0", primary, 60, Some(8192)),
            (
                "sonnet-35-v2",
                "anthropic.claude-3-5-sonnet-20241022-v2:0",
                "Claude Fallback 1",
                30,
                Some(8192)
            ),
            (
                "sonnet-3",
                "anthropic.claude-3-sonnet-20240229-v1:0",
                "Claude Fallback 2",
                30,
                Some(4096)
            ),
            (
                "haiku-3",
                "anthropic.claude-3-haiku-20240307-v1:0",
                "Claude Fallback 3",
                30,
                Some(4096)
            ),
        ]
    );
    each_model_is_first_answered_by_itself(&config);
    let loaded = config.on(Date::parse("2026-11-29").unwrap());
    let models: Vec<_> = loaded.targets.iter().map(|target| target.model.as_str()).collect();
    let sonnet = "us.anthropic.claude-sonnet-4-6";
    assert_eq!(models, [sonnet, sonnet, sonnet, "us.anthropic.claude-haiku-4-5-20251001-v1:0"]);
}

fn each_model_is_first_answered_by_itself(config: &Config) {
    for (index, route) in config.routes.iter().enumerate() {
        assert_eq!(route.models, [config.targets[index].model.clone()]);
        assert_eq!(route.targets[0], index, "a model is first answered by itself");
        assert_eq!(route.targets.len(), 4);
    }
    assert_eq!(config.routes[0].targets, [0, 1, 2, 3]);
}

#[test]
fn the_documentation_has_a_row_for_every_key_with_its_default() {
    for (section, key, schema) in keys() {
        let heading = format!("\n## {section}\n");
        let (_, after) = DOCUMENTATION
            .split_once(&heading)
            .unwrap_or_else(|| panic!("no heading for {section}"));
        let part = after.split("\n## ").next().unwrap();
        let credential = section == "targets" && key_of_credentials(&key);
        let row = part.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        if credential && row.is_none() {
            assert!(part.contains("(#credentials)"), "{section}.{key}");
            continue;
        }
        let row = row.unwrap_or_else(|| panic!("no row for {section}.{key}"));
        match schema.get("default") {
            Some(default) => {
                let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
                assert!(row.contains(&format!("| `{default}` |")), "{row}");
            }
            None => assert!(!row.is_empty()),
        }
    }
}

fn key_of_credentials(key: &str) -> bool {
    let schema = schema();
    schema["properties"]["upstream"]["properties"].get(key).is_some()
}

#[test]
fn the_schema_describes_every_key_and_allows_no_other() {
    for (section, key, schema) in keys() {
        assert!(schema["description"].is_string(), "{section}.{key}");
        assert!(schema["type"].is_string() || schema["oneOf"].is_array(), "{section}.{key}");
    }
    let schema = schema();
    assert_eq!(schema["properties"]["server"]["additionalProperties"], false);
    assert_eq!(schema["properties"]["targets"]["additionalProperties"]["required"][0], "model");
    assert!(!schema.to_string().contains("null"), "TOML has no null");
}
