//! The bidirectional stream: every event that comes is verified and echoed, until the client's end;
//! and at the end the usage.
//!
//! An event's payload is `{"bytes": "<base64 of JSON>"}` both ways. What comes back is the JSON that
//! came, under `event.echo`; the last is an `event.usageEvent` with a token for each event each way.

use std::convert::Infallible;
use std::sync::Arc;

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_types::event_stream::Message;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::State;
use super::log::{Ending, Record};
use super::signature;
use super::stream::Body;
use sluice_bedrock::sigv4::EventChain;
use sluice_bedrock::{Usage, event_stream};

/// Events that wait for the connection.
const WAITING: usize = 16;

/// The answer to a verified request. It continues while the request does.
pub(super) fn answer(
    shared: &Arc<State>,
    head: &request::Parts,
    body: Incoming,
    record: Record,
) -> Response<Body> {
    record.note(|entry| entry.status = Some(200));
    let (events, sent) = mpsc::channel(WAITING);
    let chain = signature::chain(&head.headers, &shared.settings.keys);
    let echo = Echo { chain, events, record, received: 0 };
    tokio::spawn(echo.run(body));
    let body = stream::unfold(sent, async |mut sent| {
        let bytes: Bytes = sent.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), sent))
    });
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    let content_type = HeaderValue::from_static(event_stream::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

struct Echo {
    chain: Option<EventChain>,
    events: mpsc::Sender<Bytes>,
    record: Record,
    received: u64,
}

impl Echo {
    async fn run(mut self, mut body: Incoming) {
        let (mut bytes, mut decoder) = (BytesMut::new(), MessageFrameDecoder::new());
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            bytes.extend_from_slice(&data);
            while let Ok(DecodedFrame::Complete(message)) = decoder.decode_frame(&mut bytes) {
                if !self.take(message).await {
                    return;
                }
            }
        }
        // A body that ends without the end of its chain was cut off.
        if self.chain.is_none() {
            self.finish().await;
        } else {
            self.record.end(Ending::Broken);
        }
    }

    /// Answers a frame; false where the stream is over.
    async fn take(&mut self, message: Message) -> bool {
        let event = match &mut self.chain {
            None => Some(message),
            Some(chain) => match chain.verify(&message) {
                Ok(event) => event,
                Err(bad) => {
                    let refusal = signature::Refusal::Invalid(bad.to_string());
                    self.record.note(|entry| entry.error = Some(refusal.name().to_owned()));
                    let body = json!({ "message": refusal.to_string() }).to_string();
                    let _ = self
                        .events
                        .send(event_stream::exception("validationException", body))
                        .await;
                    self.record.end(Ending::Finished);
                    return false;
                }
            },
        };
        let Some(event) = event else {
            self.finish().await;
            return false;
        };
        self.received += 1;
        let echo = json!({ "event": { "echo": content(event.payload()) } });
        self.send(&echo).await
    }

    async fn finish(&mut self) {
        let usage = json!({ "event": { "usageEvent": {
            "totalInputTokens": self.received, "totalOutputTokens": self.received,
        } } });
        self.send(&usage).await;
        self.record.note_usage(Usage {
            input: self.received,
            output: self.received,
            ..Usage::default()
        });
        self.record.note(|entry| entry.output_tokens = self.received);
        self.record.end(Ending::Finished);
    }

    /// Sends an event; false if the client has gone.
    async fn send(&self, value: &Value) -> bool {
        let body = json!({ "bytes": STANDARD.encode(value.to_string()) }).to_string();
        self.record.note(|entry| entry.frames += 1);
        self.events.send(event_stream::event("chunk", body)).await.is_ok()
    }
}

/// The JSON in an event.
fn content(payload: &[u8]) -> Value {
    let outer: Value = serde_json::from_slice(payload).unwrap_or_default();
    let inner = outer.get("bytes").and_then(Value::as_str);
    let inner = inner.and_then(|bytes| STANDARD.decode(bytes).ok());
    inner.and_then(|inner| serde_json::from_slice(&inner).ok()).unwrap_or_default()
}
