//! Relays a stream of server-sent events, event by event, and reads each as it passes: token counts, errors, and
//! whether the stream has reached the event that ends it.
//!
//! Only whole events are passed on. So a stream that breaks always breaks between two events, where the gateway
//! can add an error event of its own. Chunks of whole events that need no change are not copied. An event is
//! changed in two cases: the chunk with the usage is left out if the client did not ask for it, and the ids of
//! stored responses are sealed.

use bytes::{Bytes, BytesMut};

use super::responses::IdSealer;
use crate::bedrock::sse::{self, Event, Piece, Splitter, StreamReader};
use crate::bedrock::{Api, Usage};

/// Longest event that is read, in bytes. A longer one is passed on as its bytes come.
const MAX_EVENT: usize = 1 << 20;

/// Longest event in which an id can be sealed. The last event of a response has all of its output.
const MAX_SEALED_EVENT: usize = 16 << 20;

/// Why a stream can't be relayed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EventError {
    #[error("an event with the id of a stored response is longer than {MAX_SEALED_EVENT} bytes")]
    TooLong,
    #[error("the upstream's id of a stored response can't be sealed")]
    Id,
}

/// One stream of events under way.
#[derive(Debug)]
pub(super) struct EventTap {
    splitter: Splitter,
    reader: StreamReader,
    hides_usage: bool,
    ids: Option<IdSealer>,
    /// Whether the bytes that were passed on end within an event.
    is_within_event: bool,
}

impl EventTap {
    /// The tap of a stream of `api`.
    pub(super) fn new(api: Api, hides_usage: bool, ids: Option<IdSealer>) -> EventTap {
        let max = if ids.is_some() { MAX_SEALED_EVENT } else { MAX_EVENT };
        EventTap {
            splitter: Splitter::new(max),
            reader: StreamReader::new(api),
            hides_usage,
            ids,
            is_within_event: false,
        }
    }

    /// Reads a chunk and returns what of the stream can be passed on; nothing, while an event is not whole.
    pub(super) fn pass(&mut self, chunk: Bytes) -> Result<Bytes, EventError> {
        let had_partial = self.splitter.is_within_event();
        let mut rest = chunk.clone();
        // The changed stream, from the first event on that is not passed on as it lies in the chunk.
        let mut changed: Option<BytesMut> = None;
        let mut passed = 0;
        while let Some(piece) = self.splitter.next(&mut rest) {
            let (bytes, kept) = match piece {
                Piece::LongStart(start) => {
                    if self.ids.is_some() {
                        return Err(EventError::TooLong);
                    }
                    self.reader.read_long_start(&start);
                    self.is_within_event = self.splitter.is_within_event();
                    (start.clone(), Some(start))
                }
                Piece::Unread(bytes) => {
                    self.is_within_event = self.splitter.is_within_event();
                    (bytes.clone(), Some(bytes))
                }
                Piece::Event(bytes) => {
                    self.is_within_event = false;
                    let kept = self.event(&bytes)?;
                    (bytes, kept)
                }
            };
            let is_changed = kept.as_ref().is_none_or(|kept| *kept != bytes);
            if changed.is_none() && (is_changed || had_partial) {
                let before = chunk.get(..passed).unwrap_or_default();
                changed = Some(BytesMut::from(before));
            }
            match (&mut changed, kept) {
                (Some(changed), Some(kept)) => changed.extend_from_slice(&kept),
                (Some(_), None) => {}
                (None, _) => passed += bytes.len(),
            }
        }
        Ok(match changed {
            Some(changed) => changed.freeze(),
            None => chunk.slice(..passed.min(chunk.len())),
        })
    }

    /// Reads an event and returns its bytes as the client gets them; `None` if it does not get the event.
    fn event(&mut self, raw: &Bytes) -> Result<Option<Bytes>, EventError> {
        let event = Event::read(raw);
        self.reader.read(&event);
        if self.hides_usage && self.reader.is_only_usage(&event) {
            return Ok(None);
        }
        let (Some(ids), Some(data)) = (&self.ids, &event.data) else {
            return Ok(Some(raw.clone()));
        };
        let sealed = ids.seal_event(data).map_err(|_| EventError::Id)?;
        Ok(Some(match sealed {
            None => raw.clone(),
            Some(data) => sse::event(event.name, &String::from_utf8_lossy(&data)),
        }))
    }

    /// Whether an event of the gateway's own may follow what was passed on.
    pub(super) fn accepts_event(&self) -> bool {
        !self.is_within_event && !self.reader.has_stopped() && !self.reader.has_failed()
    }

    /// Whether an error event has passed.
    pub(super) fn has_failed(&self) -> bool {
        self.reader.has_failed()
    }

    /// Whether the event that ends the stream is still to come.
    pub(super) fn lacks_stop_event(&self) -> bool {
        !self.reader.has_stopped()
    }

    /// How many output tokens have passed, about.
    pub(super) fn tokens(&self) -> u64 {
        self.reader.output_so_far()
    }

    /// The token counts at the beginning of the stream, where it has some there.
    pub(super) fn initial_usage(&self) -> Option<Usage> {
        self.reader.initial_usage()
    }

    /// The token counts of the stream.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.reader.usage()
    }
}
