//! A Redis server for one test, on a free port, with a data folder that survives crashes.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::leaks;
use super::patience::eventually;

const PASSWORD: &str = "the-password-of-redis-0123";

/// A Redis server that appends every write to a file.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    /// Holds the port without listening, so that no other server of the tests gets it while this one is down.
    /// Redis can listen beside it, since both set `SO_REUSEADDR`.
    _reserved: TcpSocket,
    folder: TempDir,
    server: Mutex<Option<Child>>,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts a server.
    pub async fn start() -> Redis {
        let redis = Redis::absent();
        redis.resume().await;
        redis
    }

    /// A server that is not started yet.
    pub fn absent() -> Redis {
        leaks::secret(PASSWORD);
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.set_reuseaddr(true).unwrap();
        reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = reserved.local_addr().unwrap().port();
        let (folder, server, arguments) = (tempfile::tempdir().unwrap(), Mutex::default(), vec![]);
        Redis { port, _reserved: reserved, folder, server, arguments }
    }

    /// Its URL, with its password.
    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port)
    }

    /// A reference to the URL for a config.
    pub fn reference(&self) -> String {
        let file = self.folder.path().join("url");
        std::fs::write(&file, self.url()).unwrap();
        format!("file:{}", file.display())
    }

    /// Starts the server with its stored data.
    pub async fn resume(&self) {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--appendonly", "yes", "--save", "", "--requirepass", PASSWORD])
            .args(["--masterauth", PASSWORD])
            .args(&self.arguments)
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        *self.server.lock() = Some(child);
        self.listens().await;
    }

    async fn listens(&self) {
        let connects = async || TcpStream::connect(("127.0.0.1", self.port)).await.is_ok();
        eventually("Redis listens", connects, |is_up| *is_up).await;
    }

    /// Stops the server as an operator does.
    pub fn stop(&self) {
        if let Some(mut child) = self.server.lock().take() {
            signal("-TERM", child.id());
            child.wait().unwrap();
        }
    }

    /// Kills the server, as a crash does.
    pub fn kill(&self) {
        if let Some(mut child) = self.server.lock().take() {
            signal("-KILL", child.id());
            child.wait().unwrap();
        }
    }

    /// Starts the server with its stored data, and delays the load of each key by this time. Until the
    /// data is loaded, the server replies with the LOADING error.
    pub async fn resume_slowly(&mut self, each: Duration) {
        let delay = each.as_micros().to_string();
        self.arguments = ["--key-load-delay", &delay].map(str::to_owned).to_vec();
        self.resume().await;
    }

    /// Starts the server without its stored data.
    pub async fn resume_empty(&self) {
        std::fs::remove_dir_all(self.folder.path().join("appendonlydir")).unwrap();
        self.resume().await;
    }

    /// Runs a command with `redis-cli`.
    pub async fn ask(&self, words: &[&str]) -> String {
        let mut command = tokio::process::Command::new("redis-cli");
        command.args(["-a", PASSWORD, "--no-auth-warning", "-p", &self.port.to_string()]);
        let output = command.args(words).output().await;
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts a server with these additional arguments.
    pub async fn start_with(arguments: &[&str]) -> Redis {
        let mut redis = Redis::absent();
        redis.arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        redis.resume().await;
        redis
    }

    /// Starts a sentinel that watches this server.
    pub async fn watched(&self) -> Redis {
        let sentinel = Redis::absent();
        let file = sentinel.folder.path().join("sentinel.conf");
        let watch = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {} 1\n\
             sentinel auth-pass mymaster {PASSWORD}\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 3000\n",
            sentinel.port, self.port
        );
        std::fs::write(&file, watch).unwrap();
        let mut command = Command::new("redis-server");
        let child = command.arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn().unwrap();
        *sentinel.server.lock() = Some(child);
        sentinel.listens().await;
        sentinel
    }

    /// Suspends the server for a while, so that it accepts connections but does not answer.
    pub async fn hang(&self, time: Duration) {
        let id = self.server.lock().as_ref().unwrap().id();
        signal("-STOP", id);
        tokio::time::sleep(time).await;
        signal("-CONT", id);
    }
}

/// An address that forwards to one server and later to another, as a load balancer does. Existing
/// connections stay with their server.
#[derive(Debug)]
pub struct Address {
    port: u16,
    folder: TempDir,
    leads: watch::Sender<Leads>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Leads {
    /// The port to forward new connections to. Without one, they are accepted and not answered.
    port: Option<u16>,
    /// Raised to block all existing connections.
    cuts: usize,
}

impl Address {
    /// An address that forwards to this server.
    pub async fn of(redis: &Redis) -> Address {
        let address = Address::nowhere().await;
        address.leads_to(redis);
        address
    }

    /// An address that accepts connections and does not answer.
    pub async fn nowhere() -> Address {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (leads, seen) = watch::channel(Leads::default());
        let accepting = async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(client, seen.clone()));
            }
        };
        let accepting = AbortOnDropHandle::new(tokio::spawn(accepting));
        let folder = tempfile::tempdir().unwrap();
        Address { port, folder, leads, _accepting: accepting }
    }

    /// Forwards new connections to this server from now on.
    pub fn leads_to(&self, redis: &Redis) {
        self.leads.send_modify(|leads| leads.port = Some(redis.port));
    }

    /// Blocks all existing connections, without closing them.
    pub fn cut(&self) {
        self.leads.send_modify(|leads| leads.cuts += 1);
    }

    /// A reference to its URL, for a config.
    pub fn reference(&self) -> String {
        let file = self.folder.path().join("url");
        std::fs::write(&file, format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port)).unwrap();
        format!("file:{}", file.display())
    }
}

async fn pass(mut client: TcpStream, mut seen: watch::Receiver<Leads>) {
    let Leads { port, cuts } = *seen.borrow_and_update();
    let Some(port) = port else { return std::future::pending().await };
    // A server that is gone closes the connection.
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let is_cut = async { drop(seen.wait_for(|leads| leads.cuts > cuts).await) };
    tokio::select! {
        _ended = copy_bidirectional(&mut client, &mut server) => return,
        () = is_cut => {}
    }
    std::future::pending().await
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.server.lock().take() {
            // A test that failed has said why.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn signal(signal: &str, id: u32) {
    assert!(Command::new("kill").args([signal, &id.to_string()]).status().unwrap().success());
}
