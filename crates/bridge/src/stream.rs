//! A stream's way through the hub: frames of ConverseStream in, the client's events out.
//!
//! The translator holds no more than one frame and a few counters, unless a JSON answer must be checked as a
//! whole or the last event repeats the answer; it says how much it holds, within bounds. A stream without its last event is a failure: it gets no ordinary end.

use sluice_bedrock::dialect::DialectError;
use sluice_bedrock::event_stream::Frame;

use crate::answer::{AnswerError, Event};
use crate::source::Source;
use crate::translation::{AnswerContext, Stamp};
use crate::{chat, converse, invoke, messages, responses};

/// Translates one stream.
#[derive(Debug)]
pub struct StreamTranslator {
    reader: converse::StreamReader,
    writer: Writer,
    has_stopped: bool,
    has_ended: bool,
}

/// Writes events in one client's form.
#[derive(Debug)]
enum Writer {
    Chat(chat::StreamWriter),
    Responses(responses::StreamWriter),
    Messages(messages::StreamWriter),
    Converse(converse::StreamWriter),
    Invoke(invoke::StreamWriter),
}

impl StreamTranslator {
    pub(crate) fn new(context: AnswerContext, stamp: Stamp) -> StreamTranslator {
        let writer = match context.source {
            Source::ChatCompletions => Writer::Chat(chat::StreamWriter::new(&context, stamp)),
            Source::Responses => Writer::Responses(responses::StreamWriter::new(&context, stamp)),
            Source::Messages => Writer::Messages(messages::StreamWriter::new(&context, stamp)),
            Source::Converse => Writer::Converse(converse::StreamWriter::new()),
            Source::InvokeClaude => Writer::Invoke(invoke::StreamWriter::new(&context, stamp)),
        };
        let reader = converse::StreamReader::new(context);
        StreamTranslator { reader, writer, has_stopped: false, has_ended: false }
    }

    /// Translates a frame: appends to `out` what the client gets for it, which may be nothing.
    ///
    /// # Errors
    /// If the frame can't be read, or is an exception. Nothing may follow but [`StreamTranslator::fail`].
    pub fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), AnswerError> {
        let StreamTranslator { reader, writer, has_stopped, .. } = self;
        reader.read(frame, &mut |event| {
            *has_stopped |= matches!(event, Event::Stop { .. });
            writer.write(&event, out);
        })
    }

    /// Ends the stream when the upstream's has ended: appends what an ordinary end needs.
    ///
    /// # Errors
    /// If the event that ends the upstream's stream has not come.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), AnswerError> {
        if !self.has_stopped {
            return Err(AnswerError::Incomplete);
        }
        if !std::mem::replace(&mut self.has_ended, true) {
            self.writer.finish(out);
        }
        Ok(())
    }

    /// Whether the upstream's last event has come.
    pub fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// How many bytes are held of what has come: text that must be checked as a whole, or that the last event
    /// repeats.
    pub fn held_bytes(&self) -> usize {
        let by_writer = match &self.writer {
            Writer::Responses(writer) => writer.held_bytes(),
            Writer::Messages(writer) | Writer::Invoke(writer) => writer.held_bytes(),
            Writer::Chat(_) | Writer::Converse(_) => 0,
        };
        self.reader.held_bytes() + by_writer
    }

    /// Of Responses, once the upstream's last event has come: the response that the last event will have. `None` for
    /// others, and for a stream that has failed.
    pub fn response(&self) -> Option<Vec<u8>> {
        match &self.writer {
            Writer::Responses(writer) if self.has_stopped && !self.has_ended => writer.response(),
            _ => None,
        }
    }

    /// Of Responses: says in what follows whether the gateway keeps the response.
    pub fn set_stored(&mut self, is_stored: bool) {
        if let Writer::Responses(writer) = &mut self.writer {
            writer.set_stored(is_stored);
        }
    }

    /// Ends the stream with an error event in the client's form.
    pub fn fail(&mut self, error: &DialectError, request_id: &str, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.writer.fail(error, request_id, out);
        }
    }
}

impl Writer {
    fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Writer::Chat(writer) => writer.write(event, out),
            Writer::Responses(writer) => writer.write(event, out),
            Writer::Messages(writer) => writer.write(event, out),
            Writer::Converse(writer) => writer.write(event, out),
            Writer::Invoke(writer) => writer.write(event, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Writer::Chat(writer) => writer.finish(out),
            Writer::Responses(writer) => writer.finish(out),
            Writer::Messages(writer) => writer.finish(out),
            Writer::Converse(writer) => writer.finish(out),
            Writer::Invoke(writer) => writer.finish(out),
        }
    }

    fn fail(&mut self, error: &DialectError, request_id: &str, out: &mut Vec<u8>) {
        match self {
            Writer::Chat(writer) => writer.fail(error, request_id, out),
            Writer::Responses(writer) => writer.fail(error, request_id, out),
            Writer::Messages(writer) => writer.fail(error, request_id, out),
            Writer::Converse(writer) => writer.fail(error, request_id, out),
            Writer::Invoke(writer) => writer.fail(error, request_id, out),
        }
    }
}
