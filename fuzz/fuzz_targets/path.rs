//! Request paths and the model ids in them: what parses is written so that it parses to the same.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use sluice::bedrock::path::parse;

fuzz_target!(|path: &str| {
    for method in [Method::POST, Method::GET] {
        if let Ok(call) = parse(&method, path) {
            assert_eq!(parse(&method, &call.to_path()).as_ref(), Ok(&call));
            if let Some(model) = call.model() {
                model.family();
            }
        }
    }
});
