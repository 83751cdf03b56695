//! A chain of signed events: each event's signature covers the one before, the first covers that of
//! the request. Source: "Transcribe streaming", AWS's description of event stream encoding, which
//! Bedrock shares.
//!
//! The time of an event is signed and gives the day of its key; it is not held against the clock,
//! since events may lie in buffers for as long as the other side is slow. What was left out, put in
//! or moved breaks the chain.

use std::fmt;

use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::event_stream::{HeaderValue, Message};

use super::amz_date::amz_date;
use super::{PayloadHash, SERVICE, Scope, SigningKey, TERMINATOR};

/// The name of the algorithm in what is signed of an event.
const ALGORITHM: &str = "AWS4-HMAC-SHA256-PAYLOAD";

/// The header of a signed frame with the event's signature.
pub const CHUNK_SIGNATURE: &str = ":chunk-signature";

/// Why an event is not the next of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// The event has no time.
    #[error("An event has no date.")]
    NoDate,
    /// The event's time is out of range.
    #[error("An event's date is out of range.")]
    Date,
    /// The event has no signature.
    #[error("An event has no signature.")]
    NoSignature,
    /// The signature does not match: the event is not the next one of the chain.
    #[error("The signature of an event does not match.")]
    Mismatch,
    /// The signed bytes are not an event.
    #[error("An event is no frame.")]
    NoFrame,
}

/// The chain of signatures of one request's events.
pub struct EventChain {
    keys: Box<dyn Fn(&Scope<'_>) -> SigningKey + Send + Sync>,
    region: String,
    /// The signature before the next, in hexadecimal digits.
    last: String,
}

impl fmt::Debug for EventChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventChain(..)")
    }
}

impl EventChain {
    /// The chain that hangs on a request's `signature`, which was verified. `keys` gives the key for
    /// a scope.
    pub fn new(
        keys: impl Fn(&Scope<'_>) -> SigningKey + Send + Sync + 'static,
        region: &str,
        signature: &str,
    ) -> EventChain {
        let (region, last) = (region.to_owned(), signature.to_owned());
        EventChain { keys: Box::new(keys), region, last }
    }

    /// The event that a signed frame holds; none where the chain ends.
    ///
    /// # Errors
    /// When the frame is not what was signed next.
    pub fn verify(&mut self, frame: &Message) -> Result<Option<Message>, BadEvent> {
        let (mut date, mut signature) = (None, None);
        for header in frame.headers() {
            match (header.name().as_str(), header.value()) {
                (":date", HeaderValue::Timestamp(time)) => date = Some(*time),
                (CHUNK_SIGNATURE, HeaderValue::ByteArray(bytes)) => signature = Some(bytes),
                _ => {}
            }
        }
        let date = date.ok_or(BadEvent::NoDate)?;
        let signature = hex::encode(signature.ok_or(BadEvent::NoSignature)?);
        let millis = date.to_millis().map_err(|_| BadEvent::Date)?;
        let stamp = amz_date(date.secs());
        let scope = Scope {
            date: stamp.day(),
            region: &self.region,
            service: SERVICE,
            terminator: TERMINATOR,
        };
        let head = PayloadHash::of(&date_header(millis));
        let payload = PayloadHash::of(frame.payload());
        let to_sign = [
            ALGORITHM,
            "\n",
            stamp.as_str(),
            "\n",
            &scope.to_string(),
            "\n",
            &self.last,
            "\n",
            head.as_str(),
            "\n",
            payload.as_str(),
        ]
        .concat();
        if !(self.keys)(&scope).verifies(&to_sign, &signature) {
            return Err(BadEvent::Mismatch);
        }
        self.last = signature;
        if frame.payload().is_empty() {
            return Ok(None);
        }
        let event = read_message_from(&mut frame.payload().clone());
        event.map(Some).map_err(|_| BadEvent::NoFrame)
    }
}

/// The one header that is signed, as it stands in a frame: the length of its name, the name, type 8
/// (a time), milliseconds.
fn date_header(millis: i64) -> [u8; 15] {
    let mut bytes = *b"\x05:date\x08\0\0\0\0\0\0\0\0";
    if let Some(value) = bytes.last_chunk_mut() {
        *value = millis.to_be_bytes();
    }
    bytes
}
