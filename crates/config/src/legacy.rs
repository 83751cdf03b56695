//! The environment variables of the legacy application.
//!
//! They act where the config file has no value, and on targets and routes only when no config
//! file is given at all. Each becomes a value of the document, so it goes through the same checks
//! as the file, and a bad one is reported by the variable's name.

use sluice_bedrock::{Family, ModelId};

use super::document::{Document, KeyPath};
use super::environment::Env;
use super::error::{Location, Problem};

/// Display name of the default primary model.
const DEFAULT_PRIMARY_NAME: &str = "Claude 3.5 Sonnet (Primary)";

/// Prefixes of cross-region inference profiles, with the regions whose profile is used.
/// Source: the Bedrock user guide, "Supported Regions and models for inference profiles".
const GEOGRAPHIES: [(&str, &str); 4] =
    [("us-gov.", "us-gov-"), ("us.", "us-"), ("eu.", "eu-"), ("apac.", "ap-")];

/// Further profile prefixes a model id may already carry.
const OTHER_PREFIXES: [&str; 4] = ["jp.", "au.", "ca.", "global."];

/// What a flag must be.
const TRUE_OR_FALSE: &str = "true or false";

/// Sets the values of the scalar variables where the document has none.
pub(super) fn set_scalars(document: &mut Document, env: &Env) -> Vec<Problem> {
    let mut setter = Setter { document, env, problems: Vec::new() };
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        setter.set(["upstream", "region"], variable, |region| Ok(region.into()));
    }
    setter.set(["upstream", "use_fips"], "AWS_USE_FIPS_ENDPOINT", |text| {
        truth(text).map(toml::Value::Boolean).ok_or(TRUE_OR_FALSE)
    });
    setter.set(["server", "listen"], "PORT", |port| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("0.0.0.0:{port}").into()),
        _ => Err("a port from 1 to 65535"),
    });
    setter.set(["upstream", "first_byte_timeout"], "BEDROCK_TIMEOUT", |text| seconds(text, 1.0));
    setter.set(["retry", "attempts"], "BEDROCK_RETRY_ATTEMPTS", |text| {
        text.parse::<i64>().map(toml::Value::Integer).map_err(|_| "a number of attempts")
    });
    if setter.document.get(&["retry", "base_delay"].into()).is_none() {
        // The legacy waits are 1, 2 and 4 times the delay.
        for (key, factor) in [("base_delay", 1.0), ("max_delay", 4.0)] {
            setter.set(["retry", key], "BEDROCK_RETRY_DELAY", |text| seconds(text, factor));
        }
    }
    setter.set(["legacy", "max_tokens"], "BEDROCK_MAX_TOKENS", |text| {
        text.parse::<i64>().map(toml::Value::Integer).map_err(|_| "a number of tokens")
    });
    setter.set(["legacy", "temperature"], "BEDROCK_TEMPERATURE", |text| {
        text.parse::<f64>().map(toml::Value::Float).map_err(|_| "a number from 0 to 1")
    });
    setter.set(["legacy", "chat_multi_model"], "CHAT_ENABLE_MULTI_MODEL", |text| {
        truth(text).map(toml::Value::Boolean).ok_or(TRUE_OR_FALSE)
    });
    setter.set(["jobs", "backend"], "USE_CELERY", |text| {
        let on = truth(text).ok_or(TRUE_OR_FALSE)?;
        Ok(if on { "redis" } else { "off" }.into())
    });
    setter.problems.dedup();
    setter.problems
}

/// Takes the URL of the job queue in Redis from `REDIS_URL`. By reference, since it may hold a
/// password; and after the overrides, since they may choose the backend.
pub(super) fn set_redis_url(document: &mut Document, env: &Env) {
    const VARIABLE: &str = "REDIS_URL";
    let backend = document.get(&["jobs", "backend"].into()).and_then(toml::Value::as_str);
    let url = KeyPath::from(["jobs", "redis_url"]);
    if backend == Some("redis") && document.get(&url).is_none() && env.get(VARIABLE).is_some() {
        document.set(&url, format!("env:{VARIABLE}"), Location::Variable(VARIABLE.to_owned()));
    }
}

/// The variables that define targets.
const TARGETS: [&str; 4] = [
    "BEDROCK_MODEL_ID",
    "BEDROCK_FALLBACK_MODELS",
    "ENABLE_MODEL_FALLBACK",
    "USE_CROSS_REGION_INFERENCE",
];

