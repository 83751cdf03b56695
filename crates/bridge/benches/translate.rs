//! What a translation costs: a request of 1 KB, 100 KB and 1 MB, and an event of a stream, for every API.
//!
//! Run with `cargo bench -p sluice-bridge`. The bounds: a request of 1 KB in 10 microseconds, 5 nanoseconds for
//! each byte beyond it; an event in 2 microseconds.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use divan::Bencher;
use divan::counter::BytesCount;
use sluice_bedrock::event_stream::{self, Frame};
use sluice_bridge::{DropPolicy, Model, Source, Stamp, translate};
use sluice_catalogue::Catalogue;

const SOURCES: [Source; 5] = Source::ALL;
const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

fn main() {
    divan::main();
}

fn model() -> Model {
    let id = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    let facts = sluice_bedrock::ModelId::new(id).ok();
    let facts = facts.and_then(|id| Catalogue::shipped().facts(&id, "us-east-1"));
    Model::of(id, &facts.unwrap_or_default())
}

/// A body of about this length: a system text, a tool, its use, and texts of some hundred bytes.
fn body(source: Source, len: usize) -> String {
    let text = "The harbour of Bergen has \\\"seven\\\" quays.\\n".repeat(6);
    let schema = r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;
    let (head, turn, tail) = match source {
        Source::ChatCompletions => (
            format!(
                r#"{{"model":"m","max_tokens":100,"tools":[{{"type":"function","function":{{"name":"weather","parameters":{schema}}}}}],"messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"Hi"}},{{"role":"assistant","content":null,"tool_calls":[{{"id":"c1","type":"function","function":{{"name":"weather","arguments":"{{}}"}}}}]}},{{"role":"tool","tool_call_id":"c1","content":"3"}}"#
            ),
            format!(r#",{{"role":"user","content":"{text}"}}"#),
            "]}",
        ),
        Source::Responses => (
            format!(
                r#"{{"model":"m","max_output_tokens":100,"store":false,"instructions":"Be brief.","tools":[{{"type":"function","name":"weather","parameters":{schema},"strict":false}}],"input":[{{"role":"user","content":"Hi"}},{{"type":"function_call","call_id":"c1","name":"weather","arguments":"{{}}"}},{{"type":"function_call_output","call_id":"c1","output":"3"}}"#
            ),
            format!(r#",{{"role":"user","content":"{text}"}}"#),
            "]}",
        ),
        Source::Messages | Source::InvokeClaude => (
            format!(
                r#"{{{}"max_tokens":100,"system":"Be brief.","tools":[{{"name":"weather","input_schema":{schema}}}],"messages":[{{"role":"user","content":"Hi"}},{{"role":"assistant","content":[{{"type":"tool_use","id":"c1","name":"weather","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"c1","content":"3"}}]}}"#,
                match source {
                    Source::Messages => r#""model":"m","#,
                    _ => r#""anthropic_version":"bedrock-2023-05-31","#,
                }
            ),
            format!(r#",{{"role":"user","content":"{text}"}}"#),
            "]}",
        ),
        Source::Converse => (
            format!(
                r#"{{"inferenceConfig":{{"maxTokens":100}},"system":[{{"text":"Be brief."}}],"toolConfig":{{"tools":[{{"toolSpec":{{"name":"weather","inputSchema":{{"json":{schema}}}}}}}]}},"messages":[{{"role":"user","content":[{{"text":"Hi"}}]}},{{"role":"assistant","content":[{{"toolUse":{{"toolUseId":"c1","name":"weather","input":{{}}}}}}]}},{{"role":"user","content":[{{"toolResult":{{"toolUseId":"c1","content":[{{"text":"3"}}]}}}}]}}"#
            ),
            format!(r#",{{"role":"user","content":[{{"text":"{text}"}}]}}"#),
            "]}",
        ),
    };
    let mut body = head;
    while body.len() < len {
        body.push_str(&turn);
    }
    body + tail
}

#[divan::bench(args = SIZES, consts = [0, 1, 2, 3, 4])]
fn request<const SOURCE: usize>(bencher: Bencher<'_, '_>, len: usize) {
    let source = *SOURCES.get(SOURCE).expect("a source");
    let (body, model, policy) = (body(source, len), model(), DropPolicy::default());
    translate(source, body.as_bytes(), &model, &policy).expect("a body that is carried");
    bencher
        .counter(BytesCount::new(body.len()))
        .bench(|| translate(source, divan::black_box(body.as_bytes()), &model, &policy));
}

#[divan::bench(consts = [0, 1, 2, 3, 4])]
fn event<const SOURCE: usize>(bencher: Bencher<'_, '_>) {
    let source = *SOURCES.get(SOURCE).expect("a source");
    let (body, model, policy) = (body(source, 1_000), model(), DropPolicy::default());
    let translation = translate(source, body.as_bytes(), &model, &policy).expect("carried");
    let stamp = Stamp { request_id: "00000000-0000-4000-8000-000000000001".to_owned(), created: 1 };
    let mut translator = translation.answer.stream(stamp);
    let start = event_stream::event("messageStart", r#"{"role":"assistant"}"#);
    let delta = event_stream::event(
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"text":" a piece of text"},"p":"abcdefghij"}"#,
    );
    let start = Frame::read(&start).expect("a frame").expect("a whole one");
    let delta = Frame::read(&delta).expect("a frame").expect("a whole one");
    let mut out = Vec::with_capacity(4096);
    translator.frame(&start, &mut out).expect("a start");
    bencher.bench_local(|| {
        out.clear();
        translator.frame(divan::black_box(&delta), &mut out)
    });
}
