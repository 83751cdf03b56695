//! Jobs in Redis, for replicas that share their work.
//!
//! Each change of a job is one Lua script, so that it happens whole or not at all, by Redis's own
//! clock, whichever replica asks. A submission is two steps, the record and then apalis's ticket;
//! a record whose ticket is missing gets one when the store is tidied.

use std::time::Duration;

use ::redis::{FromRedisValue, RedisError, Script, ScriptInvocation, Value};
use apalis_core::backend::Vacuum;
use apalis_core::task::task_id::TaskId;
use apalis_redis::RedisStorage;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

use super::{
    Counts, End, Hold, Limits, MAX_STARTS, MISSED_HEARTBEATS, NewJob, Queue, Record, Start,
    StoreError, Submitted, Ticket, Worker, from_millis, gave_up, millis, ticket, unreadable,
};
use crate::config::Jobs;
use crate::jobs::record::State;
use crate::storage::redis::{Connection, Redis};

/// A record is left alone for this long before its ticket is missed.
const TICKET_GRACE_SECONDS: u64 = 10;

/// apalis keeps what it knows of a worker for ever; this long is enough after it was seen last.
const WORKER_TTL_SECONDS: u64 = 3600;

/// How long what a check wrote is kept.
const PROBE_SECONDS: u64 = 60;

#[derive(Clone)]
pub(in crate::jobs) struct RedisStore {
    redis: Redis,
    scripts: Arc<Scripts>,
    keys: Keys,
    max_waiting: usize,
    result_ttl: i64,
    heartbeat: Duration,
    limit: Duration,
}

struct Scripts {
    submit: Script,
    start: Script,
    progress: Script,
    retry: Script,
    finish: Script,
    renew: Script,
    orphans: Script,
}

