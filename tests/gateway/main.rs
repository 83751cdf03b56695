//! The gateway as its users meet it: the real binary between real SDKs and an embedded Bedrock.
//!
//! One crate for all subjects, so that it is linked once. `./test` installs the SDKs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod support;

mod access;
mod accounting;
mod admin;
mod apis;
mod authentication;
mod bad_bodies;
mod bad_bytes;
mod bad_input;
mod balance;
mod bidirectional;
mod bill;
mod bills;
mod bodies;
mod bridges;
mod bridges_sdk;
mod budget_bounds;
mod budget_stores;
mod budgets;
mod burst;
mod catalogue;
mod certificate_reload;
mod check;
mod check_account;
mod client_certificates;
mod client_limits;
mod commands;
mod control_plane;
mod count_tokens;
mod credentials;
mod daily_quota;
mod descriptors;
mod diversions;
mod drain;
mod draining_targets;
mod ejection;
mod embeddings;
mod encoded_answers;
mod exhaustion;
mod fallback;
mod fault_matrix;
mod faults;
mod first_party_names;
mod fleet;
mod floods;
mod foreign_answers;
mod framings;
mod generated_admin_key;
mod headers;
mod heads;
mod hedging;
mod hostile_upstreams;
mod idle;
mod keepalive;
mod kept_responses;
mod large_requests;
mod leaks;
mod learning;
mod legacy;
mod limits;
mod observability;
mod operate;
mod operations;
mod origins;
mod overload;
mod oversized;
mod own_headers;
mod policy;
mod policy_bidirectional;
mod pooled;
mod proxies;
mod queue;
mod quota_burst;
mod reasons;
mod redis_failover;
mod refusals;
mod regression;
mod reload;
mod retired_models;
mod sdk_anthropic;
mod sdk_openai;
mod service_tiers;
mod settlement;
mod simulator;
mod special_files;
mod status;
mod stores;
mod streams;
mod stuck_readers;
mod tail;
mod targets;
mod tls;
mod tokens;
mod top;
mod traces;
mod upstream_tls;
mod usage_files;
mod wait_before_fallback;
