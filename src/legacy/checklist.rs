//! The checklist that write-ups are judged by. Items refer to its topics by number.

use serde::Serialize;

/// A topic of the checklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// Its number, from 1.
    pub number: u8,
    /// What it is about.
    pub topic: &'static str,
}

/// All topics, in the order of their numbers.
pub const CHECKLIST: [Topic; 20] = [
    Topic { number: 1, topic: "Initial assessment" },
    Topic { number: 2, topic: "Investigation process" },
    Topic { number: 3, topic: "Seller classification" },
    Topic { number: 4, topic: "Enforcement decision-making" },
    Topic { number: 5, topic: "Additional verification of high-risk cases" },
    Topic { number: 6, topic: "Multiple appeals" },
    Topic { number: 7, topic: "Account hijacking prevention" },
    Topic { number: 8, topic: "Funds management" },
    Topic { number: 9, topic: "Outreach process" },
    Topic { number: 10, topic: "Sentiment analysis" },
    Topic { number: 11, topic: "Root cause analysis" },
    Topic { number: 12, topic: "Preventative actions" },
    Topic { number: 13, topic: "Documentation and reporting" },
    Topic { number: 14, topic: "Cross-team collaboration" },
    Topic { number: 15, topic: "Quality control" },
    Topic { number: 16, topic: "Continuous improvement" },
    Topic { number: 17, topic: "Communication standards" },
    Topic { number: 18, topic: "Performance metrics" },
    Topic { number: 19, topic: "Legal and compliance" },
    Topic { number: 20, topic: "New service launch" },
];

#[cfg(test)]
mod tests {
    use super::CHECKLIST;

    #[test]
    fn the_numbers_are_1_to_20_in_order() {
        assert!(CHECKLIST.iter().map(|topic| topic.number).eq(1..=20));
    }
}
