//! What each client may ask for, how much of it, and what it may spend.

mod budget;
mod caller;
mod policy;
mod prices;
mod rates;
mod registry;

pub use budget::{Account, Hold, Keeper, Ledgers, OverBudget, usd};
pub use caller::{Caller, CallerKind};
pub use policy::{Denied, Policy};
pub use prices::{Prices, Rates};
pub use rates::{ClientLimits, Limited, Slot};
pub use registry::{ClientRecord, ClientRegistry};
