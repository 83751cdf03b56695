//! The job queue: one backend with what it needs, and limits that fit one another.

use std::time::Duration;

use super::Checker;
use crate::config::document::KeyPath;
use crate::config::files;
use crate::config::model::{JobQueue, Jobs, JobsBackend};
use crate::config::raw::{RawJobs, RawJobsBackend};
use crate::config::units::DurationText;

/// The limits of one queue as the file says them.
struct RawJobQueue<'a> {
    name: &'static str,
    per_minute: u32,
    workers: usize,
    time_limit: &'a DurationText,
    soft_time_limit: &'a DurationText,
    retries: u32,
}

impl Checker<'_> {
    pub(super) fn jobs(&mut self, raw: &RawJobs) -> Jobs {
        let at = KeyPath::from(["jobs"]);
        let jobs = Jobs {
            backend: self.jobs_backend(&at, raw),
            max_waiting: raw.max_waiting,
            rate_window: self.duration(&at.key("rate_window"), &raw.rate_window),
            result_ttl: self.duration(&at.key("result_ttl"), &raw.result_ttl),
            heartbeat: self.heartbeat(&at.key("heartbeat"), &raw.heartbeat),
            poll_interval: self.duration(&at.key("poll_interval"), &raw.poll_interval),
            timeout: self.duration(&at.key("timeout"), &raw.timeout),
            retry_base_delay: self
                .duration_or_zero(&at.key("retry_base_delay"), &raw.retry_base_delay),
            retry_max_delay: self
                .duration_or_zero(&at.key("retry_max_delay"), &raw.retry_max_delay),
            analysis: self.job_queue(RawJobQueue {
                name: "analysis",
                per_minute: raw.analysis_per_minute,
                workers: raw.analysis_workers,
                time_limit: &raw.analysis_time_limit,
                soft_time_limit: &raw.analysis_soft_time_limit,
                retries: raw.analysis_retries,
            }),
            chat: self.job_queue(RawJobQueue {
                name: "chat",
                per_minute: raw.chat_per_minute,
                workers: raw.chat_workers,
                time_limit: &raw.chat_time_limit,
                soft_time_limit: &raw.chat_soft_time_limit,
                retries: raw.chat_retries,
            }),
            test: self.job_queue(RawJobQueue {
                name: "test",
                per_minute: raw.test_per_minute,
                workers: raw.test_workers,
                time_limit: &raw.test_time_limit,
                soft_time_limit: &raw.test_soft_time_limit,
                retries: raw.test_retries,
            }),
        };
        if jobs.retry_max_delay < jobs.retry_base_delay {
            self.problem(&at.key("retry_max_delay"), "must not be shorter than retry_base_delay");
        }
        jobs
    }

    fn jobs_backend(&mut self, at: &KeyPath, raw: &RawJobs) -> JobsBackend {
        for (key, owner, name) in [
            ("path", RawJobsBackend::Sqlite, "sqlite"),
            ("redis_url", RawJobsBackend::Redis, "redis"),
            ("redis_prefix", RawJobsBackend::Redis, "redis"),
        ] {
            if raw.backend != owner && self.document.mentions(&at.key(key)) {
                self.warnings
                    .push(format!("jobs.{key} has no effect unless backend is \"{name}\""));
            }
        }
        if raw.path.trim().is_empty() {
            self.problem(&at.key("path"), "must not be empty");
        }
        let prefix = raw.redis_prefix.as_str();
        self.redis_prefix(&at.key("redis_prefix"), prefix);
        match raw.backend {
            RawJobsBackend::Redis => {
                let url = raw.redis_url.read(self.env, self.base).unwrap_or_else(|why| {
                    self.problem(&at.key("redis_url"), why);
                    "".into()
                });
                JobsBackend::Redis { url, prefix: prefix.to_owned() }
            }
            other => {
                if let Err(why) = raw.redis_url.check() {
                    self.problem(&at.key("redis_url"), why);
                }
                match other {
                    RawJobsBackend::Sqlite => {
                        JobsBackend::Sqlite { path: files::resolve(self.base, &raw.path) }
                    }
                    _ => JobsBackend::Off,
                }
            }
        }
    }

    pub(super) fn redis_prefix(&mut self, at: &KeyPath, prefix: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.chars().all(fits) {
            self.problem(at, "is 1 to 64 letters, digits, '_' and '-'");
        }
    }

    fn heartbeat(&mut self, at: &KeyPath, text: &DurationText) -> Duration {
        let heartbeat = self.duration(at, text);
        if heartbeat.subsec_nanos() != 0 {
            self.problem(at, "must be whole seconds");
        }
        heartbeat
    }

    fn job_queue(&mut self, raw: RawJobQueue<'_>) -> JobQueue {
        let at = |key: &str| KeyPath::from(["jobs", &format!("{}_{key}", raw.name)]);
        let time_limit = self.duration(&at("time_limit"), raw.time_limit);
        let soft_time_limit = self.duration(&at("soft_time_limit"), raw.soft_time_limit);
        if !time_limit.is_zero() && soft_time_limit >= time_limit {
            let message = format!("must be shorter than {}_time_limit", raw.name);
            self.problem(&at("soft_time_limit"), message);
        }
        JobQueue {
            per_minute: raw.per_minute,
            workers: raw.workers,
            time_limit,
            soft_time_limit,
            retries: raw.retries,
        }
    }
}
