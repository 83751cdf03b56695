//! The connections to Redis.
//!
//! A [`Link`](Connected) is made as a whole, connection and subscription, and given up as a whole at the
//! first failure: then it is made again, from the addresses on. Every step has a time limit. All keys
//! have one hash tag, so that on a cluster they lie on one node. The URLs, which may hold passwords, are
//! in no error.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use redis::{RedisError, Script};

use super::ledger::{Ask, Grant, Learned, Rules};
use super::notice::{self, Notice};
use crate::state::redis::{RedisFailure, Server, Socket};
use crate::system::time::timeout;

/// Why Redis did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It refused, was not there, or did not answer in time.
    #[error(transparent)]
    Redis(#[from] RedisFailure),
    /// It said something that makes no sense.
    #[error("Redis gave an answer that makes no sense")]
    Senseless,
}

impl From<RedisError> for LinkError {
    fn from(error: RedisError) -> Self {
        LinkError::Redis(error.into())
    }
}

fn slow(limit: Duration) -> LinkError {
    LinkError::Redis(RedisFailure::Slow(limit))
}

/// Connects, and subscribes to `channel`.
pub(super) async fn connect(server: &Server, channel: &str) -> Result<Connected, LinkError> {
    // Several steps, each of which may take as long as an exchange.
    let limit = server.limit() * 4;
    let connect = timeout(limit, connect_to(server, channel));
    let (connection, messages) = connect.await.map_err(|_| slow(limit))??;
    Ok(Connected { connection, messages, timeout: server.limit() })
}

async fn connect_to(server: &Server, channel: &str) -> Result<(Socket, Messages), LinkError> {
    let (connection, listener) = server.dial_with_listener().await?;
    let mut pubsub = listener.get_async_pubsub().await?;
    pubsub.subscribe(channel).await?;
    let messages = pubsub.into_on_message();
    let texts = messages.filter_map(|message| async move { message.get_payload().ok() });
    Ok((connection, Box::pin(texts)))
}

type Messages = Pin<Box<dyn Stream<Item = String> + Send>>;

/// A connection with a subscription.
pub(super) struct Connected {
    connection: Socket,
    messages: Messages,
    timeout: Duration,
}

/// What a replica says of itself in an exchange.
pub(super) struct Presence<'a> {
    pub(super) replica: &'a str,
    pub(super) ttl: Duration,
    pub(super) is_heartbeat: bool,
}

/// What an exchange told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) replicas: u32,
    /// How often cooldowns have changed.
    pub(super) cooldowns: u64,
    pub(super) grants: Vec<Grant>,
}

/// The scripts, with what all keys begin with.
pub(super) struct Scripts {
    exchange: Script,
    notice: Script,
    prefix: String,
}

impl Scripts {
    pub(super) fn new(prefix: &str) -> Scripts {
        Scripts {
            exchange: Script::new(include_str!("exchange.lua")),
            notice: Script::new(include_str!("notice.lua")),
            // One slot of a cluster for all.
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

impl Connected {
    /// The next message of the channel; `None` when the connection is lost.
    pub(super) async fn message(&mut self) -> Option<String> {
        self.messages.next().await
    }

    /// One exchange with the ledger: one command.
    pub(super) async fn exchange(
        &mut self,
        scripts: &Scripts,
        presence: &Presence<'_>,
        rules: &Rules,
        asks: &[Ask],
    ) -> Result<Told, LinkError> {
        let mut call = scripts.exchange.prepare_invoke();
        call.key(format!("{}:members", scripts.prefix)).key(scripts.cooldowns());
        call.arg(presence.replica).arg(micros(presence.ttl));
        call.arg(u8::from(presence.is_heartbeat));
        call.arg(micros(rules.ahead)).arg(micros(rules.lease_ttl));
        for ask in asks {
            call.key(format!("{}:quota:{}", scripts.prefix, ask.entry));
            let number = |number: Option<f64>| number.map(|it| it.to_string()).unwrap_or_default();
            call.arg(&ask.lessee);
            call.arg(number(ask.terms.map(|terms| terms.per_minute)));
            call.arg(number(ask.terms.map(|terms| terms.capacity)));
            let Ask { held, credit, acknowledged, received, used, need, want, .. } = ask;
            for figure in [held, credit, acknowledged, received, used, need, want] {
                call.arg(number(Some(*figure)));
            }
            call.arg(number(ask.seen.map(|seen| seen.level)));
            call.arg(ask.seen.map(|seen| seen.at.to_string()).unwrap_or_default());
            call.arg(ask.proposal.map(|it| it.version.to_string()).unwrap_or_default());
            call.arg(number(ask.proposal.and_then(|proposal| proposal.figure)));
        }
        let limit = self.timeout;
        let answer = timeout(limit, call.invoke_async::<Vec<String>>(&mut self.connection));
        let answer = answer.await.map_err(|_| slow(limit))??;
        told(&answer).filter(|told| told.grants.len() == asks.len()).ok_or(LinkError::Senseless)
    }

    /// Writes a notice down and publishes it; gives the number of changes of cooldowns.
    pub(super) async fn tell(
        &mut self,
        scripts: &Scripts,
        replica: &str,
        notice: &Notice,
    ) -> Result<(), LinkError> {
        let (verb, pause, throttles, is_quota, target) = notice::arguments(notice);
        let mut call = scripts.notice.prepare_invoke();
        call.key(scripts.cooldowns()).arg(replica).arg(scripts.channel()).arg(verb);
        call.arg(pause).arg(throttles).arg(is_quota).arg(target);
        let limit = self.timeout;
        let answer = timeout(limit, call.invoke_async::<Vec<String>>(&mut self.connection));
        answer.await.map_err(|_| slow(limit))??;
        Ok(())
    }

    /// All cooldowns that run, and how often they have changed.
    pub(super) async fn cooldowns(
        &mut self,
        scripts: &Scripts,
    ) -> Result<(u64, Vec<Notice>), LinkError> {
        let mut all = redis::pipe();
        all.cmd("TIME").cmd("HGETALL").arg(scripts.cooldowns());
        let limit = self.timeout;
        type Answer = ((u64, u64), Vec<(String, String)>);
        let answer = timeout(limit, all.query_async::<Answer>(&mut self.connection));
        let ((seconds, micros), fields) = answer.await.map_err(|_| slow(limit))??;
        let now = seconds * 1_000_000 + micros;
        let version = fields.iter().find(|(name, _)| name == "version");
        let version = version.and_then(|(_, text)| text.parse().ok()).unwrap_or(0);
        let cooling = fields
            .iter()
            .filter_map(|(name, value)| notice::standing(name.strip_prefix("t:")?, value, now));
        Ok((version, cooling.collect()))
    }
}

fn told(answer: &[String]) -> Option<Told> {
    let [_, replicas, cooldowns, grants @ ..] = answer else { return None };
    Some(Told {
        replicas: replicas.parse().ok()?,
        cooldowns: cooldowns.parse().ok()?,
        grants: grants.iter().map(|text| grant(text)).collect::<Option<_>>()?,
    })
}

fn grant(text: &str) -> Option<Grant> {
    let words: Vec<&str> = text.split(' ').collect();
    let [now, later, due, level, at, used, version, figure] = words.as_slice() else {
        return None;
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    Some(Grant {
        now: number(now)?,
        later: number(later)?,
        due: Duration::from_micros(number(due)? as u64),
        level: number(level)?,
        at: number(at)? as u64,
        used_in_a_minute: number(used)?,
        learned: Learned { version: number(version)? as u64, figure: number(figure) },
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
