//! OpenAI's Responses: its requests read into the hub, its answers and streams written from there, and turns
//! kept for models that store no responses.

mod answer;
mod custom_input;
mod items;
mod open_item;
mod options;
mod parts;
mod request;
mod response;
mod sealed;
mod stream;
mod tools;
mod turns;

pub(crate) use answer::write_answer;
pub(crate) use request::read_request;
pub(crate) use stream::StreamWriter;
pub use turns::{Turns, TurnsError, with_previous};

#[cfg(test)]
mod tests;
