//! What replicas share: one Redis, and times that fit one another.

use super::Checker;
use crate::document::KeyPath;
use crate::model::{JobsBackend, RedisKind, SharedRedis, SharedState, State, StateBackend};
use crate::raw::RawState;

impl Checker<'_> {
    pub(super) fn state(&mut self, raw: &RawState, jobs: &JobsBackend) -> State {
        let at = KeyPath::from(["state"]);
        let budgets = self.budget_store(raw, jobs);
        let shared = SharedState {
            redis: self.shared_redis(&at, raw, jobs),
            prefix: match (&raw.redis_url, jobs) {
                (None, JobsBackend::Redis { prefix, .. }) => prefix.clone(),
                _ => raw.redis_prefix.clone(),
            },
            ..raw.shared.clone()
        };
        let ahead = ("lease_ahead", shared.lease_ahead);
        self.not_shorter(&at, ahead, ("exchange_interval", shared.exchange_interval));
        if shared.lease_ahead.as_secs_f64() > 60.0 {
            self.problem(&at.key("lease_ahead"), "must not be longer than 60s");
        }
        if shared.timeout.as_secs_f64() > 10.0 {
            self.problem(&at.key("timeout"), "must not be longer than 10s");
        }
        let is_shared = raw.backend == StateBackend::Redis;
        State { budgets, budget_flush: raw.budget_flush, shared: is_shared.then_some(shared) }
    }

    fn shared_redis(&mut self, at: &KeyPath, raw: &RawState, jobs: &JobsBackend) -> SharedRedis {
        let master = raw.sentinel_master.clone().unwrap_or_default();
        let is_sentinel = raw.redis_kind == RedisKind::Sentinel;
        if is_sentinel == master.trim().is_empty() {
            let message = "goes with redis_kind = \"sentinel\", and only with it";
            self.problem(&at.key("sentinel_master"), message);
        }
        let (is_wanted, kind) = (raw.backend == StateBackend::Redis, raw.redis_kind);
        let urls = match (&raw.redis_url, jobs) {
            (Some(urls), _) if is_wanted => urls.clone(),
            (None, JobsBackend::Redis { url, .. }) if kind == RedisKind::Standalone => url.clone(),
            _ => {
                if is_wanted && !self.document.mentions(&at.key("redis_url")) {
                    self.problem(&at.key("backend"), "\"redis\" needs 'redis_url' beside it");
                }
                "".into()
            }
        };
        SharedRedis { kind, urls, master }
    }
}
