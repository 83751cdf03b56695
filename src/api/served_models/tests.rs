use serde_json::Value;

use super::*;
use crate::config::Env;
use crate::limits::ClientRegistry;

const CONFIG: &str = "
    [upstream]\nregion = 'us-east-1'\naccess_key_id = 'K'\nsecret_access_key = 'env:S'
    [targets.sonnet]\nmodel = 'us.anthropic.claude-sonnet-5-5'\nmax_output_tokens = 9000
    [targets.sol]\nmodel = 'us.openai.gpt-5.6-sol'
    [targets.lite]\nmodel = 'amazon.nova-lite-v1:0'
    [[routes]]\nmodels = ['fast', 'claude-sonnet-*']\ntargets = ['lite', 'sonnet']\ntranslate = false
    [[routes]]\nmodels = ['us.openai.gpt-5.6-sol']\ntargets = ['sol']\ntranslate = false
    [[routes]]\nmodels = ['lite']\ntargets = ['lite']\ntranslate = false
    [[clients]]\nname = 'a'\naccess_key_id = 'A'\nsecret_access_key = 'env:S'\nallowed_models = ['fast', '*sonnet-5-5']
    [[clients]]\nname = 'b'\naccess_key_id = 'B'\nsecret_access_key = 'env:S'\nallowed_models = ['fast']
";

/// The ids in a list for a client, in a dialect.
async fn ids(text: &str, client: Option<&str>, dialect: Dialect) -> Vec<String> {
    let (config, router, clients) = built(text);
    let policy = client.and_then(|name| clients.get(name)?.policy());
    let served = ServedModels { config: &config, router: &router, policy, dialect };
    let list: Value = serde_json::from_slice(&served.list("limit=1000").unwrap()).unwrap();
    let data = list["data"].as_array().unwrap().iter();
    let ids: Vec<String> = data.map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    assert!(ids.iter().all(|id| served.get(id).is_some()), "each can be looked up: {ids:?}");
    ids
}

fn built(text: &str) -> (Config, Router, ClientRegistry) {
    let env: Env = [("S", "a-secret-of-many-letters")].into_iter().collect();
    let config = Config::from_toml(text, "config.toml", &env).unwrap().config;
    let router = Router::new(&config, None, None).unwrap();
    let clients = ClientRegistry::new(&config.clients, None, None).unwrap();
    (config, router, clients)
}

fn refusing(text: &str) -> String {
    format!("{text}\n[fallback]\nunrouted = 'reject'")
}

#[tokio::test]
async fn a_list_has_what_routes_serve_in_the_dialect() {
    let text = refusing(CONFIG);
    assert_eq!(ids(&text, None, Dialect::OpenAi).await, ["us.openai.gpt-5.6-sol"]);
    let anthropic = ids(&text, None, Dialect::Anthropic).await;
    assert_eq!(anthropic[0], "fast");
    assert!(anthropic.contains(&"claude-sonnet-5-5".to_owned()), "{anthropic:?}");
    assert!(anthropic.iter().all(|id| id == "fast" || id.starts_with("claude-sonnet-")));
}

#[tokio::test]
async fn a_list_has_what_requests_are_translated_for() {
    let text = refusing(CONFIG).replace("\ntranslate = false", "");
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        let found = ids(&text, None, dialect).await;
        for id in ["fast", "lite", "claude-sonnet-5-5"] {
            assert!(found.iter().any(|it| it == id), "{id} {found:?}");
        }
    }
    assert_eq!(ids(&text, Some("b"), Dialect::OpenAi).await, [""; 0]);
}

#[tokio::test]
async fn a_client_sees_what_its_policy_allows() {
    let text = refusing(CONFIG);
    assert_eq!(ids(&text, Some("a"), Dialect::Anthropic).await, ["fast", "claude-sonnet-5-5"]);
    assert_eq!(ids(&text, Some("a"), Dialect::OpenAi).await, [""; 0]);
    // It may ask for the name, but for no target behind it.
    assert_eq!(ids(&text, Some("b"), Dialect::Anthropic).await, [""; 0]);
}

#[tokio::test]
async fn an_entry_shows_the_limits_and_the_maker_of_the_model() {
    let (config, router, _) = built(CONFIG);
    let dialect = Dialect::OpenAi;
    let served = ServedModels { config: &config, router: &router, policy: None, dialect };
    let sol: Value = serde_json::from_slice(&served.get("gpt-5.6-sol").unwrap()).unwrap();
    assert_eq!(sol["owned_by"], "openai");
    assert_eq!(sol["context_window"], 922_000);
    assert_eq!(sol["max_output_tokens"], 128_000);
    assert!(sol["created"].as_i64().unwrap() > 1_700_000_000);
    let served = ServedModels { dialect: Dialect::Anthropic, ..served };
    let fast: Value = serde_json::from_slice(&served.get("fast").unwrap()).unwrap();
    assert_eq!((&fast["id"], &fast["max_tokens"]), (&"fast".into(), &9000.into()));
    assert_eq!(served.get("lite"), None, "it has no API of Anthropic's");
    assert_eq!(served.get("nothing"), None);
    assert_eq!(served.get(""), None);
}

#[tokio::test]
async fn models_without_a_route_are_listed_where_they_are_passed_on() {
    let text = "[upstream]\nregion = 'eu-west-1'\naccess_key_id = 'K'\nsecret_access_key = 'env:S'";
    let found = ids(text, None, Dialect::Anthropic).await;
    assert!(found.contains(&"eu.anthropic.claude-sonnet-5-5".to_owned()), "{found:?}");
    assert!(found.contains(&"global.anthropic.claude-sonnet-5-5".to_owned()));
    assert!(!found.iter().any(|id| id.starts_with("us.")), "called elsewhere: {found:?}");
    assert!(!found.contains(&"anthropic.claude-sonnet-5-5".to_owned()), "called by profile only");
    assert_eq!(ids(&refusing(text), None, Dialect::Anthropic).await, [""; 0]);
}
