//! Jobs in Redis, for replicas that share their work.
//!
//! Each change of a job is one Lua script, which is atomic and uses the clock of Redis.
//! A script names every key that it uses, and all keys have one hash tag, as a cluster requires.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::redis::{FromRedisValue, RedisError, Script, ScriptInvocation, Value};
use uuid::Uuid;

use super::{
    Claim, ClaimLimits, Counts, JobResult, MAX_STARTS, NewJob, Queue, Record, Start, Submitted,
    Worker, complete, from_millis, millis, too_many_starts,
};
use crate::config::Jobs;
use crate::jobs::record::State;
use crate::storage::StoreError;
use crate::storage::redis::Redis;

/// A heartbeat that is further ahead than this dates from before the clock was set back.
const AHEAD_SECONDS: u64 = 60;

/// How long Redis keeps the key that a check of a server in doubt writes.
const PROBE_SECONDS: u64 = 60;

#[derive(Clone)]
pub(in crate::jobs) struct RedisStore {
    redis: Redis,
    scripts: Arc<Scripts>,
    keys: Keys,
    max_waiting: usize,
    result_ttl: i64,
    limit: Duration,
}

struct Scripts {
    submit: Script,
    void: Script,
    claim: Script,
    start: Script,
    progress: Script,
    retry: Script,
    finish: Script,
    renew: Script,
    release: Script,
    adopt: Script,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

impl RedisStore {
    pub(super) fn new(url: &str, prefix: &str, config: &Jobs) -> Result<RedisStore, StoreError> {
        Ok(RedisStore {
            redis: Redis::new(url, config.timeout)?,
            scripts: Arc::new(Scripts {
                submit: Script::new(include_str!("lua/submit.lua")),
                void: Script::new(include_str!("lua/void.lua")),
                claim: Script::new(include_str!("lua/claim.lua")),
                start: Script::new(include_str!("lua/start.lua")),
                progress: Script::new(include_str!("lua/progress.lua")),
                retry: Script::new(include_str!("lua/retry.lua")),
                finish: Script::new(include_str!("lua/finish.lua")),
                renew: Script::new(include_str!("lua/renew.lua")),
                release: Script::new(include_str!("lua/release.lua")),
                adopt: Script::new(include_str!("lua/adopt.lua")),
            }),
            keys: Keys { prefix: prefix.to_owned() },
            max_waiting: config.max_waiting,
            result_ttl: millis(config.result_ttl),
            limit: config.timeout,
        })
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let mut connection = self.redis.connection();
        Ok(self.redis.in_time(invocation.invoke_async(&mut connection)).await?)
    }

    /// Asks for all queues in one command, to keep an idle process cheap. Writes a key if the server
    /// is in doubt, because a server that is full, or that has become a replica, still answers reads.
    pub(super) async fn check(&self, in_doubt: bool) -> Result<bool, StoreError> {
        let mut connection = self.redis.connection();
        let mut pipeline = ::redis::pipe();
        if in_doubt {
            let probe = self.keys.probe();
            pipeline.cmd("SET").arg(probe).arg(1).arg("EX").arg(PROBE_SECONDS).ignore();
        }
        pipeline.cmd("EXISTS").arg(&Queue::ALL.map(|queue| self.keys.of_queue(queue, "ready")));
        let (queues,): (u64,) = self.redis.in_time(pipeline.query_async(&mut connection)).await?;
        Ok(queues > 0)
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) async fn submit(&self, id: Uuid, job: &NewJob) -> Result<Submitted, StoreError> {
        let mut invocation = self.scripts.submit.key(self.keys.job(id));
        invocation
            .key(self.keys.of_queue(job.queue, "waiting"))
            .key(self.keys.of_queue(job.queue, "ready"))
            .arg(id.to_string())
            .arg(job.queue.name())
            .arg(job.owner.as_deref().unwrap_or_default())
            .arg(&job.subject)
            .arg(job.payload.to_string())
            .arg(self.max_waiting);
        let kept: i64 = self.invoke(&invocation).await?;
        Ok(if kept == 0 { Submitted::Full } else { Submitted::Accepted })
    }

