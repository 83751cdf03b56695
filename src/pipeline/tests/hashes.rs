//! Which body is hashed before the first attempt.

use super::passed_over::routed;
use crate::bedrock::sigv4::PayloadHash;
use crate::bridge::{DropPolicy, Source};
use crate::pipeline::routed::LeaveReason;
use crate::pipeline::translations::{Translations, Way};

#[tokio::test]
async fn a_large_body_is_hashed_ahead_as_the_best_candidate_gets_it() {
    let mut routed = routed(&[0, 1]);
    routed.body = br#"{"messages":[{"role":"user","content":[{"text":"a"}]}]}"#.as_slice().into();
    let requested = routed.call.model().unwrap();
    let headers = &routed.head.headers;
    let mut all = Translations::new(Source::Converse, requested, &routed.context, headers);
    let target = routed.target(0).cloned().unwrap();
    let made = all.make(&target, true, &routed.body, &DropPolicy::default()).unwrap();
    routed.candidates[0].way = Way::Translated(Some(made));
    routed.translations = Some(Box::new(all));

    routed.hash_ahead();
    let translated = routed.translated(&target).unwrap().unwrap();
    assert_eq!(translated.hash.get().copied(), Some(PayloadHash::of(&translated.body)));
    assert!(routed.hash.get().is_none(), "what does not go upstream is hashed");

    routed.candidates[0].leave_reason = Some(LeaveReason::Untranslatable);
    routed.hash_ahead();
    assert_eq!(routed.hash.get().copied(), Some(PayloadHash::of(&routed.body)));
}
