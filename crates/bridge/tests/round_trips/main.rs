//! Conversations of many turns, in the words of each API, to a model by Converse: what the model is told is what was
//! meant, but for what is named as left out.
//!
//! What the model said in earlier turns goes to the client by the translation of its answers, and comes back from
//! it: names of tools, signatures and redacted thoughts are the model's own again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sluice_bedrock::ModelId;
use sluice_bridge::{DropPolicy, Hub, Model, Source, Translation, translate};
use sluice_catalogue::Catalogue;

use talk::{Takes, Talk, talks};

mod render;
mod talk;
mod told;

const SONNET: Takes =
    Takes { id: "anthropic.claude-sonnet-4-6", is_claude: true, is_sampled: true, is_strict: true };

const OPUS: Takes =
    Takes { id: "anthropic.claude-opus-4-8", is_claude: true, is_sampled: false, is_strict: false };

const NOVA: Takes =
    Takes { id: "amazon.nova-2-lite-v1:0", is_claude: false, is_sampled: true, is_strict: false };

fn translated(source: Source, body: &str, takes: Takes) -> Translation {
    let facts = Catalogue::shipped().facts(&ModelId::new(takes.id).unwrap(), "us-east-1");
    let model = Model::of(takes.id, &facts.unwrap());
    translate(source, body.as_bytes(), &model, &DropPolicy::default())
        .unwrap_or_else(|refusal| panic!("{refusal:?}\n{body}"))
}

fn nothing_is_lost(talk: &Talk, takes: Takes) -> Result<(), TestCaseError> {
    for source in Source::ALL {
        let talk = talk.clone().in_words_of(source);
        let first = translated(source, &render::request(&talk, source, 0, None), takes);
        let answer = Some(&first.answer);
        let request = render::request(&talk, source, talk.exchanges.len(), answer);
        let last = translated(source, &request, takes);
        let back = Hub::read(Source::Converse, &last.body, &DropPolicy::default()).unwrap();
        let told = told::read(&back.conversation, &last.answer);
        prop_assert_eq!(told, told::meant(&talk, source, takes), "{:?} {}", source, request);
        let named: BTreeSet<&str> = last.dropped.iter().map(AsRef::as_ref).collect();
        prop_assert_eq!(named, talk.lost(source, takes), "{:?} {}", source, request);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn claude_is_told_all_that_was_meant(talk in talks(SONNET)) {
        nothing_is_lost(&talk, SONNET)?;
    }

    #[test]
    fn a_newer_claude_is_told_all_that_was_meant_but_for_what_is_named(talk in talks(OPUS)) {
        nothing_is_lost(&talk, OPUS)?;
    }

    #[test]
    fn nova_is_told_all_that_was_meant_but_for_what_is_named(talk in talks(NOVA)) {
        nothing_is_lost(&talk, NOVA)?;
    }
}
