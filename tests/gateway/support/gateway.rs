//! The real binary, as a child process on free ports, killed when dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::config::{ADMIN_VARIABLE, Config, SECRET_VARIABLE, TOKEN_VARIABLE};
use super::leaks;
use super::metrics::Metrics;
use super::patience::{LONG, eventually, within};
use super::simulator::Simulator;
use super::{Answer, Call, Client, http};

const CONFIG_FILE: &str = "config.toml";

/// The admin key of all gateways that have one.
pub const ADMIN_KEY: &str = "the-admin-key-0123456789";

/// The session token of all gateways. The simulator only checks that it is signed.
pub const SESSION_TOKEN: &str = "the-session-token/of+all/gateways==";

/// A gateway under test.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    listen: SocketAddr,
    admin: SocketAddr,
    legacy: SocketAddr,
    stdout: Lines,
    stderr: Lines,
    files: TempDir,
}

impl Gateway {
    /// Starts `sluice serve` with this config and waits until it listens.
    pub async fn start(config: &Config) -> Gateway {
        Gateway::start_with(config, &[]).await
    }

    /// The same with more environment variables.
    pub async fn start_with(config: &Config, variables: &[(&str, &str)]) -> Gateway {
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join(CONFIG_FILE);
        std::fs::write(&path, config.to_toml()).unwrap();
        let mut command = sluice();
        command.arg("serve").arg("--config").arg(&path).envs(variables.iter().copied());
        Gateway::run(command, files).await
    }

    /// The same with these soft and hard limits on open files.
    pub async fn start_with_files(config: &Config, soft: u64, hard: u64) -> Gateway {
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join(CONFIG_FILE);
        std::fs::write(&path, config.to_toml()).unwrap();
        let mut command = sluice_with_files(soft, hard);
        command.arg("serve").arg("--config").arg(&path);
        Gateway::run(command, files).await
    }

    /// Starts `sluice serve` without a config file, from environment variables alone.
    pub async fn start_by_environment(variables: &[(&str, &str)]) -> Gateway {
        let files = tempfile::tempdir().unwrap();
        let mut command = sluice();
        command.arg("serve").current_dir(files.path()).envs(variables.iter().copied());
        Gateway::run(command, files).await
    }

    /// Starts `sluice serve` with the config file that `write` creates in a folder.
    pub async fn start_from(write: impl FnOnce(&Path) -> PathBuf) -> Gateway {
        Gateway::start_from_with(write, &[]).await
    }

    /// The same with more environment variables.
    pub async fn start_from_with(
        write: impl FnOnce(&Path) -> PathBuf,
        variables: &[(&str, &str)],
    ) -> Gateway {
        let files = tempfile::tempdir().unwrap();
        let mut command = sluice();
        command.arg("serve").arg("--config").arg(write(files.path()));
        command.envs(variables.iter().copied());
        Gateway::run(command, files).await
    }

    /// Starts `sluice serve` through a command that runs its arguments, as `env` does.
    pub async fn start_by(runner: &[&str], config: &Config, variables: &[(&str, &str)]) -> Gateway {
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join(CONFIG_FILE);
        std::fs::write(&path, config.to_toml()).unwrap();
        let mut command = like_sluice(runner[0]);
        command.args(&runner[1..]).arg(env!("CARGO_BIN_EXE_sluice"));
        command.arg("serve").arg("--config").arg(&path).envs(variables.iter().copied());
        Gateway::run(command, files).await
    }

