//! The gateway as its users meet it: the real binary between real SDKs and an embedded Bedrock.
//!
//! One crate for all subjects, so that it is linked once. `./test` installs the SDKs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod support;

mod accounting;
mod admin;
mod authentication;
mod bad_bytes;
mod bad_input;
mod balance;
mod bidirectional;
mod bodies;
mod budget_stores;
mod budgets;
mod burst;
mod certificate_reload;
mod client_certificates;
mod client_limits;
mod commands;
mod drain;
mod draining_targets;
mod ejection;
mod exhaustion;
mod fallback;
mod fault_matrix;
mod faults;
mod fleet;
mod floods;
mod headers;
mod hedging;
mod idle;
mod leaks;
mod learning;
mod legacy;
mod limits;
mod line;
mod observability;
mod operations;
mod overload;
mod policy;
mod policy_bidirectional;
mod pooled;
mod proxies;
mod quota_burst;
mod regression;
mod reload;
mod settlement;
mod simulator;
mod stores;
mod streams;
mod tail;
mod targets;
mod tls;
mod tokens;
mod top;
mod traces;
mod upstream_tls;
