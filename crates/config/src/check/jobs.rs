//! The job queue: one backend with what it needs, and limits that fit one another.

use super::Checker;
use crate::document::KeyPath;
use crate::model::{JobQueue, Jobs, JobsBackend};
use crate::raw::RawJobs;
use crate::secret::Secret;
use crate::{files, redis_url};

impl Checker<'_> {
    pub(super) fn jobs(&mut self, raw: &RawJobs) -> Jobs {
        let at = KeyPath::from(["jobs"]);
        let [analysis, chat, test] = self.job_queues(raw);
        let jobs = Jobs {
            backend: self.jobs_backend(&at, &raw.jobs.backend),
            analysis,
            chat,
            test,
            ..raw.jobs.clone()
        };
        if jobs.heartbeat.subsec_nanos() != 0 {
            self.problem(&at.key("heartbeat"), "must be whole seconds");
        }
        let max = ("retry_max_delay", jobs.retry_max_delay);
        self.not_shorter(&at, max, ("retry_base_delay", jobs.retry_base_delay));
        jobs
    }

    fn jobs_backend(&mut self, at: &KeyPath, raw: &JobsBackend) -> JobsBackend {
        let (is_sqlite, is_redis) = match raw {
            JobsBackend::Off => (false, false),
            JobsBackend::Sqlite { .. } => (true, false),
            JobsBackend::Redis { .. } => (false, true),
        };
        for (key, is_used, name) in [
            ("path", is_sqlite, "sqlite"),
            ("redis_url", is_redis, "redis"),
            ("redis_prefix", is_redis, "redis"),
        ] {
            if !is_used && self.document.mentions(&at.key(key)) {
                self.warnings
                    .push(format!("jobs.{key} has no effect unless backend is \"{name}\""));
            }
        }
        match raw {
            JobsBackend::Sqlite { path } => {
                JobsBackend::Sqlite { path: files::resolve(self.base, path) }
            }
            JobsBackend::Redis { url, .. } => {
                self.one_redis(&at.key("redis_url"), url);
                raw.clone()
            }
            JobsBackend::Off => JobsBackend::Off,
        }
    }

    /// Checks that of several URLs of Redis there is one. Those that are wrong are reported already.
    pub(super) fn one_redis(&mut self, at: &KeyPath, url: &Secret) {
        if !url.expose().is_empty() && !redis_url::is_redis_url(url.expose()) {
            let message = "names something that is not a URL such as \"redis://localhost:6379/0\"";
            self.problem(at, message);
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
