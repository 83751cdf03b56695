//! See `translations::claude_stream`.
#![no_main]
#![allow(dead_code, reason = "the properties of the other targets")]

#[path = "../translations.rs"]
mod translations;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| translations::claude_stream(input));
