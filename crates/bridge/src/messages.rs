//! Anthropic's Messages: requests read into the hub's form, answers and streams written from it.
//!
//! What a request has that Converse can't carry is refused or reported by the name that the client gave it.

mod answer;
mod cache;
pub(crate) mod citations;
mod content;
mod media;
mod read;
mod request;
pub(crate) mod settings;
mod stream;
#[cfg(test)]
mod tests;
pub(crate) mod tools;

pub(crate) use answer::write_answer;
pub(crate) use request::{read_invoke, read_request};
pub(crate) use stream::StreamWriter;
