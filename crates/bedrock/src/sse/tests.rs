use proptest::prelude::*;

use super::*;

const MAX: usize = 64 * 1024;

/// The pieces of a stream that comes in chunks with these ends, and whether it ends within an event.
fn pieces(max: usize, stream: &[u8], cuts: &[usize]) -> (Vec<Piece>, bool) {
    let mut splitter = Splitter::new(max);
    let (mut pieces, mut from) = (Vec::new(), 0);
    for &cut in cuts.iter().chain([&stream.len()]) {
        let cut = cut.clamp(from, stream.len());
        let mut chunk = Bytes::copy_from_slice(&stream[from..cut]);
        while let Some(piece) = splitter.next(&mut chunk) {
            pieces.push(piece);
        }
        assert!(chunk.is_empty());
        assert!(splitter.partial.len() <= max.max(3));
        from = cut;
    }
    let is_within_event = splitter.is_within_event();
    let partial = splitter.take_partial();
    if !partial.is_empty() {
        pieces.push(Piece::Unread(partial));
    }
    (pieces, is_within_event)
}

type Read = (Option<String>, Vec<u8>);

/// The events with data among pieces.
fn events(pieces: &[Piece]) -> Vec<Read> {
    let events = pieces.iter().filter_map(|piece| match piece {
        Piece::Event(raw) => Some(Event::read(raw)),
        Piece::LongStart(_) | Piece::Unread(_) => None,
    });
    events
        .filter_map(|event| Some((event.name.map(str::to_owned), event.data?.into_owned())))
        .collect()
}

fn read(stream: &str) -> Vec<(Option<String>, String)> {
    let read = events(&pieces(MAX, stream.as_bytes(), &[]).0);
    read.into_iter().map(|(name, data)| (name, String::from_utf8(data).unwrap())).collect()
}

fn joined(pieces: &[Piece]) -> Vec<u8> {
    let bytes = pieces.iter().flat_map(|piece| match piece {
        Piece::Event(bytes) | Piece::LongStart(bytes) | Piece::Unread(bytes) => {
            bytes.iter().copied()
        }
    });
    bytes.collect()
}

/// Reads a stream as the standard says it, line by line.
fn oracle(stream: &str) -> Vec<Read> {
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut name, mut data) = (Vec::new(), String::new(), String::new());
    let mut lines: Vec<&str> = lines.split('\n').collect();
    // What follows the last end of line is no line.
    lines.pop();
    for line in lines {
        if line.is_empty() {
            if let Some(data) = data.strip_suffix('\n') {
                let name = Some(name.clone()).filter(|name| !name.is_empty());
                events.push((name, data.as_bytes().to_vec()));
            }
            (name, data) = (String::new(), String::new());
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => data.extend([value, "\n"]),
            _ => {}
        }
    }
    events
}

#[test]
fn names_and_data_are_read_in_every_form_of_the_standard() {
    for (stream, name, data) in [
        ("data: x\n\n", None, "x"),
        ("data:x\r\n\r\n", None, "x"),
        ("data:  x\r\r", None, " x"),
        ("event: ping\ndata: {}\n\n", Some("ping"), "{}"),
        ("data: {}\nevent: ping\nid: 7\nretry: 5\nother\n\n", Some("ping"), "{}"),
        (": a comment\ndata: a\ndata: b\ndata\n\n", None, "a\nb\n"),
        ("event: a\nevent: b\ndata: x\n\n", Some("b"), "x"),
        ("event: a\nevent:\ndata: x\n\n", None, "x"),
        ("data\n\n", None, ""),
        ("\u{feff}data: x\n\n", None, "x"),
        ("data: a:b\n\n", None, "a:b"),
        ("\n\n\r\ndata: x\n\n", None, "x"),
    ] {
        assert_eq!(read(stream), [(name.map(str::to_owned), data.to_owned())], "{stream:?}");
    }
    for silent in ["", "\n", ": keep-alive\n\n", "event: x\n\n", "data : x\n\n", " data: x\n\n"] {
        assert_eq!(read(silent), [], "{silent:?}");
    }
    // The mark counts at the start of the stream alone.
    assert_eq!(read("\n\u{feff}data: x\n\n"), []);
    assert_eq!(read("\u{feff}\u{feff}data: x\n\n"), []);
}

