//! Chats that were handed to the queue here, until their answer was seen here.
//!
//! Sessions are in the memory of the process that took the question, the answer may come from a job
//! that another one ran. Whoever asks here for the task brings the answer back to its session. As
//! many are remembered as sessions are; the oldest leaves first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// A question whose answer is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) session_id: String,
    pub(super) question: String,
}

#[derive(Debug)]
pub(super) struct Pending {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    asked: HashMap<Uuid, Asked>,
    /// In the order they came; those that were taken are still here.
    order: VecDeque<Uuid>,
}

impl Pending {
    pub(super) fn new(most: usize) -> Pending {
        Pending { most, table: Mutex::default() }
    }

    pub(super) fn note(&self, job: Uuid, asked: Asked) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.order.len() >= self.most
            && let Some(oldest) = table.order.pop_front()
        {
            table.asked.remove(&oldest);
        }
        table.asked.insert(job, asked);
        table.order.push_back(job);
    }

    /// The question of a job, once.
    pub(super) fn take(&self, job: Uuid) -> Option<Asked> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).asked.remove(&job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_taken_once_and_the_oldest_leaves_first() {
        let pending = Pending::new(2);
        let jobs: Vec<Uuid> = (0..3).map(|_| Uuid::new_v4()).collect();
        for (number, job) in jobs.iter().enumerate() {
            let question = number.to_string();
            pending.note(*job, Asked { session_id: "s".to_owned(), question });
        }
        assert_eq!(pending.take(jobs[0]), None);
        assert_eq!(pending.take(jobs[2]).unwrap().question, "2");
        assert_eq!(pending.take(jobs[2]), None);
        assert_eq!(pending.take(jobs[1]).unwrap().question, "1");
    }
}
