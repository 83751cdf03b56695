//! The connection of a replica to Redis: for commands, and for the channel of events.
//!
//! Both are opened together and given up together at the first failure; then both are opened again, from
//! resolving the addresses on. Every step has a time limit. All keys have one hash tag, so that a cluster
//! keeps them on one node. No error contains the URLs, which may hold passwords.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use redis::{RedisError, Script};

use super::event::FleetEvent;
use super::ledger::{LearnedLimit, LeaseGrant, LeaseRequest, LedgerConfig};
use crate::storage::redis::{RedisFailure, Server, Socket};
use crate::system::time::timeout;

/// Why the fleet could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Redis refused, was unreachable or did not answer in time.
    #[error(transparent)]
    Redis(#[from] RedisFailure),
    /// Redis sent something else than the protocol allows.
    #[error("unexpected reply from Redis")]
    Protocol,
}

impl From<RedisError> for FleetError {
    fn from(error: RedisError) -> Self {
        FleetError::Redis(error.into())
    }
}

fn timed_out(limit: Duration) -> FleetError {
    FleetError::Redis(RedisFailure::Slow(limit))
}

/// Connects, and subscribes to `channel`.
pub(super) async fn connect(server: &Server, channel: &str) -> Result<FleetConnection, FleetError> {
    // Several steps, each of which may take as long as a sync.
    let limit = server.limit() * 4;
    let connect = timeout(limit, open(server, channel));
    let (commands, messages) = connect.await.map_err(|_| timed_out(limit))??;
    Ok(FleetConnection { commands, messages, timeout: server.limit() })
}

async fn open(server: &Server, channel: &str) -> Result<(Socket, Messages), FleetError> {
    let (commands, subscriber) = server.dial_with_subscriber().await?;
    let mut pubsub = subscriber.get_async_pubsub().await?;
    pubsub.subscribe(channel).await?;
    let messages = pubsub.into_on_message();
    let texts = messages.filter_map(|message| async move { message.get_payload().ok() });
    Ok((commands, Box::pin(texts)))
}

type Messages = Pin<Box<dyn Stream<Item = String> + Send>>;

/// A connection with a subscription.
pub(super) struct FleetConnection {
    commands: Socket,
    messages: Messages,
    timeout: Duration,
}

/// What a replica reports of itself in a sync.
pub(super) struct Membership<'a> {
    pub(super) replica: &'a str,
    pub(super) ttl: Duration,
    pub(super) is_heartbeat: bool,
}

/// The answer to a sync.
#[derive(Debug)]
pub(super) struct SyncReply {
    pub(super) replicas: u32,
    /// How often cooldowns have changed.
    pub(super) cooldowns_version: u64,
    /// One for each request, in their order.
    pub(super) grants: Vec<LeaseGrant>,
}

/// The scripts, and the prefix of all keys.
pub(super) struct Scripts {
    sync: Script,
    publish: Script,
    prefix: String,
}

impl Scripts {
    pub(super) fn new(prefix: &str) -> Scripts {
        Scripts {
            sync: Script::new(include_str!("sync.lua")),
            publish: Script::new(include_str!("publish.lua")),
            // The hash tag puts all keys into one slot of a cluster.
            prefix: format!("{{{prefix}}}:fleet"),
        }
    }

    pub(super) fn channel(&self) -> String {
        format!("{}:notices", self.prefix)
    }

    fn cooldowns(&self) -> String {
        format!("{}:cooldowns", self.prefix)
    }
}

impl FleetConnection {
    /// The next message of the channel; `None` when the connection is lost.
    pub(super) async fn message(&mut self) -> Option<String> {
        self.messages.next().await
    }

