//! Reads an answer's bytes as they pass: token counts, whether the bytes end at a frame's end, and
//! whether the stream has reached its stop event.
//!
//! Bytes are read in place. Only a frame that is split over chunks is copied, to be read whole, and
//! the last `chunk` event, to see whether it holds the stop event; each within a bound.

use bytes::{Bytes, BytesMut};

use super::event_tap::{EventError, EventTap};
use super::keeping::Keeping;
use super::responses::IdSealer;
use super::rewritten_body::{Change, RewriteError, RewrittenBody};
use super::translated_answer::TranslatedAnswer;
use super::translated_stream::TranslatedStream;
use crate::bedrock::dialect::DialectError;
use crate::bedrock::event_stream::{Frame, Kind, frame_len};
use crate::bedrock::stop::{self, Stop};
use crate::bedrock::{Api, Usage, UsageReader};
use crate::bridge::AnswerError;

/// Longest split frame that is parsed, in bytes. Longer ones are relayed unparsed; those with token
/// counts are far shorter.
const MAX_PARSED_FRAME: usize = 256 * 1024;

/// Longest `chunk` event, in bytes, that is parsed when its stream has ended. Those that end a stream
/// are far shorter.
const MAX_LAST_CHUNK: usize = 16 * 1024;

/// A rough average of English text.
const BYTES_PER_TOKEN: u64 = 4;

/// Reads one answer.
#[derive(Debug)]
pub(super) enum UsageTap {
    Stream(StreamTap),
    Events(Box<EventTap>),
    Unary(UnaryTap),
    /// A JSON answer that is held back to be changed.
    Rewritten(UnaryTap, RewrittenBody),
    /// A whole answer that was translated before it is passed on.
    Translated(Box<TranslatedAnswer>),
    /// A stream that is translated.
    TranslatedStream(Box<TranslatedStream>),
}

