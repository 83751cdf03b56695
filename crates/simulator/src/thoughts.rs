//! What a model thought, signed or sealed, so that the simulator knows its own thoughts again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a signature has before the thought.
const SIGNED: &str = "signed: ";
/// What a sealed thought has before the thought.
const SEALED: &str = "sealed: ";

/// The signature of a thought.
pub(super) fn sign(thought: &str) -> String {
    STANDARD.encode(format!("{SIGNED}{thought}"))
}

/// Whether a signature is the one that a thought was given.
pub(super) fn is_signed(thought: &str, signature: &str) -> bool {
    let signed = STANDARD.decode(signature).unwrap_or_default();
    signed.strip_prefix(SIGNED.as_bytes()) == Some(thought.as_bytes())
}

/// A thought that its reader can't read, in base64.
pub(super) fn seal(thought: &str) -> String {
    let hidden: String = thought.chars().rev().collect();
    STANDARD.encode(format!("{SEALED}{hidden}"))
}

/// Whether something was sealed here.
pub(super) fn is_sealed(sealed: &str) -> bool {
    STANDARD.decode(sealed).is_ok_and(|sealed| sealed.starts_with(SEALED.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_is_known_by_its_signature_and_another_is_not() {
        assert!(is_signed("so be it", &sign("so be it")) && is_signed("", &sign("")));
        assert!(
            !is_signed("so be", &sign("so be it")) && !is_signed("x", "") && !is_signed("", "")
        );
        assert!(is_sealed(&seal("secret")) && !is_sealed("") && !is_sealed("c2VhbA=="));
        assert!(!seal("secret").contains(&STANDARD.encode("secret")));
    }
}
