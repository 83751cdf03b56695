mod answer;
mod properties;
mod refusals;
mod request;
mod stream;
mod ways;

use super::*;
use crate::conversation::Conversation;
use crate::report::{DropPolicy, Refusal, Report};
use crate::translation::{AnswerContext, Echo, Stamp};
use crate::{Event, Source};

/// Reads a request and hands on what was read, what it repeats and what was left out.
fn read_with(
    body: &str,
    policy: &DropPolicy,
    look: impl FnOnce(&Conversation<'_>, &Echo),
) -> Result<Vec<String>, Refusal> {
    let mut report = Report::new(policy);
    let mut echo = Echo::default();
    let conversation = read_request(body.as_bytes(), &mut echo, &mut report);
    let dropped = report.finish()?;
    look(&conversation, &echo);
    Ok(dropped.into_iter().map(String::from).collect())
}

/// A request with one user's message and these members, which begin with a comma.
fn with(members: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{members}}}"#)
}

/// A request with these messages.
fn messages(messages: &str) -> String {
    format!(r#"{{"model":"m","messages":[{messages}]}}"#)
}

fn read(body: &str, look: impl FnOnce(&Conversation<'_>, &Echo)) -> Vec<String> {
    match read_with(body, &DropPolicy::default(), look) {
        Ok(dropped) => dropped,
        Err(refusal) => panic!("{body}\nis refused: {refusal}"),
    }
}

fn refusal(body: &str) -> Refusal {
    match read_with(body, &DropPolicy::default(), |_, _| {}) {
        Ok(_) => panic!("{body}\nis not refused"),
        Err(refusal) => refusal,
    }
}

fn context(include_usage: bool) -> AnswerContext {
    AnswerContext {
        source: Source::ChatCompletions,
        echo: Echo { model: "my \"model\"".to_owned(), include_usage, ..Echo::default() },
        renamed_tools: Vec::new(),
        answer_tool: None,
        must_be_json: false,
    }
}

fn stamp() -> Stamp {
    Stamp { request_id: "r-1".to_owned(), created: 7 }
}

/// The data of the events that are written for these.
fn chunks(include_usage: bool, events: &[Event<'_>]) -> Vec<String> {
    let mut writer = StreamWriter::new(&context(include_usage), stamp());
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.write(event, &mut out));
    let text = String::from_utf8(out).unwrap();
    let mut parts: Vec<_> = text.split("\n\n").collect();
    assert_eq!(parts.pop(), Some(""), "{text}");
    parts.into_iter().map(|part| part.strip_prefix("data: ").unwrap().to_owned()).collect()
}
