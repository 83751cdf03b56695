//! Messages to Claude by InvokeModel, for targets that have no Messages of their own.
//!
//! Both take Claude's schema, so a body goes on almost byte for byte: what InvokeModel has elsewhere is taken out,
//! what it lacks is refused by name, and a few members get the form that it takes. Answers come back as they are,
//! and a stream's chunks as the events that they hold.

mod caching;
mod media;
mod request;
mod stream;
#[cfg(test)]
mod tests;
mod tools;

pub use caching::cached_by;
pub use media::{remote_media, with_media};
pub use request::{Request, request};
pub use stream::ToSse;

/// The body of an answer, for the client: Claude's own Message.
pub fn answer(body: bytes::Bytes) -> bytes::Bytes {
    body
}
