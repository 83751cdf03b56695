//! Not built yet.

use sluice_bedrock::dialect::DialectError;
use sluice_bedrock::event_stream::Frame;

use crate::answer::{Answer, AnswerError, Event};
use crate::conversation::Conversation;
use crate::model::Model;
use crate::report::Report;
use crate::source::Source;
use crate::translation::AnswerContext;

/// Reads the body of a Converse request.
pub(crate) fn read_request<'a>(_: &'a [u8], report: &mut Report<'_>) -> Conversation<'a> {
    report.refuse(None, false, "this translation is not built");
    Conversation::default()
}

/// Writes a conversation as a body of Converse, adapted to the model.
pub(crate) fn write_request(
    _: Source,
    _: &Conversation<'_>,
    _: &Model,
    _: &mut AnswerContext,
    report: &mut Report<'_>,
) -> Vec<u8> {
    report.refuse(None, false, "this translation is not built");
    Vec::new()
}

/// Reads an answer of Converse.
pub(crate) fn read_answer<'a>(_: &'a [u8], _: &AnswerContext) -> Result<Answer<'a>, AnswerError> {
    Err(AnswerError::Unreadable("this translation is not built"))
}

/// Writes an answer of Converse.
pub(crate) fn write_answer(_: &Answer<'_>) -> Vec<u8> {
    Vec::new()
}

/// Reads the frames of ConverseStream.
#[derive(Debug)]
pub(crate) struct StreamReader;

impl StreamReader {
    pub(crate) fn new(_: AnswerContext) -> StreamReader {
        StreamReader
    }

    /// Reads a frame and gives its events to `each`; most frames have one.
    pub(crate) fn read(
        &mut self,
        _: &Frame<'_>,
        _: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), AnswerError> {
        Err(AnswerError::Unreadable("this translation is not built"))
    }
}

/// Writes the frames of ConverseStream.
#[derive(Debug)]
pub(crate) struct StreamWriter;

impl StreamWriter {
    pub(crate) fn new() -> StreamWriter {
        StreamWriter
    }

    pub(crate) fn write(&mut self, _: &Event<'_>, _: &mut Vec<u8>) {}

    pub(crate) fn finish(&mut self, _: &mut Vec<u8>) {}

    pub(crate) fn fail(&mut self, _: &DialectError, _: &str, _: &mut Vec<u8>) {}
}
