//! What the fuzz targets check of translations (fuzz/translations.rs) holds for their seeds, and for these cut off
//! or with a byte changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;

#[path = "../../../fuzz/translations.rs"]
mod translations;

fn each_seed(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        check(&seed);
        seeds += 1;
        for at in (1..seed.len()).step_by(7) {
            check(&seed[..at]);
            let mut changed = seed.clone();
            for byte in [b'"', b'0', b'{', b'\n', 0xff] {
                changed[at] = byte;
                check(&changed);
            }
        }
    }
    assert!(seeds > 0);
}

#[test]
fn requests_are_refused_or_written_as_json() {
    each_seed("translated_request", translations::request);
}

#[test]
fn answers_are_refused_or_written_as_json() {
    each_seed("translated_answer", translations::answer);
}

#[test]
fn a_stream_is_the_same_wherever_it_is_cut() {
    each_seed("translated_stream", translations::stream);
}

#[test]
fn messages_for_claude_are_refused_or_stay_json() {
    each_seed("translated_claude", translations::claude);
}

#[test]
fn a_stream_of_claudes_is_the_same_wherever_it_is_cut() {
    each_seed("translated_claude_stream", translations::claude_stream);
}

#[test]
fn embeddings_have_each_text_once() {
    each_seed("translated_embeddings", translations::embeddings);
}

#[test]
fn a_kept_response_comes_back_as_it_was() {
    each_seed("translated_turns", translations::turns);
}
