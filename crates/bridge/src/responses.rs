//! OpenAI's Responses: its requests read into the hub, its answers and streams written from there, and what is
//! kept for models whose upstream stores no responses.

mod answer;
mod custom_input;
mod input_items;
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
pub use input_items::{PageQuery, PageQueryError, input_items};
pub(crate) use request::read_request;
pub(crate) use stream::StreamWriter;
pub use turns::{KeptResponse, TurnsError, not_stored, with_previous};

#[cfg(test)]
mod tests;
