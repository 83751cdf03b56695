//! Which models an API reaches: those that no route names, and one model under two ids.

use super::{APIS, Upstream, gateway, json, post};
use crate::support::{Config, Gateway, Simulator};

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_nobody_knows_gets_the_answer_of_the_upstream() {
    for api in APIS {
        let error = match api.name {
            "messages" => {
                r#"{"type":"error","error":{"type":"not_found_error","message":"no such model"}}"#
            }
            _ => r#"{"error":{"message":"no such model","type":"invalid_request_error"}}"#,
        };
        let upstream = Upstream::start(move |number, _, _| match number {
            1 => json(200, &api.answer()),
            _ => json(400, error),
        })
        .await;
        let gateway = gateway(&upstream, |config| config).await;
        let body = api.body(false).replace(r#""m""#, r#""us.maker.brand-new-1""#);
        let answered = post(&gateway, api.path, &[], body.clone()).await;
        assert_eq!(answered.status, 200, "{}", answered.text());
        let refused = post(&gateway, api.path, &[], body).await;
        assert_eq!((refused.status, &*refused.text()), (400, error));
        let seen = upstream.seen();
        assert_eq!((seen.len(), &*seen[0].path), (2, api.path));
        assert!(seen[0].body.contains(r#""us.maker.brand-new-1""#), "{}", seen[0].body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_known_to_lack_the_api_is_refused() {
    let upstream = Upstream::start(|_, _, _| json(200, "{}")).await;
    let gateway = gateway(&upstream, |config| config).await;
    for api in APIS {
        let body = api.body(false).replace(r#""m""#, r#""amazon.titan-embed-text-v2:0""#);
        let refused = post(&gateway, api.path, &[], body).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        let error = api.error(&refused);
        assert!(error["message"].as_str().unwrap().contains("serves"), "{error}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_model_is_balanced_over_both_endpoints_although_its_ids_differ() {
    let upstream = Upstream::start(|_, _, _| json(200, &APIS[0].answer())).await;
    let simulator = Simulator::start().await;
    let mut config = Config::without_routes(&simulator);
    for (target, model, endpoint) in [
        ("runtime", "openai.gpt-oss-120b-1:0", "runtime"),
        ("mantle", "openai.gpt-oss-120b", "mantle"),
    ] {
        config = config
            .set(&format!("targets.{target}.model"), model)
            .set(&format!("targets.{target}.endpoint"), endpoint)
            .set(&format!("targets.{target}.endpoint_url"), upstream.scripted.url())
            .set(&format!("targets.{target}.rpm"), 100);
    }
    let config = config.route("gpt-oss-120b", &["runtime", "mantle"]).balance("headroom");
    let gateway = Gateway::start(&config).await;
    let mut models = Vec::new();
    for _ in 0..2 {
        let body = APIS[0].body(false).replace(r#""m""#, r#""gpt-oss-120b""#);
        let got = post(&gateway, APIS[0].path, &[], body).await;
        assert_eq!(got.status, 200, "{}", got.text());
        models.push(got.header("x-sluice-model").unwrap().to_owned());
    }
    models.sort();
    assert_eq!(models, ["openai.gpt-oss-120b", "openai.gpt-oss-120b-1:0"]);
    for endpoint in ["runtime", "mantle"] {
        let target = gateway.target(endpoint).await;
        assert_eq!(target["endpoint"], endpoint);
        let surfaces = target["surfaces"].as_array().unwrap();
        assert!(surfaces.contains(&"chat_completions".into()), "{target}");
    }
}
