//! How a store that is in SQLite or in Redis is called.

/// Calls a method of the store that `$store` is, an enum with the variants `Sqlite` and `Redis`, within the time
/// limit of so many calls. Each store has a `limit`, and that in SQLite a `doubt`.
macro_rules! dispatch {
    ($enum:ident, $store:expr, $calls:expr, $of:ident => $call:expr) => {
        match $store {
            $enum::Sqlite($of) => {
                let outcome = $crate::storage::within($of.limit() * $calls, $call).await;
                // An unreadable record does not show a fault of the file.
                if matches!(outcome, Err(ref error) if error.is_of_store()) {
                    $of.doubt();
                }
                outcome
            }
            $enum::Redis($of) => $crate::storage::within($of.limit() * $calls, $call).await,
        }
    };
}

pub(crate) use dispatch;
