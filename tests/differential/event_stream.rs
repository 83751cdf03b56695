//! Event streams: ours against botocore's.

use std::collections::BTreeMap;

use serde::Deserialize;
use sluice::bedrock::event_stream::Frame;

use crate::{Case, each_case};

/// A frame as botocore reads it.
#[derive(Debug, Deserialize)]
struct Message {
    /// The headers that are texts.
    texts: BTreeMap<String, String>,
    /// The names of the others.
    others: Vec<String>,
    payload: String,
}

#[test]
fn botocore_reads_the_same_frames() {
    let (mut frames, mut plain, mut refused, mut stricter) = (0, 0, 0, 0);
    let streams = each_case("botocore", "event_stream", |case: &Case<Message>| {
        let (read, is_refused) = check(case);
        frames += read;
        plain += u64::from(case.is_plain);
        refused += u64::from(is_refused);
        stricter += u64::from(is_refused && case.raised.is_none());
    });
    println!("{frames} frames, {refused} streams refused, {stricter} of them by us alone");
    assert!(frames > streams && plain > streams / 4 && refused > streams / 20);
    assert!(stricter < refused / 2, "{stricter} of {refused}");
}

/// Compares the frames. Returns their number, and whether we refuse what follows.
fn check(case: &Case<Message>) -> (u64, bool) {
    let (mut held, mut read) = (Vec::new(), 0);
    for chunk in case.chunks() {
        held.extend_from_slice(&chunk);
        loop {
            match Frame::read_verified(&held) {
                Ok(None) => break,
                Err(_) => {
                    assert!(!case.is_plain, "{case:?}");
                    return (read as u64, true);
                }
                Ok(Some(frame)) => {
                    let message = case.events.get(read);
                    let message = message.unwrap_or_else(|| panic!("frame {read} of {case:?}"));
                    compare(&frame, message);
                    read += 1;
                    let len = frame.len;
                    held.drain(..len);
                }
            }
        }
    }
    assert_eq!(read, case.events.len(), "{case:?}");
    assert_eq!(case.raised, None, "we take what botocore refuses: {case:?}");
    (read as u64, false)
}

fn compare(frame: &Frame<'_>, message: &Message) {
    assert_eq!(hex::encode(frame.payload), message.payload, "{message:?}");
    for (name, text) in &message.texts {
        assert_eq!(frame.header(name), Some(text.as_str()), "{name} of {message:?}");
    }
    let absent = ["of-no-frame".to_owned()];
    for name in message.others.iter().chain(&absent) {
        assert_eq!(frame.header(name), None, "{name} of {message:?}");
    }
}
