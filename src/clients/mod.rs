//! Who is calling, how that is shown, and what each may ask for.

mod identity;
mod keys;
mod limits;
mod peer;
mod replay;
mod signature;
#[cfg(test)]
mod tests;

pub use identity::{Client, identify};
pub use keys::{Credential, Keys, Known, Recognised, Unauthenticated, bearer};
pub use limits::{ClientLimits, Limited, Slot};
pub use peer::{ClientCertificate, Peer, Unreadable};
pub use signature::{BadSignature, Pending, Proof};
