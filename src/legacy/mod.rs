//! The compatibility shim for a legacy Flask application: its endpoints, with the same JSON, asked of
//! Bedrock through the gateway.
//!
//! ```text
//!  http      path and method -> endpoint; who may call it; the JSON that is read and written
//!  analysis, chat, connection    what each of the three does: at once, or as a job
//!  ask       a question through the pipeline, in this process
//!  work      the same as jobs, for the queue
//!  tasks, models                 what the other endpoints tell
//! ```
//! Beneath them are the parts that know neither HTTP nor the pipeline: what a model is asked
//! ([`prompts`], [`answer`]), what its answer says ([`feedback`]), what a session remembers
//! ([`session`]), and what is said when no model answers ([`mock`]). They are pure or hold their
//! state in memory, within bounds.

pub mod answer;
pub mod checklist;
pub mod feedback;
pub mod mock;
pub mod prompts;
pub mod session;

mod analysis;
mod ask;
mod chat;
mod choice;
mod connection;
mod core;
mod http;
mod job_handler;
mod json;
mod models;
mod pending;
mod reply;
mod resets;
mod tasks;
mod text;

pub use http::{LegacyService, LegacyServiceError};
