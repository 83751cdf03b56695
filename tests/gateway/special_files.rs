//! Named pipes, folders and devices in place of files that the config is and names: said, and no
//! obstacle to what comes next.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use tokio::io::AsyncWriteExt;

use crate::support::gateway::{run_sluice, sluice};
use crate::support::patience::{eventually, within};
use crate::support::{Ask, Authority, Config, Gateway, PRIMARY, SECOND, Simulator};

/// What stands where a file should be.
#[derive(Clone, Copy, Debug)]
enum Special {
    Fifo,
    LinkToFifo,
    Endless,
    Folder,
}

const ALL: [Special; 4] = [Special::Fifo, Special::LinkToFifo, Special::Endless, Special::Folder];

impl Special {
    /// Puts it in the place of a file, at once.
    fn replace(self, path: &Path) {
        let aside = path.with_extension("special");
        match self {
            Special::Fifo => mkfifoat(CWD, &aside, Mode::RWXU).unwrap(),
            Special::LinkToFifo => {
                let fifo = path.with_extension("fifo");
                mkfifoat(CWD, &fifo, Mode::RWXU).unwrap();
                symlink(fifo, &aside).unwrap();
            }
            Special::Endless => symlink("/dev/zero", &aside).unwrap(),
            Special::Folder => {
                // A folder takes the place of nothing but a folder.
                std::fs::remove_file(path).unwrap();
                std::fs::create_dir(&aside).unwrap();
            }
        }
        std::fs::rename(aside, path).unwrap();
    }

    fn remove(self, path: &Path) {
        match self {
            Special::Folder => std::fs::remove_dir(path).unwrap(),
            _ => std::fs::remove_file(path).unwrap(),
        }
        let _ = std::fs::remove_file(path.with_extension("fifo"));
    }

    /// What is said of it.
    fn said(self) -> &'static str {
        match self {
            Special::Fifo | Special::LinkToFifo => "it is a named pipe (FIFO), not a regular file",
            Special::Endless => "it is a character device, not a regular file",
            Special::Folder => "it is a directory, not a regular file",
        }
    }
}

/// Puts a file where something else is or nothing.
fn put(path: &Path, text: &[u8]) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, text).unwrap();
    std::fs::rename(aside, path).unwrap();
}

fn config(simulator: &Simulator, model: &str, authority: &Authority) -> Config {
    let own = authority.server();
    Config::models(simulator, 1)
        .set("server.config_poll_interval", "50ms")
        .set("server.tls.reload_interval", "50ms")
        .set("targets.sonnet-35.model", model)
        .set("upstream.secret_access_key", "file:secret")
        .set("upstream.ca_file", "ca.crt")
        .set("legacy.prompts.chat", "file:chat.jinja")
        .tls(&own)
        .set("server.tls.cert", "tls.crt")
        .set("server.tls.key", "tls.key")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_place_of_a_file_stops_the_reloads() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let gateway = Gateway::start_from(|folder| {
        let issued = authority.server();
        std::fs::copy(issued.cert(), folder.join("tls.crt")).unwrap();
        std::fs::copy(issued.key(), folder.join("tls.key")).unwrap();
        std::fs::copy(authority.path(), folder.join("ca.crt")).unwrap();
        std::fs::write(folder.join("secret"), Simulator::SECRET).unwrap();
        std::fs::write(folder.join("chat.jinja"), "a prompt").unwrap();
        let file = config(&simulator, PRIMARY, &authority).to_toml();
        std::fs::write(folder.join("config.toml"), file).unwrap();
        folder.join("config.toml")
    })
    .await;
    let refused = async || gateway.reloads("refused").await;
    let taken = async || gateway.reloads("ok").await;
    for name in ["config.toml", "secret", "chat.jinja", "ca.crt", "tls.crt", "tls.key"] {
        let path = gateway.folder().join(name);
        let good = std::fs::read(&path).unwrap();
        for special in ALL {
            let what = format!("{name}: {special:?}");
            let (before, ok) = (refused().await, taken().await);
            special.replace(&path);
            gateway.hang_up().await;
            eventually(&format!("{what} is refused"), refused, |count| *count > before).await;
            let last = async || {
                let said = gateway.output();
                let mut lines = said.lines();
                lines.rfind(|line| line.contains("config not reloaded")).map(str::to_owned)
            };
            eventually(&what, last, |line| {
                line.as_ref().is_some_and(|it| it.contains(special.said()) && it.contains(name))
            })
            .await;
            special.remove(&path);
            put(&path, &good);
            gateway.hang_up().await;
            eventually(&format!("{what} is made good"), taken, |count| *count > ok).await;
        }
    }
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_signal_the_next_good_file_is_seen() {
    let simulator = Simulator::start().await;
    let watched = |model: &str| {
        let config = Config::models(&simulator, 1).set("server.config_poll_interval", "50ms");
        config.set("targets.sonnet-35.model", model).to_toml()
    };
    let gateway = Gateway::start_from(|folder| {
        std::fs::write(folder.join("config.toml"), watched(PRIMARY)).unwrap();
        folder.join("config.toml")
    })
    .await;
    let path = gateway.folder().join("config.toml");
    for special in ALL {
        let before = gateway.reloads("refused").await;
        special.replace(&path);
        let refused = async || gateway.reloads("refused").await;
        eventually(&format!("{special:?}"), refused, |count| *count > before).await;
        special.remove(&path);
        let before = gateway.reloads("ok").await;
        put(&path, watched(SECOND).as_bytes());
        let taken = async || gateway.reloads("ok").await;
        eventually(&format!("after {special:?}"), taken, |count| *count > before).await;
    }
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_start_it_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, "").unwrap();
    for special in ALL {
        special.replace(&path);
        for command in ["serve", "check"] {
            let config = path.to_str().unwrap();
            let (status, stdout, stderr) = run_sluice(&[command, "--config", config]).await;
            let said = stdout + &stderr;
            assert!(!status.success(), "{command} {special:?}: {said}");
            assert!(said.contains(special.said()), "{command} {special:?}: {said}");
        }
        special.remove(&path);
        put(&path, b"");
    }
}

/// `sluice check --config <(...)`, and by standard input.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_the_process_is_started_with_is_a_config() {
    for text in ["[log]\nlevel = 'info'\n", "[log]\nlevle = 'info'\n"] {
        let mut command = sluice();
        command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.args(["check", "--config", "/dev/stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let (half, rest) = text.split_at(5);
        stdin.write_all(half.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stdin.write_all(rest.as_bytes()).await.unwrap();
        drop(stdin);
        let end = child.wait_with_output();
        let output = within(Duration::from_secs(30), "the check", end).await.unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.success(), !text.contains("levle"), "{said}");
        assert_eq!(said.contains("levle"), text.contains("levle"), "{said}");
    }
}

/// Files of AWS' own chain are opened by its library, on a thread that others need.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_place_of_a_token_of_aws_is_said_and_the_gateway_goes_on() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    mkfifoat(CWD, &token, Mode::RWXU).unwrap();
    let config = Config::models(&simulator, 1).without_credentials();
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/sluice"),
    ];
    let gateway = Gateway::start_with(&config, &variables).await;
    let lines = gateway.log_lines("credentials not resolved").await;
    let problem = lines[0]["problem"].as_str().unwrap();
    assert!(problem.contains("named pipe") && problem.contains("AWS_WEB_IDENTITY"), "{problem}");
    gateway.is_healthy().await;
    assert_ne!(Ask::new(&gateway, "hello").send().await.status, 200);
}
