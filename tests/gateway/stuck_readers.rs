//! Logs whose readers are stuck or gone, or whose disk is full: requests go on, what is lost is
//! counted, and the process ends when it is told to.

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, fcntl_setfl, mkfifoat};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::support::gateway::sluice;
use crate::support::metrics::Metrics;
use crate::support::patience::{eventually, within};
use crate::support::{Config, PRIMARY, Simulator, bodies, http};

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    Access,
    Process,
    Usage,
}

/// What has become of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// It does not read, and the pipe is full.
    Stuck,
    /// It has closed the pipe.
    Gone,
    /// There is no reader but a disk, and it is full.
    Full,
}

/// A gateway of which one log can't be written.
struct Rig {
    child: Child,
    listen: String,
    admin: String,
    _simulator: Simulator,
    _folder: TempDir,
    _readers: Vec<Box<dyn Read>>,
}

/// A pipe in which there is no more room, and its reader.
fn full_pipe() -> (Stdio, PipeReader) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fill(&mut writer);
    (writer.into(), reader)
}

/// Writes until there is no room, and leaves the pipe as one that waits.
fn fill(writer: &mut (impl Write + std::os::fd::AsFd)) {
    fcntl_setfl(&*writer, OFlags::NONBLOCK).unwrap();
    for size in [4096, 1] {
        while writer.write(&vec![b'\n'; size]).is_ok() {}
    }
    fcntl_setfl(&*writer, OFlags::empty()).unwrap();
}

fn to(reader: Reader) -> (Stdio, Option<Box<dyn Read>>) {
    match reader {
        Reader::Stuck => {
            let (stdio, reader) = full_pipe();
            (stdio, Some(Box::new(reader)))
        }
        Reader::Gone => (std::io::pipe().unwrap().1.into(), None),
        Reader::Full => (OpenOptions::new().write(true).open("/dev/full").unwrap().into(), None),
    }
}

/// A named pipe that somebody has opened to read.
fn fifo(path: &Path) -> File {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path).unwrap()
}

impl Rig {
    async fn start(log: Log, reader: Reader, change: impl FnOnce(Config) -> Config) -> Rig {
        let simulator = Simulator::start().await;
        let folder = tempfile::tempdir().unwrap();
        let mut config = change(Config::models(&simulator, 1).on_known_ports());
        let (mut stdout, mut stderr) = (Stdio::null(), Stdio::null());
        let mut readers = Vec::new();
        match log {
            Log::Access | Log::Process => {
                let (stdio, kept) = to(reader);
                readers.extend(kept);
                *if log == Log::Access { &mut stdout } else { &mut stderr } = stdio;
            }
            Log::Usage => {
                config = config.set("usage_log.enabled", true);
                let path = folder.path().join("usage.jsonl");
                match reader {
                    Reader::Stuck => {
                        readers.push(Box::new(fifo(&path)) as Box<dyn Read>);
                        fill(&mut OpenOptions::new().write(true).open(&path).unwrap());
                    }
                    // It is closed below, when the gateway has opened it.
                    Reader::Gone => readers.push(Box::new(fifo(&path))),
                    Reader::Full => config = config.set("usage_log.path", "/dev/full"),
                }
            }
        }
        let file = config.to_toml();
        let address = |section: &str, key: &str| {
            let table: toml::Table = file.parse().unwrap();
            table[section][key].as_str().unwrap().to_owned()
        };
        let (listen, admin) = (address("server", "listen"), address("server", "admin_listen"));
        std::fs::write(folder.path().join("config.toml"), &file).unwrap();
        let mut command = sluice();
        command.arg("serve").arg("--config").arg(folder.path().join("config.toml"));
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
        // The command's copies of the pipes would keep them open.
        drop(command);
        for address in [&listen, &admin] {
            let open = async || TcpStream::connect(address).await.is_ok();
            eventually("it listens", open, |open| *open).await;
        }
        if (log, reader) == (Log::Usage, Reader::Gone) {
            readers.clear();
        }
        Rig { child, listen, admin, _simulator: simulator, _folder: folder, _readers: readers }
    }

    async fn ask(&self, model: &str) -> u16 {
        let url = format!("http://{}/model/{model}/invoke", self.listen);
        http::post(&url, &[], bodies::messages("hello", 8)).await.status
    }

    async fn metrics(&self) -> Metrics {
        Metrics::read(&http::get(&format!("http://{}/metrics", self.admin)).await.text())
    }

    async fn is_healthy(&self) {
        assert_eq!(http::get(&format!("http://{}/healthz", self.admin)).await.status, 200);
        assert_eq!(self.ask(PRIMARY).await, 200);
        let message = serde_json::json!([{ "role": "user", "content": "hello" }]);
        for path in ["/openai/v1/chat/completions", "/anthropic/v1/messages"] {
            let body =
                serde_json::json!({ "model": PRIMARY, "max_tokens": 8, "messages": message });
            let url = format!("http://{}{path}", self.listen);
            assert_eq!(http::post(&url, &[], body.to_string()).await.status, 200, "{path}");
        }
    }

