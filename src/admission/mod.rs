//! Whether and for how long a request may wait for a target.
//!
//! Waiting is bounded in number and in bytes; a request that finds no room is refused at once,
//! which costs less than a wait that fails.

mod waiting_room;

pub use waiting_room::{Full, Place, WaitingRoom};
