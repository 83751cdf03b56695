//! Traces: none without a collector, and its headers by reference.

use std::time::Duration;

use super::{config, env, only_problem};
use crate::{Config, TraceProtocol, needs_restart};

const SET: &str = "[traces]\nendpoint_url = 'http://localhost:4317'\n";

#[test]
fn there_are_none_without_a_collector() {
    assert_eq!(config("").traces, None);
    assert_eq!(config("[traces]\nsample_ratio = 0.5").traces, None);
    let traces = config(SET).traces.unwrap();
    assert_eq!((traces.protocol, traces.sample_ratio), (TraceProtocol::Grpc, 1.0));
    assert_eq!(traces.timeout, Duration::from_secs(10));
    assert_eq!(needs_restart(&config(""), &config(SET)), ["traces"]);
}

#[test]
fn headers_come_by_reference_and_by_variables() {
    let env = env(&[
        ("KEY", "hush"),
        ("SLUICE__TRACES__ENDPOINT_URL", "https://otlp.example/otlp"),
        ("SLUICE__TRACES__PROTOCOL", "http"),
        ("SLUICE__TRACES__HEADERS__X_API_KEY", "env:KEY"),
    ]);
    let loaded = Config::from_toml("", "config.toml", &env).unwrap();
    let traces = loaded.config.traces.as_ref().unwrap();
    assert_eq!(traces.endpoint, "https://otlp.example/otlp/v1/traces");
    let (name, value) = &traces.headers[0];
    assert_eq!((name.as_str(), value.expose()), ("x-api-key", "hush"));
    let shown = format!("{:?} {}", loaded.config, loaded.config.effective.to_json().unwrap());
    assert!(!shown.contains("hush") && shown.contains("env:KEY"), "{shown}");
}

#[test]
fn bad_values_are_refused_where_they_stand() {
    for (keys, expected) in [
        ("endpoint_url = 'localhost:4317'", "traces.endpoint_url: not a URL"),
        ("endpoint_url = 'http://u:p@h:1'", "traces.endpoint_url: a user name or password"),
        ("protocol = 'json'", "traces.protocol"),
        ("sample_ratio = 1.5", "traces.sample_ratio"),
        ("max_queue = 10", "traces.max_queue"),
        ("service_name = ' '", "traces.service_name: must not be empty"),
        ("headers.x-key = 'a-literal-key'", "takes a reference, not the secret itself"),
        ("headers.x-key = 'env:NONE'", "'NONE', which is not set"),
        ("headers.'x key' = 'file:/dev/null'", "is not the name of a header"),
        (
            "headers.x-key = 'file:Cargo.toml'",
            "names the file 'Cargo.toml': the text has a control character, such as a line break or \
             a tab, after 9 characters; only one line break at the end is taken away",
        ),
    ] {
        only_problem(&format!("[traces]\n{keys}"), expected);
    }
}

#[test]
fn what_a_delivery_says_itself_is_no_header_of_ones_own() {
    let env = env(&[("KEY", "text/plain")]);
    let text = format!("{SET}headers.Content-Type = 'env:KEY'");
    let error = Config::from_toml(&text, "config.toml", &env).unwrap_err().to_string();
    assert!(error.contains("is the delivery's own"), "{error}");
}

fn from_variables(text: &str, variables: &[(&str, &str)]) -> crate::Loaded {
    Config::from_toml(text, "config.toml", &env(variables)).unwrap()
}

#[test]
fn the_standard_variables_set_what_the_config_leaves_open() {
    let loaded = from_variables(
        "",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otlp.example/otlp"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=hush%20hush,x-other=1"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=unused,team=a"),
            ("OTEL_SERVICE_NAME", "gate"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "4096"),
        ],
    );
    let traces = loaded.config.traces.as_ref().unwrap();
    assert_eq!(traces.endpoint, "https://otlp.example/otlp/v1/traces");
    assert_eq!((traces.protocol, traces.sample_ratio), (TraceProtocol::Http, 0.25));
    assert_eq!((traces.service_name.as_str(), traces.max_queue), ("gate", 4096));
    assert_eq!(traces.timeout, Duration::from_millis(2500));
    assert_eq!(traces.batch_delay, Duration::from_millis(50));
    let headers: Vec<_> =
        traces.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("x-api-key", "hush hush"), ("x-other", "1")]);
    let shown = format!("{:?} {}", loaded.config, loaded.config.effective.to_json().unwrap());
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("env:OTEL_EXPORTER_OTLP_HEADERS[x-api-key]"), "{shown}");
    assert_eq!(loaded.otel_variables[0], "OTEL_EXPORTER_OTLP_ENDPOINT");
    assert!(loaded.otel_variables.contains(&"OTEL_SERVICE_NAME"));
    assert!(!loaded.otel_variables.contains(&"OTEL_RESOURCE_ATTRIBUTES"));
}

#[test]
fn a_variable_for_traces_beats_the_one_for_all_signals_and_the_port_tells_grpc() {
    let loaded = from_variables(
        "",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=a,service.name=gate"),
        ],
    );
    let traces = loaded.config.traces.unwrap();
    assert_eq!((traces.endpoint.host(), traces.protocol), (Some("traces"), TraceProtocol::Grpc));
    assert_eq!(traces.service_name, "gate");
}

#[test]
fn the_config_beats_the_standard_variables() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://elsewhere.example"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=hush"),
        ("OTEL_SERVICE_NAME", "other"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let loaded = from_variables(&format!("{SET}service_name = 'mine'"), &variables);
    let traces = loaded.config.traces.unwrap();
    assert_eq!((traces.endpoint.host(), traces.protocol), (Some("localhost"), TraceProtocol::Grpc));
    assert_eq!((traces.service_name.as_str(), traces.headers.len()), ("mine", 0));
    assert_eq!(loaded.otel_variables, ["OTEL_BSP_SCHEDULE_DELAY"]);
}

#[test]
fn the_standard_variables_can_be_turned_off() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert_eq!(from_variables("", &[endpoint, off]).config.traces, None);
        assert!(from_variables(SET, &[endpoint, off]).config.traces.is_some());
    }
    // Without a collector the others do nothing.
    let loaded =
        from_variables("", &[("OTEL_SERVICE_NAME", "gate"), ("OTEL_BSP_MAX_QUEUE_SIZE", "x")]);
    assert_eq!((loaded.config.traces, loaded.otel_variables.len()), (None, 0));
    assert!(loaded.warnings.iter().all(|warning| !warning.contains("OTEL")));
}

#[test]
fn values_that_are_not_supported_are_ignored_with_a_warning() {
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
    ] {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        let loaded = from_variables("", &[endpoint, (variable, value)]);
        let is_named = |warning: &String| warning.starts_with(&format!("{variable} is ignored"));
        assert!(loaded.warnings.iter().any(is_named), "{:?}", loaded.warnings);
        assert_eq!(loaded.otel_variables, [endpoint.0]);
    }
}
