//! Redis servers and clusters of a test's own.

use std::process::{Child, Command, Stdio};

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::time::Instant;

use super::support::PATIENCE;
use crate::system::reserved_port::ReservedPort;

/// Redis on a free port, with nothing but what it keeps in its own folder.
pub(super) struct RedisServer {
    port: ReservedPort,
    node: Option<Node>,
    folder: TempDir,
    server: Mutex<Option<Child>>,
}

/// What a node of a cluster has beside.
struct Node {
    bus_port: ReservedPort,
    /// Milliseconds of silence after which the others take it for dead.
    timeout: u32,
}

impl RedisServer {
    pub(super) fn start() -> RedisServer {
        let server = RedisServer::absent();
        server.resume();
        server
    }

    /// A server that is not there yet.
    pub(super) fn absent() -> RedisServer {
        let folder = tempfile::tempdir().unwrap();
        RedisServer { port: ReservedPort::new(), node: None, folder, server: Mutex::default() }
    }

    /// A node of a cluster that it does not know yet.
    fn node(timeout: u32) -> RedisServer {
        let mut server = RedisServer::absent();
        server.node = Some(Node { bus_port: ReservedPort::new(), timeout });
        server.resume();
        server.ask_until(&["PING"], "PONG");
        server
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port.number())
    }

    /// Starts it, with what it kept.
    pub(super) fn resume(&self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.number().to_string()]).args([
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ]);
        if let Some(Node { bus_port, timeout }) = &self.node {
            command
                .args([
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus_port.number().to_string(),
                ])
                .args(["--cluster-node-timeout", &timeout.to_string()])
                .args(["--cluster-replica-validity-factor", "0"]);
        }
        let child = command
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        *self.server.lock() = Some(child);
    }

    /// Ends it as a crash would.
    pub(super) fn kill(&self) {
        if let Some(mut child) = self.server.lock().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it answers to a command.
    pub(super) fn ask(&self, command: &[&str]) -> String {
        let port = self.port.number().to_string();
        let asked = Command::new("redis-cli").args(["-p", &port]).args(command).output().unwrap();
        String::from_utf8_lossy(&asked.stdout).into_owned()
    }

    /// How many bytes of writes it has seen.
    pub(super) fn replication_offset(&self) -> u64 {
        let info = self.ask(&["INFO", "replication"]);
        let offset = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
        offset.unwrap().trim().parse().unwrap()
    }

    /// Sends a command until the answer has `expected` in it.
    fn ask_until(&self, command: &[&str], expected: &str) {
        let began = Instant::now();
        loop {
            let answer = self.ask(command);
            if answer.contains(expected) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{command:?}: {answer}");
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A cluster of three nodes, which share the slots. The first has all that the jobs need.
pub(super) struct RedisCluster([RedisServer; 3]);

impl RedisCluster {
    pub(super) fn start() -> RedisCluster {
        RedisCluster::with_timeout(15_000)
    }

    /// A cluster that soon notices that its first node is gone, and the replica that takes over then.
    pub(super) fn with_replica() -> (RedisCluster, RedisServer) {
        const TIMEOUT: u32 = 1000;
        let cluster = RedisCluster::with_timeout(TIMEOUT);
        let replica = RedisServer::node(TIMEOUT);
        cluster.meet(&replica);
        replica.ask_until(&["CLUSTER", "INFO"], "cluster_state:ok");
        let master = cluster.master().ask(&["CLUSTER", "MYID"]);
        replica.ask_until(&["CLUSTER", "REPLICATE", master.trim()], "OK");
        replica.ask_until(&["INFO", "replication"], "master_link_status:up");
        for node in &cluster.0 {
            node.ask_until(&["CLUSTER", "NODES"], "slave");
        }
        (cluster, replica)
    }

    fn with_timeout(timeout: u32) -> RedisCluster {
        let cluster = RedisCluster(std::array::from_fn(|_| RedisServer::node(timeout)));
        let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (node, (from, to)) in cluster.0.iter().zip(slots) {
            node.ask_until(&["CLUSTER", "ADDSLOTSRANGE", from, to], "OK");
            cluster.meet(node);
        }
        for node in &cluster.0 {
            node.ask_until(&["CLUSTER", "INFO"], "cluster_state:ok");
        }
        cluster
    }

    fn meet(&self, node: &RedisServer) {
        let bus_port = &node.node.as_ref().unwrap().bus_port;
        let (port, bus_port) = (node.port.number().to_string(), bus_port.number().to_string());
        self.master().ask_until(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port], "OK");
    }

    /// The node with the jobs.
    pub(super) fn master(&self) -> &RedisServer {
        &self.0[0]
    }

    /// The URL of a node that has no jobs.
    pub(super) fn url(&self) -> String {
        self.0[1].url()
    }
}
