//! OpenAI's Chat Completions: its requests are read into the hub's form, the hub's answers and events are
//! written in its own.
//!
//! Beside OpenAI's own members it knows those that clients have agreed on for what OpenAI has no name for:
//! `cache_control` at parts, messages and tools, `reasoning_content` and `thinking_blocks` of assistants,
//! `top_k` and `thinking` of requests.

mod answer;
mod message;
mod parameters;
mod parts;
mod request;
mod stream;
#[cfg(test)]
mod tests;
mod tools;

pub(crate) use answer::write_answer;
pub(crate) use request::read_request;
pub(crate) use stream::StreamWriter;
