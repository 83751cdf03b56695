//! Server-sent events: ours against the decoders of OpenAI's and Anthropic's SDKs for Python and JavaScript.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::json;
use sluice::bedrock::sse::{Event, Piece, Splitter};

use crate::{Case, each_case};

/// The mark with which a stream may begin. The decoders for JavaScript take it off each line.
const BYTE_ORDER_MARK: &str = "efbbbf";

/// An event: its name and its data.
type Read = (Option<String>, String);

/// What a decoder has read.
#[derive(Debug, Deserialize)]
struct Decoded {
    events: Vec<Read>,
    raised: Option<String>,
}

#[test]
fn openais_sdk_for_python_reads_the_same_events() {
    compare("openai", |case| Some(of_python(case)));
}

#[test]
fn anthropics_sdk_for_python_reads_the_same_events() {
    compare("anthropic", |case| Some(of_python(case)));
}

#[test]
fn openais_sdk_for_javascript_reads_the_same_events() {
    compare("openai", of_javascript("openai/core/streaming.mjs"));
}

#[test]
fn anthropics_sdk_for_javascript_reads_the_same_events() {
    compare("anthropic", of_javascript("@anthropic-ai/sdk/core/streaming.mjs"));
}

fn of_python(case: &Case<Read>) -> Decoded {
    Decoded { events: case.events.clone(), raised: case.raised.clone() }
}

/// A decoder for JavaScript: a process that decodes one stream after another.
#[expect(clippy::zombie_processes, reason = "it ends with its input, that is, with the test")]
fn of_javascript(module: &str) -> impl FnMut(&Case<Read>) -> Option<Decoded> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = root.join("tests/clients/node_modules").join(module);
    assert!(module.exists(), "{} is missing: `./test` installs it", module.display());
    let mut child = Command::new("node")
        .arg(root.join("tests/differential/streams.mjs"))
        .arg(module)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = child.stdin.take().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    move |case| {
        if case.chunks.concat().contains(BYTE_ORDER_MARK) {
            return None;
        }
        writeln!(asked, "{}", json!({ "chunks": case.chunks })).unwrap();
        let mut decoded: Decoded = serde_json::from_str(&said.next().unwrap().unwrap()).unwrap();
        // Our reader leaves out the name of an event if the name is not valid UTF-8.
        let is_text = |name: &String| !name.contains(char::REPLACEMENT_CHARACTER);
        decoded.events.iter_mut().for_each(|(name, _)| *name = name.take().filter(is_text));
        Some(decoded)
    }
}

fn compare(decoder: &str, mut decode: impl FnMut(&Case<Read>) -> Option<Decoded>) {
    let (mut events, mut failed) = (0, 0);
    let streams = each_case(decoder, "sse", |case: &Case<Read>| {
        let Some(decoded) = decode(case) else { return };
        let own = own(case);
        check(case, &decoded, &own);
        events += own.len() as u64;
        failed += u64::from(decoded.raised.is_some());
    });
    // Neither is the comparison empty, nor do all end with an error.
    assert!(events > streams && failed < streams / 2, "{events} events, {failed} of {streams}");
}

/// The events that have data: others are none to clients (HTML standard, section 9.2.6). Bytes that are no UTF-8 are
/// replaced as a browser does it.
fn own(case: &Case<Read>) -> Vec<Read> {
    let (mut splitter, mut events) = (Splitter::new(1 << 20), Vec::new());
    for mut chunk in case.chunks() {
        while let Some(piece) = splitter.next(&mut chunk) {
            let Piece::Event(raw) = piece else { continue };
            let event = Event::read(&raw);
            if let Some(data) = event.data {
                let data = String::from_utf8_lossy(&data).into_owned();
                events.push((event.name.map(str::to_owned), data));
            }
        }
    }
    events
}

fn check(case: &Case<Read>, decoded: &Decoded, own: &[Read]) {
    assert!(!case.is_plain || decoded.raised.is_none(), "{decoded:?} of {case:?}");
    let mut own = own.iter().peekable();
    for event in &decoded.events {
        // An SDK shows an event without data, too, if it has a name, an id or a time to wait.
        if own.next_if_eq(&event).is_none() {
            let is_without_data = event.1.is_empty() && !case.is_plain;
            assert!(is_without_data, "{event:?} is not {:?} in {case:?}", own.peek());
        }
    }
    // What follows bytes that are no UTF-8 the SDKs for Python do not read.
    let rest: Vec<_> = own.collect();
    assert!(decoded.raised.is_some() || rest.is_empty(), "{rest:?} is ours alone in {case:?}");
}
