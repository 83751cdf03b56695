//! Whole ways: a request through the hub to Converse, and frames back.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_bedrock::event_stream::{self, Frame};

use super::*;
use crate::{Model, translate};

fn frames() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let frame = (0..8_usize, 0..3_u32, "[a-z\"\\\\{}:1]{0,5}").prop_map(|(kind, block, piece)| {
        let delta = |delta: Value| {
            ("contentBlockDelta", json!({"contentBlockIndex": block, "delta": delta}))
        };
        match kind {
            0 => ("messageStart", json!({"role": "assistant"})),
            1 => (
                "contentBlockStart",
                json!({"contentBlockIndex": block,
                    "start": {"toolUse": {"toolUseId": piece, "name": "f"}}}),
            ),
            2 => delta(json!({"toolUse": {"input": piece}})),
            3 => delta(json!({"reasoningContent": {"text": piece}})),
            4 => delta(json!({"reasoningContent": {"signature": piece}})),
            5 => ("contentBlockStop", json!({"contentBlockIndex": block})),
            6 if block == 0 => ("messageStop", json!({"stopReason": "tool_use"})),
            7 if block == 0 => {
                ("metadata", json!({"usage": {"inputTokens": 1, "outputTokens": 2}}))
            }
            _ => delta(json!({"text": piece})),
        }
    });
    prop::collection::vec(frame, 0..30)
}

proptest! {
    #[test]
    fn a_stream_of_odd_frames_ends_once_and_each_of_its_chunks_can_be_read(frames in frames()) {
        let body = with(r#","stream":true,"stream_options":{"include_usage":true}"#);
        let model = Model::of("amazon.nova-2-lite-v1:0", &Default::default());
        let translation =
            translate(Source::ChatCompletions, body.as_bytes(), &model, &DropPolicy::default());
        let mut stream = translation.unwrap().answer.stream(stamp());
        let mut out = Vec::new();
        let mut failed = None;
        for (name, payload) in frames {
            let bytes = event_stream::event(name, payload.to_string());
            let frame = Frame::read(&bytes).unwrap().unwrap();
            failed = stream.frame(&frame, &mut out).err();
            if failed.is_some() {
                break;
            }
        }
        let failed = failed.or_else(|| stream.finish(&mut out).err());
        if let Some(error) = &failed {
            let error =
                sluice_bedrock::dialect::DialectError::new(error.kind(), error.to_string());
            stream.fail(&error, "r-1", &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        let mut data: Vec<_> = text.split_terminator("\n\n").collect();
        let last = data.pop().unwrap();
        prop_assert_eq!(failed.is_none(), last == "data: [DONE]", "{}", text);
        let mut ends = 0;
        for chunk in data {
            let chunk: Value = serde_json::from_str(chunk.strip_prefix("data: ").unwrap()).unwrap();
            ends += usize::from(!chunk["choices"][0]["finish_reason"].is_null());
        }
        prop_assert!(ends <= 1 && (ends == 1 || failed.is_some()));
    }
}
