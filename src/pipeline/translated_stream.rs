//! A stream that is translated frame by frame on its way to the client.
//!
//! A frame is verified and translated once all of it is there. What is held meanwhile, of a frame or of an
//! answer that is checked or repeated as a whole, is known and bounded.

use bytes::{Buf as _, Bytes, BytesMut};

use super::keeping::{Keeper, Keeping};
use super::translations::Back;
use super::usage_tap::StreamTap;
use crate::bedrock::dialect::DialectError;
use crate::bedrock::event_stream::{Frame, FrameError, frame_len};
use crate::bridge::invoke::to_claude::ToSse;
use crate::bridge::{AnswerError, Stamp, StreamTranslator};

/// Longest frame of a stream, in bytes.
const MAX_FRAME: usize = 4 << 20;

/// A stream keeps a buffer of so many bytes for its next events.
const KEPT_BUFFER: usize = 4 * 1024;

/// A stream that is translated frame by frame.
#[derive(Debug)]
pub(super) struct TranslatedStream {
    /// Reads what the upstream sends.
    pub(super) tap: StreamTap,
    /// The start of a frame that is not all there.
    partial: BytesMut,
    translator: Translator,
    /// What has been translated and not gone out.
    out: Vec<u8>,
    /// What keeps the response at its end, if it is to be kept.
    keeper: Option<Keeper>,
}

/// What translates the frames of a stream.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a stream has one, in a box already")]
enum Translator {
    Converse(StreamTranslator),
    Claude(ToSse),
}

impl Translator {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), AnswerError> {
        match self {
            Translator::Converse(translator) => translator.frame(frame, out),
            Translator::Claude(translator) => translator.frame(frame, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), AnswerError> {
        match self {
            Translator::Converse(translator) => translator.finish(out),
            Translator::Claude(translator) => translator.finish(),
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Translator::Converse(translator) => translator.held_bytes(),
            Translator::Claude(_) => 0,
        }
    }

    fn has_stopped(&self) -> bool {
        match self {
            Translator::Converse(translator) => translator.has_stopped(),
            Translator::Claude(translator) => translator.has_stopped(),
        }
    }

    fn fail(&mut self, error: &DialectError, request_id: &str, out: &mut Vec<u8>) {
        match self {
            Translator::Converse(translator) => translator.fail(error, request_id, out),
            Translator::Claude(translator) => translator.fail(error, request_id, out),
        }
    }
}

impl TranslatedStream {
    /// A stream of which nothing has come.
    pub(super) fn new(back: &Back, stamp: Stamp) -> TranslatedStream {
        TranslatedStream {
            tap: StreamTap::with_initial_usage(),
            partial: BytesMut::new(),
            translator: match back {
                Back::Converse(context) => Translator::Converse(context.clone().stream(stamp)),
                Back::Claude => Translator::Claude(ToSse::new()),
            },
            out: Vec::new(),
            keeper: None,
        }
    }

    /// Translates a chunk, and gives what goes out for it, which may be nothing.
    pub(super) fn pass(&mut self, chunk: &Bytes) -> Result<Bytes, AnswerError> {
        self.read(chunk)?;
        Ok(self.take())
    }

    /// Ends the stream when the upstream's has ended, and gives what still goes out.
    pub(super) fn finish_out(&mut self) -> Result<Bytes, AnswerError> {
        self.finish()?;
        Ok(self.take())
    }

    /// Ends the stream with an error in the client's form, behind what has not gone out yet.
    pub(super) fn fail(&mut self, error: &DialectError, request_id: &str) -> Bytes {
        self.translator.fail(error, request_id, &mut self.out);
        self.take()
    }

    /// Whether the upstream's last event has come.
    pub(super) fn has_stopped(&self) -> bool {
        self.translator.has_stopped()
    }

    /// Lets the response be kept at its end.
    pub(super) fn keep_by(&mut self, keeper: Keeper) {
        self.keeper = Some(keeper);
    }

    /// Whether the response is to be kept at its end.
    pub(super) fn is_to_be_kept(&self) -> bool {
        self.keeper.is_some()
    }

    /// Begins to keep the response once the upstream's last event has come; `None` if it is not to be kept.
    pub(super) fn begin_to_keep(&mut self) -> Option<Keeping> {
        let Translator::Converse(translator) = &self.translator else { return None };
        let response = self.keeper.as_ref().and_then(|_| translator.response())?;
        Some(self.keeper.take()?.begin(response))
    }

    /// Says in what follows whether the response is kept.
    pub(super) fn set_stored(&mut self, is_stored: bool) {
        if let Translator::Converse(translator) = &mut self.translator {
            translator.set_stored(is_stored);
        }
    }

    /// How many bytes are held: of a frame that is not all there, of an answer that is checked or repeated as a
    /// whole, and of the request.
    pub(super) fn held_bytes(&self) -> usize {
        let request = self.keeper.as_ref().map_or(0, Keeper::held_bytes);
        self.partial.len() + self.translator.held_bytes() + request
    }

