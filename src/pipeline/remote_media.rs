//! The images and documents that a request has by their addresses: fetched once, before the first translation
//! that needs their bytes. A target that takes the request as it came gets the addresses, and nothing is fetched
//! for it.
//!
//! While they are fetched the request holds no permit of a target.

use std::future::{Future, ready};
use std::pin::Pin;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use super::candidate_state::LeaveReason;
use super::error::GatewayError;
use super::gateway::Gateway;
use super::routed::RoutedRequest;
use super::translations::Way;
use crate::bridge::remote_media::{FetchedMedia, RemoteMedia};
use crate::media::HeldMedia;
use crate::quota::InFlightGuard;

/// Most addresses of one request from which is fetched at once.
const AT_ONCE: usize = 4;

/// What the translations of a request know of its addresses.
#[derive(Debug, Default)]
pub(super) enum MediaState {
    /// They are not fetched here. Translations refuse them.
    #[default]
    NotFetched,
    /// No translation that needs them was made yet.
    Unread,
    /// A translation needs these.
    Needed(Vec<RemoteMedia>),
    /// They are here.
    Fetched {
        media: Vec<FetchedMedia>,
        /// Their share of what may be in flight.
        _held: Vec<InFlightGuard>,
    },
}

impl MediaState {
    /// That of a request to this gateway.
    pub(super) fn new(gateway: &Gateway) -> MediaState {
        match gateway.media {
            Some(_) => MediaState::Unread,
            None => MediaState::NotFetched,
        }
    }

    /// What was fetched.
    pub(super) fn fetched(&self) -> &[FetchedMedia] {
        match self {
            MediaState::Fetched { media, .. } => media,
            _ => &[],
        }
    }

    /// Bytes of what was fetched, in base64.
    pub(super) fn bytes(&self) -> usize {
        self.fetched().iter().map(|media| media.base64.len()).sum()
    }

    /// Whether addresses are left out of a translation for now, since they can be fetched.
    pub(super) fn can_be_fetched(&self) -> bool {
        matches!(self, MediaState::Unread | MediaState::Needed(_))
    }
}

impl RoutedRequest {
    /// Whether the candidate with this index needs what is at addresses, and it was not fetched yet. Without an
    /// index: the best candidate that the request has not given up on.
    pub(super) fn needs_media(&self, index: Option<usize>) -> bool {
        let Some(MediaState::Needed(_)) = self.translations.as_ref().map(|all| &all.media) else {
            return false;
        };
        let mut left = self.candidates.iter().enumerate();
        let way = left.find(|(at, candidate)| match index {
            Some(index) => *at == index,
            None => candidate.leave_reason.is_none(),
        });
        way.is_some_and(|(_, candidate)| candidate.way == Way::Translated(None))
    }

    /// Fetches what the translations need, until `deadline` at the latest. If it can't be had, the request gives
    /// up on the candidates that need it.
    ///
    /// # Errors
    /// If no other candidate is left.
    pub(super) async fn fetch_media(
        &mut self,
        gateway: &Gateway,
        deadline: Instant,
    ) -> Result<(), GatewayError> {
        let Some(translations) = &mut self.translations else { return Ok(()) };
        let MediaState::Needed(needed) = std::mem::take(&mut translations.media) else {
            return Ok(());
        };
        let error = match fetch_all(gateway, needed, deadline).await {
            Ok(all) => {
                let (media, _held) = all.into_iter().map(|it| (it.media, it.held)).unzip();
                translations.media = MediaState::Fetched { media, _held };
                return Ok(());
            }
            Err(error) => error,
        };
        let mut remains = false;
        for index in 0..self.candidates.len() {
            match self.candidates.get(index).map(|it| (it.way, it.leave_reason)) {
                Some((Way::Translated(None), None)) => {
                    self.give_up_on(index, LeaveReason::Untranslatable);
                }
                Some((_, None)) => remains = true,
                _ => {}
            }
        }
        if remains { Ok(()) } else { Err(error) }
    }
}

/// Boxed, since few requests have addresses.
fn fetch_all(
    gateway: &Gateway,
    needed: Vec<RemoteMedia>,
    deadline: Instant,
) -> Pin<Box<dyn Future<Output = Result<Vec<HeldMedia>, GatewayError>> + Send>> {
    let Some(fetcher) = gateway.media.clone() else {
        return Box::pin(ready(Ok(Vec::new())));
    };
    let limit = fetcher.max_per_request();
    if let Some(beyond) = needed.get(limit) {
        let param = beyond.param.clone();
        return Box::pin(ready(Err(GatewayError::TooManyMedia { param, limit })));
    }
    let in_flight = gateway.in_flight.clone();
    let fetches = needed.into_iter().map(move |wanted| {
        let (fetcher, held) = (fetcher.clone(), in_flight.guard_for_bytes());
        async move {
            let fetched = fetcher.fetch(&wanted, held, deadline).await;
            fetched.map_err(|error| GatewayError::RemoteMedia { param: wanted.param, error })
        }
    });
    Box::pin(stream::iter(fetches).buffered(AT_ONCE).try_collect())
}
