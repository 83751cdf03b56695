//! OpenAI's Responses: what a request must be, the form of a response, and where responses are stored.

mod read;
mod store;
mod tools;
mod write;

pub(super) use read::{Wanted, read};
pub(crate) use store::Responses;
pub(super) use store::{Stored, input_items};
pub(super) use write::ResponseWriter;