    /// Whether there is something to go out.
    pub(super) fn has_begun(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether the upstream's bytes so far end within a frame.
    pub(super) fn is_within_frame(&self) -> bool {
        !self.partial.is_empty()
    }

    /// A copy of what is to go out, which takes one allocation. A buffer that goes out itself would be grown anew
    /// by each event.
    fn take(&mut self) -> Bytes {
        let out = Bytes::copy_from_slice(&self.out);
        self.out.clear();
        self.out.shrink_to(KEPT_BUFFER);
        out
    }

    /// Ends the stream when the upstream's has ended.
    pub(super) fn finish(&mut self) -> Result<(), AnswerError> {
        if self.is_within_frame() {
            return Err(AnswerError::Incomplete);
        }
        self.translator.finish(&mut self.out)
    }

    /// Translates a chunk.
    pub(super) fn read(&mut self, chunk: &Bytes) -> Result<(), AnswerError> {
        if self.partial.is_empty() {
            // Most chunks are whole frames, which are read where they lie.
            let read = self.frames(chunk)?;
            self.partial.extend_from_slice(chunk.get(read..).unwrap_or_default());
        } else {
            self.partial.extend_from_slice(chunk);
            let whole = std::mem::take(&mut self.partial);
            let read = self.frames(&whole)?;
            self.partial = whole;
            self.partial.advance(read.min(self.partial.len()));
        }
        match frame_len(&self.partial) {
            Ok(Some(length)) if length > MAX_FRAME => Err(AnswerError::TooLong(MAX_FRAME)),
            Ok(_) => Ok(()),
            Err(error) => Err(AnswerError::Unreadable(unreadable(error.into()))),
        }
    }

    /// Translates the whole frames in front, and gives their length.
    fn frames(&mut self, bytes: &[u8]) -> Result<usize, AnswerError> {
        let mut read = 0;
        while let Some(rest) = bytes.get(read..).filter(|rest| !rest.is_empty()) {
            match Frame::read_verified(rest) {
                Ok(Some(frame)) => {
                    self.tap.note(&frame);
                    self.translator.frame(&frame, &mut self.out)?;
                    read += frame.len;
                }
                Ok(None) => break,
                Err(error) => return Err(AnswerError::Unreadable(unreadable(error))),
            }
        }
        Ok(read)
    }
}

fn unreadable(error: FrameError) -> &'static str {
    match error {
        FrameError::NotAFrame(_) => "it is no event stream",
        FrameError::Checksum => "the checksum of an event is wrong",
        FrameError::Headers => "the headers of an event can't be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bedrock::event_stream;
    use crate::bridge::{DropPolicy, Model, Source, translate};

    /// What translates an answer back for a client with this body.
    fn back(source: Source, body: &str) -> Back {
        let id = "anthropic.claude-sonnet-4-5-20250929-v1:0";
        let facts = crate::bedrock::ModelId::new(id).ok();
        let shipped = crate::catalogue::Catalogue::shipped();
        let facts = facts.and_then(|id| shipped.facts(&id, "us-east-1")).unwrap_or_default();
        let model = Model::of(id, &facts);
        let translation = translate(source, body.as_bytes(), &model, &DropPolicy::default());
        Back::Converse(translation.unwrap().answer)
    }

    fn text(text: &str) -> Bytes {
        let payload = serde_json::json!({ "contentBlockIndex": 0, "delta": { "text": text } });
        event_stream::event("contentBlockDelta", payload.to_string())
    }

    #[test]
    fn a_frame_with_a_flipped_bit_is_not_translated() {
        let chat = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}"#;
        let back = back(Source::ChatCompletions, chat);
        let start = event_stream::event("messageStart", r#"{"role":"assistant"}"#);
        for split in [None, Some(20)] {
            let mut stream = TranslatedStream::new(&back, Stamp::default());
            stream.pass(&start).unwrap();
            let mut changed = text("seven quays").to_vec();
            let at = changed.len() - 12;
            changed[at] ^= 1;
            let changed = Bytes::from(changed);
            if let Some(split) = split {
                assert!(stream.pass(&changed.slice(..split)).unwrap().is_empty());
            }
            let error = stream.pass(&changed.slice(split.unwrap_or(0)..)).unwrap_err();
            assert_eq!(error, AnswerError::Unreadable("the checksum of an event is wrong"));
            assert!(stream.take().is_empty());
        }
    }

    #[test]
    fn text_that_is_kept_for_the_end_of_a_stream_counts_as_held() {
        let responses = r#"{"model":"m","input":"Hi","stream":true,"store":false}"#;
        let json = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true,
            "response_format":{"type":"json_object"}}"#;
        let chat = json.replace(r#""json_object""#, r#""text""#);
        for (source, body, is_held) in [
            (Source::Responses, responses, true),
            (Source::ChatCompletions, json, true),
            (Source::ChatCompletions, &chat, false),
        ] {
            let mut stream = TranslatedStream::new(&back(source, body), Stamp::default());
            stream.pass(&event_stream::event("messageStart", r#"{"role":"assistant"}"#)).unwrap();
            for _ in 0..100 {
                stream.pass(&text(&"x".repeat(1000))).unwrap();
            }
            assert_eq!(stream.held_bytes() >= 100_000, is_held, "{body}");
        }
    }
}
