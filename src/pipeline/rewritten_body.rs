//! Holds a whole JSON answer back to change it: to seal the ids of a stored response, or to write a count of
//! tokens in the client's form.

use bytes::{Bytes, BytesMut};

use super::responses::IdSealer;
use crate::api::count_tokens;
use crate::quota::Overloaded;

/// Longest answer that is changed, in bytes.
const MAX_BODY: usize = 32 << 20;

/// How an answer is changed.
#[derive(Debug)]
pub(super) enum Change {
    /// The ids of stored responses are sealed.
    SealIds(IdSealer),
    /// An answer of CountTokens takes the form of Anthropic's API.
    CountTokens,
}

/// Why an answer can't be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RewriteError {
    #[error("the upstream's answer is longer than {MAX_BODY} bytes")]
    TooLong,
    #[error("The gateway is overloaded, please try again: {0}.")]
    NoRoom(Overloaded),
    #[error("the upstream's id of a stored response can't be sealed")]
    Id,
    #[error("the upstream's count of tokens can't be read")]
    Count,
}

/// An answer that is held back.
#[derive(Debug)]
pub(super) struct RewrittenBody {
    change: Change,
    body: BytesMut,
}

impl RewrittenBody {
    pub(super) fn new(change: Change) -> RewrittenBody {
        RewrittenBody { change, body: BytesMut::new() }
    }

    /// Holds a part of the answer.
    pub(super) fn hold(&mut self, chunk: &[u8]) -> Result<(), RewriteError> {
        if self.body.len().saturating_add(chunk.len()) > MAX_BODY {
            return Err(RewriteError::TooLong);
        }
        self.body.extend_from_slice(chunk);
        Ok(())
    }

    /// How many bytes are held.
    pub(super) fn held_bytes(&self) -> usize {
        self.body.len()
    }

    /// The whole answer, changed.
    pub(super) fn finish(&mut self) -> Result<Bytes, RewriteError> {
        let body = self.body.split().freeze();
        match &self.change {
            Change::SealIds(ids) => {
                let sealed = ids.seal_body(&body).map_err(|_| RewriteError::Id)?;
                Ok(sealed.unwrap_or(body))
            }
            Change::CountTokens => count_tokens::answer(&body).ok_or(RewriteError::Count),
        }
    }
}
