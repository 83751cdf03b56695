//! What the gateway's translator writes for Converse, in all cases that its tests keep, is what the
//! simulator takes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sluice_bedrock::ModelId;
use sluice_bridge::conversation::CacheTtl;
use sluice_bridge::{CachePolicy, DropPolicy, Hub, Model, Source};
use sluice_catalogue::Catalogue;

use crate::validation::Model as Checked;
use crate::validation::converse::{Kind, check};

/// What clients ask for in words of their own, and Bedrock refuses.
const ASKED_FOR: [&str; 3] = [
    // A schema that lets objects be open is never closed in silence.
    "'additionalProperties' must be explicitly set to false",
    // The model of that case is no prompt.
    "The promptVariables field is only supported when the model ID is the ARN of a prompt",
    "`temperature` and `top_p` cannot both be specified",
];

#[test]
fn every_translated_request_is_taken() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../bridge/golden"), &mut files);
    files.sort();
    let mut refused = String::new();
    for file in files {
        let case: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        if let Err((body, why)) = takes(&case) {
            let name = file.file_name().unwrap_or_default().display();
            let _ = writeln!(refused, "--- {name}: {why}\n{body}\n");
        }
    }
    assert!(refused.is_empty(), "{refused}");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|it| it == "json") {
            files.push(path);
        }
    }
}

/// Whether the simulator takes what a case is translated to, if it is not refused before.
fn takes(case: &Value) -> Result<(), (Value, String)> {
    let source = match case["source"].as_str().unwrap_or_default() {
        "chat_completions" => Source::ChatCompletions,
        "responses" => Source::Responses,
        "messages" => Source::Messages,
        "invoke_claude" => Source::InvokeClaude,
        _ => Source::Converse,
    };
    let id = ModelId::new(case["model"].as_str().unwrap_or_default()).unwrap();
    let facts = Catalogue::shipped().facts(&id, "us-east-1").unwrap_or_default();
    let model = Model::of(id.as_str(), &facts);
    let mut policy = match &case["drop"] {
        Value::Bool(drops) => DropPolicy { drops: *drops, ..DropPolicy::default() },
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str);
            let fields = names.map(|name| (name.to_owned(), true)).collect();
            DropPolicy { fields, ..DropPolicy::default() }
        }
        _ => DropPolicy::default(),
    };
    let recorded = case["recorded"].as_array().into_iter().flatten();
    policy.recorded = recorded.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let request = case["request"].to_string();
    let Ok(mut hub) = Hub::read(source, request.as_bytes(), &policy) else { return Ok(()) };
    let is_long = case["cache"]["min_ttl"] == "1h";
    let caching = CachePolicy {
        adds_points: case["cache"]["adds_points"] == true,
        min_ttl: if is_long { CacheTtl::Hour } else { CacheTtl::FiveMinutes },
    };
    hub.conversation.cache_by(caching, &model);
    let Ok(written) = hub.write(&model, &policy) else { return Ok(()) };
    let body: Value = serde_json::from_slice(&written.body).unwrap_or_default();
    let Err(why) = check(&body, &Checked::with_id(&id), Kind::ConverseStream) else {
        return Ok(());
    };
    let why = why.to_string();
    // The cases have thoughts that nobody signed.
    let is_unsigned = why.contains("Invalid `signature`") || why.contains("Invalid `data`");
    match is_unsigned || ASKED_FOR.iter().any(|known| why.contains(known)) {
        true => Ok(()),
        false => Err((body, why)),
    }
}