/// Why an answer can't be relayed any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TapError {
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl UsageTap {
    pub(super) fn stream() -> UsageTap {
        UsageTap::Stream(StreamTap::default())
    }

    /// The tap of a stream whose beginning is read, too.
    pub(super) fn stream_with_initial_usage() -> UsageTap {
        UsageTap::Stream(StreamTap::with_initial_usage())
    }

    /// `from_headers` are the counts of the response's headers. The body is read if they are missing, or if
    /// `reads_cache`: it may add the counts of the cache.
    pub(super) fn unary(api: Api, from_headers: Option<Usage>, reads_cache: bool) -> UsageTap {
        UsageTap::Unary(UnaryTap { api, from_headers, reads_cache, body: BodySample::Nothing })
    }

    /// The tap of a stream of server-sent events of `api`.
    pub(super) fn events(api: Api, hides_usage: bool, ids: Option<IdSealer>) -> UsageTap {
        UsageTap::Events(Box::new(EventTap::new(api, hides_usage, ids)))
    }

    /// The tap of a JSON answer that is changed before it is passed on.
    pub(super) fn rewritten(api: Api, change: Change) -> UsageTap {
        let tap =
            UnaryTap { api, from_headers: None, reads_cache: true, body: BodySample::Nothing };
        UsageTap::Rewritten(tap, RewrittenBody::new(change))
    }

    /// The tap of an answer that is translated.
    pub(super) fn translated(answer: TranslatedAnswer) -> UsageTap {
        match answer {
            TranslatedAnswer::Stream(stream) => UsageTap::TranslatedStream(stream),
            whole @ TranslatedAnswer::Whole { .. } => UsageTap::Translated(Box::new(whole)),
        }
    }

    /// Whether it is that of a stream that is translated.
    pub(super) fn is_translated(&self) -> bool {
        matches!(self, UsageTap::TranslatedStream(_))
    }

    /// Ends a stream that is translated with this error, in the client's form; `None` if it is none.
    pub(super) fn fail(&mut self, error: &DialectError, request_id: &str) -> Option<Bytes> {
        match self {
            UsageTap::TranslatedStream(stream) => Some(stream.fail(error, request_id)),
            _ => None,
        }
    }

    /// Begins to keep the response of a stream that has all its events; `None` if it is not to be kept.
    pub(super) fn begin_to_keep(&mut self) -> Option<Keeping> {
        match self {
            UsageTap::TranslatedStream(stream) => stream.begin_to_keep(),
            _ => None,
        }
    }

    /// Says in what follows of a stream whether its response is kept.
    pub(super) fn set_stored(&mut self, is_stored: bool) {
        if let UsageTap::TranslatedStream(stream) = self {
            stream.set_stored(is_stored);
        }
    }

    /// Reads a chunk and returns what can be passed on.
    pub(super) fn pass(&mut self, chunk: Bytes) -> Result<Bytes, TapError> {
        match self {
            UsageTap::Stream(tap) => tap.pass(&chunk),
            UsageTap::Events(tap) => return Ok(tap.pass(chunk)),
            UsageTap::Unary(tap) => tap.pass(&chunk),
            UsageTap::Rewritten(tap, body) => {
                tap.pass(&chunk);
                body.hold(&chunk)?;
                return Ok(Bytes::new());
            }
            UsageTap::Translated(_) => {}
            UsageTap::TranslatedStream(stream) => return Ok(stream.pass(&chunk)?),
        }
        Ok(chunk)
    }

    /// Why a stream ends behind what was passed on last, if it does.
    pub(super) fn take_error(&mut self) -> Option<EventError> {
        match self {
            UsageTap::Events(tap) => tap.take_error(),
            _ => None,
        }
    }

    /// Whether a stream ends behind what was passed on, whatever may follow.
    pub(super) fn ends_here(&self) -> bool {
        matches!(self, UsageTap::Events(tap) if tap.ends_here())
    }

    /// What was held back, now that the answer is whole.
    pub(super) fn finish(&mut self) -> Result<Bytes, TapError> {
        match self {
            UsageTap::Rewritten(_, body) => Ok(body.finish()?),
            UsageTap::TranslatedStream(stream) => Ok(stream.finish_out()?),
            UsageTap::Stream(_)
            | UsageTap::Events(_)
            | UsageTap::Unary(_)
            | UsageTap::Translated(_) => Ok(Bytes::new()),
        }
    }

    /// How many bytes are held back.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            UsageTap::Events(tap) => tap.held_bytes(),
            UsageTap::Rewritten(_, body) => body.held_bytes(),
            UsageTap::TranslatedStream(stream) => stream.held_bytes(),
            _ => 0,
        }
    }

    /// Whether nothing is passed on before the answer is whole.
    pub(super) fn holds_all(&self) -> bool {
        matches!(self, UsageTap::Rewritten(..))
    }

    /// Whether what is passed on may have another length than the upstream's answer.
    pub(super) fn changes_length(&self) -> bool {
        matches!(
            self,
            UsageTap::Events(_) | UsageTap::Rewritten(..) | UsageTap::TranslatedStream(_)
        )
    }

    /// Whether the last byte that passed was within a frame.
    pub(super) fn is_within_frame(&self) -> bool {
        match self {
            UsageTap::Stream(tap) => tap.skip > 0 || !tap.partial.is_empty(),
            UsageTap::TranslatedStream(stream) => stream.is_within_frame(),
            // Of these only whole events are passed on.
            UsageTap::Events(_)
            | UsageTap::Unary(_)
            | UsageTap::Rewritten(..)
            | UsageTap::Translated(_) => false,
        }
    }

    /// Whether a frame may follow what has passed: it was whole frames so far, and none of them an
    /// exception, which ends a stream.
    pub(super) fn accepts_frame(&self) -> bool {
        match self {
            UsageTap::Stream(tap) => {
                !self.is_within_frame() && !tap.is_unparsable && !tap.saw_exception
            }
            UsageTap::Events(tap) => tap.accepts_event(),
            // What goes out is whole events, wherever the upstream breaks off.
            UsageTap::TranslatedStream(_) => true,
            UsageTap::Unary(_) | UsageTap::Rewritten(..) | UsageTap::Translated(_) => false,
        }
    }

    /// How many output tokens of a stream have passed, about: one for each event, and more where
    /// events are longer than that. `None` for what is no stream.
    pub(super) fn tokens(&self) -> Option<u64> {
        match self {
            UsageTap::Stream(tap) => Some(tap.tokens()),
            UsageTap::TranslatedStream(stream) => Some(stream.tap.tokens()),
            UsageTap::Events(tap) => Some(tap.tokens()),
            UsageTap::Unary(_) | UsageTap::Rewritten(..) | UsageTap::Translated(_) => None,
        }
    }

    /// The token counts at the beginning of a stream: its input, and little output.
    pub(super) fn initial_usage(&self) -> Option<Usage> {
        match self {
            UsageTap::Stream(tap) => tap.initial_usage,
            UsageTap::TranslatedStream(stream) => stream.tap.initial_usage,
            UsageTap::Events(tap) => tap.initial_usage(),
            UsageTap::Unary(_) | UsageTap::Rewritten(..) | UsageTap::Translated(_) => None,
        }
    }

    /// Whether an exception passed.
    pub(super) fn saw_exception(&self) -> bool {
        match self {
            UsageTap::Stream(tap) => tap.saw_exception,
            UsageTap::TranslatedStream(stream) => stream.tap.saw_exception,
            UsageTap::Events(tap) => tap.has_failed(),
            UsageTap::Unary(_) | UsageTap::Rewritten(..) | UsageTap::Translated(_) => false,
        }
    }

    /// Whether a stream that ends here lacks its stop event, as far as that is known.
    pub(super) fn lacks_stop_event(&self) -> bool {
        match self {
            UsageTap::Stream(tap) => !tap.is_unparsable && tap.stop() == Stop::Open,
            UsageTap::Events(tap) => tap.lacks_stop_event(),
            UsageTap::TranslatedStream(stream) => !stream.has_stopped(),
            UsageTap::Unary(_) | UsageTap::Rewritten(..) | UsageTap::Translated(_) => false,
        }
    }

    /// Whether the event has passed that ends a stream of server-sent events.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            UsageTap::Events(tap) => !tap.lacks_stop_event(),
            UsageTap::TranslatedStream(stream) => stream.has_stopped(),
            _ => false,
        }
    }

    /// Whether more must follow what has passed: a stream lacks its stop event, or JSON its end.
    pub(super) fn is_incomplete(&self) -> bool {
        match self {
            UsageTap::Stream(_) | UsageTap::Events(_) | UsageTap::TranslatedStream(_) => {
                self.lacks_stop_event() && !self.saw_exception()
            }
            UsageTap::Translated(_) => false,
            UsageTap::Unary(tap) | UsageTap::Rewritten(tap, _) => tap.is_incomplete(),
        }
    }

    /// The token counts, if the answer had any.
    pub(super) fn usage(&self) -> Option<Usage> {
        match self {
            UsageTap::Stream(tap) => tap.usage(),
            UsageTap::Events(tap) => tap.usage(),
            UsageTap::TranslatedStream(stream) => stream.tap.usage(),
            UsageTap::Translated(answer) => answer.usage(),
            UsageTap::Unary(tap) | UsageTap::Rewritten(tap, _) => tap.usage(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct StreamTap {
    /// The start of a frame that is not all there.
    partial: BytesMut,
    /// Bytes still to come of a frame that is too long to parse.
    skip: usize,
    /// The bytes are not valid frames; parsing has stopped.
    is_unparsable: bool,
    saw_exception: bool,
    events: u64,
    /// What the last event of ConverseStream meant for the end.
    stop: Option<Stop>,
    /// The last chunk of InvokeModelWithResponseStream. Empty: no chunk is examined.
    last_chunk: Vec<u8>,
    /// Estimated text bytes of all events; the estimate for one event can be negative.
    text_bytes: i64,
    reads_initial_usage: bool,
    initial_usage: Option<Usage>,
    usage: Option<Usage>,
}

impl StreamTap {
    /// A tap that reads the beginning, too.
    pub(super) fn with_initial_usage() -> StreamTap {
        StreamTap { reads_initial_usage: true, ..StreamTap::default() }
    }

    /// How many output tokens have passed, about.
    fn tokens(&self) -> u64 {
        self.events.max(self.tokens_of_text())
    }

    pub(super) fn pass(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while !rest.is_empty() && !self.is_unparsable {
            rest = if self.skip > 0 {
                let skipped = self.skip.min(rest.len());
                self.skip -= skipped;
                rest.get(skipped..).unwrap_or_default()
            } else if self.partial.is_empty() {
                self.look(rest)
            } else {
                self.complete(rest)
            };
        }
    }

    /// Looks at the frame that starts here and returns what follows it.
    fn look<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match Frame::read(bytes) {
            Ok(Some(frame)) => {
                self.note(&frame);
                bytes.get(frame.len..).unwrap_or_default()
            }
            Ok(None) => {
                match frame_len(bytes) {
                    Ok(Some(len)) if len > MAX_PARSED_FRAME => {
                        self.skip = len - bytes.len();
                        self.last_chunk.clear();
                    }
                    _ => self.partial.extend_from_slice(bytes),
                }
                &[]
            }
            Err(_) => {
                self.is_unparsable = true;
                &[]
            }
        }
    }

    /// Adds to the partial frame what it lacks, and looks at it when it is whole.
    fn complete<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let wanted = match frame_len(&self.partial) {
            Ok(Some(len)) => len,
            // First the four bytes of the length.
            Ok(None) => 4,
            Err(_) => {
                self.is_unparsable = true;
                return &[];
            }
        };
        let (taken, rest) =
            bytes.split_at(bytes.len().min(wanted.saturating_sub(self.partial.len())));
        self.partial.extend_from_slice(taken);
        let partial = std::mem::take(&mut self.partial);
        let left = self.look(&partial).len();
        debug_assert_eq!(left, 0, "a partial frame is never more than a frame");
        if self.partial.is_empty() {
            // Keep the buffer for the next split frame.
            self.partial = partial;
            self.partial.clear();
        }
        rest
    }

    /// The counts of the stream's end, completed with the cache counts of its beginning.
    fn usage(&self) -> Option<Usage> {
        let usage = self.usage?;
        Some(self.initial_usage.map_or(usage, |initial| usage.refined_by(initial)))
    }

    fn note_stop(&mut self, name: &str, payload: &[u8]) {
        if name == "chunk" {
            self.last_chunk.clear();
            if payload.len() <= MAX_LAST_CHUNK {
                self.last_chunk.extend_from_slice(payload);
            }
        } else if self.stop != Some(Stop::Stopped) {
            self.stop = stop::of_converse(name).or(self.stop);
        }
    }

    /// How the stream has ended, by the events so far. Without any event it has not ended.
    fn stop(&self) -> Stop {
        if self.events == 0 {
            return Stop::Open;
        }
        let last = || {
            if self.last_chunk.is_empty() {
                Stop::Unknown
            } else {
                stop::of_chunk(&self.last_chunk)
            }
        };
        self.stop.unwrap_or_else(last)
    }

    fn tokens_of_text(&self) -> u64 {
        u64::try_from(self.text_bytes).unwrap_or(0) / BYTES_PER_TOKEN
    }

    /// Counts a frame in.
    pub(super) fn note(&mut self, frame: &Frame<'_>) {
        match frame.kind() {
            Kind::Exception(_) | Kind::Error(_) => self.saw_exception = true,
            Kind::Event(name) => {
                self.note_stop(name, frame.payload);
                if self.events > 0 {
                    self.text_bytes += text_bytes(name, frame.payload);
                } else if self.reads_initial_usage || Usage::is_split_in(frame) {
                    self.initial_usage = Usage::from_first_frame(frame);
                }
                self.events += 1;
                self.usage = refined(Usage::from_frame(frame), self.usage);
            }
            Kind::Other => {}
        }
    }
}

/// The first counts, completed with the cache counts of the others; or the others alone.
fn refined(own: Option<Usage>, other: Option<Usage>) -> Option<Usage> {
    match (own, other) {
        (Some(own), Some(other)) => Some(own.refined_by(other)),
        (own, other) => own.or(other),
    }
}

/// Bytes of text in an event, about: its payload less the average length of envelope and padding.
/// Reading each event is not worth its cost.
fn text_bytes(name: &str, payload: &[u8]) -> i64 {
    const DELTA_OVERHEAD: i64 = 81;
    const CHUNK_OVERHEAD: i64 = 160;
    let length = i64::try_from(payload.len()).unwrap_or(i64::MAX);
    match name {
        "contentBlockDelta" => length - DELTA_OVERHEAD,
        // Base64.
        "chunk" => (length - CHUNK_OVERHEAD) / 4 * 3,
        _ => 0,
    }
}

#[derive(Debug)]
pub(super) struct UnaryTap {
    api: Api,
    /// The counts of the response's headers.
    from_headers: Option<Usage>,
    /// Whether the body may have more cache counts than these.
    reads_cache: bool,
    body: BodySample,
}

/// What was seen of a body. Most come in one chunk, which is looked at where it lies; only of more
/// is anything copied.
#[derive(Debug)]
enum BodySample {
    Nothing,
    Chunk(Bytes),
    Chunks(Box<UsageReader>),
}

impl UnaryTap {
    fn pass(&mut self, chunk: &Bytes) {
        if self.from_headers.is_some() && !self.reads_cache {
            return;
        }
        match &mut self.body {
            BodySample::Nothing => self.body = BodySample::Chunk(chunk.clone()),
            BodySample::Chunk(first) => {
                let mut reader = Box::new(UsageReader::new(self.api));
                reader.read(first);
                reader.read(chunk);
                self.body = BodySample::Chunks(reader);
            }
            BodySample::Chunks(reader) => reader.read(chunk),
        }
    }

    fn usage(&self) -> Option<Usage> {
        let of_body = match &self.body {
            BodySample::Nothing => None,
            BodySample::Chunk(body) => Usage::from_api_body(self.api, body),
            BodySample::Chunks(reader) => reader.usage(),
        };
        refined(self.from_headers, of_body)
    }

    fn is_incomplete(&self) -> bool {
        match &self.body {
            BodySample::Nothing => true,
            BodySample::Chunk(body) => {
                let mut reader = UsageReader::new(self.api);
                reader.read(body);
                reader.is_incomplete()
            }
            BodySample::Chunks(reader) => reader.is_incomplete(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bedrock::event_stream::{event, exception};

    fn stream(frames: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for i in 0..frames {
            let text = "x".repeat(i * 7 % 40);
            bytes.extend_from_slice(&event("contentBlockDelta", format!("{{\"t\":\"{text}\"}}")));
        }
        bytes.extend_from_slice(&event(
            "metadata",
            r#"{"usage":{"inputTokens":11,"outputTokens":7}}"#,
        ));
        bytes
    }

    fn watched(bytes: &[u8], cuts: &[usize]) -> UsageTap {
        let mut tap = UsageTap::stream();
        let mut from = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            let cut = cut.clamp(from, bytes.len());
            tap.pass(Bytes::copy_from_slice(&bytes[from..cut])).unwrap();
            from = cut;
        }
        tap
    }

    #[test]
    fn a_stream_is_read_alike_byte_by_byte_and_whole() {
        let bytes = stream(3);
        let cuts: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(watched(&bytes, &cuts).usage().unwrap().output, 7);
        assert_eq!(watched(&bytes, &[]).usage().unwrap().input, 11);
    }

    #[test]
    fn an_exception_frame_is_seen() {
        let mut bytes = stream(1);
        bytes.extend_from_slice(&exception("modelStreamErrorException", "{}"));
        assert!(watched(&bytes, &[5]).saw_exception());
        assert!(!watched(&stream(1), &[5]).saw_exception());
    }

    #[test]
    fn a_stream_without_its_stop_event_is_incomplete() {
        let lacks = |frames: &[Bytes]| watched(&frames.concat(), &[3, 40]).lacks_stop_event();
        let event = |name, payload: &str| event(name, payload.to_owned());
        let [start, delta, stop, metadata] =
            ["messageStart", "contentBlockDelta", "messageStop", "metadata"]
                .map(|it| event(it, "{}"));
        assert!(lacks(std::slice::from_ref(&start)));
        assert!(lacks(&[start.clone(), delta.clone()]));
        assert!(lacks(&[start.clone(), delta.clone(), metadata.clone()]));
        assert!(!lacks(&[start.clone(), delta.clone(), stop.clone()]));
        assert!(!lacks(&[start, delta, stop, metadata]));
        let chunk = |json: &str| {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.encode(json);
            event("chunk", &format!("{{\"bytes\":\"{bytes}\"}}"))
        };
        let delta = chunk(r#"{"type":"content_block_delta","delta":{"text":"x"}}"#);
        assert!(lacks(std::slice::from_ref(&delta)));
        assert!(!lacks(&[delta.clone(), chunk(r#"{"type":"message_stop"}"#)]));
        assert!(!lacks(&[delta.clone(), chunk(r#"{"of":"a schema that is not known"}"#)]));
        let long = format!("{{\"type\":\"ping\",\"x\":\"{}\"}}", "x".repeat(MAX_LAST_CHUNK));
        assert!(!lacks(&[delta, chunk(&long)]), "it is not looked into");
        assert!(!watched(b"no frames at all, but longer than one's head", &[]).lacks_stop_event());
    }

    #[test]
    fn a_frame_too_long_to_read_is_skipped() {
        let mut bytes = event("contentBlockDelta", vec![b' '; MAX_PARSED_FRAME + 10]).to_vec();
        bytes.extend_from_slice(&stream(1));
        let cuts: Vec<usize> = (0..bytes.len()).step_by(60_000).collect();
        let tap = watched(&bytes, &cuts);
        assert!(!tap.is_within_frame());
        assert_eq!(tap.usage().unwrap().output, 7);
    }

    #[test]
    fn bytes_that_are_no_event_stream_are_ignored() {
        let tap = watched(b"{\"message\": \"this is JSON and no frame at all\"}", &[3, 9]);
        assert_eq!(tap.usage(), None);
    }

    #[test]
    fn a_unary_body_is_read_unless_the_headers_have_the_counts() {
        let mut tap = UsageTap::unary(Api::Bedrock, None, true);
        for piece in [&b"{\"usage\":{\"input"[..], b"Tokens\":3,\"outputTokens\":4}}"] {
            tap.pass(Bytes::copy_from_slice(piece)).unwrap();
        }
        assert_eq!(tap.usage().unwrap().output, 4);
        let from_headers = Usage { input: 1, ..Usage::default() };
        let mut tap = UsageTap::unary(Api::Bedrock, Some(from_headers), true);
        tap.pass(Bytes::from_static(b"{\"usage\":{\"inputTokens\":3}}")).unwrap();
        assert_eq!(tap.usage(), Some(from_headers));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_counts(
            frames in 0usize..6, mut cuts in prop::collection::vec(0usize..600, 0..12)
        ) {
            cuts.sort_unstable();
            let bytes = stream(frames);
            let tap = watched(&bytes, &cuts);
            prop_assert_eq!(tap.usage().map(|usage| (usage.input, usage.output)), Some((11, 7)));
            prop_assert!(!tap.is_within_frame());
        }

        #[test]
        fn any_cut_within_a_frame_is_noticed(frames in 0usize..4, cut in 1usize..400) {
            let bytes = stream(frames);
            prop_assume!(cut < bytes.len());
            let mut ends = vec![0];
            while let Some(frame) = Frame::read(&bytes[*ends.last().unwrap()..]).unwrap() {
                ends.push(ends.last().unwrap() + frame.len);
            }
            prop_assert_eq!(watched(&bytes[..cut], &[]).is_within_frame(), !ends.contains(&cut));
        }
    }
}
