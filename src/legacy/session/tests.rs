//! What users of sessions would notice, and that the table does what a naive one would do.

use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(60);

fn sessions(max_sessions: usize, max_turns: usize) -> Sessions {
    bounded(max_sessions, usize::MAX, max_turns)
}

fn bounded(max_sessions: usize, max_bytes: usize, max_turns: usize) -> Sessions {
    let bounds = Bounds { ttl: TTL, max_sessions, max_bytes, max_turns };
    Sessions::new(bounds, IntCounter::new("forgotten", "Forgotten sessions.").unwrap())
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ask<'a>(question: &'a str, answer: &'a str) -> Turn<'a> {
    Turn { question, answer, key: None }
}

fn texts(sessions: &Sessions, id: &str, now: Instant) -> Vec<String> {
    let context = sessions.context(id, None, now).unwrap();
    context.history.iter().map(|message| message.text.to_string()).collect()
}

#[test]
fn a_session_begins_at_its_first_use_and_ends_when_it_is_not_used() {
    let (sessions, start) = (sessions(10, 10), Instant::now());
    assert!(!sessions.known("a", start));
    assert_eq!(sessions.context("a", None, start), None);
    sessions.open("a", start);
    assert!(sessions.known("a", start + seconds(59)));
    sessions.context("a", None, start + seconds(59)).unwrap();
    assert!(sessions.known("a", start + seconds(118)), "it was used in between");
    assert!(!sessions.known("a", start + seconds(119)), "to ask was no use");
    assert!(sessions.is_empty());
}

#[test]
fn an_expired_session_begins_anew() {
    let (sessions, start) = (sessions(10, 10), Instant::now());
    sessions.open("a", start);
    sessions.note_turn("a", &ask("q", "a"), start);
    sessions.open("a", start + seconds(1));
    assert_eq!(texts(&sessions, "a", start), ["q", "a"]);
    sessions.open("a", start + seconds(61));
    assert_eq!(sessions.context("a", None, start + seconds(61)), Some(ChatContext::default()));
}

#[test]
fn when_there_is_no_room_the_one_that_was_not_used_for_longest_leaves() {
    let (sessions, now) = (sessions(3, 10), Instant::now());
    for id in ["a", "b", "c"] {
        sessions.open(id, now);
    }
    sessions.note_feedback("a", "s", 1, now);
    sessions.open("d", now);
    let known = ["a", "b", "c", "d"].map(|id| sessions.known(id, now));
    assert_eq!((known, sessions.len()), ([true, false, true, true], 3));
}

#[test]
fn too_long_an_id_is_refused() {
    assert_eq!(owned_by(None, &"é".repeat(129)), Err(IdTooLong));
    assert_eq!(owned_by(Some("team-a"), &"é".repeat(129)), Err(IdTooLong));
    assert!(owned_by(Some("team-a"), &"é".repeat(128)).is_ok());
    assert_eq!(owned_by(None, "a"), Ok("a".to_owned()));
    assert_ne!(owned_by(Some("team-a"), "a"), owned_by(Some("team-b"), "a"));
}

#[test]
fn the_chat_is_told_of_the_sections_last_feedback() {
    let (sessions, now) = (sessions(3, 10), Instant::now());
    sessions.note_feedback("a", "Timeline", 3, now);
    assert!(!sessions.known("a", now), "a note begins no session");
    sessions.open("a", now);
    sessions.note_feedback("a", "Timeline", 3, now);
    sessions.note_feedback("a", "Summary", 1, now);
    sessions.note_feedback("a", "Timeline", 2, now);
    let count = |section| sessions.context("a", section, now).unwrap().feedback_count;
    assert_eq!(
        (count(Some("Timeline")), count(Some("Summary")), count(Some("Other")), count(None)),
        (2, 1, 0, 0)
    );
}

#[test]
fn sections_turns_and_texts_are_bounded() {
    let (sessions, now) = (sessions(3, 2), Instant::now());
    sessions.open("a", now);
    for n in 0..=MAX_SECTIONS {
        sessions.note_feedback("a", &format!("section {n}"), 1, now);
    }
    let count = |section| sessions.context("a", Some(section), now).unwrap().feedback_count;
    assert_eq!((count("section 0"), count("section 1")), (0, 1));

    for question in ["1", "2", "3"] {
        sessions.note_turn("a", &ask(question, "yes"), now);
    }
    assert_eq!(texts(&sessions, "a", now), ["2", "yes", "3", "yes"]);
    let long = "é".repeat(9000);
    sessions.note_turn("a", &ask(&long, &long), now);
    let last = texts(&sessions, "a", now).pop().unwrap();
    assert_eq!(last.chars().count(), 4000);

    sessions.note_feedback("a", &long, 7, now);
    assert_eq!(count(&long), 7);
}

#[test]
fn no_turns_are_kept_where_none_are_wanted() {
    let (sessions, now) = (sessions(3, 0), Instant::now());
    sessions.open("a", now);
    sessions.note_turn("a", &ask("q", "a"), now);
    assert_eq!(texts(&sessions, "a", now).len(), 0);
}

#[test]
fn the_same_job_noted_twice_is_one_turn() {
    let (sessions, now) = (sessions(3, 2), Instant::now());
    sessions.open("a", now);
    let job = Turn { key: Some("job-1"), ..ask("why?", "so") };
    sessions.note_turn("a", &job, now);
    sessions.note_turn("a", &job, now);
    assert_eq!(texts(&sessions, "a", now), ["why?", "so"]);
    for question in ["2", "3", "4"] {
        sessions.note_turn("a", &ask(question, "yes"), now);
    }
    sessions.note_turn("a", &job, now);
    assert_eq!(texts(&sessions, "a", now), ["3", "yes", "4", "yes"], "even when it has left");
}

#[test]
fn a_history_survives_json_with_the_roles_of_the_prompts() {
    let (sessions, now) = (sessions(3, 2), Instant::now());
    sessions.open("a", now);
    sessions.note_turn("a", &ask("why?", "so"), now);
    let context = sessions.context("a", None, now).unwrap();
    let text = serde_json::to_string(&context).unwrap();
    assert_eq!(
        text,
        r#"{"feedback_count":0,"history":[{"role":"user","text":"why?"},{"role":"assistant","text":"so"}]}"#
    );
    assert_eq!(serde_json::from_str::<ChatContext>(&text).unwrap(), context);
}

#[test]
fn the_list_of_uses_does_not_grow_with_the_uses() {
    let (sessions, now) = (sessions(10, 2), Instant::now());
    for n in 0..10_000 {
        sessions.open(&format!("{}", n % 7), now);
    }
    assert!(sessions.lock(now).uses.len() <= 2 * 7 + SPARE + 1);
}

/// The same by the plainest means: a list in the order of use, searched from end to end.
struct Naive {
    max_sessions: usize,
    sessions: Vec<(u8, Instant, usize)>,
}

impl Naive {
    fn used(&mut self, id: u8, now: Instant) -> Option<&mut usize> {
        self.sessions.retain(|(_, used, _)| now - *used < TTL);
        let at = self.sessions.iter().position(|(name, ..)| *name == id)?;
        let (name, _, turns) = self.sessions.remove(at);
        self.sessions.push((name, now, turns));
        self.sessions.last_mut().map(|(_, _, turns)| turns)
    }

    fn open(&mut self, id: u8, now: Instant) {
        if self.used(id, now).is_none() {
            if self.sessions.len() == self.max_sessions {
                self.sessions.remove(0);
            }
            self.sessions.push((id, now, 0));
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Open(u8),
    Turn(u8),
    Context(u8),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..12).prop_map(Op::Open),
        2 => (0u8..12).prop_map(Op::Turn),
        2 => (0u8..12).prop_map(Op::Context),
        2 => (0u64..30).prop_map(Op::Wait),
    ]
}

proptest! {
    #[test]
    fn sessions_agree_with_a_simple_table(
        max_sessions in 1usize..8,
        ops in prop::collection::vec(op(), 0..300),
    ) {
        let sessions = sessions(max_sessions, 1000);
        let mut naive = Naive { max_sessions, sessions: Vec::new() };
        let mut now = Instant::now();
        for op in ops {
            match op {
                Op::Open(id) => {
                    sessions.open(&id.to_string(), now);
                    naive.open(id, now);
                }
                Op::Turn(id) => {
                    sessions.note_turn(&id.to_string(), &ask("q", "a"), now);
                    if let Some(turns) = naive.used(id, now) {
                        *turns += 1;
                    }
                }
                Op::Context(id) => {
                    let context = sessions.context(&id.to_string(), None, now);
                    let wanted = naive.used(id, now).map(|turns| *turns * 2);
                    prop_assert_eq!(context.map(|context| context.history.len()), wanted);
                }
                Op::Wait(time) => now += seconds(time),
            }
            naive.sessions.retain(|(_, used, _)| now - *used < TTL);
            for id in 0u8..12 {
                let wanted = naive.sessions.iter().any(|(name, ..)| *name == id);
                prop_assert_eq!(sessions.known(&id.to_string(), now), wanted, "{}", id);
            }
            prop_assert!(sessions.len() <= max_sessions);
        }
    }
}

#[test]
fn all_sessions_together_take_no_more_than_their_room() {
    let (sessions, now) = (bounded(1000, 100_000, 20), Instant::now());
    let text = "x".repeat(MAX_TEXT);
    for n in 0..100 {
        let id = format!("{n}");
        sessions.open(&id, now);
        for _ in 0..5 {
            sessions.note_turn(&id, &ask(&text, &text), now);
        }
    }
    assert!(sessions.known("99", now) && !sessions.known("0", now));
    assert_eq!(sessions.len(), 2, "40 kB each");
    assert_eq!(sessions.forgotten.get(), 98);
    let held = |sessions: &Sessions| {
        let table = sessions.table.lock();
        let sum: usize = table.sessions.values().map(Session::bytes).sum();
        assert_eq!(table.bytes, sum, "what is counted is what is there");
        sum
    };
    assert!(held(&sessions) <= 100_000);
    // One alone forgets its oldest turns.
    for _ in 0..20 {
        sessions.note_turn("99", &ask(&text, &text), now);
    }
    assert_eq!(sessions.len(), 1);
    assert!((90_000..=100_000).contains(&held(&sessions)));
    for n in 0..1000 {
        sessions.note_feedback("99", &format!("section {n}"), 1, now);
    }
    assert!(sessions.known("99", now));
    // When they are over, nothing is held.
    let later = now + TTL;
    sessions.open("next", later);
    assert!(held(&sessions) <= 1000);
}