    async fn run(mut command: Command, files: TempDir) -> Gateway {
        for (name, value) in command.as_std().get_envs() {
            let value = value.and_then(|value| value.to_str()).unwrap_or_default();
            leaks::variable(name.to_str().unwrap_or_default(), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = Lines::read(child.stdout.take().unwrap());
        let stderr = Lines::read(child.stderr.take().unwrap());
        let listening = eventually(
            "the gateway listens",
            async || {
                let all = stderr.all();
                assert!(child.try_wait().unwrap().is_none(), "the gateway ended: {all:?}");
                (all.iter().find_map(|line| listening(line)), all)
            },
            |(found, _)| found.is_some(),
        );
        let [listen, admin, legacy] = listening.await.0.unwrap();
        Gateway { child, listen, admin, legacy, stdout, stderr, files }
    }

    /// Four models behind one, see [`Config::four_models`].
    pub async fn with_four_models(simulator: &Simulator) -> Gateway {
        Gateway::start(&Config::four_models(simulator)).await
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// The URL for clients with TLS.
    pub fn https_url(&self) -> String {
        format!("https://{}", self.listen)
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// The address of the legacy endpoints.
    pub fn legacy_address(&self) -> SocketAddr {
        self.legacy
    }

    /// The address of health and metrics.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The URL of health and metrics.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Makes one call with a client.
    pub async fn call(&self, client: Client, call: Call) -> Answer {
        client.call(&self.url(), call).await
    }

    /// The current metrics.
    pub async fn metrics(&self) -> Metrics {
        let response = http::get(&format!("{}/metrics", self.admin_url())).await;
        assert_eq!(response.status, 200);
        Metrics::read(&response.text())
    }

    /// The targets that `/admin/targets` returns.
    pub async fn targets(&self) -> Vec<Value> {
        let response = http::get(&format!("{}/admin/targets", self.admin_url())).await;
        assert_eq!(response.status, 200);
        response.json()["targets"].as_array().unwrap().clone()
    }

    /// One target of `/admin/targets`.
    pub async fn target(&self, name: &str) -> Value {
        self.targets().await.into_iter().find(|target| target["name"] == name).unwrap()
    }

    /// The state of a target's quota.
    pub async fn quota(&self, target: &str) -> Quota {
        serde_json::from_value(self.target(target).await["quota"].clone()).unwrap()
    }

    /// Waits until at least so many requests wait for a target.
    pub async fn has_waiting(&self, count: usize) {
        let waiting = async || self.metrics().await.sum("sluice_queue_waiting", &[]);
        let what = format!("{count} wait");
        eventually(&what, waiting, |waiting| *waiting >= count as f64).await;
    }

    /// The usage records that the gateway has written so far.
    pub fn usage_records(&self) -> String {
        std::fs::read_to_string(self.folder().join("usage.jsonl")).unwrap_or_default()
    }

    /// The folder of the config file.
    pub fn folder(&self) -> &Path {
        self.files.path()
    }

    /// Replaces the content of the config file.
    pub fn write(&self, file: &str) {
        std::fs::write(self.folder().join(CONFIG_FILE), file).unwrap();
    }

    /// How many times a config was loaded with this result since the start.
    pub async fn reloads(&self, result: &str) -> f64 {
        self.metrics().await.sum("sluice_config_reloads_total", &[("result", result)])
    }

    /// Replaces the content of the config file, and waits for the reload.
    pub async fn reload(&self, file: &str) {
        self.write(file);
        let reloads = async || self.metrics().await.sum("sluice_config_reloads_total", &[]);
        let before = reloads().await;
        self.hang_up().await;
        eventually("the reload", reloads, |count| *count > before).await;
    }

    /// The access log, once it has at least so many lines.
    pub async fn access_log(&self, lines: usize) -> Vec<Value> {
        let look = async || {
            let parsed = self.stdout.all();
            parsed.iter().map(|l| serde_json::from_str(l).unwrap()).collect::<Vec<Value>>()
        };
        eventually("the access log", look, |log| log.len() >= lines).await
    }

    /// The output so far, on both streams.
    pub fn output(&self) -> String {
        [self.stdout.all(), self.stderr.all()].concat().join("\n")
    }

    /// The lines of the process log whose message begins with this text, once there is one.
    pub async fn log_lines(&self, message: &str) -> Vec<Value> {
        let look = async || {
            let lines = self.stderr.all().into_iter();
            let lines = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            let said = |line: &Value| line["message"].as_str().map(str::to_owned);
            lines.filter(|line| said(line).is_some_and(|it| it.starts_with(message))).collect()
        };
        eventually(message, look, |lines: &Vec<Value>| !lines.is_empty()).await
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// The CPU time that the process has used so far.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The third field follows the name, which may contain any character.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |field: usize| fields[field - 3].parse::<u64>().unwrap();
        let per_second = rustix::param::clock_ticks_per_second();
        Duration::from_secs_f64((ticks(14) + ticks(15)) as f64 / per_second as f64)
    }

    /// The resident memory of the process, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Sends SIGHUP: the gateway reads its config and its certificate again.
    pub async fn hang_up(&self) {
        let kill = Command::new("kill").args(["-HUP", &self.pid().to_string()]).status().await;
        assert!(kill.unwrap().success());
    }

    /// Sends SIGTERM, as an orchestrator does.
    pub async fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().await;
        assert!(kill.unwrap().success());
    }

    /// Sends SIGTERM, and waits until the drain has begun.
    pub async fn begins_to_drain(&self) {
        self.terminate().await;
        let ready = async || http::get(&format!("{}/readyz", self.admin_url())).await.status;
        eventually("not ready", ready, |status| *status == 503).await;
    }

    /// Waits until the listener refuses connections.
    pub async fn closes_its_listener(&self) {
        let refused = async || TcpStream::connect(self.listen).await.is_err();
        eventually("no connections", refused, |refused| *refused).await;
    }

    /// Kills the process, as a crash does.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(LONG, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the gateway does not end: {}", self.output())).unwrap()
    }

    /// Asserts that the gateway still answers, and never panicked.
    pub async fn is_healthy(&self) {
        let health = http::get(&format!("{}/healthz", self.admin_url())).await;
        assert_eq!(health.status, 200);
        assert!(!self.output().contains("panicked"), "{}", self.output());
    }
}

impl Drop for Gateway {
    /// Asserts that the gateway has revealed no secret.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for (path, answer) in leaks::admin_output(self.admin) {
            leaks::none_in(path, &answer);
        }
        leaks::none_in("the log", &self.output());
        leaks::none_in("the usage records", &self.usage_records());
    }
}

