//! The IAM policy allows what the operations of the gateway need, and nothing else; its page has one
//! row for each operation.

use std::collections::BTreeSet;

use serde_json::Value;
use sluice::bedrock::Operation;
use sluice::bedrock::account::AccountOperation;

use crate::page::root;

/// A row of the page: an operation with its actions and the statements that allow them.
struct Row {
    operation: String,
    actions: BTreeSet<String>,
    statements: BTreeSet<String>,
}

fn rows() -> Vec<Row> {
    let page = std::fs::read_to_string(root().join("docs/deploy/iam.md")).unwrap();
    let actions = ["| `bedrock:", "| `bedrock-mantle:", "| `servicequotas:", "| none, "];
    let is_row = |line: &&str| actions.iter().any(|it| line.contains(it));
    let rows = page.lines().filter(is_row);
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let operation = cells[0].trim().to_owned();
        Row { operation, actions: code(cells[1]), statements: code(cells[2]) }
    })
    .collect()
}

/// The statements of the policy: the name and the actions of each.
fn statements() -> Vec<(String, BTreeSet<String>)> {
    let text = std::fs::read_to_string(root().join("deploy/iam/bedrock.json")).unwrap();
    let policy: Value = serde_json::from_str(&text).unwrap();
    let actions = |statement: &Value| match &statement["Action"] {
        Value::String(action) => [action.clone()].into(),
        Value::Array(list) => list.iter().map(|it| it.as_str().unwrap().to_owned()).collect(),
        other => panic!("{other}"),
    };
    let statements = policy["Statement"].as_array().unwrap().iter();
    statements.map(|it| (it["Sid"].as_str().unwrap().to_owned(), actions(it))).collect()
}

#[test]
fn the_page_about_permissions_has_every_operation() {
    let known = Operation::ALL.map(Operation::name).to_vec();
    let asked = AccountOperation::ALL.map(AccountOperation::name).to_vec();
    let documented: Vec<String> = rows().into_iter().map(|row| row.operation).collect();
    assert_eq!(documented, [known, asked].concat());
}

#[test]
fn the_calls_of_a_check_of_the_account_need_the_actions_that_it_names() {
    let documented = rows().split_off(Operation::ALL.len());
    for (row, operation) in documented.iter().zip(AccountOperation::ALL) {
        let wanted = BTreeSet::from([operation.action().to_owned()]);
        assert_eq!((&row.actions, row.operation.as_str()), (&wanted, operation.name()));
    }
    let page = std::fs::read_to_string(root().join("docs/check-account.md")).unwrap();
    for operation in AccountOperation::ALL {
        assert!(page.contains(&format!("| `{}` |", operation.action())), "{operation:?}");
    }
}

#[test]
fn the_iam_policy_allows_what_the_operations_need_and_nothing_else() {
    let (rows, statements) = (rows(), statements());
    for row in &rows {
        let allowed: BTreeSet<String> = statements
            .iter()
            .filter(|(name, _)| row.statements.contains(name))
            .flat_map(|(_, actions)| actions.iter().cloned())
            .collect();
        let missing: Vec<_> = row.actions.difference(&allowed).collect();
        assert!(missing.is_empty(), "{} lacks {missing:?}", row.operation);
    }
    for (name, actions) in &statements {
        let users = rows.iter().filter(|row| row.statements.contains(name));
        let needed: BTreeSet<&String> = users.flat_map(|row| &row.actions).collect();
        for action in actions {
            assert!(needed.contains(action), "no operation needs {action} of {name}");
        }
    }
}

#[test]
fn only_the_calls_of_models_are_not_optional() {
    let names: Vec<String> = statements().into_iter().map(|(name, _)| name).collect();
    let required: Vec<_> = names.iter().filter(|name| !name.starts_with("Optional")).collect();
    assert_eq!(required, ["CallModels"]);
}
