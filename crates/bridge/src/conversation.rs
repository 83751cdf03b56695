//! The hub's form of a request: what a client asks of a model, whatever API it speaks.
//!
//! Texts are borrowed from the request where its JSON has no escapes. JSON that only passes through (schemas,
//! inputs of tools) stays text, so that its bytes and the order of its keys are kept: prompt caches compare
//! them.

use std::borrow::Cow;
use std::fmt;

use sluice_catalogue::Effort;

pub use crate::text::Text;

/// JSON text that is known to be valid, kept byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<'a>(pub Cow<'a, str>);

/// A request for an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation<'a> {
    /// System texts before the first message, and their cache points.
    pub system: Vec<Block<'a>>,
    /// The messages, in the client's order. Neighbours of one role are still apart.
    pub turns: Vec<Turn<'a>>,
    /// The tools, in the client's order, and their cache points.
    pub tools: Vec<Tool<'a>>,
    /// Which tool the model is to use; `None`: the client did not say.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether it may use several tools at once; `None`: the client did not say.
    pub parallel_tools: Option<bool>,
    /// Most tokens of the answer.
    pub max_tokens: Option<u64>,
    /// A number, as it was written.
    pub temperature: Option<Cow<'a, str>>,
    /// A number, as it was written.
    pub top_p: Option<Cow<'a, str>>,
    /// A number, as it was written.
    pub top_k: Option<Cow<'a, str>>,
    /// Texts that end the answer; none is empty.
    pub stop_sequences: Vec<Cow<'a, str>>,
    /// How it is to think.
    pub thinking: Option<Thinking>,
    /// Whether the answer shows Claude's thinking; `None`: as the model has it by itself.
    pub thinking_display: Option<ThinkingDisplay>,
    /// How much it is to do for the answer.
    pub effort: Option<Effort>,
    /// The form of the answer.
    pub format: Option<AnswerFormat<'a>>,
    /// The service tier, by its name in Converse.
    pub service_tier: Option<&'static str>,
    /// Pairs for the records of the request at AWS.
    pub metadata: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The guardrail of a Converse request: the whole member, as it was written.
    pub guardrail: Option<Json<'a>>,
    /// Beta flags of Claude that the target takes.
    pub betas: Vec<Cow<'a, str>>,
    /// Members for Claude alone, by their names in Anthropic's API (`context_management`): passed to Claude,
    /// refused for others.
    pub of_claude: Vec<(Cow<'a, str>, Json<'a>)>,
    /// Members of a Converse request that have no like in other APIs (`performanceConfig`), as they were written.
    pub of_converse: Vec<(&'static str, Json<'a>)>,
    /// Whether the answer is a stream.
    pub streams: bool,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn<'a> {
    /// Who speaks.
    pub role: Role,
    /// Its parts, in order.
    pub blocks: Vec<Block<'a>>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The client's user, results of tools included.
    User,
    /// The model.
    Assistant,
    /// The operator, between other messages.
    System,
}

/// Where a block stands in the client's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The member at the top: `messages`, `input`, `system`.
    pub list: &'static str,
    /// The index in it.
    pub index: Option<u32>,
    /// The index in its content.
    pub part: Option<u32>,
}

impl At {
    /// The place as errors name it: `messages[3].content[1]`.
    pub fn param(self) -> String {
        self.to_string()
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.list)?;
        if let Some(index) = self.index {
            write!(f, "[{index}]")?;
        }
        if let Some(part) = self.part {
            write!(f, ".content[{part}]")?;
        }
        Ok(())
    }
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Block<'a> {
    /// Where it stands in the client's request.
    pub at: At,
    /// What it is.
    pub kind: BlockKind<'a>,
}

