//! A connection before servers that do what servers do, and what they do wrong.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;

const LIMIT: Duration = Duration::from_millis(500);

/// What the server does with one command.
#[derive(Clone, Debug)]
enum ScriptedReply {
    Send(&'static str),
    Hang,
    Close,
}

use ScriptedReply::{Close, Hang, Send};

const OK: ScriptedReply = Send("+OK\r\n");

/// A server that handles the commands of its connections as scripted, in their order, and
/// then says OK. What clients send of themselves at the beginning it takes.
struct Scripted {
    url: String,
    seen: Arc<Mutex<Vec<(usize, String)>>>,
    replies: Arc<Mutex<VecDeque<ScriptedReply>>>,
}

impl Scripted {
    async fn start(replies: impl IntoIterator<Item = ScriptedReply>) -> Scripted {
        Scripted::start_silent(0, replies).await
    }

    /// One that says nothing on its first connections, not even to what clients send at the beginning.
    async fn start_silent(
        silent: usize,
        replies: impl IntoIterator<Item = ScriptedReply>,
    ) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Scripted {
            url: format!("redis://{}/0", listener.local_addr().unwrap()),
            seen: Arc::default(),
            replies: Arc::new(Mutex::new(replies.into_iter().collect())),
        };
        let (seen, replies) = (Arc::clone(&server.seen), Arc::clone(&server.replies));
        tokio::spawn(async move {
            let mut held = Vec::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                if number < silent {
                    held.push(stream);
                    continue;
                }
                tokio::spawn(serve(stream, number, Arc::clone(&seen), Arc::clone(&replies)));
            }
        });
        server
    }

    fn redis(&self) -> Redis {
        Redis::new(&self.url, LIMIT).unwrap()
    }

    /// The commands, with the number of the connection that they came on.
    fn seen(&self) -> Vec<(usize, String)> {
        self.seen.lock().clone()
    }

    fn connections(&self) -> Vec<usize> {
        self.seen().into_iter().map(|(number, _)| number).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    number: usize,
    seen: Arc<Mutex<Vec<(usize, String)>>>,
    replies: Arc<Mutex<VecDeque<ScriptedReply>>>,
) {
    let mut bytes = Vec::new();
    loop {
        while let Some((name, length)) = command(&bytes) {
            bytes.drain(..length);
            let act = if name == "CLIENT" {
                OK
            } else if name == "CLUSTER" {
                Send("-ERR This instance has cluster support disabled\r\n")
            } else {
                seen.lock().push((number, name));
                replies.lock().pop_front().unwrap_or(OK)
            };
            match act {
                Send(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                Close => return,
                Hang => std::future::pending().await,
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}

/// The name of the first command, and the bytes that it takes.
fn command(bytes: &[u8]) -> Option<(String, usize)> {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut lines = text.split_inclusive("\r\n").filter(|line| line.ends_with("\r\n"));
    let head = lines.next()?;
    let words: usize = head.trim().strip_prefix('*').unwrap().parse().unwrap();
    let body: Vec<&str> = lines.take(words * 2).collect();
    let length = head.len() + body.iter().map(|line| line.len()).sum::<usize>();
    (body.len() == words * 2).then(|| (body[1].trim().to_uppercase(), length))
}

#[tokio::test]
async fn a_call_that_has_waited_for_an_older_dial_dials_once_more() {
    let server = Scripted::start_silent(1, []).await;
    let redis = server.redis();
    let first = tokio::spawn({
        let redis = redis.clone();
        async move { set(&redis).await }
    });
    tokio::time::sleep(LIMIT / 2).await;
    let second = set(&redis).await;
    assert!(first.await.unwrap().is_err());
    assert!(second.is_ok(), "{second:?}");
    assert_eq!(server.connections(), [1]);
}

async fn set(redis: &Redis) -> Result<(), RedisFailure> {
    let mut set = redis::cmd("SET");
    set.arg("key").arg(1);
    redis.in_time(set.query_async(&mut redis.connection())).await
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_dialled_again_within_the_call() {
    for refusal in [
        "-READONLY You can't write against a read only replica.\r\n",
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        "-ERR Error running script (call to f_0): @user_script:1: @user_script: 1: -READONLY You \
         can't write against a read only replica.\r\n",
    ] {
        let server = Scripted::start([OK, Send(refusal), OK, OK]).await;
        let redis = server.redis();
        for _ in 0..3 {
            set(&redis).await.unwrap();
        }
        assert_eq!(server.connections(), [0, 0, 1, 1], "{refusal}");
    }
}

#[tokio::test]
async fn a_refusal_within_a_pipeline_fails_the_whole_pipeline() {
    let refusal = Send("-READONLY You can't write against a read only replica.\r\n");
    let server = Scripted::start([OK, refusal, OK, OK]).await;
    let redis = server.redis();
    let mut both = redis::pipe();
    both.cmd("GET").arg("a").ignore().cmd("SET").arg("a").arg(1).ignore();
    redis.in_time(both.query_async::<()>(&mut redis.connection())).await.unwrap();
    assert_eq!(server.connections(), [0, 0, 1, 1]);
}

#[tokio::test]
async fn after_any_other_failure_the_next_call_has_a_new_connection() {
    for act in [
        Send("-NOREPLICAS Not enough good replicas to write.\r\n"),
        Send("-MISCONF Redis is configured to save RDB snapshots.\r\n"),
        Send("-NOAUTH Authentication required.\r\n"),
        Send("-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
        Send("-ERR something\r\n"),
        Send("nonsense\r\n"),
        Close,
        Hang,
    ] {
        let server = Scripted::start([OK, act.clone(), OK]).await;
        let redis = server.redis();
        set(&redis).await.unwrap();
        set(&redis).await.unwrap_err();
        set(&redis).await.unwrap();
        // What may have been done is not done again.
        assert_eq!(server.connections(), [0, 0, 1], "{act:?}");
    }
}

#[tokio::test]
async fn an_unknown_script_is_sent_on_the_same_connection() {
    let unknown = Send("-NOSCRIPT No matching script. Please use EVAL.\r\n");
    let loaded = Send("$40\r\n897afd4d23ee70efe0ede1685c1c94834429da77\r\n");
    let server = Scripted::start([unknown, loaded, OK]).await;
    let redis = server.redis();
    let script = redis::Script::new("return redis.call('SET', KEYS[1], 1)");
    let mut connection = redis.connection();
    let invocation = script.key("a");
    redis.in_time(invocation.invoke_async::<()>(&mut connection)).await.unwrap();
    let seen: Vec<String> = server.seen().into_iter().map(|(_, name)| name).collect();
    assert_eq!(seen, ["EVALSHA", "SCRIPT", "EVALSHA"]);
    assert_eq!(server.connections(), [0, 0, 0]);
}

#[tokio::test]
async fn a_server_that_loads_for_long_is_not_dialled_without_end() {
    let loading = Send("-LOADING Redis is loading the dataset in memory\r\n");
    let server = Scripted::start(vec![loading; 8]).await;
    let redis = server.redis();
    let (began, mut failed) = (Instant::now(), 0);
    while let Err(error) = set(&redis).await {
        assert!(error.to_string().contains("loading") || error.to_string().contains("time"));
        failed += 1;
    }
    assert!((1..=8).contains(&failed), "{failed}");
    // Eight dials, of which no two come within a tenth of a second.
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test]
async fn calls_to_a_silent_server_end_at_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://:hush@{}/0", listener.local_addr().unwrap());
    let redis = Redis::new(&url, LIMIT).unwrap();
    // All at once, so that each would wait for those before it.
    let began = Instant::now();
    let calls = (0..20).map(|_| set(&redis));
    let outcomes = futures_util::future::join_all(calls).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert!(began.elapsed() < 4 * LIMIT, "{:?}", began.elapsed());
    assert!(!format!("{outcomes:?} {redis:?}").contains("hush"));
}

#[tokio::test]
async fn callers_share_one_connection_and_a_call_given_up_early_costs_none() {
    let server = Scripted::start([]).await;
    let redis = server.redis();
    futures_util::future::join_all((0..20).map(|_| set(&redis))).await;
    let early = timeout(Duration::from_nanos(1), set(&redis)).await;
    drop(early);
    set(&redis).await.unwrap();
    assert!(server.connections().iter().all(|number| *number == 0), "{:?}", server.seen());
}

#[test]
fn the_address_of_a_server_has_no_password() {
    let server = Server::at("redis://a-user:a-password@redis.example:6380/1", LIMIT).unwrap();
    assert_eq!(server.address(), "redis.example:6380");
}