    pub(super) async fn claim(
        &self,
        queue: Queue,
        lease: Duration,
        takes_over: bool,
        excluded: &[Uuid],
    ) -> Result<Option<Claim>, StoreError> {
        let mut invocation = self.scripts.claim.key(self.keys.of_queue(queue, "ready"));
        invocation.arg(millis(lease)).arg(u8::from(takes_over));
        for id in excluded {
            invocation.arg(id.to_string());
        }
        let Some(id) = self.invoke::<Option<String>>(&invocation).await? else { return Ok(None) };
        Ok(Some(Claim::new(queue, id.parse().map_err(StoreError::unreadable)?)))
    }

    pub(super) async fn start(
        &self,
        claim: Claim,
        limits: ClaimLimits,
        takes_over: bool,
    ) -> Result<Start, StoreError> {
        let mut invocation = self.scripts.start.key(self.keys.job(claim.job));
        self.add_sets(&mut invocation, claim.queue);
        invocation
            .key(self.keys.of_queue(claim.queue, "starts"))
            .arg(claim.job.to_string())
            .arg(claim.token.to_string())
            .arg(limits.starts)
            .arg(millis(limits.window))
            .arg(millis(limits.lease))
            .arg(MAX_STARTS)
            .arg(self.result_ttl)
            .arg(too_many_starts())
            .arg(u8::from(takes_over));
        let answer: Vec<Value> = self.invoke(&invocation).await?;
        started(answer)
    }

    fn add_sets(&self, invocation: &mut ScriptInvocation<'_>, queue: Queue) {
        for set in ["waiting", "reserved", "running", "ready"] {
            invocation.key(self.keys.of_queue(queue, set));
        }
    }

    pub(super) async fn progress(&self, claim: Claim, percent: u8) -> Result<(), StoreError> {
        let mut invocation = self.scripts.progress.key(self.keys.job(claim.job));
        invocation.arg(claim.token.to_string()).arg(percent);
        self.invoke::<i64>(&invocation).await?;
        Ok(())
    }

    pub(super) async fn retry(&self, claim: Claim, error: &str) -> Result<bool, StoreError> {
        let mut invocation = self.scripts.retry.key(self.keys.job(claim.job));
        invocation
            .key(self.keys.of_queue(claim.queue, "waiting"))
            .key(self.keys.of_queue(claim.queue, "running"))
            .arg(claim.job.to_string())
            .arg(claim.token.to_string())
            .arg(error);
        Ok(self.invoke::<i64>(&invocation).await? > 0)
    }

    pub(super) async fn finish(
        &self,
        claim: Claim,
        result: &JobResult,
    ) -> Result<bool, StoreError> {
        let Claim { queue, job, token } = claim;
        let token = token.to_string();
        match result {
            JobResult::Done(value) => {
                let value = value.to_string();
                self.end(queue, job, &token, State::Done, "result", &value).await
            }
            JobResult::Failed(error) => {
                self.end(queue, job, &token, State::Failed, "error", error).await
            }
        }
    }

    pub(super) async fn cancel(&self, id: Uuid) -> Result<(), StoreError> {
        let Some(queue) = self.queue_of(id).await? else { return Ok(()) };
        self.end(queue, id, "", State::Cancelled, "", "").await.map(|_| ())
    }

    pub(super) async fn abandon(&self, queue: Queue, id: Uuid) -> Result<(), StoreError> {
        let mut invocation = self.scripts.void.key(self.keys.job(id));
        invocation.arg(queue.name()).arg(self.result_ttl);
        self.invoke::<i64>(&invocation).await?;
        self.end(queue, id, "", State::Cancelled, "", "").await.map(|_| ())
    }

