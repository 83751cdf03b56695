//! Stored responses: each lives in the region and at the endpoint that made it.
//!
//! The oldest are forgotten first.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::super::reply::Failure;
use super::super::asked::invalid;
use sluice_bedrock::ErrorKind;
use sluice_catalogue::Endpoint;

/// Responses kept.
const MAX_RESPONSES: usize = 1_000;
/// Most items of a page of input.
const MAX_PAGE: usize = 100;
/// Items of a page if the request does not say it.
const USUAL_PAGE: usize = 20;

/// A stored response.
#[derive(Debug, Clone)]
pub(in super::super) struct Stored {
    pub(in super::super) id: String,
    pub(in super::super) region: String,
    pub(in super::super) endpoint: Endpoint,
    /// The model as called.
    pub(in super::super) model: String,
    /// The response when it is complete.
    pub(in super::super) response: Value,
    /// Its items of input.
    pub(in super::super) input: Vec<Value>,
    /// Characters of the conversation up to its end.
    pub(in super::super) characters: u64,
    /// The calls in it that have no result yet.
    pub(in super::super) open_calls: Vec<String>,
    /// When one in the background is complete.
    pub(in super::super) complete_at: Option<Instant>,
    /// Whether it was cancelled before that.
    pub(in super::super) is_cancelled: bool,
}

impl Stored {
    /// The response as it is now.
    pub(in super::super) fn now(&self) -> Value {
        let status = match () {
            () if self.is_cancelled => "cancelled",
            () if self.is_under_way() => "in_progress",
            () => return self.response.clone(),
        };
        let mut response = self.response.clone();
        if let Some(members) = response.as_object_mut() {
            members.insert("status".to_owned(), status.into());
            members.insert("output".to_owned(), json!([]));
            members.insert("usage".to_owned(), Value::Null);
        }
        response
    }

    fn is_under_way(&self) -> bool {
        self.complete_at.is_some_and(|at| Instant::now() < at)
    }
}

/// The responses of a simulator. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Responses {
    kept: Arc<Mutex<VecDeque<Stored>>>,
}

impl Responses {
    /// Stores a response.
    pub(in super::super) fn keep(&self, stored: Stored) {
        let mut kept = self.lock();
        if kept.len() >= MAX_RESPONSES {
            kept.pop_front();
        }
        kept.push_back(stored);
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// A response of a region, and of an endpoint if that is known.
    ///
    /// # Errors
    /// When there is none with this id there.
    pub(in super::super) fn get(
        &self,
        id: &str,
        region: &str,
        endpoint: Option<Endpoint>,
    ) -> Result<Stored, Failure> {
        let kept = self.lock();
        let found = kept.iter().find(|it| is_meant(it, id, region, endpoint));
        found.cloned().ok_or_else(|| missing(id))
    }

    /// Deletes one, and says so.
    ///
    /// # Errors
    /// When there is none with this id there.
    pub(in super::super) fn delete(
        &self,
        id: &str,
        region: &str,
        endpoint: Option<Endpoint>,
    ) -> Result<Value, Failure> {
        let mut kept = self.lock();
        let found = kept.iter().position(|it| is_meant(it, id, region, endpoint));
        found.and_then(|at| kept.remove(at)).ok_or_else(|| missing(id))?;
        Ok(json!({"id": id, "object": "response", "deleted": true}))
    }

    /// Cancels one that is made in the background.
    ///
    /// # Errors
    /// When there is none with this id there, or it is complete.
    pub(in super::super) fn cancel(
        &self,
        id: &str,
        region: &str,
        endpoint: Option<Endpoint>,
    ) -> Result<Value, Failure> {
        let mut kept = self.lock();
        let found = kept.iter_mut().find(|it| is_meant(it, id, region, endpoint));
        let found = found.ok_or_else(|| missing(id))?;
        if found.complete_at.is_none() {
            let message = "Only a response that is made in the background can be cancelled.";
            return Err(Failure::new(ErrorKind::Conflict, message));
        }
        if !found.is_cancelled && !found.is_under_way() {
            return Err(Failure::new(ErrorKind::Conflict, "The response is complete already."));
        }
        found.is_cancelled = true;
        Ok(found.now())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Stored>> {
        self.kept.lock()
    }
}

fn is_meant(stored: &Stored, id: &str, region: &str, endpoint: Option<Endpoint>) -> bool {
    let is_there = endpoint.is_none_or(|endpoint| endpoint == stored.endpoint);
    stored.id == id && stored.region == region && is_there
}

fn missing(id: &str) -> Failure {
    let message = format!("Response with id '{id}' not found.");
    Failure::new(ErrorKind::ResourceNotFound, message).without_code()
}

/// A page of the items of input of a response, by the query.
///
/// # Errors
/// When the query is wrong.
pub(in super::super) fn input_items(stored: &Stored, query: &str) -> Result<Value, Failure> {
    let parameter =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let limit = match parameter("limit") {
        None => USUAL_PAGE,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
            limit.ok_or_else(|| {
                invalid("limit", format!("Invalid 'limit': it is 1 to {MAX_PAGE}."))
            })?
        }
    };
    let numbered = stored.input.iter().enumerate().map(|(at, item)| {
        let mut item = item.clone();
        if let Some(members) = item.as_object_mut() {
            members.entry("type").or_insert_with(|| "message".into());
            members.entry("id").or_insert_with(|| format!("item_{}_{at}", stored.id).into());
        }
        item
    });
    let mut items: Vec<Value> = numbered.collect();
    match parameter("order").unwrap_or("desc") {
        "asc" => {}
        "desc" => items.reverse(),
        other => {
            let message = format!("Invalid value: '{other}'. Supported values are: asc, desc.");
            return Err(invalid("order", message));
        }
    }
    let id = |item: &Value| item.get("id").cloned().unwrap_or_default();
    if let Some(after) = parameter("after") {
        let at = items.iter().position(|item| id(item) == after);
        let at = at.ok_or_else(|| invalid("after", "Invalid 'after': there is no such item."))?;
        items.drain(..=at);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    Ok(json!({
        "object": "list",
        "first_id": items.first().map(id),
        "last_id": items.last().map(id),
        "has_more": has_more,
        "data": items,
    }))
}
