//! The compatibility shim for a legacy Flask application: the same analyses and chats, asked of
//! Bedrock through the gateway.
//!
//! Here are the parts that know neither HTTP nor the pipeline: what a model is asked
//! ([`prompts`], [`answer`]), what its answer says ([`feedback`]), what a session remembers
//! ([`session`]), and what is said when no model answers ([`mock`]). All of them are pure or hold
//! their state in memory, within bounds.

pub mod answer;
pub mod checklist;
pub mod feedback;
pub mod mock;
pub mod prompts;
pub mod session;

mod text;
