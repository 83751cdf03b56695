//! The body of a response on its way to the client. Its request stays open while the body lives.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use pin_project_lite::pin_project;

use super::handler::AnyBody;
use super::timeouts::{BodyEnd, OpenRequest};
use crate::pipeline::ResponseDeadline;

pin_project! {
    /// The body of a response, with its open request.
    pub(super) struct TrackedBody {
        #[pin]
        body: AnyBody,
        open: OpenRequest,
        // Whether the client gets no length although it is known.
        hides_length: bool,
    }
}

impl TrackedBody {
    /// Tracks the body of the response to an open request of this version of HTTP. Over HTTP/1.0 a body
    /// that may end early gets no length: some clients do not check it, and a proxy may pass on the end of
    /// a short body as an orderly close. Without a length such a body ends in a reset, which a proxy can't
    /// take for its end.
    pub(super) fn track(
        mut response: Response<AnyBody>,
        mut open: OpenRequest,
        version: Version,
    ) -> Response<TrackedBody> {
        let until = response.extensions().get::<ResponseDeadline>().map(|until| until.0);
        let is_http10 = version < Version::HTTP_11;
        let may_still_fail =
            matches!(response.body(), Either::Left(relayed) if relayed.may_still_fail());
        let hides_length = is_http10 && may_still_fail;
        if hides_length {
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        let has_length = response.headers().contains_key(CONTENT_LENGTH)
            || response.body().size_hint().exact().is_some();
        let body_end = match (has_length && !hides_length, is_http10) {
            (true, _) => BodyEnd::Length,
            (false, true) => BodyEnd::Close,
            (false, false) => BodyEnd::Chunked,
        };
        open.response_started(until, body_end);
        response.map(|body| {
            if body.is_end_stream() {
                open.completed();
            }
            TrackedBody { body, open, hides_length }
        })
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = <AnyBody as Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        let polled = this.body.as_mut().poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) if this.body.is_end_stream() => this.open.completed(),
            Poll::Ready(None) => this.open.completed(),
            Poll::Ready(Some(Err(_))) => this.open.aborted(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.hides_length { SizeHint::default() } else { self.body.size_hint() }
    }
}
