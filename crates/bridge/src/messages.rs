//! Not built yet.

use sluice_bedrock::dialect::DialectError;

use crate::answer::{Answer, Event};
use crate::conversation::Conversation;
use crate::report::Report;
use crate::translation::{AnswerContext, Echo, Stamp};

pub(crate) fn read_request<'a>(
    _: &'a [u8],
    _: &mut Echo,
    report: &mut Report<'_>,
) -> Conversation<'a> {
    report.refuse(None, false, "this translation is not built");
    Conversation::default()
}

pub(crate) fn write_answer(_: &Answer<'_>, _: &AnswerContext, _: &Stamp) -> Vec<u8> {
    Vec::new()
}

#[derive(Debug)]
pub(crate) struct StreamWriter;

impl StreamWriter {
    pub(crate) fn new(_: &AnswerContext, _: Stamp) -> StreamWriter {
        StreamWriter
    }

    pub(crate) fn write(&mut self, _: &Event<'_>, _: &mut Vec<u8>) {}

    pub(crate) fn finish(&mut self, _: &mut Vec<u8>) {}

    pub(crate) fn fail(&mut self, _: &DialectError, _: &str, _: &mut Vec<u8>) {}
}