    async fn end(
        &self,
        queue: Queue,
        id: Uuid,
        token: &str,
        state: State,
        field: &str,
        text: &str,
    ) -> Result<bool, StoreError> {
        let mut invocation = self.scripts.finish.key(self.keys.job(id));
        self.add_sets(&mut invocation, queue);
        invocation
            .arg(id.to_string())
            .arg(token)
            .arg(state.name())
            .arg(field)
            .arg(text)
            .arg(self.result_ttl);
        Ok(self.invoke::<i64>(&invocation).await? > 0)
    }

    /// The queue of a job, which never changes.
    async fn queue_of(&self, id: Uuid) -> Result<Option<Queue>, StoreError> {
        let mut connection = self.redis.connection();
        let mut get = ::redis::cmd("HGET");
        get.arg(self.keys.job(id)).arg("queue");
        let queue: Option<String> = self.redis.in_time(get.query_async(&mut connection)).await?;
        queue.map(|queue| queue.parse().map_err(StoreError::unreadable)).transpose()
    }

    pub(super) async fn renew(
        &self,
        claims: &[Claim],
        lease: Duration,
    ) -> Result<Vec<Claim>, StoreError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let mut invocation = self.scripts.renew.arg(millis(lease));
        for claim in claims {
            invocation
                .key(self.keys.job(claim.job))
                .key(self.keys.of_queue(claim.queue, "ready"))
                .arg(claim.job.to_string())
                .arg(claim.token.to_string());
        }
        let lost: Vec<usize> = self.invoke(&invocation).await?;
        Ok(lost.iter().filter_map(|number| claims.get(number.checked_sub(1)?).copied()).collect())
    }

    pub(super) async fn release(&self, claim: Claim) -> Result<(), StoreError> {
        let mut invocation = self.scripts.release.key(self.keys.job(claim.job));
        invocation
            .key(self.keys.of_queue(claim.queue, "reserved"))
            .key(self.keys.of_queue(claim.queue, "ready"))
            .arg(claim.job.to_string())
            .arg(claim.token.to_string());
        self.invoke::<i64>(&invocation).await?;
        Ok(())
    }

    pub(super) async fn record(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        let mut connection = self.redis.connection();
        let mut get = ::redis::cmd("HGETALL");
        get.arg(self.keys.job(id));
        let mut fields: HashMap<String, String> =
            self.redis.in_time(get.query_async(&mut connection)).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        let mut text = |name: &str| fields.remove(name);
        let needed = |name: &str, text: Option<String>| {
            text.ok_or_else(|| StoreError::unreadable(format!("it has no {name}")))
        };
        let result = text("result").map(|result| serde_json::from_str(&result)).transpose();
        let progress = needed("progress", text("progress"))?;
        let record = Record {
            queue: needed("queue", text("queue"))?.parse().map_err(StoreError::unreadable)?,
            state: needed("state", text("state"))?.parse().map_err(StoreError::unreadable)?,
            owner: text("owner").filter(|owner| !owner.is_empty()),
            subject: needed("subject", text("subject"))?,
            progress: progress.parse().map_err(StoreError::unreadable)?,
            result: result.map_err(StoreError::unreadable)?,
            error: text("error"),
        };
        complete(record).map(Some)
    }

    pub(super) async fn counts(&self) -> Result<[Counts; 3], StoreError> {
        let mut pipeline = ::redis::pipe();
        for queue in Queue::ALL {
            for set in ["waiting", "reserved", "running"] {
                pipeline.cmd("SCARD").arg(self.keys.of_queue(queue, set));
            }
        }
        let mut connection = self.redis.connection();
        let sizes: Vec<u64> = self.redis.in_time(pipeline.query_async(&mut connection)).await?;
        let mut counts = [Counts::default(); 3];
        for (counts, sizes) in counts.iter_mut().zip(sizes.chunks(3)) {
            if let [waiting, reserved, running] = *sizes {
                *counts = Counts { waiting, reserved, running };
            }
        }
        Ok(counts)
    }

