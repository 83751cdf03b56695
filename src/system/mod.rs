//! What the operating system and the runtime give: memory, file descriptors, and timers that hold.
//! Knows nothing of the rest.

pub mod allocator;
pub mod descriptors;
pub mod time;
