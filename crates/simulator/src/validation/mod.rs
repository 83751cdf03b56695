//! What Bedrock refuses of the native operations before a model sees it, and what models refuse.
//!
//! `shape` checks members and types. The rules that no type expresses are in `converse`, for Converse and
//! ConverseStream, and in `claude`, for Claude's own schema as InvokeModel carries it. `model` tells what a
//! model takes, by the catalogue: what the catalogue does not know is refused nowhere.

pub(super) mod claude;
pub(super) mod converse;
mod json_schema;
mod model;
mod shape;

pub(super) use model::Model;
