//! What the simulator received and how each exchange ended, for tests to assert on.
//!
//! The log is a ring of bounded size. An entry is opened when a request's head is there and
//! closed once: by the end of its answer, by a fault that broke the connection, or by a client
//! that went away (the record is dropped before its end). Signatures, keys and session
//! tokens are left out; all other headers are kept as they came.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use http::HeaderMap;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use sluice_bedrock::Usage;

/// The state of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The answer is not complete yet.
    Open,
    /// The whole answer was handed to the connection.
    Finished,
    /// A scripted fault broke the connection.
    Broken,
    /// The client went away before the end.
    Disconnected,
}

/// One exchange. Times are milliseconds since the simulator's start.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Numbers entries from 1 up; never used twice, also after the log was cleared.
    pub seq: u64,
    /// When the request's head was there.
    pub at_ms: u64,
    /// When the exchange ended.
    pub ended_ms: Option<u64>,
    /// Which connection it came on, counted from 1.
    pub connection: u64,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// The id of the request, which the header `x-amzn-requestid` of its answer has; empty until it is given.
    pub request_id: String,
    /// The method.
    pub method: String,
    /// The path as on the wire, with the query.
    pub path: String,
    /// The operation, when the path names one.
    pub operation: Option<&'static str>,
    /// The model id, decoded, when the path or the body names one.
    pub model: Option<String>,
    /// `runtime` or `mantle`, for the APIs of OpenAI and Anthropic when it is known which one is meant.
    pub endpoint: Option<&'static str>,
    /// All headers by lower-case name, with every value they came with.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Length of the body in bytes.
    pub body_bytes: usize,
    /// SHA-256 of the body, hexadecimal.
    pub body_sha256: String,
    /// The beginning of the body; what is not UTF-8 is replaced.
    pub body: String,
    /// `valid`, `bearer`, `api_key`, `unchecked`, or the exception that the credentials got.
    pub signature: Option<&'static str>,
    /// The access key id of the signature.
    pub access_key_id: Option<String>,
    /// The region that the signature is scoped to.
    pub region: Option<String>,
    /// The kind of the scripted fault that was applied.
    pub fault: Option<String>,
    /// The status of the answer, when one was begun.
    pub status: Option<u16>,
    /// The error's name, when the answer was one.
    pub error: Option<String>,
    /// Event-stream frames handed to the connection.
    pub frames: u64,
    /// Input tokens of the answer, fresh ones only.
    pub input_tokens: u64,
    /// Output tokens generated until the end.
    pub output_tokens: u64,
    /// Input tokens that were read from a cache.
    pub cache_read_tokens: u64,
    /// Input tokens that were written to one.
    pub cache_write_tokens: u64,
    /// How the exchange ended.
    pub ending: Ending,
}

/// The log. Clones share it.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<LogState>,
}

#[derive(Debug)]
struct LogState {
    state: Mutex<State>,
    started: Instant,
    capacity: usize,
    body_bytes: usize,
    changes: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    next: u64,
    entries: VecDeque<Entry>,
}

impl Log {
    /// A log of the last `capacity` exchanges, each with at most `body_bytes` of its body.
    pub fn new(capacity: usize, body_bytes: usize) -> Self {
        Self {
            shared: Arc::new(LogState {
                state: Mutex::new(State { next: 1, entries: VecDeque::new() }),
                started: Instant::now(),
                capacity: capacity.max(1),
                body_bytes,
                changes: watch::Sender::new(()),
            }),
        }
    }

    /// At most `limit` entries after number `since`, oldest first.
    pub fn since(&self, since: u64, limit: usize) -> Vec<Entry> {
        let state = self.lock();
        state.entries.iter().filter(|e| e.seq > since).take(limit).cloned().collect()
    }

