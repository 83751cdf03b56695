//! Who is calling, from where, and how that is proved: bearer keys, tokens of issuers, signatures
//! by key pairs, certificates, or none where the config asks for none.

pub mod admin_key;
mod identity;
mod keys;
pub mod origin;
mod peer;
mod replay;
mod signature;
#[cfg(test)]
mod tests;
mod tokens;

pub use identity::identify;
pub use keys::{Credential, Keys, Known, Recognised, Unauthenticated, bearer};
pub use peer::{ClientCertificate, Peer, Unreadable};
pub use signature::{BadSignature, Pending, Proof};
pub use tokens::{BadToken, Issuers};
