//! Who is calling, from where, and how that is proved: bearer keys, tokens of issuers, signatures
//! by key pairs, certificates, or none where the config asks for none.

pub mod admin_key;
mod authenticator;
mod identity;
mod jwt;
pub mod origin;
mod peer;
mod replay;
mod signature;
#[cfg(test)]
mod tests;

pub use authenticator::{AuthError, AuthOutcome, Authenticated, Authenticator, Credential, bearer};
pub use identity::identify;
pub use jwt::{Issuers, TokenError};
pub use peer::{ClientCertificate, Peer, UnreadableCertificate};
pub use signature::{PendingAuth, PendingSignature, SignatureError};
