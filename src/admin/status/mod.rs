//! The status page: the gateway's state now and in the last hour.
//!
//! The page loads nothing from other hosts. It follows the state through server-sent events, and acts
//! through the admin API. The page itself contains no secret and needs no key; its data and actions need
//! the same access as the admin API. Its content security policy allows its own script and style, by
//! their hashes, and connections to its own origin.

mod apis;
mod budgets;
mod clients;
mod dependencies;
mod events;
mod fallbacks;
mod history;
mod models;
mod snapshot;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Either;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use events::Events;

use super::{Body, Readiness, failed, json, respond, whole};
use crate::pipeline::{ResponseDeadline, SharedGateway};
use history::History;

/// Most event streams at once.
const MAX_VIEWERS: usize = 16;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");

/// The parts of the script, each with one concern. `main.js` comes last and uses all of them.
const SCRIPT: [&str; 11] = [
    include_str!("page/text.js"),
    include_str!("page/access.js"),
    include_str!("page/attention.js"),
    include_str!("page/targets.js"),
    include_str!("page/plot.js"),
    include_str!("page/history.js"),
    include_str!("page/fallbacks.js"),
    include_str!("page/clients.js"),
    include_str!("page/apis.js"),
    include_str!("page/failures.js"),
    include_str!("page/main.js"),
];

/// The page and the sources of its data.
#[derive(Debug)]
pub(super) struct Status {
    source: Arc<Source>,
    streams: Arc<Semaphore>,
    page: Bytes,
    policy: HeaderValue,
}

/// The sources of the page's data.
#[derive(Debug)]
struct Source {
    shared_gateway: Arc<SharedGateway>,
    readiness: Arc<Readiness>,
    history: History,
}

impl Status {
    pub(super) fn new(shared_gateway: Arc<SharedGateway>, readiness: Arc<Readiness>) -> Status {
        let script = SCRIPT.concat();
        let page = PAGE.replace("/*style*/", STYLE).replace("/*script*/", &script);
        let hash = |text: &str| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            hash(&script),
            hash(STYLE),
        );
        Status {
            source: Arc::new(Source { shared_gateway, readiness, history: History::default() }),
            streams: Arc::new(Semaphore::new(MAX_VIEWERS)),
            page: page.into(),
            // Always valid: base 64 and the text above are ASCII.
            policy: HeaderValue::from_str(&policy)
                .unwrap_or(HeaderValue::from_static("default-src 'none'")),
        }
    }

    /// Records the history. Never returns.
    pub(super) async fn follow(&self) {
        self.source.history.follow(&self.source.shared_gateway).await;
    }

    /// The page itself.
    pub(super) fn page(&self) -> Response<Body> {
        let mut response =
            respond(StatusCode::OK, "text/html; charset=utf-8", self.page.clone()).map(whole);
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in
            [("referrer-policy", "no-referrer"), ("cross-origin-opener-policy", "same-origin")]
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    /// The state now, as JSON.
    pub(super) fn snapshot(&self) -> Response<Body> {
        let Source { shared_gateway, readiness, history } = &*self.source;
        match snapshot::take(&shared_gateway.load_full(), readiness, history, true) {
            Ok(state) => respond(StatusCode::OK, "application/json", state.into()).map(whole),
            Err(error) => failed(&error).map(whole),
        }
    }

    /// The state from now on, as server-sent events.
    pub(super) fn events(&self) -> Response<Body> {
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            let message =
                format!("the status page already has {MAX_VIEWERS} viewers, the most it can have");
            let body = serde_json::json!({ "message": message });
            return json(StatusCode::SERVICE_UNAVAILABLE, &body).map(whole);
        };
        let events = Events::new(Arc::clone(&self.source), permit);
        let mut response = respond(StatusCode::OK, "text/event-stream", Bytes::new())
            .map(|_| Either::Right(events));
        response
            .extensions_mut()
            .insert(ResponseDeadline(Instant::now() + events::MAX_STREAM_TIME));
        response
    }
}
