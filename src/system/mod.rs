//! What the operating system and the runtime give: file descriptors, and timers that hold. Knows
//! nothing of the rest.

pub mod descriptors;
pub mod time;
