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
        ("catalogue", properties::catalogue),
        ("glob", properties::glob),
        ("feedback", properties::feedback),
        ("response_id", properties::response_id),
        ("fleet_event", properties::fleet_event),
    ];
    for (target, holds) in texts {
        seeds(target).iter().for_each(|(_, seed)| holds(std::str::from_utf8(seed).unwrap()));
    }
    let bytes: &Properties<[u8]> = &[
        ("identity", properties::identity),
        ("signature", properties::signature),
        ("token", properties::token),
        ("key_set", properties::key_set),
        ("signed_event", properties::signed_event),
        ("certificate", properties::certificate),
        ("request_head", properties::request_head),
        ("event_stream", properties::event_stream),
        ("sse", properties::sse),
        ("body", properties::body),
        ("answer", properties::answer),
        ("hyper_oracle", properties::hyper_oracle),
        ("json", properties::json),
        ("usage", properties::usage),
        ("error", properties::error),
        ("rewrite", properties::rewrite),
    ];
    for (target, holds) in bytes {
        seeds(target).iter().for_each(|(_, seed)| holds(seed));
    }
}

#[test]
fn the_signed_seeds_are_taken_and_the_others_are_not() {
    let taken: Vec<String> = seeds("signature")
        .into_iter()
        .filter(|(_, seed)| properties::is_taken(seed))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(taken, ["declared", "undeclared", "unsigned", "verbatim"]);
}

#[test]
fn every_target_has_small_seeds_and_a_property() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join("fuzz").join(name)).unwrap();
    let shared =
        ["properties.rs", "clients.rs", "answers.rs", "files.rs", "replicas.rs"].map(read).concat();
    let translations = read("translations.rs");
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
    fn no_client_refuses_a_response_that_is_as_http_has_it(
        circumstances in any::<u8>(),
        interim in "(HTTP/1\\.1 10[023] [A-Z][a-z]{0,5}\r\n(x: y\r\n)?\r\n){0,2}",
        status in "(200 OK|201 |400 Bad Request|503 Slow Down)",
        fields in "(x-amzn-requestid: [a-z0-9-]{0,9}\r\n|content-type:[ \t]{0,3}a/b[ \t]{0,2}\r\n|set-cookie: a=b\r\nset-cookie: c=d\r\n|Keep-Alive: timeout=5\r\n){0,3}",
        chunks in vec((vec(any::<u8>(), 1..80), "(;[a-z]{1,3}(=[a-z0-9]{1,3}|=\"[a-z ]{0,3}\")?){0,2}", any::<bool>()), 0..5),
        trailers in "(x-trailer: [a-z ]{0,5}\r\n){0,2}",
        framing in 0..3_u8,
        says_close in any::<bool>(),
    ) {
        let body = chunks.iter().flat_map(|(data, ..)| data).copied().collect::<Vec<_>>();
        let close = if says_close { "Connection: close\r\n" } else { "" };
        let mut input = vec![circumstances & !1];
        let (field, framed, closes) = match framing {
            0 => (format!("Content-Length: {}\r\n", body.len()), body.clone(), false),
            1 => {
                let mut framed = Vec::new();
                for (data, extension, is_upper) in &chunks {
                    let length = if *is_upper { format!("{:X}", data.len()) } else { format!("{:04x}", data.len()) };
                    framed.extend([length.as_bytes(), extension.as_bytes(), b"\r\n", data, b"\r\n"].concat());
                }
                framed.extend([b"0\r\n", trailers.as_bytes(), b"\r\n"].concat());
                ("Transfer-Encoding: chunked\r\n".to_owned(), framed, false)
            }
            // It ends with the connection.
            _ => {
                input[0] &= !2;
                (String::new(), body.clone(), true)
            }
        };
        let head = format!("{interim}HTTP/1.1 {status}\r\n{fields}{close}{field}\r\n");
        input.extend([head.as_bytes(), &framed].concat());
        properties::well_formed(&input, &body, !says_close && !closes);
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

    #[test]
    fn of_fleet_events(
        changed in changed_text("fleet_event"),
        made in "[a-z0-9]{0,4} [0-9]{0,20} (cooled|opened|probed|reset_target|reset|x) [0-9]{0,20} [0-9]{0,11} [01] [a-z ]{0,8}",
        cooldown in "[0-9]{0,20}\n[0-9]{0,20} [0-9]{0,11} [01]",
    ) {
        [changed, made, cooldown].iter().for_each(|text| properties::fleet_event(text));
    }

    #[test]
    fn of_catalogues_and_patterns(
        changed in changed_text("catalogue"),
        pattern in "[ab/*?{},!^\\[\\]\\\\-]{0,20}\n[ab/*,\\[\\]{}\\\\]{0,20}",
        any in any::<String>(),
    ) {
        properties::catalogue(&changed);
        [pattern, any].iter().for_each(|text| properties::glob(text));
    }

    #[test]
    fn of_what_clients_show(
        signature in changed("signature"),
        head in changed("request_head"),
        token in changed("token"),
        certificate in changed("certificate"),
        event in vec(any::<u8>(), 0..80),
        id in changed_text("response_id"),
        keys in changed("key_set"),
        any in any::<String>(),
    ) {
        properties::key_set(&keys);
        properties::signature(&signature);
        properties::request_head(&head);
        properties::token(&token);
        properties::certificate(&certificate);
        properties::signed_event(&event);
        [id, any].iter().for_each(|text| properties::response_id(text));
    }

    #[test]
    fn of_json(
        changed in changed("json"),
        made in "[\\[{]?(\"(a|\\\\u00e9|usage|id|response)\"|[\\[\\]{}]|[:,]|[0-9eE.+-]{1,4}|true|null| ){0,12}[\\]}]?",
        usage in changed("usage"),
        rewritten in changed("rewrite"),
        error in changed("error"),
        any in vec(any::<u8>(), 0..60),
    ) {
        for bytes in [&changed, made.as_bytes(), &usage, &rewritten, &error, &any] {
            properties::json(bytes);
            properties::usage(bytes);
            properties::rewrite(bytes);
            properties::error(bytes);
        }
    }
}