impl std::fmt::Debug for RedisStore {
    // The scripts say nothing worth showing.
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
                start: Script::new(include_str!("lua/start.lua")),
                progress: Script::new(include_str!("lua/progress.lua")),
                retry: Script::new(include_str!("lua/retry.lua")),
                finish: Script::new(include_str!("lua/finish.lua")),
                renew: Script::new(include_str!("lua/renew.lua")),
                orphans: Script::new(include_str!("lua/orphans.lua")),
            }),
            keys: Keys { prefix: prefix.to_owned() },
            max_waiting: config.max_waiting,
            result_ttl: millis(config.result_ttl),
            heartbeat: config.heartbeat,
            limit: config.timeout,
        })
    }

    /// A storage for a worker of this queue. One ticket is fetched at a time.
    pub(in crate::jobs) fn tickets(&self, queue: Queue) -> RedisStorage<Ticket, Connection> {
        RedisStorage::new(self.redis.connection()).with_config(self.ticket_config(queue))
    }

    fn ticket_config(&self, queue: Queue) -> apalis_redis::Config {
        apalis_redis::Config::default()
            .queue(self.keys.of_queue(queue, "tickets"))
            .batch_size(1)
            .heartbeat_interval(self.heartbeat)
            .missed_heartbeats(MISSED_HEARTBEATS as usize)
            .emit_events(false)
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let mut connection = self.redis.connection();
        Ok(self.redis.in_time(invocation.invoke_async(&mut connection)).await?)
    }

    /// Sees whether it can be written, whether that is in doubt or not: one that is full, or that was
    /// made a replica, goes on to answer what is read.
    pub(super) async fn check(&self, _in_doubt: bool) -> Result<(), StoreError> {
        let mut connection = self.redis.connection();
        let mut call = ::redis::cmd("SET");
        call.arg(self.keys.probe()).arg(1).arg("EX").arg(PROBE_SECONDS);
        self.redis.in_time(call.query_async::<String>(&mut connection)).await?;
        Ok(())
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) async fn submit(&self, id: Uuid, job: &NewJob) -> Result<Submitted, StoreError> {
        let mut invocation = self.scripts.submit.key(self.keys.job(id));
        invocation
            .key(self.keys.of_queue(job.queue, "waiting"))
            .arg(id.to_string())
            .arg(job.queue.name())
            .arg(job.owner.as_deref().unwrap_or_default())
            .arg(&job.subject)
            .arg(job.payload.to_string())
            .arg(self.max_waiting);
        let kept: i64 = self.invoke(&invocation).await?;
        if kept == 0 {
            return Ok(Submitted::Full);
        }
        self.place_ticket(id, job.queue).await?;
        Ok(Submitted::Accepted)
    }

    async fn place_ticket(&self, id: Uuid, queue: Queue) -> Result<(), StoreError> {
        let mut connection = self.redis.connection();
        // It has the job's id, so that a job has one ticket and it can be found.
        let ticket = ticket(id)?.task_id(TaskId::from_uuid(id)).build();
        let (config, tickets) = (self.ticket_config(queue), [ticket]);
        let push = apalis_redis::queries::push_tasks(&mut connection, &config, &tickets);
        let pushed = self.redis.within_limit(push).await?;
        pushed.map_err(|error| StoreError::Ticket(error.to_string()))?;
        Ok(())
    }

    pub(super) async fn start(
        &self,
        hold: Hold,
        queue: Queue,
        limits: Limits,
    ) -> Result<Start, StoreError> {
        let mut invocation = self.scripts.start.key(self.keys.job(hold.job));
        self.add_sets(&mut invocation, queue);
        invocation
            .key(self.keys.of_queue(queue, "starts"))
            .arg(hold.job.to_string())
            .arg(hold.token.to_string())
            .arg(limits.starts)
            .arg(millis(limits.window))
            .arg(millis(limits.lease))
            .arg(MAX_STARTS)
            .arg(self.result_ttl)
            .arg(gave_up());
        let answer: Vec<Value> = self.invoke(&invocation).await?;
        started(answer)
    }

    fn add_sets(&self, invocation: &mut ScriptInvocation<'_>, queue: Queue) {
        for set in ["waiting", "reserved", "running"] {
            invocation.key(self.keys.of_queue(queue, set));
        }
    }

    pub(super) async fn progress(&self, hold: Hold, percent: u8) -> Result<(), StoreError> {
        let mut invocation = self.scripts.progress.key(self.keys.job(hold.job));
        invocation.arg(hold.token.to_string()).arg(percent);
        self.invoke::<i64>(&invocation).await?;
        Ok(())
    }

    pub(super) async fn retry(&self, hold: Hold, error: &str) -> Result<bool, StoreError> {
        let Some(queue) = self.queue_of(hold.job).await? else { return Ok(false) };
        let mut invocation = self.scripts.retry.key(self.keys.job(hold.job));
        invocation
            .key(self.keys.of_queue(queue, "waiting"))
            .key(self.keys.of_queue(queue, "running"))
            .arg(hold.job.to_string())
            .arg(hold.token.to_string())
            .arg(error);
        Ok(self.invoke::<i64>(&invocation).await? > 0)
    }

    pub(super) async fn finish(&self, hold: Hold, end: &End) -> Result<bool, StoreError> {
        let token = hold.token.to_string();
        match end {
            End::Done(result) => {
                self.end(hold.job, &token, State::Done, "result", &result.to_string()).await
            }
            End::Failed(error) => self.end(hold.job, &token, State::Failed, "error", error).await,
        }
    }

    pub(super) async fn cancel(&self, id: Uuid) -> Result<(), StoreError> {
        self.end(id, "", State::Cancelled, "", "").await.map(|_| ())
    }

    async fn end(
        &self,
        id: Uuid,
        token: &str,
        state: State,
        field: &str,
        text: &str,
    ) -> Result<bool, StoreError> {
        let Some(queue) = self.queue_of(id).await? else { return Ok(false) };
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
        queue.map(|queue| queue.parse().map_err(unreadable)).transpose()
    }

    pub(super) async fn renew(
        &self,
        holds: &[Hold],
        lease: Duration,
    ) -> Result<Vec<Hold>, StoreError> {
        if holds.is_empty() {
            return Ok(Vec::new());
        }
        let mut invocation = self.scripts.renew.arg(millis(lease));
        for hold in holds {
            invocation.key(self.keys.job(hold.job)).arg(hold.token.to_string());
        }
        let lost: Vec<usize> = self.invoke(&invocation).await?;
        Ok(lost.iter().filter_map(|number| holds.get(number.checked_sub(1)?).copied()).collect())
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
            text.ok_or_else(|| unreadable(format!("it has no {name}")))
        };
        let result = text("result").map(|result| serde_json::from_str(&result)).transpose();
        Ok(Some(Record {
            queue: needed("queue", text("queue"))?.parse().map_err(unreadable)?,
            state: needed("state", text("state"))?.parse().map_err(unreadable)?,
            owner: text("owner").filter(|owner| !owner.is_empty()),
            subject: text("subject").unwrap_or_default(),
            progress: text("progress").and_then(|text| text.parse().ok()).unwrap_or(0),
            result: result.map_err(unreadable)?,
            error: text("error"),
        }))
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

    pub(super) async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        let mut workers = Vec::new();
        for queue in Queue::ALL {
            let seen = self.seen(queue).await?;
            workers.extend(seen.into_iter().map(|(name, seen)| Worker { name, queue, seen }));
        }
        Ok(workers)
    }

    /// The names of a queue's workers, and when each was seen, in seconds since 1970.
    async fn seen(&self, queue: Queue) -> Result<Vec<(String, u64)>, StoreError> {
        let mut list = ::redis::cmd("ZRANGE");
        list.arg(self.ticket_config(queue).workers_set()).arg(0).arg(-1).arg("WITHSCORES");
        let mut connection = self.redis.connection();
        Ok(self.redis.in_time(list.query_async(&mut connection)).await?)
    }

    pub(super) async fn tidy(&self) -> Result<(), StoreError> {
        for queue in Queue::ALL {
            let tickets = self.ticket_config(queue);
            let mut invocation = self.scripts.orphans.key(self.keys.of_queue(queue, "waiting"));
            invocation
                .key(tickets.job_data_hash())
                .arg(self.keys.job_prefix())
                .arg(TICKET_GRACE_SECONDS);
            let orphans: Vec<String> = self.invoke(&invocation).await?;
            for orphan in orphans {
                self.place_ticket(orphan.parse().map_err(unreadable)?, queue).await?;
            }
            let mut storage = self.tickets(queue);
            let vacuum = self.redis.within_limit(storage.vacuum());
            let vacuumed = vacuum.await?;
            vacuumed.map_err(|error| StoreError::Ticket(error.to_string()))?;
            let mut pipeline = ::redis::pipe();
            // A list of what the vacuum has just thrown away.
            pipeline.cmd("DEL").arg(tickets.done_jobs_set()).ignore();
            for (name, _) in self.seen(queue).await? {
                let about = format!("{}:workers:metadata:{name}", tickets.queue);
                pipeline.cmd("EXPIRE").arg(about).arg(WORKER_TTL_SECONDS).ignore();
            }
            let mut connection = self.redis.connection();
            self.redis.in_time(pipeline.query_async::<()>(&mut connection)).await?;
        }
        Ok(())
    }
}

/// The names of keys. The braces put them all on one node of a cluster, where scripts need them.
#[derive(Clone, Debug)]
struct Keys {
    prefix: String,
}

impl Keys {
    fn job_prefix(&self) -> String {
        format!("{{{}}}:job:", self.prefix)
    }

    fn job(&self, id: Uuid) -> String {
        format!("{}{id}", self.job_prefix())
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
        let value = answer.next().ok_or_else(|| unreadable("the answer is too short"))?;
        String::from_redis_value(value).map_err(|error| unreadable(RedisError::from(error)))
    };
    match text()?.as_str() {
        "run" => Ok(Start::Run {
            payload: serde_json::from_str(&text()?).map_err(unreadable)?,
            failures: text()?.parse().map_err(unreadable)?,
        }),
        "not_yet" => Ok(Start::NotYet(from_millis(text()?.parse().map_err(unreadable)?))),
        "held" => Ok(Start::Held(from_millis(text()?.parse().map_err(unreadable)?))),
        "settled" => Ok(Start::Settled),
        other => Err(unreadable(format!("'{other}' is no answer"))),
    }
}