/// A variable that is set and that is only used with the legacy endpoints.
pub(super) fn mentioned(env: &Env) -> Option<&'static str> {
    const OTHERS: [&str; 4] =
        ["USE_CELERY", "CHAT_ENABLE_MULTI_MODEL", "BEDROCK_MAX_TOKENS", "BEDROCK_TEMPERATURE"];
    OTHERS.into_iter().chain(TARGETS).find(|variable| env.get(variable).is_some())
}

/// The variables that are set and do nothing beside a config file, a warning each.
pub(super) fn ignored(env: &Env) -> impl Iterator<Item = String> {
    TARGETS.into_iter().filter(|variable| env.get(variable).is_some()).map(|variable| {
        format!("{variable} has no effect: the config file says which targets there are")
    })
}

/// Replaces the built-in targets and routes by the ones the variables name, if they name any.
pub(super) fn set_targets(document: &mut Document, env: &Env) -> Vec<Problem> {
    let primary = env.get("BEDROCK_MODEL_ID");
    let fallbacks = env.get("BEDROCK_FALLBACK_MODELS");
    let mut problems = Vec::new();
    let enabled = flag(env, "ENABLE_MODEL_FALLBACK", true, &mut problems);
    if primary.is_none() && fallbacks.is_none() && enabled {
        return problems;
    }
    let built_in = built_in_targets(document);
    let mut targets = match (primary, fallbacks) {
        (None, None) => built_in,
        _ => listed_targets(primary, fallbacks, &built_in),
    };
    if !enabled {
        targets.truncate(1);
    }
    document.remove(&["targets"].into());
    document.remove(&["routes"].into());
    for (index, target) in targets.iter().enumerate() {
        let location = || Location::Variable(target.variable.to_owned());
        document.set(&["targets", &target.name].into(), target.table.clone(), location());
        let names = std::iter::once(target)
            .chain(targets.iter().filter(|other| other.name != target.name))
            .map(|target| toml::Value::String(target.name.clone()));
        let models = vec![toml::Value::String(target.model.clone())];
        let route = KeyPath::from(["routes"]).index(index);
        document.set(&route.key("models"), models, location());
        document.set(&route.key("targets"), names.collect::<Vec<_>>(), location());
    }
    problems
}

/// With `USE_CROSS_REGION_INFERENCE`: puts the geography's prefix before the targets' model ids,
/// and lets the routes match both forms. Returns problems and warnings.
pub(super) fn set_cross_region(document: &mut Document, env: &Env) -> (Vec<Problem>, Vec<String>) {
    const VARIABLE: &str = "USE_CROSS_REGION_INFERENCE";
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    if !flag(env, VARIABLE, false, &mut problems) {
        return (problems, warnings);
    }
    let region = document.get(&["upstream", "region"].into()).and_then(toml::Value::as_str);
    let region = region.unwrap_or(super::DEFAULT_REGION).to_owned();
    let Some((prefix, _)) = GEOGRAPHIES.iter().find(|(_, regions)| region.starts_with(regions))
    else {
        warnings.push(format!("{VARIABLE} has no effect: region '{region}' has no profiles"));
        return (problems, warnings);
    };
    let prefixed = |model: &str| {
        let plain = !model.starts_with("arn:") && !super::Glob::describes(model);
        let known = GEOGRAPHIES.iter().map(|(prefix, _)| prefix).chain(&OTHER_PREFIXES);
        let bare = plain && !known.into_iter().any(|prefix| model.starts_with(prefix));
        bare.then(|| format!("{prefix}{model}"))
    };
    let mut changes = Vec::new();
    let targets = KeyPath::from(["targets"]);
    let tables = document.get(&targets).and_then(toml::Value::as_table);
    for (name, table) in tables.into_iter().flatten() {
        if let Some(model) = table.get("model").and_then(toml::Value::as_str).and_then(prefixed) {
            changes.push((targets.key(name).key("model"), toml::Value::String(model)));
        }
    }
    let routes = KeyPath::from(["routes"]);
    let tables = document.get(&routes).and_then(toml::Value::as_array);
    for (index, route) in tables.into_iter().flatten().enumerate() {
        let Some(models) = route.get("models").and_then(toml::Value::as_array) else { continue };
        let both = models.iter().flat_map(|model| {
            let prefixed = model.as_str().and_then(prefixed).map(toml::Value::String);
            std::iter::once(model.clone()).chain(prefixed)
        });
        changes.push((routes.index(index).key("models"), both.collect::<Vec<_>>().into()));
    }
    for (path, value) in changes {
        document.set(&path, value, Location::Variable(VARIABLE.to_owned()));
    }
    (problems, warnings)
}

