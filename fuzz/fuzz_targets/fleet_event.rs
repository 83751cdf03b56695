//! See `properties::fleet_event`.
#![no_main]
#![allow(dead_code, reason = "the properties of the other targets")]

#[path = "../properties.rs"]
mod properties;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| properties::fleet_event(input));