/// A quota in `/admin/targets`.
#[derive(Clone, Debug, Deserialize)]
pub struct Quota {
    /// The learned limit of requests per minute.
    pub learned_rpm: Option<f64>,
    /// The learned limit of tokens per minute.
    pub learned_tpm: Option<f64>,
    /// Available tokens.
    pub tokens_available: Option<f64>,
    /// Requests in flight.
    pub in_flight: u64,
}

/// The binary with the simulator's secret, and without variables of the machine that the binary would read.
pub fn sluice() -> Command {
    like_sluice(env!("CARGO_BIN_EXE_sluice"))
}

/// The same with these limits on open files.
pub fn sluice_with_files(soft: u64, hard: u64) -> Command {
    let mut command = like_sluice("sh");
    let limited = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    command.arg("-c").arg(limited).arg(env!("CARGO_BIN_EXE_sluice"));
    command
}

/// Another program with the same environment.
fn like_sluice(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env(SECRET_VARIABLE, Simulator::SECRET)
        .env(TOKEN_VARIABLE, SESSION_TOKEN)
        .env(ADMIN_VARIABLE, ADMIN_KEY)
        .kill_on_drop(true);
    command
}

/// Runs the binary to its end, and returns status, stdout and stderr.
pub async fn run_sluice(arguments: &[&str]) -> (ExitStatus, String, String) {
    run_sluice_with(arguments, &[]).await
}

/// The same with these environment variables.
pub async fn run_sluice_with(
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (ExitStatus, String, String) {
    let variables = variables.iter().copied();
    let output = sluice().args(arguments).envs(variables).stdin(Stdio::null()).output();
    let output = within(Duration::from_secs(30), "the command ends", output).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout), text(output.stderr))
}

fn listening(line: &str) -> Option<[SocketAddr; 3]> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = if line["fields"].is_object() { &line["fields"] } else { &line };
    if fields["message"] != "listening" {
        return None;
    }
    let address = |name: &str| fields[name].as_str()?.parse().ok();
    Some([address("listen")?, address("admin")?, address("legacy")?])
}

/// The lines of an output stream so far.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Reads a stream to its end, in the background.
    pub fn read(stream: impl AsyncRead + Send + Unpin + 'static) -> Lines {
        let lines = Lines::default();
        let into = lines.clone();
        tokio::spawn(async move {
            let mut reader = BufReader::new(stream).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                into.0.lock().push(line);
            }
        });
        lines
    }

    /// The lines so far.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}
