//! What admission costs a request: to enter a target with quotas and settle, and a place in line.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark's own setup")]

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use divan::Bencher;
use sluice::bedrock::{ModelId, Operation, Usage};
use sluice::config::{Config, Env, Priority};
use sluice::quota::{FairQueue, Flow};
use sluice::routing::{Candidate, RequestSize, Route, Router};

const MODEL: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const TARGETS: usize = 4;
fn size() -> RequestSize {
    RequestSize { text_bytes: 4000, max_output: Some(1000), ..RequestSize::default() }
}
const USAGE: Usage = Usage {
    input: 1000,
    output: 300,
    cache_read: 0,
    cache_write: 0,
    cache_write_1h: 0,
    tier: None,
};

/// A route to targets with quotas that do not run out here.
static ROUTE: LazyLock<Arc<Route>> = LazyLock::new(|| {
    let mut text = "[upstream]\nregion = \"us-east-1\"\naccess_key_id = \"AKIDBENCH\"\n\
                    secret_access_key = \"env:SECRET\"\n"
        .to_owned();
    for index in 0..TARGETS {
        text += &format!(
            "[targets.t{index}]\nmodel = \"{MODEL}\"\nrpm = 10000000\ntpm = 1000000000000\n"
        );
    }
    let names = (0..TARGETS).map(|index| format!("\"t{index}\"")).collect::<Vec<_>>().join(", ");
    text += &format!("[[routes]]\nmodels = [\"{MODEL}\"]\ntargets = [{names}]\n");
    let env: Env = [("SECRET", "not used")].into_iter().collect();
    let config = Config::from_toml(&text, "bench.toml", &env)
        .unwrap_or_else(|error| panic!("{error}"))
        .config;
    let router = Router::new(&config, None, None).expect("a router");
    router.find(&config, &ModelId::new(MODEL).expect("a model id")).expect("a route").1
});

fn main() {
    divan::main();
}

fn candidate(index: usize) -> Candidate {
    let target = ROUTE.targets.get(index % TARGETS).expect("a target");
    let model = ModelId::new(MODEL).expect("a model id");
    Candidate {
        index,
        demand: target.demand(Operation::Converse, &size(), &model),
        target: Arc::clone(target),
        not_before: None,
    }
}

/// The way of a request that finds room: enter, send, be answered, settle.
fn admit_and_settle(candidate: &Candidate) {
    let entered = ROUTE.group.enter(std::iter::once(black_box(candidate).clone()));
    let (_, mut permit) = entered.expect("there is room");
    permit.mark_sending();
    let reservation = permit.succeeded(Duration::from_millis(100));
    reservation.settle(black_box(&USAGE), &size());
}

#[divan::bench(threads = [1, 2, 4], sample_size = 1000)]
fn all_threads_on_one_target(bencher: Bencher<'_, '_>) {
    let candidate = candidate(0);
    bencher.bench(|| admit_and_settle(&candidate));
}

#[divan::bench(threads = [1, 2, 4], sample_size = 1000)]
fn each_thread_on_its_own_target(bencher: Bencher<'_, '_>) {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static CANDIDATE: Candidate = candidate(THREADS.fetch_add(1, Ordering::Relaxed));
    }
    bencher.bench(|| CANDIDATE.with(admit_and_settle));
}

/// Joining the queue and being served, while so many requests wait.
#[divan::bench(args = [0, 100, 1000], sample_size = 1000)]
fn push_and_serve(bencher: Bencher<'_, '_>, waiting: usize) {
    const CLIENTS: usize = 10;
    let flows: Vec<Flow> = (0..CLIENTS)
        .map(|client| Flow {
            client: format!("client-{client}").into(),
            priority: Priority::Normal,
        })
        .collect();
    let mut queue = FairQueue::default();
    let mut turns = flows.iter().cycle();
    let mut push = |queue: &mut FairQueue<usize>| {
        let flow = turns.next().expect("a cycle has no end");
        queue.push(flow.clone(), 2000, 0)
    };
    for _ in 0..waiting {
        push(&mut queue);
    }
    bencher.bench_local(|| {
        push(&mut queue);
        let first = queue.iter().next().map(|(ticket, _)| ticket);
        black_box(first.and_then(|ticket| queue.serve(ticket)))
    });
}
