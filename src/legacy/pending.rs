//! Chats that were handed to the queue here, until their answer was seen here.
//!
//! Sessions are in the memory of the process that took the question, the answer may come from a job
//! that another one ran. A request for the task here brings the answer back to its session. As
//! many are remembered as sessions are, within a bound on their bytes; the oldest leaves first.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use uuid::Uuid;

/// Most bytes that all questions may take.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Bytes that a question takes without its text, about.
const ENTRY: usize = 256;

/// A question whose answer is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingChat {
    pub(super) session_id: String,
    pub(super) question: String,
}

impl PendingChat {
    fn bytes(&self) -> usize {
        ENTRY + self.session_id.len() + self.question.len()
    }
}

#[derive(Debug)]
pub(super) struct PendingChats {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    asked: HashMap<Uuid, PendingChat>,
    /// In the order they came; those that were taken are still here.
    order: VecDeque<Uuid>,
    /// Bytes that the questions take, about.
    bytes: usize,
}

impl Table {
    fn take(&mut self, job: Uuid) -> Option<PendingChat> {
        let asked = self.asked.remove(&job)?;
        self.bytes -= asked.bytes();
        Some(asked)
    }
}

impl PendingChats {
    pub(super) fn new(most: usize) -> PendingChats {
        PendingChats { most, table: Mutex::default() }
    }

    pub(super) fn note(&self, job: Uuid, asked: PendingChat) {
        let mut table = self.table.lock();
        table.bytes += asked.bytes();
        table.asked.insert(job, asked);
        table.order.push_back(job);
        while (table.order.len() > self.most || table.bytes > MAX_BYTES)
            && let Some(oldest) = table.order.pop_front()
        {
            table.take(oldest);
        }
    }

    /// The question of a job, once.
    pub(super) fn take(&self, job: Uuid) -> Option<PendingChat> {
        self.table.lock().take(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_taken_once_and_the_oldest_leaves_first() {
        let pending = PendingChats::new(2);
        let jobs: Vec<Uuid> = (0..3).map(|_| Uuid::new_v4()).collect();
        for (number, job) in jobs.iter().enumerate() {
            let question = number.to_string();
            pending.note(*job, PendingChat { session_id: "s".to_owned(), question });
        }
        assert_eq!(pending.take(jobs[0]), None);
        assert_eq!(pending.take(jobs[2]).unwrap().question, "2");
        assert_eq!(pending.take(jobs[2]), None);
        assert_eq!(pending.take(jobs[1]).unwrap().question, "1");
    }

    #[test]
    fn questions_together_are_bounded() {
        let pending = PendingChats::new(10_000);
        let question = "x".repeat(32_000);
        for _ in 0..1000 {
            let asked = PendingChat { session_id: "s".to_owned(), question: question.clone() };
            pending.note(Uuid::new_v4(), asked);
        }
        let last = Uuid::new_v4();
        pending.note(last, PendingChat { session_id: "s".to_owned(), question });
        let held = pending.table.lock().bytes;
        assert!(held <= MAX_BYTES && held > MAX_BYTES - 40_000, "{held}");
        assert!(pending.take(last).is_some());
    }
}
