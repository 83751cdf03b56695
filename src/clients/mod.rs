//! Who is calling, how that is shown, and what each may ask for.

pub mod admin_key;
mod budget;
mod identity;
mod keys;
mod limits;
mod member;
pub mod origin;
mod peer;
mod policy;
mod prices;
mod replay;
mod signature;
#[cfg(test)]
mod tests;
mod tokens;

pub use budget::{Account, Hold, Keeper, Ledgers, OverBudget, usd};
pub use identity::{Client, Who, identify};
pub use keys::{Credential, Keys, Known, Recognised, Unauthenticated, bearer};
pub use limits::{ClientLimits, Limited, Slot};
pub use member::{Member, Members};
pub use peer::{ClientCertificate, Peer, Unreadable};
pub use policy::{Denied, Policy};
pub use prices::{Prices, Rates};
pub use signature::{BadSignature, Pending, Proof};
pub use tokens::{BadToken, Issuers};
