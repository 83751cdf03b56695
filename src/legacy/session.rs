//! Sessions: what the chat remembers of each user, in memory.
//!
//! A session lives until it was not used for a while, or until so many others were used after it
//! that there is no room. All of it is bounded: sessions, their sections, their turns and the
//! texts in them. One lock guards the table and is held for a few map operations at a time; no
//! operation's cost grows with the number of sessions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use prometheus::IntCounter;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::text::first_chars;

/// Most bytes of a session's id.
pub const MAX_ID_BYTES: usize = 256;
/// Most sections that a session remembers; the one noted longest ago leaves first.
pub const MAX_SECTIONS: usize = 50;
/// Most characters of each text that a session remembers.
pub const MAX_TEXT: usize = 4000;

/// Most characters of a section's name.
const MAX_SECTION_NAME: usize = 200;
/// Least number of turns whose keys are remembered, those that have left included.
const KEYS: usize = 64;
/// Stale uses that are kept however few sessions there are.
const SPARE: usize = 64;
/// Bytes that a session takes without what it remembers, and each thing that it remembers without
/// its text: about the size of the maps, lists and allocations around them.
const SESSION: usize = 512;
const ENTRY: usize = 64;
/// Most expired sessions that one operation clears away, so that none takes long.
const SWEEP: usize = 8;

/// An id that no session can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session id is longer than {MAX_ID_BYTES} bytes")]
pub struct IdTooLong;

/// The internal id of a session: the client's name and the client's `id`, so that no client reaches
/// a session of another.
///
/// # Errors
/// When the client's own id is too long.
pub fn owned_by(client: Option<&str>, id: &str) -> Result<String, IdTooLong> {
    if id.len() > MAX_ID_BYTES {
        return Err(IdTooLong);
    }
    // No client's name has a line break.
    Ok(client.map_or_else(|| id.to_owned(), |client| format!("{client}\n{id}")))
}

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// By whom.
    pub role: Role,
    /// What, at most [`MAX_TEXT`] characters of it.
    pub text: Arc<str>,
}

/// A question and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The user's question.
    pub question: &'a str,
    /// What the model answered.
    pub answer: &'a str,
    /// Identifies this turn, so that it is noted once: the id of the job that made
    /// it. Without a key every note is a turn.
    pub key: Option<&'a str>,
}

/// What the chat needs of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatContext {
    /// How many feedback items the section has.
    pub feedback_count: usize,
    /// The conversation so far, oldest first.
    pub history: Vec<Message>,
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    bounds: Bounds,
    /// Counts the sessions that are forgotten for want of room.
    forgotten: IntCounter,
    table: Mutex<Table>,
}

/// How much the sessions may remember.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long one is kept that is not used.
    pub ttl: Duration,
    /// How many there may be; at least one is kept.
    pub max_sessions: usize,
    /// Bytes that all may take together.
    pub max_bytes: usize,
    /// Turns that each remembers.
    pub max_turns: usize,
}

impl Sessions {
    /// No sessions yet. Those that are forgotten for want of room count in `forgotten`.
    pub fn new(bounds: Bounds, forgotten: IntCounter) -> Sessions {
        Sessions { bounds, forgotten, table: Mutex::default() }
    }

    /// Uses a session, which begins here if it is not known. Ids are those of [`owned_by`], which
    /// bounds them.
    pub fn open(&self, id: &str, now: Instant) {
        let mut table = self.lock(now);
        if table.used(id, now, self.bounds.ttl).is_none() {
            table.insert(id, now);
            self.make_room(&mut table);
        }
    }

    /// Whether there is such a session. This does not count as a use of it.
    pub fn known(&self, id: &str, now: Instant) -> bool {
        let table = self.lock(now);
        table.sessions.get(id).is_some_and(|session| !session.is_over(now, self.bounds.ttl))
    }

    /// What the chat needs to answer in this session, with `section` in front of the user; none if
    /// there is no such session.
    pub fn context(&self, id: &str, section: Option<&str>, now: Instant) -> Option<ChatContext> {
        let mut table = self.lock(now);
        let session = table.used(id, now, self.bounds.ttl)?;
        let section = section.map(|name| first_chars(name, MAX_SECTION_NAME));
        let noted = session.sections.iter().find(|(name, _)| Some(&**name) == section);
        Some(ChatContext {
            feedback_count: noted.map_or(0, |(_, count)| *count),
            history: session.turns.iter().flatten().cloned().collect(),
        })
    }

    /// Notes how many feedback items the last analysis of a section gave. Of a session that is
    /// over nothing is noted.
    pub fn note_feedback(&self, id: &str, section: &str, count: usize, now: Instant) {
        let mut table = self.lock(now);
        let Some(session) = table.used(id, now, self.bounds.ttl) else { return };
        let before = session.bytes();
        let section = first_chars(section, MAX_SECTION_NAME);
        session.sections.retain(|(name, _)| &**name != section);
        if session.sections.len() >= MAX_SECTIONS {
            session.sections.pop_front();
        }
        session.sections.push_back((section.into(), count));
        let after = session.bytes();
        table.bytes = table.bytes + after - before;
        self.make_room(&mut table);
    }

