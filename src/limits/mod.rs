//! What each client may do: its rates, tokens and requests in flight; its policy; its budget, and
//! the prices that budgets are counted by.

mod budget;
mod caller;
mod client_limits;
mod concurrency;
mod exceeded;
mod overrides;
mod policy;
mod prices;
mod quotas;
mod rate;
mod registry;
mod tracking;

pub use budget::{
    BudgetLedgers, BudgetReservation, BudgetSync, ClientBudget, OverBudget, Standing, usd,
};
pub use caller::{Caller, CallerKind};
pub use client_limits::ClientLimits;
pub use concurrency::ConcurrencyPermit;
pub use exceeded::LimitExceeded;
pub use policy::{Policy, PolicyDenial};
pub use prices::{AssumedPrice, Cost, ModelPrices, Prices, ServiceLevel};
pub use rate::{RateKey, RequestRate};
pub use registry::{ClientRecord, ClientRegistry};
