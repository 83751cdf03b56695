//! The job queue: one backend with what it needs, and limits that fit one another.

use super::Checker;
use crate::config::document::KeyPath;
use crate::config::files;
use crate::config::model::{JobQueue, Jobs, JobsBackend};
use crate::config::raw::{RawJobs, RawJobsBackend};

impl Checker<'_> {
    pub(super) fn jobs(&mut self, raw: &RawJobs) -> Jobs {
        let at = KeyPath::from(["jobs"]);
        let [analysis, chat, test] = self.job_queues(raw);
        let jobs =
            Jobs { backend: self.jobs_backend(&at, raw), analysis, chat, test, ..raw.jobs.clone() };
        if jobs.heartbeat.subsec_nanos() != 0 {
            self.problem(&at.key("heartbeat"), "must be whole seconds");
        }
        let max = ("retry_max_delay", jobs.retry_max_delay);
        self.not_shorter(&at, max, ("retry_base_delay", jobs.retry_base_delay));
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

    /// The queues of analyses, chats and connection tests.
    fn job_queues(&mut self, raw: &RawJobs) -> [JobQueue; 3] {
        let queues = [
            JobQueue {
                per_minute: raw.analysis_per_minute,
                workers: raw.analysis_workers,
                time_limit: raw.analysis_time_limit,
                soft_time_limit: raw.analysis_soft_time_limit,
                retries: raw.analysis_retries,
            },
            JobQueue {
                per_minute: raw.chat_per_minute,
                workers: raw.chat_workers,
                time_limit: raw.chat_time_limit,
                soft_time_limit: raw.chat_soft_time_limit,
                retries: raw.chat_retries,
            },
            JobQueue {
                per_minute: raw.test_per_minute,
                workers: raw.test_workers,
                time_limit: raw.test_time_limit,
                soft_time_limit: raw.test_soft_time_limit,
                retries: raw.test_retries,
            },
        ];
        for (name, queue) in ["analysis", "chat", "test"].iter().zip(&queues) {
            let (hard, soft) = (format!("{name}_time_limit"), format!("{name}_soft_time_limit"));
            let [hard_at, soft_at] = [&hard, &soft].map(|key| KeyPath::from(["jobs", key]));
            let is_refused = self.is_refused(&hard_at) || self.is_refused(&soft_at);
            if queue.soft_time_limit >= queue.time_limit && !is_refused {
                self.problem(&soft_at, format!("must be shorter than {hard}"));
            }
        }
        queues
    }
}
