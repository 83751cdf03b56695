//! Counts of requests, tokens and cost: one entry for each combination of client, models, operation
//! and outcome.
//!
//! A request looks its entry up once, by label ids. With many clients and models that lookup is a
//! cache miss, so there is one of them and not one for each metric family. The families are sums
//! over the entries, computed when metrics are scraped.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};

use super::labels::{Labels, NO_LABEL};
use super::operation_names::Names;
use super::{OTHER, Outcome};
use crate::bedrock::{Operation, Usage};

/// The number of shards, each with a lock of its own.
const SHARDS: usize = 16;

const NANO: f64 = 1e9;

/// What a request is counted by; models and clients by label id.
#[derive(Clone, Copy, Debug)]
pub struct RequestLabels {
    /// The operation; `None` for a request that is not one.
    pub operation: Option<Operation>,
    /// The requested model.
    pub requested: u32,
    /// The client.
    pub client: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// What a request used.
#[derive(Clone, Copy, Debug)]
pub struct RequestUsage {
    /// The label id of the model that answered.
    pub model: u32,
    /// Tokens.
    pub usage: Usage,
    /// Nano-dollars, if the price is known.
    pub cost: Option<u64>,
}

/// The counters of all requests.
#[derive(Debug)]
pub struct RequestCounters {
    labels: Arc<Labels>,
    shards: [RwLock<HashSet<Entry, BuildHasherDefault<KeyHasher>>>; SHARDS],
}

/// One entry, which fills exactly one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    key: Key,
    pub(super) requests: AtomicU64,
    /// As [`TOKEN_KINDS`].
    pub(super) tokens: [AtomicU64; 4],
    /// Nano-dollars.
    pub(super) cost: AtomicU64,
}

/// Kinds of tokens, as labels.
const TOKEN_KINDS: [&str; 4] = ["input", "output", "cache_read", "cache_write"];

/// Everything that distinguishes entries, packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key(u128);

#[derive(Clone, Copy, Debug)]
pub(super) struct KeyParts {
    requested: u32,
    pub(super) client: u32,
    /// The model that answered, if the answer's usage is known.
    pub(super) model: u32,
    /// The index in [`Operation::ALL`]; its length for a request that is none.
    pub(super) operation: u8,
    /// The index in [`Outcome::ALL`].
    pub(super) outcome: u8,
    is_priced: bool,
}

impl Key {
    fn new(labels: &RequestLabels, usage: Option<&RequestUsage>) -> Key {
        let operation = labels.operation.map_or(Operation::ALL.len(), |it| it as usize);
        let model = usage.map_or(NO_LABEL, |usage| usage.model);
        let is_priced = usage.is_some_and(|usage| usage.cost.is_some());
        Key(u128::from(labels.requested)
            | u128::from(labels.client) << 32
            | u128::from(model) << 64
            | (operation as u128) << 96
            | (labels.outcome as u128) << 104
            | u128::from(is_priced) << 112)
    }

    fn parts(self) -> KeyParts {
        let Key(bits) = self;
        KeyParts {
            requested: bits as u32,
            client: (bits >> 32) as u32,
            model: (bits >> 64) as u32,
            operation: (bits >> 96) as u8,
            outcome: (bits >> 104) as u8,
            is_priced: bits >> 112 != 0,
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.0);
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.key == other.key
    }
}

impl Eq for Entry {}

impl Borrow<Key> for Entry {
    fn borrow(&self) -> &Key {
        &self.key
    }
}

/// Mixes the bits of a key. Keys come from the config alone, so no caller can provoke collisions.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u128((*byte).into()));
    }

    fn write_u128(&mut self, bits: u128) {
        const ODD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];
        let [low, high] = [bits as u64, (bits >> 64) as u64];
        let product = u128::from(low ^ ODD[0]).wrapping_mul(u128::from(high ^ self.0 ^ ODD[1]));
        self.0 = (product as u64 ^ (product >> 64) as u64).wrapping_mul(ODD[0]);
        self.0 ^= self.0 >> 32;
    }
}

impl Entry {
    fn new(key: Key) -> Entry {
        Entry {
            key,
            requests: AtomicU64::new(0),
            tokens: Default::default(),
            cost: AtomicU64::new(0),
        }
    }

    fn add(&self, usage: Option<&RequestUsage>) {
        let add = |to: &AtomicU64, count| to.fetch_add(count, Ordering::Relaxed);
        add(&self.requests, 1);
        let Some(RequestUsage { usage, cost, .. }) = usage else { return };
        let used = [usage.input, usage.output, usage.cache_read, usage.cache_write];
        for (tokens, count) in self.tokens.iter().zip(used).filter(|(_, count)| *count > 0) {
            add(tokens, count);
        }
        if let Some(cost) = cost {
            add(&self.cost, *cost);
        }
    }
}

impl RequestCounters {
    /// Creates an empty table over these labels.
    pub(super) fn new(labels: Arc<Labels>) -> RequestCounters {
        RequestCounters { labels, shards: Default::default() }
    }

