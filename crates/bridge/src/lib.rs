//! Translations between APIs: a client's request into one that the target's model serves, and the answer back.
//!
//! Everything here is pure: bytes, events and facts in, bytes out. Converse is the hub. A request goes
//! `client's body -> Conversation -> body of Converse`, an answer `body of Converse -> Answer -> client's body`,
//! and a stream event by event, `frame -> Event -> client's bytes`. One module an API reads and writes its
//! form; [`converse`] adapts a conversation to its model. [`invoke`] sends Messages to Claude by InvokeModel
//! almost as they are.
//!
//! Nothing is dropped in silence: see [`Report`].

mod answer;
mod caching;
pub mod chat;
pub mod conversation;
pub mod converse;
mod effort;
pub mod embeddings;
mod fields;
pub mod invoke;
mod json;
mod media;
pub mod messages;
mod model;
pub mod remote_media;
mod report;
mod request_metadata;
pub mod responses;
mod source;
mod stream;
mod text;
mod translation;
mod value;

pub use answer::{Answer, AnswerError, Content, Event, StopReason};
pub use caching::CachePolicy;
pub use model::Model;
pub use report::{DropPolicy, Refusal, Report};
pub use source::Source;
pub use stream::StreamTranslator;
pub use translation::{AnswerContext, Echo, EchoTool, Hub, Stamp, Translation, translate};
