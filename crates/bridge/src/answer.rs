//! The hub's form of an answer, and of the events of a stream.

use std::borrow::Cow;

use sluice_bedrock::{ErrorKind, Usage};

use crate::conversation::Json;

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer<'a> {
    /// Its parts, in order.
    pub content: Vec<Content<'a>>,
    /// Why it ended.
    pub stop: StopReason,
    /// The text that ended it, if the upstream names it.
    pub stop_sequence: Option<Cow<'a, str>>,
    /// Its tokens.
    pub usage: Usage,
    /// Tokens of thinking, which are part of the output; `None` if they are not known.
    pub reasoning_tokens: Option<u64>,
    /// The name of the service tier that served it, as the upstream wrote it.
    pub tier: Option<Cow<'a, str>>,
    /// Members of Converse's answer that have no like in other APIs (`trace`, `metrics`), as they were written:
    /// for clients of Converse alone.
    pub of_converse: Vec<(&'static str, Json<'a>)>,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Content<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A text with what it cites. Only clients that ask for citations get one.
    CitedText {
        /// The text.
        text: Cow<'a, str>,
        /// Each a `Citation` of Converse, as it was written.
        citations: Vec<Json<'a>>,
    },
    /// The use of a tool, by the client's name of it.
    ToolUse {
        /// Its id.
        id: Cow<'a, str>,
        /// The client's name of the tool.
        name: Cow<'a, str>,
        /// A JSON object.
        input: Json<'a>,
    },
    /// Thinking.
    Reasoning {
        /// The text.
        text: Cow<'a, str>,
        /// The signature.
        signature: Option<Cow<'a, str>>,
    },
    /// Thinking that only the model can read, in base64.
    RedactedReasoning(Cow<'a, str>),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the API")]
pub enum StopReason {
    #[default]
    EndTurn,
    ToolUse,
    MaxTokens,
    StopSequence,
    GuardrailIntervened,
    ContentFiltered,
    ContextWindowExceeded,
    /// Anthropic's `refusal`.
    Refusal,
    /// Anthropic's `pause_turn`.
    PauseTurn,
}

/// What comes next in a stream. Blocks are numbered as the upstream numbers them; one may hold texts and
/// thinking at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The answer begins.
    Start,
    /// The use of a tool begins, by the client's name of it.
    ToolStart {
        /// The block.
        block: u32,
        /// Its id.
        id: Cow<'a, str>,
        /// The client's name of the tool.
        name: Cow<'a, str>,
    },
    /// A piece of text.
    Text {
        /// The block.
        block: u32,
        /// The piece.
        text: Cow<'a, str>,
    },
    /// What the text of a block cites. Only clients that ask for citations get one.
    Citation {
        /// The block.
        block: u32,
        /// A `CitationsDelta` of Converse, as it was written.
        citation: Json<'a>,
    },
    /// A piece of a tool's input: JSON text.
    ToolInput {
        /// The block.
        block: u32,
        /// The piece.
        json: Cow<'a, str>,
    },
    /// A piece of thinking.
    Reasoning {
        /// The block.
        block: u32,
        /// The piece.
        text: Cow<'a, str>,
    },
    /// The signature of the thinking in a block.
    Signature {
        /// The block.
        block: u32,
        /// The signature.
        signature: Cow<'a, str>,
    },
    /// Thinking that only the model can read, in base64.
    RedactedReasoning {
        /// The block.
        block: u32,
        /// The data.
        data: Cow<'a, str>,
    },
    /// A block is complete.
    BlockStop {
        /// The block.
        block: u32,
    },
    /// The answer is complete.
    Stop {
        /// Why.
        reason: StopReason,
        /// The text that ended it, if the upstream names it.
        stop_sequence: Option<Cow<'a, str>>,
        /// `additionalModelResponseFields`, as they were written: for clients of Converse alone.
        fields: Option<Json<'a>>,
    },
    /// The tokens of the answer. Comes after [`Event::Stop`].
    Usage {
        /// The tokens.
        usage: Usage,
        /// Tokens of thinking; `None` if they are not known.
        reasoning_tokens: Option<u64>,
        /// The name of the service tier that served it, as the upstream wrote it.
        tier: Option<Cow<'a, str>>,
        /// As [`Answer::of_converse`].
        of_converse: Vec<(&'static str, Json<'a>)>,
    },
}

/// Why an answer can't be translated. It is the upstream's fault, never the client's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is not what its API promises.
    #[error("the upstream's answer can't be read: {0}")]
    Unreadable(&'static str),
    /// The stream ended without the event that ends it.
    #[error("the upstream's answer ended before it was complete")]
    Incomplete,
    /// The model wrote what can't be used, as the upstream says.
    #[error("the model's output is malformed")]
    Malformed,
    /// The answer is not the JSON that the client asked for.
    #[error("the model's answer is not the JSON that was asked for")]
    NotJson,
    /// A part of it is longer than the bound.
    #[error("a part of the upstream's answer is longer than {0} bytes")]
    TooLong(usize),
    /// An exception of the upstream in the stream.
    #[error("{message}")]
    Exception {
        /// Its kind.
        kind: ErrorKind,
        /// Its message.
        message: String,
    },
}

impl AnswerError {
    /// The kind of error that a client gets.
    pub fn kind(&self) -> ErrorKind {
        match self {
            AnswerError::Exception { kind, .. } => *kind,
            AnswerError::Malformed | AnswerError::NotJson => ErrorKind::ModelError,
            AnswerError::Unreadable(_) | AnswerError::Incomplete | AnswerError::TooLong(_) => {
                ErrorKind::ServiceUnavailable
            }
        }
    }
}
