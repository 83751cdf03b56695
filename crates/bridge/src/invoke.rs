//! Not built yet.

use sluice_bedrock::dialect::DialectError;

use crate::answer::Event;
use crate::conversation::Conversation;
use crate::report::Report;
use crate::translation::{AnswerContext, Stamp};

pub(crate) fn read_request<'a>(_: &'a [u8], report: &mut Report<'_>) -> Conversation<'a> {
    report.refuse(None, false, "this translation is not built");
    Conversation::default()
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
