//! Runs the drivers in `tests/clients`: one process for each job, which reads the job from stdin.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Answer, Job, installed, repository};
use crate::support::leaks;

pub(super) fn boto3() -> Command {
    let mut command = Command::new(installed(".venv/bin/python"));
    command.arg(repository().join("tests/clients/boto3_driver.py"));
    command
}

pub(super) fn javascript() -> Command {
    installed("tests/clients/node_modules/@aws-sdk/client-bedrock-runtime");
    let mut command = Command::new("node");
    command.arg(repository().join("tests/clients/javascript_driver.mjs"));
    command
}

/// Runs another script of `tests/clients` with the Python of boto3: a job on stdin, JSON on stdout.
pub async fn script(name: &str, job: &Value) -> Value {
    let mut command = Command::new(installed(".venv/bin/python"));
    command.arg(repository().join("tests/clients").join(name));
    let said = fed(command, job.to_string().into_bytes()).await;
    serde_json::from_str(&said).unwrap()
}

pub(super) async fn run(mut command: Command, job: &Job) -> Vec<Answer> {
    if let Some(ca) = &job.ca {
        command.env("NODE_EXTRA_CA_CERTS", ca);
    }
    if let Some(token) = &job.bearer_token {
        command.env("AWS_BEARER_TOKEN_BEDROCK", token);
    }
    let tokens = [&job.session_token, &job.bearer, &job.bearer_token].into_iter().flatten();
    tokens.chain([&job.secret_access_key]).for_each(|secret| leaks::secret(secret));
    let lines = fed(command, serde_json::to_vec(job).unwrap()).await;
    leaks::none_in("a client's answers", &lines);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The output of a driver for this input.
pub async fn fed(mut command: Command, job: Vec<u8>) -> String {
    // A proxy of the machine's is not on the way to a gateway on this machine.
    command.env("NO_PROXY", "*").env("no_proxy", "*");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = async move {
        stdin.write_all(&job).await.unwrap();
        drop(stdin);
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the driver failed: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
