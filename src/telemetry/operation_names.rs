//! The names of an operation and of its API, in metrics and in logs.

use super::OTHER;
use crate::bedrock::{Api, Operation};

/// What logs have in place of both names if a request is no operation.
const NONE: &str = "-";

/// The names of the API and of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) api: &'static str,
    pub(super) operation: &'static str,
}

impl Names {
    /// The labels of metrics: `other` for a request that is no operation.
    pub(super) fn in_metrics(operation: Option<Operation>) -> Names {
        Names::or(operation, OTHER)
    }

    /// The members of log entries.
    pub(super) fn in_logs(operation: Option<Operation>) -> Names {
        Names::or(operation, NONE)
    }

    fn or(operation: Option<Operation>, none: &'static str) -> Names {
        match operation {
            Some(operation) => Names { api: operation.api().name(), operation: operation.name() },
            None => Names { api: none, operation: none },
        }
    }
}

/// The operation in a line for people: its API stands before it, unless that is Bedrock's own.
pub(super) fn with_api(operation: Option<Operation>) -> String {
    let Names { api, operation: name } = Names::in_logs(operation);
    match operation.map(Operation::api) {
        None | Some(Api::Bedrock) => name.to_owned(),
        Some(_) => format!("{api} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_follows_from_the_operation() {
        let names = |it: Names| (it.api, it.operation);
        let response = Some(Operation::GetResponse);
        assert_eq!(names(Names::in_metrics(response)), ("responses", "GetResponse"));
        assert_eq!(names(Names::in_metrics(None)), ("other", "other"));
        assert_eq!(names(Names::in_logs(None)), ("-", "-"));
    }

    #[test]
    fn a_line_for_people_names_no_api_of_native_operations() {
        assert_eq!(with_api(Some(Operation::Converse)), "Converse");
        assert_eq!(
            with_api(Some(Operation::CreateChatCompletion)),
            "chat_completions CreateChatCompletion"
        );
        assert_eq!(with_api(None), "-");
    }
}
