//! Who is calling, and what each may ask for.

mod identity;
mod keys;
mod limits;
mod policy;

pub use identity::{Client, identify};
pub use keys::{Keys, Unauthenticated, bearer};
pub use limits::{ClientLimits, Limited, Slot};
pub use policy::{Denied, Policies, Policy};
