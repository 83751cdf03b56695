//! Request bodies: a body that is read is clamped to JSON that differs in its caps alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::bedrock::body::{clamp, peek};
use sluice::bedrock::{Family, Operation, Usage};

fuzz_target!(|body: &[u8]| {
    Usage::from_body(body);
    for (operation, family) in [
        (Operation::Converse, Family::Unknown),
        (Operation::InvokeModel, Family::Anthropic),
        (Operation::InvokeModel, Family::Nova),
        (Operation::InvokeModel, Family::TitanText),
        (Operation::InvokeModel, Family::Llama),
        (Operation::InvokeModel, Family::Mistral),
    ] {
        let Ok(found) = peek(operation, family, body) else { continue };
        assert!(found.media_bytes <= body.len());
        if let Some(prefix) = found.cached_prefix.clone() {
            assert!(body.get(prefix).is_some());
        }
        if let Some(clamped) = clamp(body, &found, 7) {
            let again = peek(operation, family, &clamped).expect("clamping leaves it readable");
            assert_eq!(again.max_output_tokens(), Some(7));
            assert_eq!(again.features, found.features);
        }
    }
});
