//! Decides the outcome of a stream of server-sent events by its first event.
//!
//! A stream that begins with an error has failed, and since no byte of it has gone out, another target may
//! answer. Comments and `ping`s decide nothing.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt as _;

use super::Body;
use super::classify::classify;
use super::reply::{Failure, MAX_FIRST_FRAME, Reply, broken, success};
use crate::bedrock::error::Reported;
use crate::bedrock::sse::{self, Event, Piece, Splitter};
use crate::bedrock::{Api, ErrorKind};

/// Reads a stream up to the event that decides its outcome.
pub(super) async fn read(head: http::response::Parts, mut body: Body, api: Api) -> Reply {
    let mut buffered: Vec<Bytes> = Vec::new();
    let mut read = 0;
    let mut splitter = Splitter::new(MAX_FIRST_FRAME);
    loop {
        let chunk = match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => chunk,
                Err(_) => continue,
            },
            Some(Err(_)) | None => {
                return Reply::from(broken("the upstream's stream ended before its first event"));
            }
        };
        read += chunk.len();
        let mut rest = chunk.clone();
        buffered.push(chunk);
        while let Some(piece) = splitter.next(&mut rest) {
            let Piece::Event(raw) = piece else { continue };
            let event = Event::read(&raw);
            if event.data.is_none() || event.name == Some("ping") {
                continue;
            }
            if sse::is_unreadable(api, &event) {
                return Reply::from(broken("the upstream's stream has an event that is not JSON"));
            }
            return match sse::reported_error(api, &event) {
                None => success(head, buffered, body),
                Some(reported) => Reply::from(error_first(head, &buffered, reported)),
            };
        }
        if read > MAX_FIRST_FRAME {
            // Bedrock's first events are a few hundred bytes; a longer one is taken for a success.
            return success(head, buffered, body);
        }
    }
}

/// A stream whose first event is an error is the error. What follows the event is not waited for.
fn error_first(head: http::response::Parts, buffered: &[Bytes], reported: Reported) -> Failure {
    let mut bytes = BytesMut::new();
    buffered.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
    // The name decides; an unknown one is a failure of the service.
    let status = reported.kind().map_or(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::status);
    let class = classify(status, &reported);
    let mut failure = Failure::answer(head, bytes.freeze(), reported);
    failure.class = class;
    failure.without_credentials()
}
