//! What the operating system and the runtime give: memory, file descriptors, keepalive of
//! connections, and timers that hold. Knows nothing of the rest.

pub mod allocator;
pub mod descriptors;
pub mod keepalive;
#[cfg(test)]
pub(crate) mod reserved_port;
pub mod time;