    pub(super) async fn heartbeat(&self, workers: &[Worker]) -> Result<(), StoreError> {
        let mut pipeline = ::redis::pipe();
        for worker in workers {
            let set = self.keys.of_queue(worker.queue, "workers");
            pipeline.cmd("ZADD").arg(set).arg(worker.seen).arg(&worker.name).ignore();
        }
        let mut connection = self.redis.connection();
        Ok(self.redis.in_time(pipeline.query_async(&mut connection)).await?)
    }

    pub(super) async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        let mut pipeline = ::redis::pipe();
        for queue in Queue::ALL {
            let set = self.keys.of_queue(queue, "workers");
            pipeline.cmd("ZRANGE").arg(set).arg(0).arg(-1).arg("WITHSCORES");
        }
        let mut connection = self.redis.connection();
        let queues: Vec<Vec<(String, u64)>> =
            self.redis.in_time(pipeline.query_async(&mut connection)).await?;
        let workers = Queue::ALL.into_iter().zip(queues).flat_map(|(queue, workers)| {
            workers.into_iter().map(move |(name, seen)| Worker { name, queue, seen })
        });
        Ok(workers.collect())
    }

    pub(super) async fn tidy(&self, lost_before: u64) -> Result<(), StoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut pipeline = ::redis::pipe();
        for queue in Queue::ALL {
            let mut invocation = self.scripts.adopt.key(self.keys.of_queue(queue, "waiting"));
            invocation
                .key(self.keys.of_queue(queue, "running"))
                .key(self.keys.of_queue(queue, "ready"));
            self.invoke::<i64>(&invocation).await?;
            let set = self.keys.of_queue(queue, "workers");
            let remove = |from: String, to: String| {
                let mut remove = ::redis::cmd("ZREMRANGEBYSCORE");
                remove.arg(&set).arg(from).arg(to);
                remove
            };
            pipeline.add_command(remove("-inf".to_owned(), format!("({lost_before}"))).ignore();
            let ahead = now.saturating_add(AHEAD_SECONDS);
            pipeline.add_command(remove(format!("({ahead}"), "+inf".to_owned())).ignore();
        }
        let mut connection = self.redis.connection();
        Ok(self.redis.in_time(pipeline.query_async(&mut connection)).await?)
    }
}

/// The names of keys. The braces are the hash tag that puts them all into one slot of a cluster.
#[derive(Clone, Debug)]
struct Keys {
    prefix: String,
}

impl Keys {
    fn job(&self, id: Uuid) -> String {
        format!("{{{}}}:job:{id}", self.prefix)
    }

    fn probe(&self) -> String {
        format!("{{{}}}:jobs_probe", self.prefix)
    }

    fn of_queue(&self, queue: Queue, what: &str) -> String {
        format!("{{{}}}:{}:{what}", self.prefix, queue.name())
    }
}

fn started(answer: Vec<Value>) -> Result<Start, StoreError> {
    let mut answer = answer.into_iter();
    let mut text = || -> Result<String, StoreError> {
        let value = answer
            .next()
            .ok_or_else(|| StoreError::unreadable("the reply of a script is too short"))?;
        String::from_redis_value(value)
            .map_err(|error| StoreError::unreadable(RedisError::from(error)))
    };
    match text()?.as_str() {
        "run" => Ok(Start::Run {
            payload: serde_json::from_str(&text()?).map_err(StoreError::unreadable)?,
            failures: text()?.parse().map_err(StoreError::unreadable)?,
        }),
        "not_yet" => {
            Ok(Start::NotYet(from_millis(text()?.parse().map_err(StoreError::unreadable)?)))
        }
        "held" => Ok(Start::Held(from_millis(text()?.parse().map_err(StoreError::unreadable)?))),
        "settled" => Ok(Start::Ended),
        other => Err(StoreError::unreadable(format!("unknown reply '{other}' of a script"))),
    }
}
