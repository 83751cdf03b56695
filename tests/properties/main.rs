//! The properties that the fuzz targets check, in every run: over the seeds of each target, over
//! what becomes of them with a few bytes changed, and over texts that look like what is read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]
#![allow(unreachable_pub, missing_docs, reason = "tests")]

#[path = "../../fuzz/properties.rs"]
mod properties;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// What must hold of any input of a target, with the target's name.
type Properties<T> = [(&'static str, fn(&T))];

/// The seeds of a target, with their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let mut seeds: Vec<_> = files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

/// A seed, or a part of one, with some bytes changed.
fn changed(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let seeds: Vec<Vec<u8>> = seeds(target).into_iter().map(|(_, seed)| seed).collect();
    let changes = vec((any::<Index>(), any::<u8>()), 0..4);
    (prop::sample::select(seeds), changes, prop::option::of(any::<Index>())).prop_map(
        |(mut seed, changes, end)| {
            for (at, to) in changes {
                let at = at.index(seed.len());
                seed[at] = to;
            }
            if let Some(end) = end {
                seed.truncate(end.index(seed.len() + 1));
            }
            seed
        },
    )
}

/// The same as text.
fn changed_text(target: &str) -> impl Strategy<Value = String> {
    changed(target).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn of_the_seeds() {
    let texts: &Properties<str> = &[
        ("path", properties::path),
        ("model_id", properties::model_id),
        ("config", properties::config),
        ("feedback", properties::feedback),
    ];
    for (target, holds) in texts {
        seeds(target).iter().for_each(|(_, seed)| holds(std::str::from_utf8(seed).unwrap()));
    }
    let bytes: &Properties<[u8]> = &[
        ("identity", properties::identity),
        ("event_stream", properties::event_stream),
        ("sse", properties::sse),
        ("body", properties::body),
        ("answer", properties::answer),
        ("hyper_oracle", properties::hyper_oracle),
    ];
    for (target, holds) in bytes {
        seeds(target).iter().for_each(|(_, seed)| holds(seed));
    }
}

#[test]
fn every_target_has_small_seeds_and_a_property() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::fs::read_to_string(root.join("fuzz/properties.rs")).unwrap();
    let translations = std::fs::read_to_string(root.join("fuzz/translations.rs")).unwrap();
    for file in std::fs::read_dir(root.join("fuzz/fuzz_targets")).unwrap() {
        let path = file.unwrap().path();
        let target = path.file_stem().unwrap().to_str().unwrap();
        let bytes: usize = seeds(target).iter().map(|(_, seed)| seed.len()).sum();
        assert!(bytes < 16 * 1024, "{target}: {bytes} bytes");
        // Those of translations are the bridge's, whose tests run their seeds.
        let name = target.strip_prefix("translated_");
        let (text, name) = match name {
            Some(name) => (&translations, format!("pub(crate) fn {name}(")),
            None => (&shared, format!("pub fn {target}(")),
        };
        assert!(text.contains(&name), "{target}");
    }
}

proptest! {
    #[test]
    fn of_paths(
        changed in changed_text("path"),
        made in "/(model|guardrail|async-invoke)/[a-z:./%0-9A-F]{0,40}(/invoke|/converse|/apply)?",
        any in any::<String>(),
    ) {
        [changed, made, any].iter().for_each(|text| properties::path(text));
    }

    #[test]
    fn of_model_ids(
        changed in changed_text("model_id"),
        made in "(arn:aws:bedrock:[a-z0-9-]{0,9}:[0-9]{0,12}:[a-z-]{0,20}/)?[a-z%0-9A-F.:/~@+=,-]{0,60}",
        any in any::<String>(),
    ) {
        [changed, made, any].iter().for_each(|text| properties::model_id(text));
    }

    #[test]
    fn of_identities(
        changed in changed("identity"),
        made in "AWS4-HMAC-SHA256 ?Credential=[A-Za-z0-9/_\\-,= ]{0,60}",
        any in vec(any::<u8>(), 0..80),
    ) {
        [changed, made.into_bytes(), any].iter().for_each(|bytes| properties::identity(bytes));
    }

    #[test]
    fn of_event_streams(changed in changed("event_stream"), any in vec(any::<u8>(), 0..200)) {
        [changed, any].iter().for_each(|bytes| properties::event_stream(bytes));
    }

    #[test]
    fn of_server_sent_events(
        changed in changed("sse"),
        made in "\u{feff}?((data|event|id|: x)?:? ?[a-z:{}]{0,6}(\n|\r\n|\r)){0,8}",
        any in vec(any::<u8>(), 0..120),
    ) {
        [changed, made.into_bytes(), any].iter().for_each(|bytes| properties::sse(bytes));
    }

    #[test]
    fn of_answers(
        changed in changed("answer"),
        fields in "(content-length: [0-9]{1,2}\r\n|transfer-encoding: chunked\r\n|connection: (close|x)\r\n|x: y\r\n){0,3}",
        made in "([0-9a-f]{1,2}(;x)?\r\n[a-z]{0,20}(\r\n)?){0,4}0\r\n(x: y\r\n)?\r\n.{0,3}",
        any in vec(any::<u8>(), 0..60),
    ) {
        let answer = |body: &[u8]| [b"HTTP/1.1 200 OK\r\n", fields.as_bytes(), b"\r\n", body].concat();
        let all = [changed, answer(made.as_bytes()), answer(&any), any];
        all.iter().for_each(|bytes| properties::answer(bytes));
    }

    #[test]
    fn the_client_reads_responses_as_hyper_does_or_refuses_them(
        choice in any::<u8>(),
        changed in changed("hyper_oracle"),
        start in "HTTP/1.[01] (1[0-9]{2}|200|204|304|[2-5][0-9]{2}) ?[a-z]{0,3}\r?\n",
        fields in "(content-length: ?[0-9]{1,2},?( ?[0-9]{1,2})?\r\n|transfer-encoding: (gzip, )?chunked\r\n|connection: (close|keep-alive|x)\r\n|x: y\r?\n){0,3}",
        chunks in "([0-9a-f]{1,2}( ?;[ax=\n\t ]{0,3})?\r?\n[a-z]{0,20}(\r\n)?){0,4}0\r?\n(x: ?y\r?\n)?\r?\n.{0,3}",
        any in vec(any::<u8>(), 0..60),
    ) {
        let response = |body: &[u8]| {
            [&[choice], start.as_bytes(), fields.as_bytes(), b"\r\n", body].concat()
        };
        let all = [changed, response(chunks.as_bytes()), response(&any), any];
        all.iter().for_each(|bytes| properties::hyper_oracle(bytes));
    }

    #[test]
    fn of_bodies(
        changed in changed("body"),
        made in "\\{(\"(max_tokens|maxTokens|messages|usage|inferenceConfig|model|store|stream_options)\":[\\[\\]{}0-9e.\"a,:-]{0,12},?){0,4}\\}?",
        any in vec(any::<u8>(), 0..120),
    ) {
        [changed, made.into_bytes(), any].iter().for_each(|bytes| properties::body(bytes));
    }

    #[test]
    fn of_configs(changed in changed_text("config"), any in "\\PC{0,120}") {
        [changed, any].iter().for_each(|text| properties::config(text));
    }

    #[test]
    fn of_feedback(
        changed in changed_text("feedback"),
        made in "[\\[\\]{}`\":,a-f0-9\\\\ .]{0,80}",
        any in any::<String>(),
    ) {
        [changed, made, any].iter().for_each(|text| properties::feedback(text));
    }
}