    /// All entries kept, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.since(0, usize::MAX)
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.lock().entries.clear();
        self.shared.changes.send_replace(());
    }

    /// Waits until an entry matches, and returns it. Has no time limit of its own.
    pub async fn wait_for(&self, wanted: impl Fn(&Entry) -> bool) -> Entry {
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(entry) = self.lock().entries.iter().find(|e| wanted(e)) {
                return entry.clone();
            }
            // The sender lives as long as this log.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn open(&self, connection: u64, head: &http::request::Parts) -> Record {
        let at_ms = self.now_ms();
        let mut state = self.lock();
        let seq = state.next;
        state.next += 1;
        if state.entries.len() >= self.shared.capacity {
            state.entries.pop_front();
        }
        state.entries.push_back(Entry {
            seq,
            at_ms,
            ended_ms: None,
            connection,
            protocol: format!("{:?}", head.version),
            request_id: String::new(),
            method: head.method.to_string(),
            path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            operation: None,
            model: None,
            endpoint: None,
            headers: shown_headers(&head.headers),
            body_bytes: 0,
            body_sha256: String::new(),
            body: String::new(),
            signature: None,
            access_key_id: None,
            region: None,
            fault: None,
            status: None,
            error: None,
            frames: 0,
            input_tokens: 0,
            output_tokens: 0,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            ending: Ending::Open,
        });
        drop(state);
        self.shared.changes.send_replace(());
        Record { log: self.clone(), seq, ended: false }
    }

    fn update(&self, seq: u64, change: impl FnOnce(&mut Entry)) {
        let mut state = self.lock();
        let found = state.entries.binary_search_by_key(&seq, |e| e.seq);
        if let Some(entry) = found.ok().and_then(|at| state.entries.get_mut(at)) {
            change(entry);
        }
        drop(state);
        self.shared.changes.send_replace(());
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }
}

/// An exchange under way. Dropped before it was ended, it counts as a client that went away.
#[derive(Debug)]
pub(super) struct Record {
    log: Log,
    seq: u64,
    ended: bool,
}

impl Record {
    /// The entry's number.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Entry)) {
        self.log.update(self.seq, change);
    }

    pub(super) fn note_body(&self, body: &[u8]) {
        let kept = body.get(..self.log.shared.body_bytes).unwrap_or(body);
        let sha256 = super::signature::sha256_hex(body);
        self.note(|entry| {
            entry.body_bytes = body.len();
            entry.body_sha256 = sha256;
            entry.body = String::from_utf8_lossy(kept).into_owned();
        });
    }

    pub(super) fn note_usage(&self, usage: Usage) {
        self.note(|entry| {
            entry.input_tokens = usage.input;
            entry.output_tokens = usage.output;
            entry.cache_read_tokens = usage.cache_read;
            entry.cache_write_tokens = usage.cache_write;
        });
    }

    /// Ends the exchange; the first end counts.
    pub(super) fn end(&mut self, ending: Ending) {
        if !std::mem::replace(&mut self.ended, true) {
            let now = self.log.now_ms();
            self.log.update(self.seq, |entry| {
                entry.ending = ending;
                entry.ended_ms = Some(now);
            });
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end(Ending::Disconnected);
    }
}

fn shown_headers(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        let text = match name.as_str() {
            "x-amz-security-token" | "x-api-key" => "(hidden)".to_owned(),
            "authorization" => match (text.split_once("Signature="), text.split_once(' ')) {
                (Some((before, _)), _) => format!("{before}Signature=(hidden)"),
                (None, Some((scheme, _))) => format!("{scheme} (hidden)"),
                (None, None) => "(hidden)".to_owned(),
            },
            _ => text.into_owned(),
        };
        shown.entry(name.as_str().to_owned()).or_default().push(text);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> http::request::Parts {
        let request = http::Request::get("/model/m/invoke?a=b")
            .header("authorization", "AWS4-HMAC-SHA256 Credential=K/x, Signature=abc")
            .header("authorization", "Bearer secret-key")
            .header("x-amz-security-token", "secret-token")
            .header("x-api-key", "other-secret")
            .header("cookie", "a=1");
        request.body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn the_oldest_go_first_and_numbers_go_on() {
        let log = Log::new(2, 10);
        for _ in 0..3 {
            log.open(1, &head()).end(Ending::Finished);
        }
        let seqs: Vec<u64> = log.entries().iter().map(|e| e.seq).collect();
        assert_eq!(seqs, [2, 3]);
        log.clear();
        drop(log.open(1, &head()));
        let entries = log.since(3, 10);
        assert_eq!((entries[0].seq, entries[0].ending), (4, Ending::Disconnected));
        assert_eq!(entries[0].path, "/model/m/invoke?a=b");
    }

    #[tokio::test]
    async fn secrets_are_left_out_and_other_headers_kept() {
        let log = Log::new(2, 10);
        drop(log.open(1, &head()));
        let text = serde_json::to_string(&log.entries()).unwrap();
        for secret in ["abc", "secret-key", "secret-token", "other-secret"] {
            assert!(!text.contains(secret), "{text}");
        }
        let headers = &log.entries()[0].headers;
        assert_eq!(headers["cookie"], ["a=1"]);
        assert_eq!(headers["authorization"].len(), 2);
    }
}