    /// One sync with the ledger: one command.
    pub(super) async fn sync(
        &mut self,
        scripts: &Scripts,
        membership: &Membership<'_>,
        config: &LedgerConfig,
        requests: &[LeaseRequest],
    ) -> Result<SyncReply, FleetError> {
        let mut call = scripts.sync.prepare_invoke();
        call.key(format!("{}:members", scripts.prefix)).key(scripts.cooldowns());
        call.arg(membership.replica).arg(micros(membership.ttl));
        call.arg(u8::from(membership.is_heartbeat));
        call.arg(micros(config.lease_ahead)).arg(micros(config.lease_ttl));
        for request in requests {
            call.key(format!("{}:quota:{}", scripts.prefix, request.entry));
            let number = |number: Option<f64>| number.map(|it| it.to_string()).unwrap_or_default();
            call.arg(&request.holder);
            call.arg(number(request.bucket.map(|bucket| bucket.per_minute)));
            call.arg(number(request.bucket.map(|bucket| bucket.capacity)));
            for figure in [
                request.held,
                request.returned_total,
                request.returned_acknowledged,
                request.granted_total,
                request.used,
                request.minimum,
                request.wanted,
            ] {
                call.arg(number(Some(figure)));
            }
            call.arg(number(request.last_seen.map(|seen| seen.level)));
            call.arg(request.last_seen.map(|seen| seen.at.to_string()).unwrap_or_default());
            call.arg(request.proposal.map(|it| it.version.to_string()).unwrap_or_default());
            call.arg(number(request.proposal.and_then(|proposal| proposal.per_minute)));
        }
        let limit = self.timeout;
        let answer = timeout(limit, call.invoke_async::<Vec<String>>(&mut self.commands));
        let answer = answer.await.map_err(|_| timed_out(limit))??;
        parse_reply(&answer)
            .filter(|reply| reply.grants.len() == requests.len())
            .ok_or(FleetError::Protocol)
    }

    /// Publishes an event, and stores the cooldown that it begins or ends.
    pub(super) async fn publish(
        &mut self,
        scripts: &Scripts,
        replica: &str,
        event: &FleetEvent,
    ) -> Result<(), FleetError> {
        let (verb, pause, throttles, is_quota, target) = event.arguments();
        let mut call = scripts.publish.prepare_invoke();
        call.key(scripts.cooldowns()).arg(replica).arg(scripts.channel()).arg(verb);
        call.arg(pause).arg(throttles).arg(is_quota).arg(target);
        let limit = self.timeout;
        let answer = timeout(limit, call.invoke_async::<Vec<String>>(&mut self.commands));
        answer.await.map_err(|_| timed_out(limit))??;
        Ok(())
    }

    /// How often cooldowns have changed, and all that run.
    pub(super) async fn cooldowns(
        &mut self,
        scripts: &Scripts,
    ) -> Result<(u64, Vec<FleetEvent>), FleetError> {
        let mut all = redis::pipe();
        all.cmd("TIME").cmd("HGETALL").arg(scripts.cooldowns());
        let limit = self.timeout;
        type Answer = ((u64, u64), Vec<(String, String)>);
        let answer = timeout(limit, all.query_async::<Answer>(&mut self.commands));
        let ((seconds, micros), fields) = answer.await.map_err(|_| timed_out(limit))??;
        let now = seconds * 1_000_000 + micros;
        let version = fields.iter().find(|(name, _)| name == "version");
        let version = version.and_then(|(_, text)| text.parse().ok()).unwrap_or(0);
        let running = fields.iter().filter_map(|(name, value)| {
            FleetEvent::running_cooldown(name.strip_prefix("t:")?, value, now)
        });
        Ok((version, running.collect()))
    }
}

fn parse_reply(answer: &[String]) -> Option<SyncReply> {
    let [_, replicas, cooldowns_version, grants @ ..] = answer else { return None };
    Some(SyncReply {
        replicas: replicas.parse().ok()?,
        cooldowns_version: cooldowns_version.parse().ok()?,
        grants: grants.iter().map(|text| parse_grant(text)).collect::<Option<_>>()?,
    })
}

fn parse_grant(text: &str) -> Option<LeaseGrant> {
    let words: Vec<&str> = text.split(' ').collect();
    let [granted_now, granted_later, due_in, level, at, used, version, learned] = words.as_slice()
    else {
        return None;
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    Some(LeaseGrant {
        granted_now: number(granted_now)?,
        granted_later: number(granted_later)?,
        due_in: Duration::from_micros(number(due_in)? as u64),
        level: number(level)?,
        at: number(at)? as u64,
        used_in_a_minute: number(used)?,
        learned: LearnedLimit { version: number(version)? as u64, per_minute: number(learned) },
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
