//! The queue on a paused clock, where each instant is known, and on real threads, where none is.

use std::cell::RefCell;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::*;
use crate::bedrock::{ModelId, Usage};
use crate::config::{Config, Env, Priority};
use crate::routing::cooldown::State;
use crate::routing::{OutageCause, OutageReason, QuotaDemand, RequestSize, Route, Router};

const SECOND: Duration = Duration::from_secs(1);
const MODEL: &str = "anthropic.claude-3-haiku-20240307-v1:0";

/// A route to one target for each of these quotas, in the config's words.
fn route(quotas: &[&str]) -> Arc<Route> {
    let mut text = "[upstream]\nregion = \"us-east-1\"\naccess_key_id = \"AKID\"\n\
                    secret_access_key = \"env:SECRET\"\n"
        .to_owned();
    for (index, quota) in quotas.iter().enumerate() {
        text += &format!("[targets.t{index}]\nmodel = \"{MODEL}\"\n{quota}\n");
    }
    let names: Vec<String> = (0..quotas.len()).map(|index| format!("\"t{index}\"")).collect();
    text += &format!("[[routes]]\nmodels = [\"{MODEL}\"]\ntargets = [{}]\n", names.join(", "));
    let env: Env = [("SECRET", "none")].into_iter().collect();
    let config = Config::from_toml(&text, "test.toml", &env).unwrap().config;
    let router = Router::new(&config, None, None).unwrap();
    router.find(&config, &ModelId::new(MODEL).unwrap()).unwrap().1
}

/// What a request of `tokens` takes.
fn demand(tokens: u64) -> QuotaDemand {
    QuotaDemand {
        input: tokens,
        max_output: 0,
        operation: Some(crate::bedrock::Operation::Converse),
        upper_bound: None,
        is_reserved_tier: false,
    }
}

/// All targets of the route, for a request of `tokens`.
fn candidates(route: &Route, tokens: u64) -> Candidates {
    let demand = demand(tokens);
    let all = route.targets.iter().enumerate();
    let candidate =
        |(index, target)| Candidate { index, target: Arc::clone(target), demand, not_before: None };
    all.map(candidate).collect()
}

fn flow(client: &str) -> Flow {
    Flow { client: client.into(), priority: Priority::Normal }
}

/// The end of a wait that is longer than any here.
fn in_an_hour() -> Instant {
    Instant::now() + 3600 * SECOND
}

/// Uses all but `left` tokens of a target.
fn use_up(target: &Arc<Target>, left: u64) {
    let available = target.quota().snapshot(Instant::now()).tokens_available.unwrap() as u64;
    spend(target, available - left);
}

/// Uses this many tokens of a target.
fn spend(target: &Arc<Target>, tokens: u64) {
    let mut permit = target.enter(demand(tokens), Instant::now()).unwrap();
    permit.mark_sending();
    drop(permit.succeeded(SECOND));
}

