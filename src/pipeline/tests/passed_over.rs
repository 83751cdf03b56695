//! The order and the reasons of what a request passes over.

use std::sync::OnceLock;
use std::time::Duration;

use super::{MODEL, PEER, gateway};
use crate::bedrock::body::Peek;
use crate::bedrock::path::{Call, Resource};
use crate::bedrock::{Features, ModelId, Operation};
use crate::pipeline::candidate_state::{CandidateState, LeaveReason};
use crate::pipeline::context::RequestContext;
use crate::pipeline::passed_over::{note_admitted, note_unanswered};
use crate::pipeline::routed::RoutedRequest;
use crate::pipeline::translations::Way;
use crate::routing::RequestSize;

const ALIAS: &str = "alias";

/// A Converse request with tools to a route with a target of each kind:
///
/// | position | target | |
/// | --- | --- | --- |
/// | 0, 1, 3 | `a`, `b`, `d` | of one model, which may stand in any order |
/// | 2 | `no-tools` | can't be a candidate |
/// | 4 | `none-at-all` | the same |
///
/// These are its candidates, by position, in their rank.
fn routed(candidates: &[usize]) -> RoutedRequest {
    let target = |name: &str, more: &str| format!("[targets.{name}]\nmodel = '{MODEL}'\n{more}\n");
    let sections = [
        target("a", "rpm = 1"),
        target("b", ""),
        target("no-tools", "features = ['images']"),
        target("d", ""),
        target("none-at-all", "features = []"),
        format!(
            "[[routes]]\nmodels = ['{ALIAS}']\n\
             targets = ['a', 'b', 'no-tools', 'd', 'none-at-all']\n"
        ),
    ];
    let gateway = gateway("", &sections.concat());
    let model = ModelId::new(ALIAS).unwrap();
    let (_, route) = gateway.router.find(&gateway.config, &model).unwrap();
    let mut peek = Peek::default();
    peek.features = Features::TOOLS;
    RoutedRequest {
        head: http::Request::new(()).into_parts().0,
        context: Box::new(RequestContext::new(gateway, PEER.into())),
        call: Call { operation: Operation::Converse, resource: Resource::Model(model) },
        guardrail: None,
        body: bytes::Bytes::new(),
        hash: OnceLock::new(),
        events: None,
        peek: Box::new(peek),
        size: RequestSize::default(),
        candidates: candidates
            .iter()
            .map(|position| CandidateState::new(*position, Way::PassThrough))
            .collect(),
        route,
        fallback_from: None,
        may_await_grant: true,
        responses: None,
        continues_kept: false,
        translations: None,
        betas: Default::default(),
    }
}

fn drain(routed: &RoutedRequest, target: &str) {
    let targets = routed.route.targets.iter();
    targets.filter(|it| &*it.name == target).for_each(|it| it.drain(true));
}

/// What is noted, and whether the best target is among that.
fn noted(routed: &RoutedRequest) -> (String, bool) {
    let answer = &routed.context.answer;
    (answer.passed_over.to_string(), answer.is_best_passed_over)
}

fn attempted(routed: &mut RoutedRequest, index: usize) {
    let target = routed.target(index).cloned().unwrap();
    routed.context.record_attempt(&target, "throttled", 429, Duration::ZERO, None, None);
    routed.count_attempt(index);
}

#[tokio::test]
async fn the_best_target_passes_over_nothing() {
    let mut routed = routed(&[1, 0, 3]);
    drain(&routed, "b");
    note_admitted(&mut routed, 1);
    assert_eq!(noted(&routed), ("b drained".to_owned(), true));
    note_admitted(&mut routed, 0);
    assert_eq!(noted(&routed), (String::new(), false), "b, which was drained, is back");
}

#[tokio::test]
async fn targets_are_listed_in_their_rank_and_end_above_the_one_that_is_admitted() {
    let mut routed = routed(&[1, 0, 3]);
    drain(&routed, "b");
    note_admitted(&mut routed, 2);
    let all = "b drained, a no_quota, no-tools feature:tools";
    assert_eq!(noted(&routed), (all.to_owned(), true));
}

#[tokio::test]
async fn attempted_targets_are_left_out() {
    let mut routed = routed(&[0, 1, 3]);
    attempted(&mut routed, 0);
    drain(&routed, "b");
    note_admitted(&mut routed, 2);
    let all = "b drained, no-tools feature:tools";
    assert_eq!(noted(&routed), (all.to_owned(), false), "the best one was attempted");
}

#[tokio::test]
async fn a_request_without_an_answer_lists_every_target_that_was_not_attempted() {
    let mut routed = routed(&[0, 1, 3]);
    attempted(&mut routed, 1);
    routed.give_up_on(2, LeaveReason::Denied(http::StatusCode::NOT_FOUND));
    note_unanswered(&mut routed);
    let all = "a no_quota, no-tools feature:tools, d denied, none-at-all feature:tools";
    assert_eq!(noted(&routed), (all.to_owned(), true));
}

#[tokio::test]
async fn a_quota_that_others_ahead_hold_counts_for_one_turn() {
    let mut routed = routed(&[0, 1, 3]);
    routed.set_claimed_by_others(&[0]);
    note_admitted(&mut routed, 1);
    assert_eq!(noted(&routed), ("a queue".to_owned(), true));
    note_admitted(&mut routed, 1);
    assert_eq!(noted(&routed), ("a no_quota".to_owned(), true));
}
