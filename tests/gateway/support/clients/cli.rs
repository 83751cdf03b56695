//! The `aws` command, a process for each call. It has no streams and shows no headers.

use std::process::Stdio;

use serde_json::{Map, Value};
use tokio::process::Command;

use super::{Answer, Call, Job, Raised, installed};

pub(super) async fn run(job: Job) -> Vec<Answer> {
    let mut answers = Vec::new();
    for call in &job.calls {
        answers.push(run_one(&job, call).await);
    }
    answers
}

async fn run_one(job: &Job, call: &Call) -> Answer {
    let files = tempfile::tempdir().unwrap();
    let answer_file = files.path().join("answer");
    let mut command = Command::new(installed(".venv/bin/python"));
    command.arg(installed(".venv/bin/aws")).arg("bedrock-runtime").arg(kebab(call.operation));
    if call.operation == "InvokeModel" {
        let body_file = files.path().join("body");
        std::fs::write(&body_file, &call.body).unwrap();
        command.args(["--model-id", &call.model, "--body"]);
        command.arg(format!("fileb://{}", body_file.display()));
        command.arg(&answer_file);
    } else {
        command.args(["--cli-input-json", &parameters(call).to_string()]);
    }
    let output = command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", files.path())
        .env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", &job.endpoint)
        .env("AWS_DEFAULT_REGION", &job.region)
        .env("AWS_ACCESS_KEY_ID", &job.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", &job.secret_access_key)
        .env("AWS_MAX_ATTEMPTS", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    if !output.status.success() {
        return Answer { error: Some(raised(&output.stderr)), ..Answer::default() };
    }
    let body = match call.operation {
        "InvokeModel" => std::fs::read_to_string(&answer_file).unwrap(),
        _ => String::from_utf8(output.stdout).unwrap(),
    };
    Answer { body: Some(body), ..Answer::default() }
}

fn parameters(call: &Call) -> Value {
    let body: Value = serde_json::from_str(&call.body).unwrap();
    let mut parameters = Map::new();
    match call.operation {
        "CountTokens" => {
            parameters.insert("input".to_owned(), serde_json::json!({ "converse": body }));
        }
        _ => parameters.extend(body.as_object().cloned().unwrap_or_default()),
    }
    if !call.model.is_empty() {
        parameters.insert("modelId".to_owned(), call.model.clone().into());
    }
    Value::Object(parameters)
}

/// Reads `An error occurred (Name) when calling the Operation operation: message`, where
/// `(reached max retries: 0)` may stand before the colon.
fn raised(stderr: &[u8]) -> Raised {
    let text = String::from_utf8_lossy(stderr).trim().to_owned();
    let named = text.split_once("An error occurred (").and_then(|(_, rest)| rest.split_once(')'));
    let (name, rest) = named.unwrap_or(("", &text));
    let message = rest.split_once(" operation").map_or(rest, |(_, message)| message);
    let message = message.strip_prefix(" (reached max retries: 0)").unwrap_or(message);
    let message = message.strip_prefix(": ").unwrap_or(message);
    Raised { name: name.to_owned(), message: message.to_owned(), in_stream: false, class: None }
}

fn kebab(operation: &str) -> String {
    let mut kebab = String::new();
    for letter in operation.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}