    async fn ends(mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        let kill = tokio::process::Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(kill.unwrap().success());
        // Far less than the hour that a reader may take.
        within(Duration::from_secs(30), "its end", self.child.wait()).await.unwrap()
    }
}

fn dropped(metrics: &Metrics, log: Log) -> f64 {
    match log {
        Log::Access => metrics.sum("sluice_access_log_dropped_total", &[]),
        Log::Usage => metrics.sum("sluice_usage_log_dropped_total", &[]),
        Log::Process => metrics.sum("sluice_process_log_dropped_total", &[("reason", "unwritten")]),
    }
}

/// A model that nobody has, of which log lines are long.
fn long_model() -> String {
    "x".repeat(2000)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_that_can_not_be_written_holds_up_anything() {
    for log in [Log::Access, Log::Process, Log::Usage] {
        for reader in [Reader::Stuck, Reader::Gone, Reader::Full] {
            let rig = Rig::start(log, reader, |config| config.set("log.level", "debug")).await;
            for _ in 0..20 {
                rig.is_healthy().await;
                // Lines that anybody can have written.
                let url = format!("http://{}/admin/targets/sonnet-35/reset", rig.admin);
                assert_eq!(http::post(&url, &[], "").await.status, 401);
            }
            if reader != Reader::Stuck {
                let lost = async || dropped(&rig.metrics().await, log);
                eventually(&format!("{log:?} {reader:?}"), lost, |lost| *lost > 0.0).await;
            }
            rig.is_healthy().await;
            let status = rig.ends().await;
            assert!(status.success(), "{log:?} {reader:?}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_for_a_stuck_reader_is_bounded_and_the_rest_counted() {
    for log in [Log::Access, Log::Usage] {
        let rig = Rig::start(log, Reader::Stuck, |config| config).await;
        let model = long_model();
        let mut asked = 0;
        while dropped(&rig.metrics().await, log) == 0.0 {
            assert!(asked < 20_000, "{log:?}: nothing is dropped");
            futures_util::future::join_all((0..100).map(|_| rig.ask(&model))).await;
            asked += 100;
        }
        rig.is_healthy().await;
        assert!(rig.ends().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_lines_that_anybody_can_have_written_some_are_and_the_rest_counted() {
    const CALLS: usize = 300;
    let simulator = Simulator::start().await;
    let gateway = crate::support::Gateway::start(&Config::models(&simulator, 1)).await;
    let admin = format!("{}/admin/targets/sonnet-35/reset", gateway.admin_url());
    for _ in 0..CALLS {
        assert_eq!(http::post(&admin, &[], "").await.status, 401);
    }
    let of_anybody = gateway.log_lines("change refused").await.len();
    assert!(of_anybody < CALLS, "{of_anybody}");
    let told = gateway.log_lines("log messages of one kind were suppressed").await;
    assert_eq!(told[0]["like"], "change refused");
    assert!(told[0]["count"].as_u64().unwrap() > 0);
    let metrics = gateway.metrics().await;
    let limited = metrics.sum("sluice_process_log_dropped_total", &[("reason", "limited")]);
    let written = gateway.log_lines("change refused").await.len();
    assert_eq!(written as f64 + limited, CALLS as f64);
    // Whoever has the key is in the log each time.
    for _ in 0..CALLS {
        let key = [("x-sluice-admin-key", crate::support::gateway::ADMIN_KEY)];
        assert_eq!(http::post(&admin, &key, "").await.status, 200);
    }
    let done = async || gateway.log_lines("changed on request").await.len();
    eventually("each change is logged", done, |lines| *lines == CALLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_at_the_start_is_said_and_a_stuck_reader_does_not_keep_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = format!("[server]\nlisten = '{}'\n", taken.local_addr().unwrap());
    std::fs::write(&path, file).unwrap();
    let start = |stderr: Stdio| {
        let mut command = sluice();
        command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.arg("serve").arg("--config").arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
    };
    let told = start(Stdio::piped()).wait_with_output();
    let told = within(Duration::from_secs(30), "the end", told).await.unwrap();
    assert!(!told.status.success());
    let said = String::from_utf8(told.stderr).unwrap();
    assert!(said.lines().last().unwrap().starts_with("sluice: "), "{said}");
    let (stderr, _reader) = full_pipe();
    let mut stuck = start(stderr);
    let status = within(Duration::from_secs(30), "the end", stuck.wait()).await.unwrap();
    assert!(!status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_stops_although_its_output_is_not_read() {
    let (stdout, _reader) = full_pipe();
    let (stderr, _other) = full_pipe();
    let mut command = sluice();
    command.args(["demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--once"]);
    let mut demo = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
    let status = within(Duration::from_secs(60), "its end", demo.wait()).await.unwrap();
    assert!(status.success());
}
