//! Models by the names that they have at their makers, in requests and in routes.

use crate::support::{Ask, Config, Gateway, Simulator};

const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

/// A gateway whose route for `models` has one target, the `eu` profile of Claude Haiku 4.5.
async fn gateway(simulator: &Simulator, models: &str) -> Gateway {
    let config = Config::without_routes(simulator)
        .set("targets.haiku.model", format!("eu.{HAIKU}"))
        .set("targets.haiku.region", "eu-west-1")
        .route(models, &["haiku"]);
    Gateway::start(&config).await
}

async fn answering_model(gateway: &Gateway, model: &str) -> Option<String> {
    let answer = Ask::new(gateway, "hello").of(model).send().await;
    answer.header("x-sluice-model").map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_name_reaches_the_route_of_the_model_under_any_of_its_ids() {
    let simulator = Simulator::start().await;
    for models in [HAIKU.to_owned(), format!("eu.{HAIKU}"), format!("us.{HAIKU}")] {
        let gateway = gateway(&simulator, &models).await;
        for name in ["claude-haiku-4-5-20251001", "claude-haiku-4-5"] {
            let answering = answering_model(&gateway, name).await;
            assert_eq!(answering, Some(format!("eu.{HAIKU}")), "{models}: {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_for_a_name_or_a_family_takes_every_id_of_its_models() {
    let simulator = Simulator::start().await;
    for models in ["claude-haiku-4-5", "claude-haiku-*"] {
        let gateway = gateway(&simulator, models).await;
        for id in [HAIKU.to_owned(), format!("global.{HAIKU}"), "claude-haiku-4-5-20251001".into()]
        {
            let answering = answering_model(&gateway, &id).await;
            assert_eq!(answering, Some(format!("eu.{HAIKU}")), "{models}: {id}");
        }
        let other = "us.anthropic.claude-sonnet-4-6";
        assert_eq!(answering_model(&gateway, other).await.as_deref(), Some(other));
    }
}
