//! OpenAI's embeddings by the models of Bedrock: Titan, Cohere and Nova, each called by InvokeModel.
//!
//! [`read_request`] reads what a client asks, [`plan`] makes the calls of it: one a text for most models, one for
//! up to 96 texts for Cohere's. The caller makes them in whatever order, gives each answer to
//! [`Call::read_answer`] and all of them to [`write_answer`], which puts the vectors in the order of the texts.

use std::borrow::Cow;
use std::ops::Range;

mod answer;
mod plan;
mod request;
#[cfg(test)]
mod tests;

pub use answer::{CallAnswer, write_answer};
pub use plan::{makes_embeddings, plan};
pub use request::read_request;

/// Most texts of one request, as in OpenAI's API.
pub const MAX_TEXTS: usize = 2048;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingsRequest<'a> {
    /// The model, as the client named it.
    pub model: String,
    /// The texts, in order; at least one, and none is empty.
    pub texts: Vec<Cow<'a, str>>,
    /// How the client wants its vectors.
    pub encoding: Encoding,
    /// How many numbers a vector is to have.
    pub dimensions: Option<u32>,
    /// What the texts are for; `None`: the client did not say.
    pub input_type: Option<InputType>,
    /// What was left out when it was read.
    dropped: Vec<Cow<'static, str>>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Lists of numbers, as the model wrote them.
    #[default]
    Float,
    /// The bytes of 32-bit numbers, little endian, in base64: what OpenAI's SDKs ask for unless told otherwise.
    Base64,
}

/// What texts are for. Some models make other vectors of a query than of a document, and find the second only
/// by the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputType {
    /// To be found.
    #[default]
    SearchDocument,
    /// To find documents.
    SearchQuery,
    /// To be sorted into classes.
    Classification,
    /// To be grouped.
    Clustering,
}

/// The calls for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The calls, in the order of their texts. Together they have each text once.
    pub calls: Vec<Call>,
    /// What the client sent and the model does not get, by its name in OpenAI's API.
    pub dropped: Vec<Cow<'static, str>>,
}

/// One InvokeModel request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its body.
    pub body: Vec<u8>,
    /// Which of the request's texts it has.
    pub inputs: Range<usize>,
    /// How its vectors are to be written.
    encoding: Encoding,
}
