//! What replicas share: one Redis, and times that fit one another.

use super::Checker;
use crate::config::document::KeyPath;
use crate::config::model::{JobsBackend, RedisKind, SharedRedis, SharedState, State, StateBackend};
use crate::config::raw::RawState;

impl Checker<'_> {
    pub(super) fn state(&mut self, raw: &RawState, jobs: &JobsBackend) -> State {
        let at = KeyPath::from(["state"]);
        let budgets = self.budget_store(raw, jobs);
        let budget_flush = self.duration(&at.key("budget_flush"), &raw.budget_flush);
        let shared = SharedState {
            redis: self.shared_redis(&at, raw, jobs),
            prefix: match (&raw.redis_url, jobs) {
                (None, JobsBackend::Redis { prefix, .. }) => prefix.clone(),
                _ => raw.redis_prefix.clone(),
            },
            timeout: self.duration(&at.key("timeout"), &raw.timeout),
            exchange_interval: self.duration(&at.key("exchange_interval"), &raw.exchange_interval),
            max_exchanges_per_second: raw.max_exchanges_per_second,
            lease_ahead: self.duration(&at.key("lease_ahead"), &raw.lease_ahead),
            max_lease: raw.max_lease,
            lease_idle: self.duration(&at.key("lease_idle"), &raw.lease_idle),
            heartbeat: self.duration(&at.key("heartbeat"), &raw.heartbeat),
            replicas: raw.replicas,
        };
        if shared.lease_ahead < shared.exchange_interval {
            self.problem(&at.key("lease_ahead"), "must not be shorter than exchange_interval");
        }
        if shared.lease_ahead.as_secs_f64() > 60.0 {
            self.problem(&at.key("lease_ahead"), "must not be longer than 60s");
        }
        if shared.timeout.as_secs_f64() > 10.0 {
            self.problem(&at.key("timeout"), "must not be longer than 10s");
        }
        let is_shared = raw.backend == StateBackend::Redis;
        State { budgets, budget_flush, shared: is_shared.then_some(shared) }
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
            (Some(urls), _) if is_wanted => {
                let urls = match kind {
                    // What is wrong with one is said where budgets are looked at.
                    RedisKind::Standalone => {
                        Ok(urls.read(self.env, self.base).unwrap_or_else(|_| "".into()))
                    }
                    RedisKind::Sentinel | RedisKind::Cluster => urls.read_all(self.env, self.base),
                };
                urls.unwrap_or_else(|why| {
                    self.problem(&at.key("redis_url"), why);
                    "".into()
                })
            }
            (None, JobsBackend::Redis { url, .. }) if kind == RedisKind::Standalone => url.clone(),
            (None, _) if is_wanted => {
                self.problem(&at.key("backend"), "\"redis\" needs 'redis_url' beside it");
                "".into()
            }
            _ => "".into(),
        };
        SharedRedis { kind, urls, master }
    }
}
