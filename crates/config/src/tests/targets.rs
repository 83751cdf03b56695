//! Where targets are called, and in which ways.

use super::{config, file, only_problem};
use crate::Target;
use sluice_catalogue::{Endpoint, Surface};

fn target(keys: &str) -> String {
    format!("[upstream]\nregion = 'us-east-1'\n[targets.a]\n{keys}")
}

fn warnings(keys: &str) -> Vec<String> {
    let warnings = file(&target(keys)).unwrap().warnings.into_iter();
    warnings.filter(|it| !it.contains("no route") && !it.contains("no routes")).collect()
}

#[test]
fn a_target_is_called_at_the_endpoint_that_it_names() {
    let of = |text: &str| config(text).targets.remove(0);
    let runtime = of(&target("model = 'us.openai.gpt-5.6-sol'"));
    assert_eq!(runtime.service, Endpoint::Runtime);
    assert_eq!(runtime.endpoint.authority(), "bedrock-runtime.us-east-1.amazonaws.com");
    let keys = "model = 'openai.gpt-5.6-sol'\nendpoint = 'mantle'";
    let mantle = of(&target(keys));
    assert_eq!(mantle.service, Endpoint::Mantle);
    assert_eq!(mantle.endpoint.authority(), "bedrock-mantle.us-east-1.api.aws");
    let elsewhere = of(&target(&format!("{keys}\nregion = 'eu-west-1'")));
    assert_eq!(elsewhere.endpoint.authority(), "bedrock-mantle.eu-west-1.api.aws");
    let own = of(&target(&format!("{keys}\nendpoint_url = 'https://vpce.example'")));
    assert_eq!(own.endpoint.authority(), "vpce.example");
    let below = |url: &str| of(&format!("[upstream]\nendpoint_url = '{url}'\n[targets.a]\n{keys}"));
    assert_eq!(below("http://127.0.0.1:4599").endpoint.authority(), "127.0.0.1:4599");
    let of_runtime = below("https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com");
    assert_eq!(of_runtime.endpoint.authority(), "bedrock-mantle.us-east-1.api.aws");
}

#[test]
fn the_ways_to_call_a_target_are_its_own_or_those_of_the_catalogue() {
    let surfaces = |keys: &str| {
        let config = config(&target(keys));
        config.surfaces_of(&config.targets[0]).names()
    };
    assert_eq!(
        surfaces("model = 'us.anthropic.claude-sonnet-5-5'"),
        "invoke_model, converse, messages"
    );
    assert_eq!(
        surfaces("model = 'anthropic.claude-sonnet-5-5'\nendpoint = 'mantle'"),
        "count_tokens, messages"
    );
    assert_eq!(surfaces("model = 'acme.new'"), "invoke_model, converse, count_tokens");
    let new = "model = 'acme.new'\nendpoint = 'mantle'";
    assert_eq!(surfaces(new), "chat_completions, responses");
    assert_eq!(surfaces(&format!("{new}\nsurfaces = ['messages']")), "messages");
    let opaque = "model = 'arn:aws:bedrock:us-east-1:1:application-inference-profile/abc'";
    let with_base = format!("{opaque}\nbase_model = 'openai.gpt-5.6-sol'");
    assert_eq!(surfaces(opaque), "invoke_model, converse, count_tokens");
    assert_eq!(surfaces(&with_base), "invoke_model, converse, chat_completions, responses");
}

#[test]
fn the_prefix_of_openais_paths_is_that_of_the_endpoint_and_the_model() {
    let prefix = |keys: &str| {
        let config = config(&target(keys));
        let target: &Target = &config.targets[0];
        target.path_prefix_by(config.facts_of(target).as_deref()).to_owned()
    };
    assert_eq!(prefix("model = 'us.openai.gpt-5.6-sol'"), "/openai/v1");
    assert_eq!(prefix("model = 'openai.gpt-5.6-sol'\nendpoint = 'mantle'"), "/openai/v1");
    let oss = "model = 'openai.gpt-oss-20b'\nendpoint = 'mantle'";
    assert_eq!(prefix(oss), "/v1");
    assert_eq!(prefix(&format!("{oss}\npath_prefix = '/openai/v1'")), "/openai/v1");
    assert_eq!(prefix("model = 'acme.new'\nendpoint = 'mantle'"), "/v1");
}