struct Setter<'a> {
    document: &'a mut Document,
    env: &'a Env,
    problems: Vec<Problem>,
}

impl Setter<'_> {
    fn set(
        &mut self,
        path: [&str; 2],
        variable: &str,
        read: impl Fn(&str) -> Result<toml::Value, &'static str>,
    ) {
        let path = KeyPath::from(path);
        if self.document.get(&path).is_some() {
            return;
        }
        let Some(text) = self.env.get(variable) else { return };
        let location = Location::Variable(variable.to_owned());
        match read(text.trim()) {
            Ok(value) => self.document.set(&path, value, location),
            Err(wanted) => {
                let message = format!("must be {wanted}, not '{text}'");
                self.problems.push(Problem::new(location, message));
            }
        }
    }
}

/// A target as the legacy application knows it.
struct LegacyTarget {
    name: String,
    model: String,
    table: toml::Table,
    variable: &'static str,
}

fn built_in_targets(document: &Document) -> Vec<LegacyTarget> {
    let tables = document.get(&["targets"].into()).and_then(toml::Value::as_table);
    let tables = tables.into_iter().flatten();
    let targets = tables.filter_map(|(name, value)| {
        let table = value.as_table()?.clone();
        let model = table.get("model")?.as_str()?.to_owned();
        Some(LegacyTarget { name: name.clone(), model, table, variable: "ENABLE_MODEL_FALLBACK" })
    });
    targets.collect()
}

/// The targets of the two lists, the built-in models standing in for the one that is not given.
fn listed_targets(
    primary: Option<&str>,
    fallbacks: Option<&str>,
    built_in: &[LegacyTarget],
) -> Vec<LegacyTarget> {
    let mut built_in_models = built_in.iter().map(|target| target.model.as_str());
    let default_primary = built_in_models.next().unwrap_or_default();
    let mut models = vec![primary.map_or(default_primary, str::trim)];
    let listed: Vec<&str> = match fallbacks {
        Some(list) => list.split(',').map(str::trim).filter(|model| !model.is_empty()).collect(),
        None => built_in_models.collect(),
    };
    for model in listed {
        if !models.contains(&model) {
            models.push(model);
        }
    }
    let known = |model: &str| built_in.iter().find(|target| target.model == model);
    let targets = models.into_iter().enumerate().map(|(index, model)| {
        let (name, display_name, cooldown, variable) = match index {
            0 if model == default_primary => {
                ("primary".to_owned(), DEFAULT_PRIMARY_NAME.to_owned(), "60s", "BEDROCK_MODEL_ID")
            }
            0 => ("primary".to_owned(), format!("{model} (Primary)"), "60s", "BEDROCK_MODEL_ID"),
            n => (
                format!("fallback-{n}"),
                match is_of_another_family(model) {
                    true => format!("{model} (Fallback {n})"),
                    false => format!("Claude Fallback {n}"),
                },
                "30s",
                "BEDROCK_FALLBACK_MODELS",
            ),
        };
        let mut table = toml::Table::new();
        table.insert("model".to_owned(), model.into());
        table.insert("name".to_owned(), display_name.into());
        table.insert("cooldown".to_owned(), cooldown.into());
        if let Some(cap) = known(model).and_then(|target| target.table.get("max_output_tokens")) {
            table.insert("max_output_tokens".to_owned(), cap.clone());
        }
        LegacyTarget { name, model: model.to_owned(), table, variable }
    });
    targets.collect()
}

/// Whether a model is known to be none of Claude's.
fn is_of_another_family(model: &str) -> bool {
    let id = ModelId::new(model).ok();
    id.is_some_and(|id| id.base().is_some() && id.family() != Family::Anthropic)
}

/// Seconds, fractions allowed, times a factor, as the text of a duration.
fn seconds(text: &str, factor: f64) -> Result<toml::Value, &'static str> {
    let duration = text.parse::<f64>().ok().map(|seconds| seconds * factor);
    let duration = duration.and_then(|s| std::time::Duration::try_from_secs_f64(s).ok());
    let duration = duration.ok_or("a number of seconds")?;
    Ok(humantime::format_duration(duration).to_string().into())
}

fn flag(env: &Env, variable: &str, default: bool, problems: &mut Vec<Problem>) -> bool {
    let Some(text) = env.get(variable) else { return default };
    truth(text).unwrap_or_else(|| {
        let message = format!("must be {TRUE_OR_FALSE}, not '{text}'");
        problems.push(Problem::new(Location::Variable(variable.to_owned()), message));
        default
    })
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}
