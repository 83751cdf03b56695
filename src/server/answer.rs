//! An answer on its way to the client: its request is open as long as its body lives, and until
//! when that may be is known from its head on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use pin_project_lite::pin_project;

use super::AnyBody;
use super::activity::{Delimited, Open};
use crate::pipeline::ResponseDeadline;

pin_project! {
    /// The body of an answer, whose request is open as long as it lives.
    pub(super) struct Tracked {
        #[pin]
        body: AnyBody,
        open: Open,
        // Whether its length is not told, though it is known.
        hides_length: bool,
    }
}

impl Tracked {
    /// The answer to an open request of this version of HTTP. One that may break off tells HTTP/1.0 no
    /// length: some clients don't compare it with what came, and proxies close in order behind less.
    /// Without one it ends in a reset, which a proxy can't pass on as an end.
    pub(super) fn answer(
        mut response: Response<AnyBody>,
        mut open: Open,
        version: Version,
    ) -> Response<Tracked> {
        let until = response.extensions().get::<ResponseDeadline>().map(|until| until.0);
        let is_http10 = version < Version::HTTP_11;
        let may_break_off =
            matches!(response.body(), Either::Left(relayed) if relayed.may_break_off());
        let hides_length = is_http10 && may_break_off;
        if hides_length {
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        let has_length = response.headers().contains_key(CONTENT_LENGTH)
            || response.body().size_hint().exact().is_some();
        let delimited = match (has_length && !hides_length, is_http10) {
            (true, _) => Delimited::Length,
            (false, true) => Delimited::Close,
            (false, false) => Delimited::Chunked,
        };
        open.begins(until, delimited);
        response.map(|body| {
            if body.is_end_stream() {
                open.answered();
            }
            Tracked { body, open, hides_length }
        })
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = <AnyBody as Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        let polled = this.body.as_mut().poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) if this.body.is_end_stream() => this.open.answered(),
            Poll::Ready(None) => this.open.answered(),
            Poll::Ready(Some(Err(_))) => this.open.broke_off(),
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
