//! An answer on its way to the client: its request is open as long as its body lives, and until
//! when that may be is known from its head on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::AnyBody;
use super::activity::Open;
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
    /// The answer to an open request.
    pub(super) fn answer(response: Response<AnyBody>, mut open: Open) -> Response<Tracked> {
        open.begins(response.extensions().get::<Until>().map(|until| until.0));
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
        let has_ended = match &polled {
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
            Poll::Ready(Some(Err(_)) | None) => true,
            Poll::Pending => false,
        };
        if has_ended {
            this.open.answered();
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
