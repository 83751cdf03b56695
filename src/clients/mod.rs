//! Who is calling, and what each may ask for.

mod identity;
mod limits;

pub use identity::{Client, identify};
pub use limits::{ClientLimits, Limited, Slot};
