//! The fault matrix: every fault of the simulator, for every operation that names a model and can
//! be streamed, at the first target alone and at all of them. Each cell names the client's result, the
//! number of attempts, the counters, and the targets that are out afterwards.
//!
//! The matrix is `docs/fault-matrix.md`: a run compares the page with its results, and writes it with
//! `UPDATE_DOCS=1`. One gateway has two targets of its own for each cell, so that no cell sees
//! another's state, and opens a connection for each attempt.

mod apis;
mod cell;
mod expected;
mod page;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use sluice::simulator::{Fault, FaultRule, ModelSettings};

use crate::support::{Config, Gateway, Simulator};
use cell::{Cell, Operation, ask};
use expected::{Row, rows};
use page::{Part, is_written};

/// The targets that a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    First,
    All,
}

/// Most cells at once: an overloaded machine would add faults of its own.
const AT_ONCE: usize = 8;

/// For the same reason one matrix runs after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// One cell before its request.
struct Question {
    name: String,
    row: usize,
    operation: Operation,
    scope: Scope,
}

impl Question {
    fn models(&self) -> [String; 2] {
        ["first", "second"].map(|which| format!("anthropic.{}-{which}", self.name))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_for_every_operation() {
    let _alone = ALONE.lock().await;
    let rows = rows();
    every_kind_is_in(&rows);
    let simulator = Simulator::start().await;
    let questions = questions(&rows);
    let gateway = gateway(&simulator, &rows, &questions).await;

    let url: Arc<str> = gateway.url().into();
    let asked = stream::iter(questions.iter().map(|question| {
        let (url, [first, second]) = (Arc::clone(&url), question.models());
        async move { ask(&url, question.operation, [&first, &second]).await }
    }));
    let mut cells: Vec<Cell> = asked.buffered(AT_ONCE).collect().await;
    let outcomes = outcomes(&gateway, cells.len()).await;
    let states = states(&gateway).await;
    let mut wrong = Vec::new();
    for (question, cell) in questions.iter().zip(&mut cells) {
        cell.outcome.clone_from(&outcomes[&cell.request_id]);
        cell.out =
            ["a", "b"].map(|which| states[&format!("{}-{which}", question.name)] != "available");
        let row = &rows[question.row];
        let wanted = row.wanted(question.operation, question.scope).unwrap();
        if cell.seen() != *wanted {
            let place = (row.name(), question.operation, question.scope);
            wrong.push(format!("{place:?}: {:?}, not {wanted:?}", cell.seen()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    gateway.is_healthy().await;
    is_written(Part::Native, &document(&rows));
}

fn questions(rows: &[Row]) -> Vec<Question> {
    let mut questions = Vec::new();
    for (row, it) in rows.iter().enumerate() {
        for operation in Operation::ALL {
            for scope in [Scope::First, Scope::All] {
                if it.wanted(operation, scope).is_some() {
                    let name = format!("cell-{}", questions.len());
                    questions.push(Question { name, row, operation, scope });
                }
            }
        }
    }
    questions
}

/// The config of the matrix, without its targets.
fn base_config(simulator: &Simulator) -> Config {
    Config::without_routes(simulator)
        .set("upstream.first_byte_timeout", "3s")
        .set("upstream.idle_timeout", "2s")
        .set("upstream.max_idle_per_host", 0)
        .set("retry.attempts", 2)
        // A throttle of the last target pauses it for about this long. A busy machine must not outlast the pause
        // before the request asks whether a target is free, or the cell would get one attempt more.
        .set("retry.base_delay", "200ms")
        .set("retry.max_delay", "200ms")
        .set("queue.max_wait", "0s")
}

/// A gateway with a route of two targets for each cell, whose faults are set.
async fn gateway(simulator: &Simulator, rows: &[Row], questions: &[Question]) -> Gateway {
    let mut config = base_config(simulator);
    for question in questions {
        let targets = ["a", "b"].map(|which| format!("{}-{which}", question.name));
        let models = question.models();
        for (target, model) in targets.iter().zip(&models) {
            config = config.set(&format!("targets.{target}.model"), model.as_str());
            simulator.limits(model, ModelSettings::default());
        }
        config = config.route(&models[0], &[&targets[0], &targets[1]]);
        let struck = if question.scope == Scope::First { &models[..1] } else { &models[..] };
        for model in struck {
            simulator.add(FaultRule::always(rows[question.row].fault.clone()).on(model));
        }
    }
    Gateway::start(&config).await
}

/// The outcome of each request, by its id.
async fn outcomes(gateway: &Gateway, count: usize) -> BTreeMap<String, String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let log = gateway.access_log(count).await;
    log.iter().map(|line| (text(&line["request_id"]), text(&line["outcome"]))).collect()
}

/// The state of each target, by its name.
async fn states(gateway: &Gateway) -> BTreeMap<String, String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let targets = gateway.targets().await;
    targets.iter().map(|target| (text(&target["name"]), text(&target["state"]))).collect()
}

/// Every kind of fault in the simulator's page has a row.
fn every_kind_is_in(rows: &[Row]) {
    let page = std::fs::read_to_string(root().join("docs/simulator.md")).unwrap();
    let faults = page.split_once("### Faults").unwrap().1.split_once("### Answers").unwrap().0;
    let table = faults.lines().filter(|line| line.starts_with("| `"));
    let kinds = table.flat_map(|line| {
        let cell = line.split('|').nth(1).unwrap();
        // What stands in brackets are the kind's parameters.
        cell.split('(').next().unwrap().split('`').skip(1).step_by(2)
    });
    let mut count = 0;
    for kind in kinds {
        count += 1;
        assert!(rows.iter().any(|row| row.fault.kind() == kind), "{kind} is not in the matrix");
    }
    assert!(count >= 30, "{count} kinds");
}

fn document(rows: &[Row]) -> String {
    let mut text = String::from(include_str!("head.md"));
    for (title, is_stream, column) in [
        ("Answers in one piece", false, "InvokeModel, Converse"),
        ("Streams", true, "InvokeModelWithResponseStream, ConverseStream"),
    ] {
        let _ = write!(
            text,
            "\n## {title}\n\n{column}.\n\n\
             | fault | at | the client gets | attempts | outcome | out afterwards |\n\
             | --- | --- | --- | --- | --- | --- |\n"
        );
        for row in rows {
            for (scope, at) in [(Scope::First, "the first"), (Scope::All, "all")] {
                let Some(seen) = row.wanted(row.operation(is_stream), scope) else { continue };
                let _ = writeln!(text, "| {} | {at} | {seen} |", row.name());
            }
        }
    }
    text
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A fault as the page writes it.
fn describe(fault: &Fault) -> String {
    let value = serde_json::to_value(fault).unwrap();
    let fields = value.as_object().unwrap().iter().filter(|(key, _)| *key != "kind");
    let fields: Vec<String> = fields.map(|(key, value)| format!("{key}: {value}")).collect();
    let kind = fault.kind();
    if fields.is_empty() { format!("`{kind}`") } else { format!("`{kind}` {}", fields.join(", ")) }
}
