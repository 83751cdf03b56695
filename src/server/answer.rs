//! An answer on its way to the client: its request is open as long as its body lives, and until
//! when that may be is known from its head on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::AnyBody;
use super::activity::{Delimited, Open};
use crate::pipeline::Until;

pin_project! {
    /// The body of an answer, whose request is open as long as it lives.
    pub(super) struct Tracked {
        #[pin]
        body: AnyBody,
        open: Open,
    }
}

impl Tracked {
    /// The answer to an open request of this version of HTTP.
    pub(super) fn answer(
        response: Response<AnyBody>,
        mut open: Open,
        version: Version,
    ) -> Response<Tracked> {
        let until = response.extensions().get::<Until>().map(|until| until.0);
        let has_length = response.headers().contains_key(CONTENT_LENGTH)
            || response.body().size_hint().exact().is_some();
        let delimited = match version {
            _ if has_length => Delimited::Length,
            Version::HTTP_09 | Version::HTTP_10 => Delimited::Close,
            _ => Delimited::Chunked,
        };
        open.begins(until, delimited);
        response.map(|body| {
            if body.is_end_stream() {
                open.answered();
            }
            Tracked { body, open }
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
        self.body.size_hint()
    }
}
