//! Money in the file: US dollars there, whole units of money here, so that sums are exact.

use serde::{Deserialize, Deserializer};

/// US dollars in the file, `PER_DOLLAR` units of money here.
pub(super) struct Dollars<const PER_DOLLAR: u32>;

/// Nano-dollars of an amount.
pub(super) type Amount = Dollars<1_000_000_000>;

/// Pico-dollars for one token of a price in dollars for a million.
pub(super) type TokenPrice = Dollars<1_000_000>;

impl<const PER_DOLLAR: u32> Dollars<PER_DOLLAR> {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        // The schema bounds the number, and so the product.
        f64::deserialize(deserializer).map(|usd| (usd * f64::from(PER_DOLLAR)).round() as u64)
    }

    pub(super) fn deserialize_option<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        let usd = Option::<f64>::deserialize(deserializer)?;
        Ok(usd.map(|usd| (usd * f64::from(PER_DOLLAR)).round() as u64))
    }
}