#[test]
fn what_is_written_is_read_again() {
    for (name, data, wanted) in [
        (None, DONE, DONE),
        (Some("message_stop"), "{}", "{}"),
        (None, "a\nb\r\nc", "a\nb\n\nc"),
        (None, "", ""),
        (None, " x", " x"),
    ] {
        let raw = event(name, data);
        let event = Event::read(&raw);
        assert_eq!((event.name, event.data.as_deref()), (name, Some(wanted.as_bytes())));
        assert_eq!(pieces(MAX, &raw, &[]).0, [Piece::Event(raw.clone())]);
    }
    assert_eq!(Event::read(&event(Some("a\ndata: b"), "c")).data.as_deref(), Some(&b"c"[..]));
}

#[test]
fn an_event_within_a_chunk_is_not_copied() {
    let stream = Bytes::from_static(b"event: a\ndata: 1\n\ndata: 2\n\ndata: 3");
    let mut chunk = stream.clone();
    let mut splitter = Splitter::new(MAX);
    for wanted in [&stream[..18], &stream[18..27]] {
        let Some(Piece::Event(raw)) = splitter.next(&mut chunk) else { panic!("an event") };
        assert_eq!((raw.as_ptr(), raw.len()), (wanted.as_ptr(), wanted.len()));
        let data = Event::read(&raw).data.unwrap();
        assert!(matches!(data, Cow::Borrowed(_)));
        assert!(!splitter.is_within_event());
    }
    assert_eq!(splitter.next(&mut chunk), None);
    assert!(splitter.is_within_event());
    assert_eq!(splitter.take_partial(), "data: 3");
    assert!(!splitter.is_within_event());
}

#[test]
fn an_event_is_whole_at_its_blank_line_whatever_follows() {
    let (split, is_within_event) = pieces(MAX, b"data: x\r\n\r\n", &[10]);
    let unread = Bytes::from_static(b"\n");
    assert_eq!(split, [Piece::Event("data: x\r\n\r".into()), Piece::Unread(unread)]);
    assert!(!is_within_event);
}

#[test]
fn a_long_event_passes_unread_and_is_not_held() {
    let long = format!("event: long\ndata: {}\n\n", "x".repeat(1000));
    let stream = format!("data: 1\n\n{long}data: 2\n\n");
    for step in [1, 7, 64, 4096] {
        let cuts: Vec<usize> = (0..stream.len()).step_by(step).collect();
        let (split, is_within_event) = pieces(100, stream.as_bytes(), &cuts);
        assert_eq!(events(&split), [(None, b"1".to_vec()), (None, b"2".to_vec())], "{step}");
        assert_eq!(joined(&split), stream.as_bytes());
        assert!(!is_within_event);
        let starts: Vec<&Bytes> = split
            .iter()
            .filter_map(|piece| match piece {
                Piece::LongStart(bytes) => Some(bytes),
                _ => None,
            })
            .collect();
        assert_eq!(starts.len(), 1);
        assert_eq!(Event::read(starts[0]).name, Some("long"));
    }
    assert!(pieces(100, &long.as_bytes()[..500], &[]).1);
}

fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "(data|event|id|retry|: x|datas)?:? ?[a-z: {}\u{feff}]{0,6}",
        Just(String::new()),
        Just("data: é".to_owned()),
    ];
    let end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    let lines = prop::collection::vec((line, end), 0..12);
    (prop::bool::weighted(0.2), lines, "(data: x)?").prop_map(|(mark, lines, rest)| {
        let lines: String = lines.into_iter().flat_map(|(line, end)| [line, end.into()]).collect();
        format!("{}{lines}{rest}", if mark { "\u{feff}" } else { "" })
    })
}

proptest! {
    #[test]
    fn any_split_gives_the_events_of_the_standard(
        stream in lines(), mut cuts in prop::collection::vec(0usize..120, 0..12)
    ) {
        cuts.sort_unstable();
        let wanted = oracle(&stream);
        let (whole, is_within_event) = pieces(MAX, stream.as_bytes(), &[]);
        prop_assert_eq!(events(&whole), wanted.clone());
        let bytes: Vec<usize> = (0..stream.len()).collect();
        for cuts in [&cuts, &bytes] {
            let (split, is_within) = pieces(MAX, stream.as_bytes(), cuts);
            prop_assert_eq!(joined(&split), stream.as_bytes());
            prop_assert_eq!(events(&split), wanted.clone());
            prop_assert_eq!(is_within, is_within_event);
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_are_lost(
        stream in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r')], 0..80),
        mut cuts in prop::collection::vec(0usize..80, 0..12),
        max in 0usize..40,
    ) {
        cuts.sort_unstable();
        let (split, _) = pieces(max, &stream, &cuts);
        prop_assert_eq!(joined(&split), stream);
        _ = events(&split);
    }
}