/// Queues each of these in this order. Gives the clients in the order in which they were served, and when.
/// A served request keeps its reservation.
async fn served(route: &Route, waiters: &[(&'static str, u64)]) -> Vec<(&'static str, Duration)> {
    let start = Instant::now();
    let order = RefCell::new(Vec::new());
    let mut queued: Vec<_> = waiters
        .iter()
        .map(|(client, tokens)| {
            (client, route.group.enqueue(flow(client), candidates(route, *tokens), in_an_hour()))
        })
        .collect();
    let permits = join_all(queued.iter_mut().map(|(client, waiting)| async {
        let granted = waiting.granted().await.unwrap();
        order.borrow_mut().push((**client, start.elapsed()));
        granted
    }))
    .await;
    assert_eq!(permits.len(), waiters.len());
    order.into_inner()
}

fn clients(served: &[(&'static str, Duration)]) -> Vec<&'static str> {
    served.iter().map(|(client, _)| *client).collect()
}

fn about(seconds: f64, seen: Duration) -> bool {
    (seen.as_secs_f64() - seconds).abs() < 0.1
}

#[tokio::test(start_paused = true)]
async fn clients_take_turns() {
    let route = route(&["tpm = 60000"]);
    use_up(&route.targets[0], 0);
    let queued = [("many", 1000), ("many", 1000), ("many", 1000), ("few", 1000), ("few", 1000)];
    let served = served(&route, &queued).await;
    assert_eq!(clients(&served), ["many", "few", "many", "few", "many"]);
    for (place, (_, at)) in served.iter().enumerate() {
        assert!(about(1.0 + place as f64, *at), "{served:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn small_requests_do_not_starve_a_large_one() {
    let route = route(&["tpm = 60000"]);
    use_up(&route.targets[0], 0);
    let mut queued = vec![("small", 1000); 20];
    queued.insert(3, ("big", 30_000));
    let served = served(&route, &queued).await;
    // One small request came before it; then the quota is kept for it.
    assert_eq!(clients(&served)[..3], ["small", "big", "small"]);
    assert!(about(31.0, served[1].1), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn targets_that_the_first_in_the_queue_does_not_claim_stay_in_use() {
    let route = route(&["tpm = 60000", "tpm = 60000"]);
    use_up(&route.targets[0], 5000);
    use_up(&route.targets[1], 0);
    let served = served(&route, &[("big", 30_000), ("small", 1000), ("small", 1000)]).await;
    assert_eq!(clients(&served), ["small", "small", "big"]);
    assert!(about(1.0, served[0].1) && about(2.0, served[1].1), "{served:?}");
    assert!(about(25.0, served[2].1), "the small ones cost it nothing: {served:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_leaves_the_queue_lets_the_next_go_at_once() {
    let route = route(&["tpm = 60000"]);
    use_up(&route.targets[0], 2000);
    let big = route.group.enqueue(flow("big"), candidates(&route, 30_000), in_an_hour());
    let mut small = route.group.enqueue(flow("small"), candidates(&route, 1000), in_an_hour());
    assert!(timeout(SECOND, small.granted()).await.is_err(), "the quota is kept for the big one");
    let start = Instant::now();
    drop(big);
    assert_eq!(route.group.waiting(), 1);
    assert!(small.granted().await.is_some());
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(route.group.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_requests_that_can_go_are_woken() {
    let route = route(&["rpm = 60"]);
    while route.enter(candidates(&route, 1).into_iter()).is_some_and(|(_, mut permit)| {
        permit.mark_sending();
        true
    }) {}
    let mut queued: Vec<QueuedRequest<'_>> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|client| route.group.enqueue(flow(client), candidates(&route, 1), in_an_hour()))
        .collect();
    let mut permits = Vec::new();
    for served in 1..=4 {
        sleep(SECOND).await;
        let granted: Vec<_> = queued.iter_mut().map(|it| it.granted().now_or_never()).collect();
        assert_eq!(granted.iter().flatten().count(), 1, "the quota has refilled for one request");
        assert!(granted[0].is_some(), "and it is the first one's");
        queued.remove(0);
        permits.extend(granted.into_iter().flatten());
        assert_eq!(route.group.waiting(), 4 - served);
    }
}

#[tokio::test(start_paused = true)]
async fn returned_quota_goes_to_the_first_in_the_queue_at_once() {
    let route = route(&["tpm = 60000"]);
    let (_, mut holder) = route.enter(candidates(&route, 50_000).into_iter()).unwrap();
    holder.mark_sending();
    let start = Instant::now();
    let mut first = route.group.enqueue(flow("first"), candidates(&route, 40_000), in_an_hour());
    let reservation = holder.succeeded(SECOND);
    assert!(first.granted().now_or_never().is_none());
    let usage = Usage { input: 1000, ..Usage::default() };
    reservation.settle(
        &usage,
        &RequestSize { text_bytes: 4000, media: 0, max_output: None, ..RequestSize::default() },
    );
    assert!(first.granted().await.is_some());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn new_requests_do_not_overtake_the_queue() {
    let route = route(&["tpm = 60000"]);
    use_up(&route.targets[0], 2000);
    let _big = route.group.enqueue(flow("big"), candidates(&route, 30_000), in_an_hour());
    assert!(route.enter(candidates(&route, 1000).into_iter()).is_none());
}

/// The wait that a refusal names to its client, and the real one, in seconds.
async fn predicted_and_real_wait(quotas: &[&str], waiting: usize, tokens: u64) -> (f64, f64) {
    let route = route(quotas);
    for target in &route.targets {
        while let Ok(mut permit) =
            target.enter(candidates(&route, tokens)[0].demand, Instant::now())
        {
            permit.mark_sending();
        }
    }
    let (_, predicted) = {
        let _queued: Vec<_> = (0..waiting)
            .map(|_| route.group.enqueue(flow("others"), candidates(&route, tokens), in_an_hour()))
            .collect();
        route.group.due(&candidates(&route, tokens), Instant::now()).unwrap()
    };
    let queued = vec![("one", tokens); waiting + 1];
    let served = served(&route, &queued).await;
    (predicted.as_secs_f64(), served.last().unwrap().1.as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn the_predicted_wait_is_the_real_one() {
    for (quotas, waiting, tokens) in [
        (&["tpm = 60000"][..], 0, 3000),
        (&["tpm = 60000"], 20, 3000),
        (&["rpm = 60"], 50, 3000),
        (&["rpm = 60\ntpm = 600000"], 50, 3000),
        (&["tpm = 60000", "tpm = 60000"], 20, 3000),
        (&["rpm = 30", "tpm = 60000", "rpm = 60\ntpm = 600000"], 100, 3000),
    ] {
        let (predicted, after) = predicted_and_real_wait(quotas, waiting, tokens).await;
        let off = (predicted - after).abs();
        assert!(
            off <= 0.1 * after + 2.0,
            "{quotas:?} with {waiting}: predicted {predicted}, was {after}"
        );
    }
}

/// Many tasks on real threads join and leave the queue, are served, settle and cancel at random.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wakeup_slot_or_token_is_lost_between_threads() {
    const TASKS: u64 = 64;
    const ROUNDS: usize = 40;
    // Room for few at a time, and a negligible refill within the test.
    let route = route(&["tpm = 10000", "tpm = 20000"]);
    let before: Vec<_> = route
        .targets
        .iter()
        .map(|target| target.quota().snapshot(Instant::now()).tokens_available.unwrap())
        .collect();
    let tasks = (0..TASKS).map(|seed| {
        let route = Arc::clone(&route);
        tokio::spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            for _ in 0..ROUNDS {
                random_request(&route, &mut rng).await;
            }
        })
    });
    let all = timeout(60 * SECOND, join_all(tasks)).await.expect("no request waits for ever");
    all.into_iter().for_each(|task| task.unwrap());

    assert_eq!(route.group.waiting(), 0);
    assert!(route.group.queue().is_empty());
    assert_eq!(route.group.queue().cost(), 0);
    for (target, before) in route.targets.iter().zip(before) {
        let now = target.quota().snapshot(Instant::now());
        assert_eq!(now.in_flight, 0);
        let left = now.tokens_available.unwrap();
        assert!((left - before).abs() < 1.0, "{left} of {before}");
        assert_eq!(target.state(Instant::now()), State::Available);
    }
}

async fn random_request(route: &Arc<Route>, rng: &mut fastrand::Rng) {
    let candidates = candidates(route, rng.u64(1000..9000));
    let entered = route.enter(candidates.iter().cloned());
    let (_, mut permit) = match entered {
        Some(entered) => entered,
        None => {
            let client = ["a", "b", "c"][rng.usize(..3)];
            let mut waiting = route.group.enqueue(flow(client), candidates, in_an_hour());
            if rng.u8(..4) == 0 {
                // Leaves the queue, perhaps at the moment in which it is served.
                for _ in 0..rng.u8(..4) {
                    tokio::task::yield_now().await;
                }
                return;
            }
            waiting.granted().await.unwrap()
        }
    };
    if rng.bool() {
        tokio::task::yield_now().await;
    }
    match rng.u8(..4) {
        // Never sent.
        0 => {}
        // Sent, but the target did not process it.
        1 => permit.release(),
        // Answered, and free of charge, so that all of it comes back.
        _ => {
            permit.mark_sending();
            let reservation = permit.succeeded(Duration::from_millis(1));
            tokio::task::yield_now().await;
            reservation.settle(&Usage::default(), &RequestSize::default());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn operations_without_quota_and_queued_requests_do_not_delay_each_other() {
    let route = route(&["tpm = 1000"]);
    let target = &route.targets[0];
    let counting = || {
        let operation = Some(crate::bedrock::Operation::CountTokens);
        let demand = QuotaDemand {
            input: 900,
            max_output: 0,
            operation,
            upper_bound: None,
            is_reserved_tier: false,
        };
        Candidate { index: 0, target: Arc::clone(target), demand, not_before: None }
    };
    use_up(target, 10);
    let mut waiting = route.group.enqueue(flow("a"), candidates(&route, 500), in_an_hour());
    assert!(
        route.enter([counting()].into_iter()).is_some(),
        "it passes requests that wait for tokens"
    );
    assert!(route.enter(candidates(&route, 1).into_iter()).is_none(), "no other request does");

    // A target that cools down leaves the quota to the requests behind it.
    let (_, permit) = route.enter([counting()].into_iter()).unwrap();
    let cause =
        OutageCause { reason: OutageReason::Throttled, message: String::new(), request_id: None };
    permit.throttled(crate::quota::Dimension::Unknown, false, &cause);
    assert!(route.enter([counting()].into_iter()).is_none());
    let count: Candidates = [counting()].into_iter().collect();
    let mut counts =
        route.group.enqueue(Flow { priority: Priority::High, ..flow("b") }, count, in_an_hour());
    let (at, _) =
        timeout(60 * SECOND, waiting.granted()).await.map(|it| (Instant::now(), it)).unwrap();
    let (_, permit) = timeout(120 * SECOND, counts.granted()).await.unwrap().unwrap();
    assert!(Instant::now() > at, "the cooldown of CountTokens lasts for longer");
    drop(permit);
    assert!(route.group.waiting() == 0);
}

/// The same as `candidates`, without all but the first target until `wait` is over.
fn first_alone_for(route: &Route, tokens: u64, wait: Duration) -> Candidates {
    let mut all = candidates(route, tokens);
    for candidate in all.iter_mut().skip(1) {
        candidate.not_before = Some(Instant::now() + wait);
    }
    all
}

/// Uses all tokens of a target, so that a request in flight may give back as many as it has.
fn lend_all(target: &Arc<Target>) -> Permit {
    let available = target.quota().snapshot(Instant::now()).tokens_available.unwrap() as u64;
    target.enter(demand(available), Instant::now()).unwrap()
}

/// Waits for the turn. Gives the index of the target and the time that it took.
async fn turn(waiting: &mut QueuedRequest<'_>) -> (usize, f64, Permit) {
    let start = Instant::now();
    let (index, permit) = timeout(600 * SECOND, waiting.granted()).await.unwrap().unwrap();
    (index, start.elapsed().as_secs_f64(), permit)
}

fn throttle(target: &Arc<Target>) {
    let permit = target.enter(QuotaDemand::default(), Instant::now()).unwrap();
    let cause =
        OutageCause { reason: OutageReason::Throttled, message: String::new(), request_id: None };
    permit.throttled(crate::quota::Dimension::Unknown, false, &cause);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_stays_with_its_first_target_takes_it_as_soon_as_it_has_room() {
    let route = route(&["tpm = 60000", "tpm = 60000"]);
    use_up(&route.targets[0], 0);
    let mut waiting =
        route.group.enqueue(flow("a"), first_alone_for(&route, 3000, 5 * SECOND), in_an_hour());
    let (index, after, _) = turn(&mut waiting).await;
    assert_eq!(index, 0);
    assert!((2.9..3.2).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn it_gets_another_target_when_its_time_is_over_and_no_later() {
    let route = route(&["tpm = 60000", "tpm = 60000"]);
    let _in_flight = lend_all(&route.targets[0]);
    let wait = Duration::from_millis(4321);
    let mut waiting =
        route.group.enqueue(flow("a"), first_alone_for(&route, 9000, wait), in_an_hour());
    // One that claims nothing, since another claims the quota of its first target.
    let mut behind =
        route.group.enqueue(flow("b"), first_alone_for(&route, 9000, wait / 2), in_an_hour());
    let (index, after, _permit) = turn(&mut behind).await;
    assert_eq!(index, 1);
    assert!((2.16..2.17).contains(&after), "{after}");
    let (index, after, _permit) = turn(&mut waiting).await;
    assert_eq!(index, 1);
    assert!((2.16..2.17).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn it_claims_no_quota_of_the_targets_that_it_leaves_out() {
    let route = route(&["tpm = 60000", "tpm = 60000"]);
    let _in_flight = lend_all(&route.targets[0]);
    use_up(&route.targets[1], 2000);
    // The second quota, which will suffice for it before the first.
    let patient =
        route.group.enqueue(flow("a"), first_alone_for(&route, 30_000, 20 * SECOND), in_an_hour());
    let mut plain = route.group.enqueue(flow("b"), candidates(&route, 2000), in_an_hour());
    let (index, after, _permit) = turn(&mut plain).await;
    assert_eq!((index, after), (1, 0.0));
    drop(patient);
}

#[tokio::test(start_paused = true)]
async fn it_keeps_its_place_among_those_that_use_every_target() {
    let route = route(&["tpm = 60000", "tpm = 60000"]);
    use_up(&route.targets[0], 0);
    use_up(&route.targets[1], 0);
    let start = Instant::now();
    let mut first =
        route.group.enqueue(flow("a"), first_alone_for(&route, 3000, 60 * SECOND), in_an_hour());
    let mut others: Vec<_> = (0..6)
        .map(|_| route.group.enqueue(flow("b"), candidates(&route, 3000), in_an_hour()))
        .collect();
    let (index, after, _permit) = turn(&mut first).await;
    assert_eq!(index, 0);
    assert!((2.9..3.2).contains(&after), "six more wait for the same target: {after}");
    let mut permits = Vec::new();
    for other in &mut others {
        permits.push(turn(other).await.2);
    }
    let took = start.elapsed().as_secs_f64();
    assert!((11.9..12.2).contains(&took), "both targets stay in use: {took}");
}

#[tokio::test(start_paused = true)]
async fn it_does_not_wait_for_a_target_that_cannot_serve_it_in_time() {
    type Change = fn(&Arc<Target>);
    let drained: Change = |target| target.drain(true);
    for (why, change) in [("drained", drained), ("cooling", |target| throttle(target))] {
        let route = route(&["tpm = 60000", "tpm = 60000"]);
        change(&route.targets[0]);
        let mut waiting =
            route.group.enqueue(flow("a"), first_alone_for(&route, 1000, 5 * SECOND), in_an_hour());
        let (index, after, _permit) = turn(&mut waiting).await;
        assert_eq!((index, after), (1, 0.0), "{why} before");
        drop(waiting);

        let route = self::route(&["tpm = 60000", "tpm = 60000"]);
        use_up(&route.targets[0], 0);
        let mut waiting =
            route.group.enqueue(flow("a"), first_alone_for(&route, 4000, 5 * SECOND), in_an_hour());
        assert!(timeout(SECOND, waiting.granted()).await.is_err());
        change(&route.targets[0]);
        let (index, after, _permit) = turn(&mut waiting).await;
        assert_eq!(index, 1, "{why} meanwhile");
        assert!(after <= 1.0, "{why} meanwhile: {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_a_quota_only_if_that_may_have_room_in_time() {
    // The next request of ten a minute is due in 1.8 s: the bucket holds 9.7.
    for (quota, tokens, wait, index, least) in [
        ("tpm = 60000", 5500, 5, 1, 0.0),
        ("tpm = 60000", 4500, 5, 0, 4.4),
        ("rpm = 10", 1, 1, 1, 0.0),
        ("rpm = 10", 1, 2, 0, 1.7),
    ] {
        let route = route(&[quota, "rpm = 60"]);
        let target = &route.targets[0];
        if quota.starts_with("tpm") {
            use_up(target, 0);
        }
        while target.quota().when(1, Instant::now()) <= Instant::now() {
            spend(target, 0);
        }
        let patient = first_alone_for(&route, tokens, wait * SECOND);
        let mut waiting = route.group.enqueue(flow("a"), patient, in_an_hour());
        let (got, after, _permit) = turn(&mut waiting).await;
        assert_eq!(got, index, "{quota} for {tokens}");
        assert!((least..least + 0.2).contains(&after), "{quota} for {tokens}: {after}");
    }
    // What requests in flight give back is not known before.
    let route = route(&["tpm = 60000", "tpm = 60000"]);
    let in_flight = lend_all(&route.targets[0]);
    let mut waiting =
        route.group.enqueue(flow("a"), first_alone_for(&route, 50_000, 5 * SECOND), in_an_hour());
    assert!(timeout(SECOND, waiting.granted()).await.is_err());
    in_flight.release();
    assert_eq!(turn(&mut waiting).await.0, 0);
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_a_cooldown_that_ends_in_time() {
    let route = route(&["tpm = 60000", "tpm = 60000"]);
    throttle(&route.targets[0]);
    let mut waiting =
        route.group.enqueue(flow("a"), first_alone_for(&route, 100, 90 * SECOND), in_an_hour());
    let (index, after, _permit) = turn(&mut waiting).await;
    assert_eq!(index, 0);
    assert!((59.9..60.2).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn its_time_can_be_cut_while_it_waits() {
    let route = route(&["tpm = 60000", "tpm = 60000"]);
    let _in_flight = lend_all(&route.targets[0]);
    let mut waiting =
        route.group.enqueue(flow("a"), first_alone_for(&route, 30_000, 20 * SECOND), in_an_hour());
    assert!(timeout(SECOND, waiting.granted()).await.is_err());
    waiting.use_all_from(Instant::now() + 2 * SECOND);
    waiting.use_all_from(Instant::now() + 9 * SECOND);
    let (index, after, _permit) = turn(&mut waiting).await;
    assert_eq!(index, 1);
    assert!((1.99..2.01).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_slot_takes_only_what_no_waiter_claims() {
    let route = route(&["tpm = 60000", "tpm = 60000"]);
    use_up(&route.targets[0], 5000);
    let mut big =
        route.group.enqueue(flow("a"), first_alone_for(&route, 30_000, 60 * SECOND), in_an_hour());
    assert!(timeout(SECOND, big.granted()).await.is_err());
    let small = || candidates(&route, 1000).into_iter();
    assert!(route.enter(small()).is_none(), "others wait");
    let (index, _permit) = route.group.enter_past_queue(small()).unwrap();
    assert_eq!(index, 1, "the first one's quota is kept for the big one");
    let of_first = small().take(1);
    assert!(route.group.enter_past_queue(of_first).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_told_at_once_when_none_of_its_targets_can_recover_in_its_time() {
    let route = route(&["tpm = 60000", "tpm = 60000"]);
    let [first, second] = [&route.targets[0], &route.targets[1]];
    use_up(first, 0);
    use_up(second, 0);
    let wait_until = Instant::now() + 30 * SECOND;
    let mut waiting = route.group.enqueue(flow("a"), candidates(&route, 20_000), wait_until);
    let mut behind = route.group.enqueue(flow("b"), candidates(&route, 20_000), in_an_hour());
    first.drain(true);
    assert!(timeout(SECOND, waiting.granted()).await.is_err(), "the second may have room");
    let start = Instant::now();
    second.drain(true);
    assert!(timeout(SECOND, waiting.granted()).await.unwrap().is_none());
    assert!(timeout(SECOND, behind.granted()).await.unwrap().is_none());
    assert_eq!((route.group.waiting(), start.elapsed()), (0, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_outlasts_a_cooldown_that_ends_in_its_time_and_none_that_does_not() {
    let route = route(&["tpm = 60000"]);
    use_up(&route.targets[0], 0);
    let mut short =
        route.group.enqueue(flow("a"), candidates(&route, 5_000), Instant::now() + 30 * SECOND);
    let mut long = route.group.enqueue(flow("b"), candidates(&route, 5_000), in_an_hour());
    let permit = route.targets[0].enter(demand(0), Instant::now()).unwrap();
    let cause =
        OutageCause { reason: OutageReason::Exhausted, message: String::new(), request_id: None };
    permit.take_out(60 * SECOND, true, &cause);
    assert!(timeout(2 * SECOND, short.granted()).await.unwrap().is_none());
    let (index, _permit) = timeout(90 * SECOND, long.granted()).await.unwrap().unwrap();
    assert_eq!(index, 0);
}
