//! The events of a bidirectional stream on their way to the target: checks the client's signatures and
//! signs each event with the target's credentials.
//!
//! A signed event is a frame with the headers `:date` and `:chunk-signature` whose payload is the frame
//! of the event itself. Its signature covers the signature before it, and the first one covers that of
//! the request (source: "Transcribe streaming", AWS's description of event stream encoding, which
//! Bedrock shares). Since the client signs with another key, each event gets a new signature; its own
//! frame stays as it is. An empty signed frame is the signed end. With a bearer key events are not
//! signed. If the client's signatures are to be checked, no event is forwarded before its check, and a
//! stream without a signed end counts as cut off.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use aws_sigv4::event_stream::{sign_empty_message, sign_message};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::Message;
use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::sign::Auth;
use crate::bedrock::event_stream::frame_len;
use crate::bedrock::sigv4::{BadEvent, CHUNK_SIGNATURE, EventChain, SERVICE};

/// Why events can't be forwarded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EventsError {
    /// The client's stream ended early.
    #[error("the client's events broke off: {0}")]
    Broken(String),
    /// The client's bytes are not events.
    #[error("the client sent something that is not an event: {0}")]
    NotAnEvent(String),
    /// The client's signature of an event is wrong.
    #[error("an event is not as its client signed it: {0}")]
    Forged(#[from] BadEvent),
    /// The client's stream ended before its chain did.
    #[error("the client's events ended without a signed end")]
    NoEnd,
    /// An event is longer than a request may be.
    #[error("an event is longer than {0} bytes")]
    TooLong(usize),
    /// The response has ended, so no more events can be sent.
    #[error("the answer is over")]
    Over,
    /// An event could not be signed.
    #[error("an event could not be signed: {0}")]
    Unsigned(String),
}

/// What has become of a stream's events so far, for those who wait for the answer to them. HTTP/2 says
/// only that the stream was reset, not why.
#[derive(Debug, Default)]
pub struct EventsStatus {
    has_forwarded: AtomicBool,
    error: OnceLock<EventsError>,
}

impl EventsStatus {
    /// Whether an event has gone to the target.
    pub fn has_forwarded(&self) -> bool {
        self.has_forwarded.load(Ordering::Relaxed)
    }

    /// Why the events ended early, if they did. The target had no part in it.
    pub fn error(&self) -> Option<&EventsError> {
        self.error.get()
    }
}

/// Where the client's bytes come from.
pub type Source =
    Pin<Box<dyn Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Send>>;

/// Signs events, each over the signature of the one before.
#[derive(Debug)]
pub struct EventSigner {
    auth: Arc<Auth>,
    region: String,
    /// The signature before the next.
    last: String,
}

impl EventSigner {
    /// A signer whose first event is signed over the signature of the request, `seed`. `None` without
    /// one, as with a bearer key.
    pub fn new(auth: Arc<Auth>, region: &str, seed: Option<String>) -> Option<EventSigner> {
        Some(EventSigner { auth, region: region.to_owned(), last: seed? })
    }

    /// The signed frame of an event; without an event, that of the end.
    fn sign(&mut self, event: Option<&Message>, now: SystemTime) -> Result<Bytes, EventsError> {
        let unsigned = |error: String| EventsError::Unsigned(error);
        let Auth::SigV4(signer) = &*self.auth else {
            return Err(unsigned("there are no keys".to_owned()));
        };
        let params = SigningParams::builder()
            .identity(signer.identity())
            .region(&self.region)
            .name(SERVICE)
            .time(now)
            .settings(())
            .build()
            .map_err(|error| unsigned(error.to_string()))?;
        let signed = match event {
            Some(event) => sign_message(event, &self.last, &params),
            None => sign_empty_message(&self.last, &params),
        };
        let (message, signature) =
            signed.map_err(|error| unsigned(error.to_string()))?.into_parts();
        self.last = signature;
        write(&message)
    }
}

