//! Policies, budgets, prices and their store: what a file says of them, and what is wrong with it.

use std::path::Path;
use std::time::Duration;

use super::{config, only_problem};
use crate::{
    Budget, BudgetStore, ClientPolicy, Config, ConfigError, Env, Guardrail, Guardrails, Loaded,
    PriceTier, Priority,
};
use sluice_bedrock::Operation;

fn client(keys: &str) -> String {
    let digest = "0".repeat(64);
    format!("[[clients]]\nname = 'a'\nbearer_token = 'sha256:{digest}'\n{keys}\n")
}

fn load(text: &str) -> Result<Loaded, ConfigError> {
    Config::from_toml(text, "config.toml", &Env::default())
}

#[test]
fn a_client_without_a_policy_may_do_everything() {
    let config = config(&client(""));
    assert_eq!(config.clients[0].policy, ClientPolicy::default());
    assert_eq!(config.clients[0].budget, None);
    assert_eq!(config.state.budgets, BudgetStore::Memory);
}

#[test]
fn policies_and_budgets_are_read() {
    let config = config(&client(
        "allowed_models = ['anthropic.*', 'x']
        allowed_operations = ['Converse', 'CreateResponse']
        stored_responses = false
        rpm = 5
        tpm = 6
        max_concurrent = 7
        max_priority = 'low'
        wait_before_fallback = '7s'
        guardrail = { identifier = 'gr-1', version = 'DRAFT' }
        max_body = '1KB'
        daily_budget_usd = 0.1
        monthly_budget_usd = 12
        budget_soft_limit = 0.5",
    ));
    let guardrail = Guardrail { identifier: "gr-1".to_owned(), version: "DRAFT".to_owned() };
    let wanted = ClientPolicy {
        allowed_models: Some(vec!["anthropic.*".to_owned(), "x".to_owned()]),
        allowed_operations: Some(vec![Operation::Converse, Operation::CreateResponse]),
        stored_responses: Some(false),
        rpm: Some(5),
        tpm: Some(6),
        max_concurrent: Some(7),
        max_priority: Some(Priority::Low),
        wait_before_fallback: Some(Duration::from_secs(7)),
        guardrails: Guardrails::Forced(guardrail),
        max_body: Some(1000),
    };
    assert_eq!(config.clients[0].policy, wanted);
    let (daily, monthly) = (Some(100_000_000), Some(12_000_000_000));
    assert_eq!(config.clients[0].budget, Some(Budget { daily, monthly, soft_limit: 0.5 }));
}

#[test]
fn prices_are_whole_pico_dollars_in_the_order_of_the_file() {
    let text = "[prices.'z*']\ninput = 3\noutput = 15.0\n\
                [prices.a]\ninput = 0.0375\noutput = 0\ncache_read = 0.003\n";
    let prices = config(text).prices;
    let rates: Vec<_> =
        prices.iter().map(|it| (it.models.as_str(), it.input, it.output, it.cache_read)).collect();
    assert_eq!(rates, [("z*", 3_000_000, 15_000_000, None), ("a", 37_500, 0, Some(3_000))]);
}

#[test]
fn the_store_is_a_file_or_the_redis_that_there_is() {
    let store = |text: &str| config(text).state.budgets;
    let path = Path::new("b.db").to_owned();
    assert_eq!(store("[state]\nbudget_path = 'b.db'"), BudgetStore::Sqlite { path });
    let redis = |prefix: &str| BudgetStore::Redis {
        url: "redis://h:1/0".into(),
        prefix: prefix.to_owned(),
    };
    assert_eq!(store("[state]\nredis_url = 'redis://h:1/0'"), redis("sluice"));
    let jobs = "[jobs]\nbackend = 'redis'\nredis_url = 'redis://h:1/0'\nredis_prefix = 'p'\n";
    assert_eq!(store(jobs), redis("p"));
    let both = format!("{jobs}[state]\nbudget_path = 'b.db'");
    assert!(matches!(store(&both), BudgetStore::Sqlite { .. }));
}

