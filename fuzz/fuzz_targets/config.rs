//! Config files of any text: loaded, or refused with a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::config::{Config, Env};

fuzz_target!(|text: &str| {
    if let Err(error) = Config::from_toml(text, "config.toml", &Env::default()) {
        assert!(!error.to_string().is_empty());
    }
});
