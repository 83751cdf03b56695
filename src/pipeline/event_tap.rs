//! Relays a stream of server-sent events, event by event, and reads each as it passes: token counts, errors, and
//! whether the stream has reached the event that ends it.
//!
//! Only whole events are passed on. So a stream that breaks always breaks between two events, where the gateway
//! can add an error event of its own. Chunks of whole events that need no change are not copied. An event is
//! changed in two cases: the chunk with the usage is left out if the client did not ask for it, and the ids of
//! stored responses are sealed. An event that the client's SDK can't read, or an error that it may overlook, ends
//! the stream with an [`EventError`] in its place.

use bytes::{Bytes, BytesMut};

use super::responses::IdSealer;
use crate::bedrock::dialect::DialectError;
use crate::bedrock::error::{Reported, plain_text};
use crate::bedrock::sse::{self, DONE, Event, Form, Piece, Splitter, StreamReader};
use crate::bedrock::{Api, ErrorKind, Usage};
use crate::quota::Overloaded;
use crate::upstream::message_for_client;

/// Longest event that is read, in bytes. A longer one is passed on as its bytes come.
const MAX_EVENT: usize = 1 << 20;

/// Longest event in which an id can be sealed. The last event of a response has all of its output.
const MAX_SEALED_EVENT: usize = 16 << 20;

/// Longest message of an error that is brought into the form of the API, in characters.
const MAX_MESSAGE: usize = 1000;

/// Why a stream can't be relayed any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EventError {
    #[error("an event with the id of a stored response is longer than {MAX_SEALED_EVENT} bytes")]
    TooLong,
    #[error("the upstream's id of a stored response can't be sealed")]
    Id,
    #[error("the upstream's stream has an event that is not JSON")]
    Unreadable,
    /// Too many bytes are in flight to hold an event until it is whole.
    #[error("The gateway is overloaded, please try again: {0}.")]
    NoRoom(Overloaded),
    /// An error of the upstream that has the form of another API, or of none.
    #[error("{}", .0.message)]
    Foreign(Box<Reported>),
}

impl EventError {
    /// The error as the client gets it.
    pub(super) fn in_dialect(&self) -> DialectError {
        let EventError::Foreign(reported) = self else {
            return DialectError::new(ErrorKind::ServiceUnavailable, self.to_string());
        };
        // Without a name that is known it is a failure of the service.
        let kind = reported.kind().unwrap_or(ErrorKind::InternalServer);
        let message = failure_message(reported.kind(), &reported.message);
        let (param, code) = (reported.param.clone(), reported.code.clone());
        DialectError { param, code, ..DialectError::new(kind, message) }
    }
}

/// The message of an error in the middle of a stream, when it is brought into another form: on one line, and without
/// what may be a credential.
pub(super) fn failure_message(kind: Option<ErrorKind>, message: &str) -> String {
    match plain_text(message_for_client(kind, message), MAX_MESSAGE) {
        message if message.is_empty() => "The upstream's stream has failed.".to_owned(),
        message => message,
    }
}

/// One stream of events under way.
#[derive(Debug)]
pub(super) struct EventTap {
    api: Api,
    splitter: Splitter,
    reader: StreamReader,
    hides_usage: bool,
    ids: Option<IdSealer>,
    /// Why the stream ends here.
    error: Option<EventError>,
    /// Whether the bytes that were passed on end within an event.
    is_within_event: bool,
}

impl EventTap {
    /// The tap of a stream of `api`.
    pub(super) fn new(api: Api, hides_usage: bool, ids: Option<IdSealer>) -> EventTap {
        let max = if ids.is_some() { MAX_SEALED_EVENT } else { MAX_EVENT };
        EventTap {
            api,
            splitter: Splitter::new(max),
            reader: StreamReader::new(api),
            hides_usage,
            ids,
            error: None,
            is_within_event: false,
        }
    }

    /// Reads a chunk and returns what of the stream can be passed on; nothing, while an event is not whole. The
    /// stream may end there, with [`EventTap::take_error`].
    pub(super) fn pass(&mut self, chunk: Bytes) -> Bytes {
        let had_partial = self.splitter.is_within_event();
        let mut rest = chunk.clone();
        // The changed stream, from the first event on that is not passed on as it lies in the chunk.
        let mut changed: Option<BytesMut> = None;
        let mut passed = 0;
        while let Some(piece) = self.splitter.next(&mut rest) {
            let (bytes, kept) = match piece {
                Piece::LongStart(start) => {
                    if self.ids.is_some() {
                        self.error = Some(EventError::TooLong);
                        break;
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
                    match self.event(&bytes) {
                        Ok(kept) => (bytes, kept),
                        Err(error) => {
                            self.error = Some(error);
                            break;
                        }
                    }
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
        match changed {
            Some(changed) => changed.freeze(),
            None => chunk.slice(..passed.min(chunk.len())),
        }
    }

    /// Why the stream ends behind what was passed on last, if it does.
    pub(super) fn take_error(&mut self) -> Option<EventError> {
        self.error.take()
    }

    /// Reads an event and returns its bytes as the client gets them; `None` if it does not get the event.
    fn event(&mut self, raw: &Bytes) -> Result<Option<Bytes>, EventError> {
        let event = Event::read(raw);
        let (had_stopped, had_failed) = (self.reader.has_stopped(), self.reader.has_failed());
        match self.reader.read(&event) {
            // An error in Responses may be followed by the failed response.
            Form::Error => {}
            Form::Usual if !had_failed => {}
            // Some upstreams end every stream so.
            Form::Unreadable if had_stopped && event.data.as_deref() == Some(DONE.as_bytes()) => {}
            // Behind the end, or behind an error, it has nothing to say.
            Form::Usual => return Ok(None),
            Form::Unreadable | Form::ForeignError if had_stopped || had_failed => return Ok(None),
            Form::Unreadable => return Err(EventError::Unreadable),
            Form::ForeignError => {
                let reported = sse::reported_error(self.api, &event).unwrap_or_default();
                return Err(EventError::Foreign(Box::new(reported)));
            }
        }
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

    /// How many bytes are held of an event that is not whole.
    pub(super) fn held_bytes(&self) -> usize {
        self.splitter.held_bytes()
    }

    /// Whether an event of the gateway's own may follow what was passed on.
    pub(super) fn accepts_event(&self) -> bool {
        !self.is_within_event && !self.reader.has_stopped() && !self.reader.has_failed()
    }

    /// Whether an error event has passed.
    pub(super) fn has_failed(&self) -> bool {
        self.reader.has_failed()
    }

    /// Whether nothing more is to be passed on: an error has passed, and no failed response may follow it.
    pub(super) fn ends_here(&self) -> bool {
        self.has_failed() && (self.api != Api::Responses || self.reader.has_stopped())
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