/// What a block is.
#[derive(Clone, Debug, PartialEq)]
pub enum BlockKind<'a> {
    /// A text. Blank ones are left out when they are written.
    Text(Text<'a>),
    /// An image.
    Image(Media<'a>),
    /// A document. A name is made from its place if it has none.
    Document {
        /// The file.
        media: Media<'a>,
        /// The client's name of it.
        name: Option<Cow<'a, str>>,
        /// What the client says about it, beside its text.
        context: Option<Cow<'a, str>>,
        /// Whether the answer is to cite it.
        cites: bool,
    },
    /// A sound.
    Audio(Media<'a>),
    /// A film.
    Video(Media<'a>),
    /// The model's use of a tool.
    ToolUse {
        /// The id that its result names.
        id: Cow<'a, str>,
        /// The client's name of the tool.
        name: Cow<'a, str>,
        /// A JSON object.
        input: Json<'a>,
    },
    /// The result of a tool.
    ToolResult {
        /// The id of the use.
        id: Cow<'a, str>,
        /// Its parts: texts, JSON, images, documents.
        content: Vec<Block<'a>>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// A JSON value as part of a tool's result.
    Json(Json<'a>),
    /// The model's thinking.
    Reasoning {
        /// The text; may be empty if it is signed.
        text: Cow<'a, str>,
        /// The model's signature, without which Claude refuses it.
        signature: Option<Cow<'a, str>>,
    },
    /// Thinking that only the model can read, in base64.
    RedactedReasoning(Cow<'a, str>),
    /// A block of Converse that has no like in other APIs, as it was written: its name and its value.
    Other {
        /// `guardContent`, `searchResult`..
        name: Cow<'a, str>,
        /// The value.
        value: Json<'a>,
    },
    /// Up to here the prompt is to be cached.
    CachePoint(CacheTtl),
}

/// How long a cached prefix stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheTtl {
    /// Five minutes; the default.
    #[default]
    FiveMinutes,
    /// An hour.
    Hour,
}

/// The bytes of an image, a document, a sound or a film.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media<'a> {
    /// The format by its name in Converse: `png`, `jpeg`, `pdf`, `txt`..
    pub format: Cow<'a, str>,
    /// Where the bytes are.
    pub source: MediaSource<'a>,
}

/// Where bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaSource<'a> {
    /// Here, in base64.
    Base64(Cow<'a, str>),
    /// Here, as text: of documents only.
    Text(Cow<'a, str>),
    /// Here, as texts that citations name one by one: of documents only.
    Texts(Vec<Cow<'a, str>>),
    /// In S3.
    S3 {
        /// The URI.
        uri: Cow<'a, str>,
        /// The account that owns the bucket.
        owner: Option<Cow<'a, str>>,
    },
    /// At an address that the gateway must fetch first: see [`crate::remote_media`]. One that is left when a body
    /// is written is refused.
    Url(Cow<'a, str>),
}

/// A tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool<'a> {
    /// The client's name of it.
    pub name: Cow<'a, str>,
    /// What it does; empty if the client did not say.
    pub description: Cow<'a, str>,
    /// The schema of its input, a JSON object; `None` if the client gave none.
    pub schema: Option<Json<'a>>,
    /// Whether its input must follow the schema exactly.
    pub strict: Option<bool>,
    /// Whether the prompt is to be cached up to here.
    pub cache_point: Option<CacheTtl>,
    /// Where it stands in the client's list.
    pub index: u32,
}

/// Which tool a model is to use.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolChoice<'a> {
    /// As it likes.
    Auto,
    /// Any, but one.
    Any,
    /// This one.
    Tool(Cow<'a, str>),
    /// None.
    None,
    /// Only some: `auto` or `any` of these.
    Allowed {
        /// Whether it must use one.
        must: bool,
        /// Their names.
        names: Vec<Cow<'a, str>>,
    },
}

/// How a model is to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// Not at all.
    Off,
    /// As it sees fit.
    Adaptive,
    /// With at most so many tokens.
    Budget(u64),
}

/// What an answer shows of Claude's thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingDisplay {
    /// Its summary.
    Summarized,
    /// Its signature alone.
    Omitted,
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerFormat<'a> {
    /// Any JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// A name for the schema.
        name: Option<Cow<'a, str>>,
        /// What it is for.
        description: Option<Cow<'a, str>>,
        /// The schema.
        schema: Json<'a>,
        /// Whether the answer must follow it exactly.
        strict: bool,
    },
}