    /// Notes a turn of the chat, once for each key. Of a session that is over nothing is noted.
    pub fn note_turn(&self, id: &str, turn: &Turn<'_>, now: Instant) {
        // Copied before the lock is taken: these are the large texts.
        let said = |role, text| Message { role, text: first_chars(text, MAX_TEXT).into() };
        let messages = [said(Role::User, turn.question), said(Role::Assistant, turn.answer)];
        let mut table = self.lock(now);
        let Some(session) = table.used(id, now, self.bounds.ttl) else { return };
        let before = session.bytes();
        if let Some(key) = turn.key {
            if session.keys.iter().any(|noted| &**noted == key) {
                return;
            }
            if session.keys.len() >= self.bounds.max_turns.max(KEYS) {
                session.keys.pop_front();
            }
            session.keys.push_back(key.into());
        }
        session.turns.push_back(messages);
        if session.turns.len() > self.bounds.max_turns {
            session.turns.pop_front();
        }
        // One alone may take all the room, and no more.
        while session.bytes() > self.bounds.max_bytes && session.turns.pop_front().is_some() {}
        let after = session.bytes();
        table.bytes = table.bytes + after - before;
        self.make_room(&mut table);
    }

    /// Forgets those that were not used for longest until the others have room.
    fn make_room(&self, table: &mut Table) {
        let Bounds { max_sessions, max_bytes, .. } = self.bounds;
        while table.sessions.len() > 1
            && (table.sessions.len() > max_sessions || table.bytes > max_bytes)
            && table.forget_oldest(|_| true)
        {
            self.forgotten.inc();
        }
    }

    /// How many sessions take room.
    pub fn len(&self) -> usize {
        self.table.lock().sessions.len()
    }

    /// Whether none takes room.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self, now: Instant) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock();
        table.sweep(now, self.bounds.ttl);
        table
    }
}

#[derive(Debug)]
struct Session {
    used: Instant,
    /// The number of its last use.
    number: u64,
    sections: VecDeque<(Box<str>, usize)>,
    turns: VecDeque<[Message; 2]>,
    keys: VecDeque<Box<str>>,
}

impl Session {
    /// Bytes that it takes, about.
    fn bytes(&self) -> usize {
        let sections = self.sections.iter().map(|(name, _)| ENTRY + name.len());
        let turns = self.turns.iter().flatten().map(|message| ENTRY + message.text.len());
        let keys = self.keys.iter().map(|key| ENTRY + key.len());
        SESSION + sections.chain(turns).chain(keys).sum::<usize>()
    }

    fn is_over(&self, now: Instant, ttl: Duration) -> bool {
        now.saturating_duration_since(self.used) >= ttl
    }
}

/// The sessions and the order of their uses. Each use is appended to `uses`; a session's place is
/// its last one, and the others are stale. That costs no more than a linked list, and needs none.
#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<Arc<str>, Session>,
    uses: VecDeque<(u64, Arc<str>)>,
    next_number: u64,
    /// Bytes that all sessions take, about.
    bytes: usize,
}

impl Table {
    /// The session, which is used now; none if it is not there or over.
    fn used(&mut self, id: &str, now: Instant, ttl: Duration) -> Option<&mut Session> {
        let (name, session) = self.sessions.get_key_value(id)?;
        if session.is_over(now, ttl) {
            self.bytes -= session.bytes();
            self.sessions.remove(id);
            return None;
        }
        let name = Arc::clone(name);
        let number = self.note_use(name);
        let session = self.sessions.get_mut(id)?;
        session.used = session.used.max(now);
        session.number = number;
        Some(session)
    }

    fn insert(&mut self, id: &str, now: Instant) {
        let name: Arc<str> = id.into();
        let number = self.note_use(Arc::clone(&name));
        let session = Session {
            used: now,
            number,
            sections: VecDeque::new(),
            turns: VecDeque::new(),
            keys: VecDeque::new(),
        };
        self.bytes += session.bytes();
        self.sessions.insert(name, session);
    }

    /// Forgets sessions that are over, a few at a time.
    fn sweep(&mut self, now: Instant, ttl: Duration) {
        for _ in 0..SWEEP {
            if !self.forget_oldest(|session| session.is_over(now, ttl)) {
                break;
            }
        }
    }

    /// Forgets the session whose last use is the oldest, if it `may` be; whether it did.
    fn forget_oldest(&mut self, may: impl Fn(&Session) -> bool) -> bool {
        while let Some((number, id)) = self.uses.front() {
            match self.sessions.get(id) {
                Some(session) if session.number == *number => {
                    if !may(session) {
                        return false;
                    }
                    self.bytes -= session.bytes();
                    self.sessions.remove(id);
                    self.uses.pop_front();
                    return true;
                }
                _ => self.uses.pop_front(),
            };
        }
        false
    }

    fn note_use(&mut self, id: Arc<str>) -> u64 {
        // More than half of the list is stale then, so that this is constant work for each use.
        if self.uses.len() > 2 * self.sessions.len() + SPARE {
            let sessions = &self.sessions;
            self.uses.retain(|(number, id)| {
                sessions.get(id).is_some_and(|session| session.number == *number)
            });
        }
        let number = self.next_number;
        self.next_number += 1;
        self.uses.push_back((number, id));
        number
    }
}

#[cfg(test)]
mod tests;