#[test]
fn what_an_endpoint_does_not_have_is_refused() {
    for (keys, why) in [
        (
            "model = 'us.openai.gpt-5.6-sol'\nendpoint = 'mantle'",
            "use the base id 'openai.gpt-5.6-sol'",
        ),
        (
            "model = 'arn:aws:bedrock:us-east-1::foundation-model/openai.gpt-5.6-sol'\nendpoint = 'mantle'",
            "use 'openai.gpt-5.6-sol'",
        ),
        (
            "model = 'openai.gpt-5.6-sol'\nendpoint = 'mantle'\nsurfaces = ['converse', 'messages']",
            "the mantle endpoint has no 'converse'",
        ),
        ("model = 'acme.new'\npath_prefix = '/v1'", "needs 'endpoint = \"mantle\"' beside it"),
        ("model = 'acme.new'\nendpoint = 'mantel'", "must be one of \"runtime\", \"mantle\""),
        ("model = 'acme.new'\nsurfaces = ['chat']", "must be one of"),
        ("model = 'acme.new'\nsurfaces = []", "must not be empty"),
        (
            "model = 'acme.new'\nendpoint = 'mantle'\npath_prefix = '/v1/'",
            "not the beginning of a path",
        ),
    ] {
        only_problem(&target(keys), why);
    }
    let fips = "[upstream]\nuse_fips = true\n[targets.a]\nmodel = 'acme.new'\nendpoint = 'mantle'";
    only_problem(fips, "has no FIPS endpoints");
}

#[test]
fn a_bare_id_of_a_model_that_has_profiles_only_is_warned_of() {
    let said = warnings("model = 'openai.gpt-5.6-sol'");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with("name one, such as 'us.openai.gpt-5.6-sol'"), "{said:?}");
    for fine in [
        "model = 'us.openai.gpt-5.6-sol'",
        "model = 'openai.gpt-5.6-sol'\nendpoint = 'mantle'",
        "model = 'anthropic.claude-haiku-4-5'\nendpoint = 'mantle'",
        "model = 'anthropic.claude-3-haiku-20240307-v1:0'",
    ] {
        assert_eq!(warnings(fine), [""; 0], "{fine}");
    }
}

#[test]
fn a_url_of_the_other_endpoint_is_warned_of() {
    let mantle = "endpoint_url = 'https://bedrock-mantle.us-east-1.api.aws'";
    let runtime = "endpoint_url = 'https://bedrock-runtime.us-east-1.amazonaws.com'";
    let said = warnings(&format!("model = 'acme.new'\n{mantle}"));
    assert!(said.len() == 1 && said[0].contains("set endpoint = \"mantle\""), "{said:?}");
    let said = warnings(&format!("model = 'acme.new'\nendpoint = 'mantle'\n{runtime}"));
    assert!(said.len() == 1 && said[0].contains("which is of Bedrock Runtime"), "{said:?}");
}

#[test]
fn a_list_of_models_has_the_surfaces_of_each_target() {
    let text = target("model = 'acme.new'\nendpoint = 'mantle'\nsurfaces = ['messages']");
    let filter = crate::ModelFilter { surface: Some("messages".to_owned()), ..Default::default() };
    let listed = config(&text).list_models(&filter);
    let first = listed.first().unwrap();
    assert_eq!((first.target.as_deref(), first.endpoint), (Some("a"), Endpoint::Mantle));
    assert_eq!(first.texts("surfaces").collect::<Vec<_>>(), [Surface::Messages.name()]);
}
