//! Tokens and pieces of answers, and any JSON at the readers of all families.

use super::*;
use crate::scripted_answers::Script;
use proptest::prelude::*;
use sluice_bedrock::ModelId;

fn prompt(text: &str, max_output: Option<u64>) -> Prompt {
    Prompt { last_text: text.to_owned(), characters: 9, max_output, ..Prompt::default() }
}

fn answer(text: &str, max_output: Option<u64>) -> Answer {
    Answer::to(&prompt(text, max_output), None, "m", 100, 1, Value::Null)
}

#[test]
fn the_pieces_are_the_text_one_for_each_token() {
    for (text, max) in [("hello", None), ("hello sim:tokens=40", Some(50)), ("é", Some(1))] {
        let answer = answer(text, max);
        let pieces = pieces(&answer.text, answer.usage.output);
        assert_eq!(pieces.concat(), answer.text);
        assert_eq!(pieces.len() as u64, answer.usage.output);
        assert!(answer.text.starts_with(&format!("[m] {text}")));
    }
}

#[test]
fn tokens_are_as_asked_but_never_above_the_maximum() {
    assert_eq!(answer("sim:tokens=40", None).usage.output, 40);
    let capped = answer("sim:tokens=40", Some(16));
    assert_eq!((capped.usage.output, capped.at_maximum), (16, true));
    assert_eq!(answer("sim:tokens=4000", None).usage.output, 100);
    assert!(!answer("hi", Some(16)).at_maximum);
}

#[test]
fn a_scripted_text_is_counted_as_it_is_and_ends_at_the_maximum() {
    let answer = |script, max| {
        let prompt = prompt("sim:tokens=40", max);
        Answer::to(&prompt, Some(script), "m", 2000, 1, Value::Null)
    };
    let whole = answer("{\"é\": 1}", None);
    assert_eq!((whole.text.as_str(), whole.usage.output), ("{\"é\": 1}", 2));
    assert!(!whole.at_maximum);
    let long = "x".repeat(7999);
    assert_eq!(answer(&long, None).usage.output, 2000);
    let cut = answer("éééééé", Some(1));
    assert_eq!((cut.text.as_str(), cut.usage.output, cut.at_maximum), ("éééé", 1, true));
    for answer in [whole, cut, answer("", None)] {
        let pieces = pieces(&answer.text, answer.usage.output);
        assert_eq!(pieces.concat(), answer.text);
        assert_eq!(pieces.len() as u64, answer.usage.output);
    }
}

#[test]
fn directives_are_numbers_anywhere_in_the_text() {
    let prompt = prompt("please sim:cache_read=12, sim:head_ms=x", None);
    assert_eq!(prompt.directive("cache_read"), Some(12));
    assert_eq!(prompt.directive("head_ms"), None);
    assert_eq!(prompt.directive("tokens"), None);
    assert_eq!(prompt.input_tokens(), 3);
}

fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "anthropic_version",
        "max_tokens",
        "messages",
        "role",
        "content",
        "text",
        "system",
        "thinking",
        "budget_tokens",
        "inferenceConfig",
        "maxTokens",
        "inputText",
        "texts",
        "prompt",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<u64>().prop_map(Value::from),
        "[a-z]{0,4}(sim:tokens=[0-9]{1,20})?".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(keys.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_and_answered_without_panic(
        body in any_json(),
        cap in 0_u64..200,
        script in prop::option::of("\\PC{0,400}"),
    ) {
        let families = [
            Family::Anthropic,
            Family::Nova,
            Family::TitanText,
            Family::TitanEmbed,
            Family::Llama,
            Family::Mistral,
            Family::Unknown,
        ];
        let schemas = families.map(|family| invoke(family, None, &body));
        for schema in schemas.into_iter().chain([converse()]) {
            let id = ModelId::new("us.anthropic.claude-opus-5-5").unwrap();
            let Ok(asked) = schema.asked(&body, &Model::with_id(&id)) else { continue };
            let script = script.as_deref().map(|text| Script::Text(text.into()));
            let produced = Produced::to(&asked, script.as_ref(), "m", cap, 1);
            prop_assert!(produced.answer.usage.output <= cap);
            prop_assert!(schema.whole(&produced, 1).is_object());
            for part in &produced.parts {
                prop_assert_eq!(part.pieces().concat(), part.text.clone());
            }
        }
    }
}