/// The body of the request to a target: the client's events, as they come.
pub struct Events {
    source: Source,
    /// Verifies the client's signatures of its events, if they are to be checked.
    signed: Option<EventChain>,
    signer: Option<EventSigner>,
    /// Cancelled when the response ends, after which no event is forwarded.
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The received bytes of an incomplete frame.
    partial: BytesMut,
    /// Longest frame, in bytes.
    limit: usize,
    is_over: bool,
    status: Arc<EventsStatus>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl Events {
    /// Events from `source`, of at most `limit` bytes each, until `over` is cancelled. `signed` verifies
    /// the client's signatures, and `signer` signs for the target. `status` gets what becomes of them.
    pub fn new(
        source: Source,
        signed: Option<EventChain>,
        signer: Option<EventSigner>,
        limit: usize,
        over: CancellationToken,
        status: Arc<EventsStatus>,
    ) -> Events {
        let over = Box::pin(over.cancelled_owned());
        let partial = BytesMut::new();
        Events { source, signed, signer, over, partial, limit, is_over: false, status }
    }

    /// The next complete frame.
    fn next_frame(&mut self) -> Result<Option<Bytes>, EventsError> {
        let len =
            frame_len(&self.partial).map_err(|error| EventsError::NotAnEvent(error.to_string()))?;
        let Some(len) = len else { return Ok(None) };
        if len > self.limit {
            return Err(EventsError::TooLong(self.limit));
        }
        Ok((self.partial.len() >= len).then(|| self.partial.split_to(len).freeze()))
    }

    /// Translates a frame of the client; `None` if it is the signed end.
    fn translate(&mut self, frame: Bytes) -> Result<Option<Bytes>, EventsError> {
        let message = read(&mut frame.clone())?;
        if let Some(signed) = &mut self.signed {
            let Some(event) = signed.verify(&message)? else { return Ok(None) };
            return self.sign(&event, message.payload().clone()).map(Some);
        }
        let is_signed = message.headers().iter().any(|it| it.name().as_str() == CHUNK_SIGNATURE);
        let (event, bytes) = match (is_signed, message.payload().is_empty()) {
            (true, true) => return Ok(None),
            (true, false) => (read(&mut message.payload().clone())?, message.payload().clone()),
            (false, _) => (message, frame),
        };
        self.sign(&event, bytes).map(Some)
    }

    /// The event for the target; `bytes` are its frame.
    fn sign(&mut self, event: &Message, bytes: Bytes) -> Result<Bytes, EventsError> {
        match &mut self.signer {
            Some(signer) => signer.sign(Some(event), SystemTime::now()),
            None => Ok(bytes),
        }
    }

    /// The signed end, if events are signed.
    fn end(&mut self) -> Option<Result<Bytes, EventsError>> {
        self.is_over = true;
        self.signer.as_mut().map(|signer| signer.sign(None, SystemTime::now()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, EventsError>>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            match self.next_frame() {
                Ok(Some(frame)) => {
                    return Poll::Ready(match self.translate(frame) {
                        Ok(Some(bytes)) => {
                            self.status.has_forwarded.store(true, Ordering::Relaxed);
                            Some(Ok(bytes))
                        }
                        Ok(None) => self.end(),
                        Err(error) => self.fail(error),
                    });
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(self.fail(error)),
            }
            if self.over.as_mut().poll(cx).is_ready() {
                return Poll::Ready(self.fail(EventsError::Over));
            }
            match ready!(self.source.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.partial.extend_from_slice(&bytes);
                    }
                }
                Some(Err(error)) => {
                    return Poll::Ready(self.fail(EventsError::Broken(error.to_string())));
                }
                None if self.partial.is_empty() && self.signed.is_some() => {
                    return Poll::Ready(self.fail(EventsError::NoEnd));
                }
                None if self.partial.is_empty() => return Poll::Ready(self.end()),
                None => {
                    let error = EventsError::NotAnEvent("it is cut off".to_owned());
                    return Poll::Ready(self.fail(error));
                }
            }
        }
    }

    fn fail(&mut self, error: EventsError) -> Option<Result<Bytes, EventsError>> {
        self.is_over = true;
        tracing::info!(%error, "a bidirectional stream was aborted");
        if !matches!(error, EventsError::Over) {
            self.status.error.get_or_init(|| error.clone());
        }
        Some(Err(error))
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = EventsError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EventsError>>> {
        self.poll(cx).map(|event| event.map(|event| event.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

fn read(bytes: &mut impl Buf) -> Result<Message, EventsError> {
    read_message_from(bytes).map_err(|error| EventsError::NotAnEvent(error.to_string()))
}

fn write(message: &Message) -> Result<Bytes, EventsError> {
    let mut bytes = Vec::new();
    write_message_to(message, &mut bytes)
        .map_err(|error| EventsError::Unsigned(error.to_string()))?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use proptest::prelude::*;

    use super::*;
    use crate::bedrock::event_stream::event;

    fn auth(secret: &str) -> Arc<Auth> {
        Arc::new(Auth::SigV4(Credentials::new("AKID", secret, None, None, "test").into()))
    }

    fn signer(secret: &str) -> Option<EventSigner> {
        EventSigner::new(auth(secret), "us-east-1", Some("5eed".to_owned()))
    }

    fn source(bytes: Vec<u8>, cuts: &[usize]) -> Source {
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for &cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(Bytes::copy_from_slice(piece));
            rest = after;
        }
        pieces.push(Bytes::copy_from_slice(rest));
        let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
        Box::pin(StreamBody::new(stream::iter(frames)))
    }

    fn signed_by_a_client(events: &[Bytes]) -> Vec<u8> {
        let mut chain = signer("the client's").unwrap();
        let mut bytes = Vec::new();
        for event in events {
            let message = read(&mut event.clone()).unwrap();
            bytes.extend(chain.sign(Some(&message), SystemTime::now()).unwrap());
        }
        bytes.extend(chain.sign(None, SystemTime::now()).unwrap());
        bytes
    }

    async fn translated(
        source: Source,
        signer: Option<EventSigner>,
    ) -> Result<Vec<Message>, EventsError> {
        let mut body =
            Events::new(source, None, signer, 1024, CancellationToken::new(), Arc::default());
        let mut messages = Vec::new();
        while let Some(frame) = body.frame().await {
            let bytes = frame?.into_data().unwrap();
            messages.push(read(&mut bytes.clone()).unwrap());
        }
        Ok(messages)
    }

    fn events() -> Vec<Bytes> {
        vec![event("chunk", r#"{"bytes":"YQ=="}"#), event("chunk", r#"{"bytes":"Yg=="}"#)]
    }

    #[tokio::test]
    async fn events_keep_their_frames_and_get_new_signatures() {
        let sent = signed_by_a_client(&events());
        let got = translated(source(sent.clone(), &[]), signer("the gateway's")).await.unwrap();
        assert_eq!(got.len(), 3, "two events and the end");
        for (message, event) in got.iter().zip(events()) {
            assert_eq!(*message.payload(), event);
        }
        assert!(got[2].payload().is_empty());
        let signature = |message: &Message| {
            let header = message.headers().iter().find(|it| it.name().as_str() == CHUNK_SIGNATURE);
            format!("{:?}", header.unwrap().value())
        };
        let client: Vec<Message> = {
            let mut rest = Bytes::from(sent);
            std::iter::from_fn(|| (!rest.is_empty()).then(|| read(&mut rest).unwrap())).collect()
        };
        for (ours, theirs) in got.iter().zip(&client) {
            assert_ne!(signature(ours), signature(theirs));
        }
    }

    #[tokio::test]
    async fn under_a_bearer_key_events_go_unsigned() {
        let got = translated(source(signed_by_a_client(&events()), &[]), None).await.unwrap();
        assert_eq!(got.len(), 2);
        let plain: Vec<u8> = events().concat();
        let got = translated(source(plain, &[3]), signer("the gateway's")).await.unwrap();
        assert_eq!(got.len(), 3, "a client that signs nothing is signed for");
    }

    #[tokio::test]
    async fn bytes_that_are_not_an_event_break_the_stream() {
        let mut cut = signed_by_a_client(&events());
        cut.truncate(cut.len() - 3);
        let broken = translated(source(cut, &[]), signer("k")).await;
        assert!(matches!(broken, Err(EventsError::NotAnEvent(_))), "{broken:?}");
        let mut wrong = signed_by_a_client(&events());
        wrong[20] ^= 1;
        assert!(translated(source(wrong, &[]), signer("k")).await.is_err());
        let long = event("chunk", vec![b' '; 2000]).to_vec();
        let refused = translated(source(long, &[]), signer("k")).await;
        assert!(matches!(refused, Err(EventsError::TooLong(1024))), "{refused:?}");
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_how_the_bytes_are_split(cuts in prop::collection::vec(0usize..60, 0..20)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let sent = signed_by_a_client(&events());
            let got = runtime.block_on(translated(source(sent, &cuts), signer("k"))).unwrap();
            prop_assert_eq!(got.len(), 3);
        }
    }
}
