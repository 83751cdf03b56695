//! The compatibility shim for a legacy Flask application: its endpoints, with the same JSON,
//! answered by Bedrock through the gateway.
//!
//! ```text
//!  http      path and method -> endpoint; authentication; the JSON that is read and written
//!  analysis, chat, connection    what each of the three does: at once, or as a job
//!  invoke    a model call through the pipeline, in this process
//!  job_handler                   the same as jobs, for the queue
//!  tasks, models                 what the other endpoints show
//! ```
//! Beneath them are the parts that know neither HTTP nor the pipeline: the prompts
//! ([`prompts`], [`answer`]), the parsed answers ([`feedback`]), the sessions ([`session`]), and
//! the answers without a model ([`mock`]). They are pure or hold their
//! state in memory, within bounds.

pub mod answer;
pub mod checklist;
pub mod feedback;
pub mod mock;
pub mod prompts;
pub mod session;

mod analysis;
mod chat;
mod choice;
mod connection;
mod http;
mod invoke;
mod job_handler;
mod json;
mod models;
mod pending;
mod resets;
mod response;
mod state;
mod tasks;
mod text;

pub use http::{LegacyService, LegacyServiceError};
