//! Keeps a translated response once it is complete, before the client gets its end. A response that can't be kept
//! still goes out, and says itself that it is not stored.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_LENGTH;

use super::translated_answer::TranslatedAnswer;
use crate::api::response_id::Owner;
use crate::bridge::responses::{KeptResponse, TurnsError, not_stored};
use crate::response_store::ResponseStore;
use crate::upstream::Success;

/// What keeps one response.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) store: ResponseStore,
    /// Whose it is.
    pub(super) owner: Owner,
    /// The id that its client gets.
    pub(super) id: String,
    /// The request as it was translated.
    pub(super) request: Bytes,
}

impl Keeper {
    /// Keeps a response, and returns whether it is kept.
    async fn keep(self, response: &[u8]) -> bool {
        let most = self.store.max_response_bytes();
        let record = match KeptResponse::of(&self.request, response, most) {
            Ok(record) => record.to_json(),
            Err(error) => {
                if matches!(error, TurnsError::TooLong(_)) {
                    self.store.note_too_long();
                }
                tracing::warn!(%error, "a response is not kept");
                return false;
            }
        };
        let kept = self.store.keep(self.owner, &self.id, &record).await;
        if let Err(error) = &kept {
            tracing::warn!(%error, "a response is not kept");
        }
        kept.is_ok()
    }

    /// Begins to keep a response.
    pub(super) fn begin(self, response: Vec<u8>) -> Keeping {
        Keeping(Box::pin(async move { self.keep(&response).await }))
    }

    /// How many bytes are held for it.
    pub(super) fn held_bytes(&self) -> usize {
        self.request.len()
    }
}

/// A response that is being kept; gives whether it is.
pub(super) struct Keeping(BoxFuture<'static, bool>);

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeping")
    }
}

impl Future for Keeping {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        self.0.as_mut().poll(cx)
    }
}

/// Keeps a whole answer at once, and lets a stream keep its response at its end.
pub(super) async fn keep(keeper: Keeper, success: &mut Success, answer: &mut TranslatedAnswer) {
    match answer {
        TranslatedAnswer::Stream(stream) => stream.keep_by(keeper),
        TranslatedAnswer::Whole { .. } => {
            let Some(whole) = success.buffered.first_mut() else { return };
            if keeper.keep(whole).await {
                return;
            }
            let text = std::str::from_utf8(whole).ok();
            if let Some(changed) = text.and_then(not_stored) {
                *whole = changed.into();
                success.headers.insert(CONTENT_LENGTH, whole.len().into());
            }
        }
    }
}
