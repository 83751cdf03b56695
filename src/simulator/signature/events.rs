//! Verification of signed events: each covers the one before, the first the request.

use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::event_stream::{HeaderValue, Message};
use bytes::Bytes;
use http::HeaderMap;
use secrecy::SecretString;
use std::collections::HashMap;

use super::{Claim, Refusal, SERVICE, amz_date, equal, hex, hmac, sha256_hex, signing_key};

/// The chain of signatures of one request's events.
#[derive(Debug)]
pub(in crate::simulator) struct EventChain {
    secret: SecretString,
    region: String,
    last: String,
}

impl EventChain {
    /// The chain of a request that was verified; none where it signs nothing.
    pub(in crate::simulator) fn of(
        headers: &HeaderMap,
        keys: &HashMap<String, SecretString>,
    ) -> Option<EventChain> {
        let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
        let claim = Claim::parse(value).ok()?;
        Some(EventChain {
            secret: keys.get(claim.access_key_id)?.clone(),
            region: claim.region.to_owned(),
            last: claim.signature.to_owned(),
        })
    }

    /// The event that a signed frame holds; none where the chain ends.
    ///
    /// # Errors
    /// When the frame is not what was signed next.
    pub(in crate::simulator) fn verify(
        &mut self,
        frame: &Message,
    ) -> Result<Option<Message>, Refusal> {
        let invalid = |what: &str| Refusal::Invalid(what.to_owned());
        let (mut date, mut signature) = (None, None);
        for header in frame.headers() {
            match (header.name().as_str(), header.value()) {
                (":date", HeaderValue::Timestamp(time)) => date = Some(*time),
                (":chunk-signature", HeaderValue::ByteArray(bytes)) => {
                    signature = Some(hex(bytes));
                }
                _ => {}
            }
        }
        let date = date.ok_or_else(|| invalid("An event has no date."))?;
        let signature = signature.ok_or_else(|| invalid("An event has no signature."))?;
        let millis = date.to_millis().map_err(|_| invalid("An event's date is out of range."))?;
        // The one header that is signed, as it stands in a frame: name, type 8, milliseconds.
        let mut signed = vec![5];
        signed.extend_from_slice(b":date");
        signed.push(8);
        signed.extend_from_slice(&millis.to_be_bytes());
        let stamp = amz_date(date.secs());
        let day = stamp.get(..8).unwrap_or_default();
        let to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{day}/{}/{SERVICE}/aws4_request\n{}\n{}\n{}",
            self.region,
            self.last,
            sha256_hex(&signed),
            sha256_hex(frame.payload()),
        );
        let key = signing_key(&self.secret, day, &self.region);
        let expected = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
        if !equal(expected.as_bytes(), signature.as_bytes()) {
            return Err(invalid("The signature of an event does not match."));
        }
        self.last = signature;
        if frame.payload().is_empty() {
            return Ok(None);
        }
        let mut inner: Bytes = frame.payload().clone();
        let event = read_message_from(&mut inner).map_err(|_| invalid("An event is no frame."))?;
        Ok(Some(event))
    }
}