    /// Counts a finished request.
    pub fn count(&self, labels: &RequestLabels, usage: Option<&RequestUsage>) {
        let key = Key::new(labels, usage);
        let index = (labels.requested ^ labels.client) as usize % SHARDS;
        let Some(shard) = self.shards.get(index) else { return };
        if let Some(entry) = shard.read().get(&key) {
            return entry.add(usage);
        }
        let mut shard = shard.write();
        if !shard.contains(&key) {
            shard.insert(Entry::new(key));
        }
        if let Some(entry) = shard.get(&key) {
            entry.add(usage);
        }
    }

    /// Visits every entry.
    pub(super) fn each(&self, mut visit: impl FnMut(KeyParts, &Entry)) {
        for shard in &self.shards {
            for entry in shard.read().iter() {
                visit(entry.key.parts(), entry);
            }
        }
    }

    /// Requests by API, operation, requested model, client and outcome.
    fn requests(&self, family: &mut Samples) {
        let mut sums = BTreeMap::<_, u64>::new();
        self.each(|KeyParts { requested, client, operation, outcome, .. }, entry| {
            let sum = sums.entry((operation, requested, client, outcome)).or_default();
            *sum += entry.requests.load(Ordering::Relaxed);
        });
        for ((operation, requested, client, outcome), count) in sums {
            let operation = Operation::ALL.get(usize::from(operation)).copied();
            let Names { api, operation } = Names::in_metrics(operation);
            let outcome = Outcome::ALL.get(usize::from(outcome)).map_or(OTHER, |it| it.name());
            let (model, client) = (family.text(requested), family.text(client));
            let labels = [
                ("api", api),
                ("client", &*client),
                ("model", &*model),
                ("operation", operation),
                ("outcome", outcome),
            ];
            family.add(&labels, count as f64);
        }
    }

    /// Tokens by answering model, client and kind.
    fn tokens(&self, family: &mut Samples) {
        let mut sums = BTreeMap::<_, [u64; 4]>::new();
        self.each(|KeyParts { client, model, .. }, entry| {
            if model != NO_LABEL {
                let sums = sums.entry((model, client)).or_default();
                for (sum, tokens) in sums.iter_mut().zip(&entry.tokens) {
                    *sum += tokens.load(Ordering::Relaxed);
                }
            }
        });
        for ((model, client), sums) in sums {
            let (model, client) = (family.text(model), family.text(client));
            for (kind, count) in TOKEN_KINDS.into_iter().zip(sums).filter(|(_, count)| *count > 0) {
                let labels = [("client", &*client), ("kind", kind), ("model", &*model)];
                family.add(&labels, count as f64);
            }
        }
    }

    /// Dollars by answering model and client.
    fn cost(&self, family: &mut Samples) {
        let mut sums = BTreeMap::<_, u64>::new();
        self.each(|KeyParts { client, model, is_priced, .. }, entry| {
            if is_priced {
                *sums.entry((model, client)).or_default() += entry.cost.load(Ordering::Relaxed);
            }
        });
        for ((model, client), cost) in sums {
            let (model, client) = (family.text(model), family.text(client));
            family.add(&[("client", &*client), ("model", &*model)], cost as f64 / NANO);
        }
    }
}

/// Exports one of the families that the counters add up to.
#[derive(Clone, Debug)]
pub struct CounterFamily {
    counters: Arc<RequestCounters>,
    desc: Desc,
    counted: Counted,
}

/// What a family counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counted {
    Requests,
    Tokens,
    Cost,
}

impl CounterFamily {
    pub(super) fn new(
        counters: &Arc<RequestCounters>,
        counted: Counted,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<CounterFamily, prometheus::Error> {
        Ok(CounterFamily {
            counters: Arc::clone(counters),
            desc: desc(name, help, labels)?,
            counted,
        })
    }
}

impl Collector for CounterFamily {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut samples = Samples { texts: self.counters.labels.texts(), metrics: Vec::new() };
        match self.counted {
            Counted::Requests => self.counters.requests(&mut samples),
            Counted::Tokens => self.counters.tokens(&mut samples),
            Counted::Cost => self.counters.cost(&mut samples),
        }
        vec![family(&self.desc, MetricType::COUNTER, samples.metrics)]
    }
}

/// The samples of a family of counters.
struct Samples {
    texts: Vec<Arc<str>>,
    metrics: Vec<Metric>,
}

impl Samples {
    fn text(&self, label: u32) -> Arc<str> {
        self.texts.get(label as usize).map_or_else(|| OTHER.into(), Arc::clone)
    }

    /// Adds a sample. Its labels must be sorted by name.
    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_counter(counter);
        self.metrics.push(metric);
    }
}

/// The description of a family.
pub(super) fn desc(name: &str, help: &str, labels: &[&str]) -> Result<Desc, prometheus::Error> {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Desc::new(name.to_owned(), help.to_owned(), labels, Default::default())
}

/// The labels of a sample.
pub(super) fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

/// A family with these samples.
pub(super) fn family(desc: &Desc, kind: MetricType, samples: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(kind);
    family.set_metric(samples);
    family
}
