//! Traces: none without a collector, and its headers by reference.

use std::time::Duration;

use super::{config, env, only_problem};
use crate::config::{Config, TraceProtocol, needs_restart};

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
             a tab, after 11 characters; only one line break at the end is taken away",
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
