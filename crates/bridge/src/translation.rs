//! A request's way through the hub: read once, written for each target that may answer it.

use std::borrow::Cow;

use sluice_bedrock::Operation;

use crate::conversation::Conversation;
use crate::report::{DropPolicy, Refusal, Report};
use crate::source::Source;
use crate::stream::StreamTranslator;
use crate::{Answer, AnswerError, Model, chat, converse, invoke, messages, responses};

/// A client's request in the hub's form.
#[derive(Clone, Debug)]
pub struct Hub<'a> {
    /// The form in which it came.
    pub source: Source,
    /// What it asks.
    pub conversation: Conversation<'a>,
    /// What the answer repeats of it.
    pub echo: Echo,
    /// What was left out when it was read.
    dropped: Vec<Cow<'static, str>>,
}

/// What an answer repeats of its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Echo {
    /// The model, as the client named it in the body; empty if it did not.
    pub model: String,
    /// Whether a stream of Chat Completions ends with the usage.
    pub include_usage: bool,
    /// For Responses: the members that a response repeats, as `"name":value,..` without braces.
    pub members: String,
    /// For Responses: the tools that the client knows in another form than the hub's.
    pub tools: Vec<EchoTool>,
    /// For Responses: the response that this one continues. It is there only if the gateway has put its turns
    /// before the input.
    pub previous_response_id: Option<String>,
    /// For Responses: whether the gateway keeps the response.
    pub is_stored: bool,
}

/// A tool that a client of Responses knows in another form than the hub's, which has only functions with a
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EchoTool {
    /// Its name in the conversation.
    pub name: String,
    /// The client's name of it.
    pub client_name: String,
    /// The client's namespace of that name.
    pub namespace: Option<String>,
    /// Whether it takes a text: a custom tool.
    pub is_custom: bool,
}

/// A request as a target gets it, and what translates the answer back.
#[derive(Clone, Debug)]
pub struct Translation {
    /// The operation of the target.
    pub operation: Operation,
    /// The body.
    pub body: Vec<u8>,
    /// What the client sent and the target does not get, by its name in the client's API.
    pub dropped: Vec<Cow<'static, str>>,
    /// What the answer's translation needs.
    pub answer: AnswerContext,
}

/// What is needed to translate an answer back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerContext {
    /// The form that the client expects.
    pub source: Source,
    /// What the answer repeats of its request.
    pub echo: Echo,
    /// Tools that have another name at the target: that name, and the client's.
    pub renamed_tools: Vec<(String, String)>,
    /// The tool, by its name at the target, whose input is the answer: how a JSON answer is got of a model that
    /// has no other way.
    pub answer_tool: Option<String>,
    /// Whether the text of the answer must be a JSON object.
    pub must_be_json: bool,
}

impl AnswerContext {
    /// The client's name of a tool.
    pub fn client_tool_name<'n>(&'n self, upstream: &'n str) -> &'n str {
        let renamed = self.renamed_tools.iter().find(|(name, _)| name == upstream);
        renamed.map_or(upstream, |(_, client)| client)
    }
}

/// What a translated answer has of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The id of the request. Ids of answers are made from it.
    pub request_id: String,
    /// Seconds since 1970.
    pub created: u64,
}

impl<'a> Hub<'a> {
    /// Reads a client's request. Of Converse and InvokeModel the operation says whether the answer is a stream,
    /// not the body: the caller sets [`Conversation::streams`].
    ///
    /// # Errors
    /// If the body is not what its API takes, or has what no bridge carries and the policy does not let drop.
    pub fn read(source: Source, body: &'a [u8], policy: &DropPolicy) -> Result<Hub<'a>, Refusal> {
        let mut report = Report::new(policy);
        let mut echo = Echo::default();
        let conversation = match source {
            Source::ChatCompletions => chat::read_request(body, &mut echo, &mut report),
            Source::Responses => responses::read_request(body, &mut echo, &mut report),
            Source::Messages => messages::read_request(body, &mut echo, &mut report),
            Source::Converse => converse::read_request(body, &mut report),
            Source::InvokeClaude => invoke::read_request(body, &mut report),
        };
        let dropped = report.finish()?;
        Ok(Hub { source, conversation, echo, dropped })
    }

    /// Writes the request for Converse of this model.
    ///
    /// # Errors
    /// If the model can't carry the request.
    pub fn write(&self, model: &Model, policy: &DropPolicy) -> Result<Translation, Refusal> {
        let mut report = Report::new(policy);
        self.dropped.iter().for_each(|what| report.dropped(what.clone()));
        let mut answer = AnswerContext {
            source: self.source,
            echo: self.echo.clone(),
            renamed_tools: Vec::new(),
            answer_tool: None,
            must_be_json: false,
        };
        let body = converse::write_request(
            self.source,
            &self.conversation,
            model,
            &mut answer,
            &mut report,
        );
        let operation = match self.conversation.streams {
            true => Operation::ConverseStream,
            false => Operation::Converse,
        };
        Ok(Translation { operation, body, dropped: report.finish()?, answer })
    }
}

/// Translates a request at once.
///
/// # Errors
/// If the request can't be carried.
pub fn translate(
    source: Source,
    body: &[u8],
    model: &Model,
    policy: &DropPolicy,
) -> Result<Translation, Refusal> {
    Hub::read(source, body, policy)?.write(model, policy)
}

impl AnswerContext {
    /// Translates a whole answer of Converse.
    ///
    /// # Errors
    /// If it is not what Converse promises, or not what the client asked for.
    pub fn answer(&self, body: &[u8], stamp: &Stamp) -> Result<Vec<u8>, AnswerError> {
        let answer: Answer<'_> = converse::read_answer(body, self)?;
        Ok(match self.source {
            Source::ChatCompletions => chat::write_answer(&answer, self, stamp),
            Source::Responses => responses::write_answer(&answer, self, stamp),
            Source::Messages | Source::InvokeClaude => messages::write_answer(&answer, self, stamp),
            Source::Converse => converse::write_answer(&answer),
        })
    }

    /// What translates a stream of ConverseStream.
    pub fn stream(self, stamp: Stamp) -> StreamTranslator {
        StreamTranslator::new(self, stamp)
    }
}
