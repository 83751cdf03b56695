//! The standard environment variables of OpenTelemetry's SDKs, as values of `[traces]`.
//!
//! They act where the config has no value. Those about the collector act only together: a key that
//! was meant for one collector is not sent to another that the config names. As the specification
//! asks, a value that is not supported is ignored with a warning. `OTEL_RESOURCE_ATTRIBUTES` and
//! `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` are read by the SDK itself.

use percent_encoding::percent_decode_str;

use super::document::{Document, KeyPath};
use super::environment::Env;
use super::error::Location;

const ENDPOINT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOL: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const TIMEOUT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];

/// What the variables did.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// The variables that have set a key.
    pub(super) variables: Vec<&'static str>,
    /// Values that were ignored, a sentence each.
    pub(super) warnings: Vec<String>,
}

/// Sets the values of the variables in `[traces]` where the document has none.
pub(super) fn apply(document: &mut Document, env: &Env) -> Applied {
    let mut setter = Setter { document, env, applied: Applied::default() };
    let is_off = |name, value| env.get(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
    if is_off("OTEL_SDK_DISABLED", "true") || is_off("OTEL_TRACES_EXPORTER", "none") {
        return setter.applied;
    }
    if !setter.has("endpoint_url") {
        setter.collector();
    }
    // Without a collector there are no traces, and nothing to set or to warn of.
    if setter.has("endpoint_url") {
        setter.sampler();
        setter.service_name();
        setter.milliseconds("batch_delay", &["OTEL_BSP_SCHEDULE_DELAY"]);
        setter.set("max_queue", &["OTEL_BSP_MAX_QUEUE_SIZE"], |text| {
            text.parse::<i64>().map(toml::Value::Integer).map_err(|_| "is not a number of spans")
        });
    }
    setter.applied
}

/// The value of a header in a list of headers, for the reference `env:VARIABLE[header]`.
pub(super) fn header(env: &Env, reference: &str) -> Option<String> {
    let (variable, name) = reference.strip_suffix(']')?.split_once('[')?;
    let variable = HEADERS.into_iter().find(|it| *it == variable)?;
    list(env.get(variable)?).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The items of a list `key=value,key=value`, whose values are percent-encoded.
fn list(text: &str) -> impl Iterator<Item = (&str, String)> {
    text.split(',').filter_map(|item| {
        let (key, value) = item.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((key.trim(), value.into_owned()))
    })
}

struct Setter<'a> {
    document: &'a mut Document,
    env: &'a Env,
    applied: Applied,
}

impl Setter<'_> {
    fn has(&self, key: &str) -> bool {
        self.document.get(&KeyPath::from(["traces", key])).is_some()
    }

    /// Sets a key from the first of these variables that is set, unless the document has it.
    fn set(
        &mut self,
        key: &str,
        variables: &[&'static str],
        read: impl Fn(&str) -> Result<toml::Value, &'static str>,
    ) {
        let found =
            variables.iter().find_map(|variable| Some((*variable, self.env.get(variable)?)));
        let Some((variable, text)) = found.filter(|_| !self.has(key)) else { return };
        match read(text.trim()) {
            Ok(value) => self.put(&KeyPath::from(["traces", key]), value, variable),
            Err(problem) => {
                self.applied.warnings.push(format!("{variable} is ignored: its value {problem}"));
            }
        }
    }

    fn put(&mut self, path: &KeyPath, value: impl Into<toml::Value>, variable: &'static str) {
        self.document.set(path, value, Location::Variable(variable.to_owned()));
        if !self.applied.variables.contains(&variable) {
            self.applied.variables.push(variable);
        }
    }

    /// Sets a duration from milliseconds.
    fn milliseconds(&mut self, key: &str, variables: &[&'static str]) {
        self.set(key, variables, |text| match text.parse::<u32>() {
            Ok(milliseconds) => Ok(format!("{milliseconds}ms").into()),
            Err(_) => Err("is not a number of milliseconds"),
        });
    }

    fn collector(&mut self) {
        self.set("endpoint_url", &ENDPOINT, |url| Ok(url.into()));
        let url = self.document.get(&KeyPath::from(["traces", "endpoint_url"]));
        let Some(url) = url.and_then(toml::Value::as_str) else { return };
        let has_grpc_port = url.trim_end_matches('/').ends_with(":4317");
        self.set("protocol", &PROTOCOL, |text| match text {
            "grpc" => Ok("grpc".into()),
            "http/protobuf" => Ok("http".into()),
            _ => Err("must be grpc or http/protobuf"),
        });
        // The specification's default is HTTP, unless the port is the one for gRPC.
        if !self.has("protocol")
            && let Some(variable) = self.applied.variables.first().copied()
        {
            let protocol = if has_grpc_port { "grpc" } else { "http" };
            self.put(&KeyPath::from(["traces", "protocol"]), protocol, variable);
        }
        self.milliseconds("timeout", &TIMEOUT);
        let found = HEADERS.into_iter().find_map(|it| Some((it, self.env.get(it)?)));
        if let Some((variable, headers)) = found.filter(|_| !self.has("headers")) {
            for (name, _) in list(headers) {
                // By reference, since the value may be a key.
                let reference = format!("env:{variable}[{name}]");
                self.put(&KeyPath::from(["traces", "headers", name]), reference, variable);
            }
        }
    }

    fn sampler(&mut self) {
        const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
        let argument = self.env.get(ARGUMENT).map(|text| text.trim().parse::<f64>());
        self.set("sample_ratio", &["OTEL_TRACES_SAMPLER"], |text| match text {
            "always_on" | "parentbased_always_on" => Ok(1.0.into()),
            "always_off" | "parentbased_always_off" => Ok(0.0.into()),
            "traceidratio" | "parentbased_traceidratio" => match &argument {
                None => Ok(1.0.into()),
                Some(Ok(ratio)) if (0.0..=1.0).contains(ratio) => Ok((*ratio).into()),
                Some(_) => Err("needs a ratio from 0 to 1 in OTEL_TRACES_SAMPLER_ARG"),
            },
            _ => Err("is not a sampler that is supported"),
        });
    }

    fn service_name(&mut self) {
        const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
        self.set("service_name", &["OTEL_SERVICE_NAME"], |name| Ok(name.into()));
        let mut attributes = self.env.get(ATTRIBUTES).into_iter().flat_map(list);
        if let Some((_, name)) = attributes.find(|(key, _)| *key == "service.name") {
            self.set("service_name", &[ATTRIBUTES], |_| Ok(name.clone().into()));
        }
    }
}