#[test]
fn budgets_in_memory_are_warned_of() {
    let is_warned = |text: &str| {
        let warnings = load(text).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("budgets start anew"))
    };
    assert!(is_warned(&client("daily_budget_usd = 1")));
    assert!(!is_warned(&client("rpm = 1")));
    assert!(!is_warned(&(client("daily_budget_usd = 1") + "[state]\nbudget_path = 'b.db'")));
}

#[test]
fn prices_differ_by_tier_and_length() {
    let text =
        rates("{ above = 9, input = 2, output = 2 }, { tier = 'flex', input = 0.5, output = 1 }");
    let [long, flex] = &config(&text).prices[0].rates[..] else { panic!("two entries") };
    assert_eq!((long.tier, long.above, long.input), (PriceTier::Standard, Some(9), 2_000_000));
    assert_eq!((flex.tier, flex.above, flex.input), (PriceTier::Flex, None, 500_000));
    assert_eq!(flex.cache_read, None);
}

/// A price with these entries.
fn rates(entries: &str) -> String {
    format!("[prices.a]\ninput = 1\noutput = 1\nrates = [{entries}]")
}

#[test]
fn bad_values_are_refused_where_they_stand() {
    for (keys, expected) in [
        ("allowed_models = []", "clients[0].allowed_models: must not be empty"),
        ("allowed_models = ['a', '']", "clients[0].allowed_models[1]: a model must not be empty"),
        ("allowed_models = ['a[']", "clients[0].allowed_models[0]: 'a[' is not a glob"),
        ("allowed_operations = []", "clients[0].allowed_operations: must not be empty"),
        ("allowed_operations = ['Convers']", "did you mean 'Converse'?"),
        ("allowed_guardrails = ['']", "clients[0].allowed_guardrails[0]: a guardrail is an id"),
        ("guardrail = { identifier = 'g', version = 'x' }", "must be a number or \"DRAFT\""),
        ("guardrail = { version = '1' }", "clients[0].guardrail: needs 'identifier'"),
        (
            "guardrail = { identifier = 'g', version = '1' }\nallowed_guardrails = ['g']",
            "clients[0].allowed_guardrails: cannot stand beside guardrail",
        ),
        ("daily_budget_usd = 0", "clients[0].daily_budget_usd: must be at least"),
        ("daily_budget_usd = -1", "clients[0].daily_budget_usd: must be from 0 to"),
        ("budget_soft_limit = 0.5", "clients[0].budget_soft_limit: needs 'daily_budget_usd'"),
        ("rpm = 0", "clients[0].rpm: must be from 1 to"),
        ("max_body = '0B'", "clients[0].max_body: must not be zero"),
        (
            "wait_before_fallback = '46s'",
            "clients[0].wait_before_fallback: must not be longer than queue.max_wait, 45s",
        ),
    ] {
        only_problem(&client(keys), expected);
    }
    for (text, expected) in [
        ("[prices.a]\ninput = 1", "prices.a: needs 'output'"),
        (&rates("{ tier = 'flex', input = 1 }"), "prices.a.rates[0]: needs 'output'"),
        (
            &rates("{ tier = 'batch', above = 9, input = 1, output = 1 }"),
            "prices.a.rates[0].tier: ",
        ),
        (
            &rates("{ input = 1, output = 1 }"),
            "prices.a.rates[0]: has the tier and length of another",
        ),
        (
            &rates("{ tier = 'flex', above = 9, input = 1, output = 1 }"),
            "prices.a.rates[0]: needs an entry of its tier without 'above'",
        ),
        ("[prices.'a[']\ninput = 1\noutput = 1", "prices.a[: 'a[' is not a glob"),
        ("[state]\nbudget_path = ''", "state.budget_path: must not be empty"),
        ("[state]\nbudget_flush = '0s'", "state.budget_flush: must not be zero"),
        ("[state]\nredis_prefix = 'p'", "state.redis_prefix: needs 'redis_url'"),
        (
            "[state]\nbudget_path = 'b'\nredis_url = 'redis://h:1/0'",
            "state.budget_path: cannot stand beside redis_url",
        ),
    ] {
        only_problem(text, expected);
    }
}
