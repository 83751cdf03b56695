//! Authentication: the client of a request, its address and its credential, which is a bearer key, a token
//! of an issuer, a signature by a key pair or a certificate. Without configured clients anyone may call.

pub mod admin_key;
mod authenticator;
mod identity;
mod jwt;
pub mod origin;
mod peer;
mod presented;
mod replay;
mod signature;
#[cfg(test)]
mod tests;

pub use authenticator::{AuthError, AuthOutcome, Authenticated, Authenticator, Credential};
pub use identity::identify;
pub use jwt::{Issuers, KeySet, KeySetError, TokenError, fetch_keys};
pub use peer::{ClientCertificate, Peer, UnreadableCertificate};
pub use presented::{bearer, hide_keys};
pub use signature::{PendingAuth, PendingSignature, SignatureError};
