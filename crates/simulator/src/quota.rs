//! Bedrock's quotas: requests and tokens per minute for each model, and tokens per UTC day for each model and for
//! all of them together; reserve first and settle after.
//!
//! At the start of a request its input tokens and its maximum of output tokens are taken; at its
//! end the charge is input + cache write + output x burndown, cache reads are free and the rest is
//! given back at once (AWS user guide, "How tokens are counted in Amazon Bedrock"). Buckets hold
//! one minute's figure and refill continuously, on tokio's clock. A day begins with the whole figure. A reservation settles when it is
//! dropped, so that every end of a request, also a client that goes away, settles exactly once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::time::Instant;

use super::settings::{ACCOUNT, ModelSettings};
use sluice_bedrock::Usage;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Models that have an account; calls to models beyond these are not limited and not counted.
const MAX_MODELS: usize = 4096;

/// Which quota had no room for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Requests per minute.
    #[error("Too many requests, please wait before trying again.")]
    Requests,
    /// Tokens per minute.
    #[error("Too many tokens, please wait before trying again.")]
    Tokens,
    /// Tokens per day.
    #[error("Too many tokens per day, please wait before trying again.")]
    TokensPerDay,
}

/// What a model was asked and has answered since the start (or since the accounts were cleared).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Requests that the quota let in.
    pub calls: u64,
    /// Requests refused by a quota (scripted faults are not counted here).
    pub throttled: u64,
    /// Input tokens of settled requests, fresh ones only.
    pub input_tokens: u64,
    /// Output tokens of settled requests.
    pub output_tokens: u64,
    /// Cache reads of settled requests, in tokens.
    pub cache_read_tokens: u64,
    /// Cache writes of settled requests, in tokens.
    pub cache_write_tokens: u64,
    /// Requests under way now.
    pub in_flight: u64,
    /// The most requests that were under way at one time.
    pub peak_in_flight: u64,
}

/// A model's limits and what is left of them.
#[derive(Debug, Clone, Serialize)]
pub struct QuotaState {
    /// The limits, as set.
    #[serde(flatten)]
    pub settings: ModelSettings,
    /// What is left now of `rpm`.
    pub requests_left: Option<f64>,
    /// What is left now of `tpm`; below zero after an answer that cost more than was taken.
    pub tokens_left: Option<f64>,
    /// What is left now of `tpd`.
    pub tokens_left_today: Option<f64>,
}

/// All models' quotas and accounts. Clones share them.
#[derive(Debug, Clone)]
pub struct Quotas {
    models: Arc<Mutex<HashMap<String, Model>>>,
    clock: Clock,
}

impl Default for Quotas {
    fn default() -> Self {
        Self::starting_at(SystemTime::now())
    }
}

impl Quotas {
    /// No quotas, on a clock that shows `start` now and follows tokio's.
    pub fn starting_at(start: SystemTime) -> Self {
        let since_1970 = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { models: Arc::default(), clock: Clock { since_1970, origin: Instant::now() } }
    }

    /// Sets a model's limits. Its buckets start full, and its account continues.
    pub fn set(&self, model: &str, settings: ModelSettings) {
        let mut models = self.lock();
        if models.len() >= MAX_MODELS && !models.contains_key(model) {
            return;
        }
        let account = models.get(model).map(|known| known.account).unwrap_or_default();
        models.insert(model.to_owned(), Model::new(Some(settings), account, self.clock));
    }

    /// The settings that `model` was given.
    pub fn settings(&self, model: &str) -> Option<ModelSettings> {
        self.lock().get(model)?.settings
    }

    /// Forgets all limits; accounts stay.
    pub fn clear_limits(&self) {
        for model in self.lock().values_mut() {
            *model = Model::new(None, model.account, self.clock);
        }
    }

    /// Forgets all accounts; limits and what is left of them stay.
    pub fn clear_accounts(&self) {
        for model in self.lock().values_mut() {
            let in_flight = model.account.in_flight;
            model.account = Account { in_flight, peak_in_flight: in_flight, ..Account::default() };
        }
    }

    /// The account of each model that was called.
    pub fn accounts(&self) -> BTreeMap<String, Account> {
        let models = self.lock();
        let models = models.iter().filter(|(name, _)| *name != ACCOUNT);
        models.map(|(name, model)| (name.clone(), model.account)).collect()
    }

    /// The limits of each model that has some, and what is left of them.
    pub fn states(&self) -> BTreeMap<String, QuotaState> {
        let (now, time) = (Instant::now(), self.clock.now());
        let mut models = self.lock();
        models
            .iter_mut()
            .filter_map(|(name, model)| Some((name.clone(), model.state(now, time)?)))
            .collect()
    }

    /// Takes one request, all input tokens and `max_output` tokens of `model`'s quota.
    ///
    /// # Errors
    /// The quota that has no room; nothing is taken then.
    pub fn take(&self, model: &str, usage: Usage, max_output: u64) -> Result<Reservation, Refused> {
        let mut models = self.lock();
        let taken = [usage.input, usage.cache_read, usage.cache_write, max_output]
            .into_iter()
            .fold(0, u64::saturating_add);
        let time = self.clock.now();
        if models.len() < MAX_MODELS || models.contains_key(model) {
            let now = Instant::now();
            let account = models.get_mut(ACCOUNT).and_then(|account| account.daily.as_mut());
            let has_room = account.is_none_or(|daily| daily.left(time) >= taken as f64);
            models.entry(model.to_owned()).or_default().take(taken, has_room, now, time)?;
        }
        if let Some(account) = models.get_mut(ACCOUNT).and_then(|account| account.daily.as_mut()) {
            account.level -= taken as f64;
        }
        drop(models);
        Ok(Reservation {
            quotas: self.clone(),
            model: model.to_owned(),
            taken,
            taken_at: time,
            usage: Usage { output: 0, ..usage },
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Model>> {
        self.models.lock()
    }
}

/// What one request holds of a quota. Dropping it settles it with the usage noted until then.
#[derive(Debug)]
pub struct Reservation {
    quotas: Quotas,
    model: String,
    taken: u64,
    /// When, since 1970.
    taken_at: Duration,
    usage: Usage,
}

impl Reservation {
    /// Notes that `tokens` more output tokens were generated.
    pub fn generated(&mut self, tokens: u64) {
        self.usage.output = self.usage.output.saturating_add(tokens);
    }

    /// The usage noted so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut models = self.quotas.lock();
        let (now, time) = (Instant::now(), self.quotas.clock.now());
        let Some(model) = models.get_mut(&self.model) else { return };
        let charge = model.charge(self.usage);
        model.settle(self.taken, charge, self.usage, now);
        let model = model.daily.as_mut();
        model.into_iter().for_each(|daily| daily.settle(self.taken, self.taken_at, charge, time));
        let account = models.get_mut(ACCOUNT).and_then(|account| account.daily.as_mut());
        account.into_iter().for_each(|daily| daily.settle(self.taken, self.taken_at, charge, time));
    }
}

#[derive(Debug, Default)]
struct Model {
    /// `None` for a model that was only called, and never given limits.
    settings: Option<ModelSettings>,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    input: Option<Bucket>,
    output: Option<Bucket>,
    daily: Option<Daily>,
    account: Account,
}

impl Model {
    fn new(settings: Option<ModelSettings>, account: Account, clock: Clock) -> Self {
        let now = Instant::now();
        let limits = settings.unwrap_or_default();
        let bucket = |figure: Option<u64>, period| figure.map(|f| Bucket::full(f, period, now));
        let minute = limits.minute_ms.map_or(MINUTE, |ms| Duration::from_millis(ms.max(1)));
        Self {
            requests: bucket(limits.rpm, minute),
            tokens: bucket(limits.tpm, minute),
            input: bucket(limits.input_tpm, minute),
            output: bucket(limits.output_tpm, minute),
            daily: limits.tpd.map(|tpd| {
                let length = limits.day_ms.map_or(DAY, |ms| Duration::from_millis(ms.max(1)));
                Daily::new(tpd, length, clock.now())
            }),
            settings,
            account,
        }
    }

    fn state(&mut self, now: Instant, time: Duration) -> Option<QuotaState> {
        let left = |bucket: &mut Option<Bucket>| bucket.as_mut().map(|b| b.left(now));
        Some(QuotaState {
            settings: self.settings?,
            requests_left: left(&mut self.requests),
            tokens_left: left(&mut self.tokens),
            tokens_left_today: self.daily.as_mut().map(|daily| daily.left(time)),
        })
    }

    /// Takes a request's tokens; `account_has_room` if the account's quota of the day has room for them.
    fn take(
        &mut self,
        tokens: u64,
        account_has_room: bool,
        now: Instant,
        time: Duration,
    ) -> Result<(), Refused> {
        let daily = self.daily.as_mut();
        let day_has_room = daily.is_none_or(|daily| daily.left(time) >= tokens as f64);
        let room = |bucket: &mut Option<Bucket>, amount: u64| {
            bucket.as_mut().is_none_or(|b| b.left(now) >= amount as f64)
        };
        let refused = if !room(&mut self.requests, 1) {
            Some(Refused::Requests)
        } else if !(day_has_room && account_has_room) {
            Some(Refused::TokensPerDay)
        } else if !room(&mut self.tokens, tokens)
            || !room(&mut self.input, tokens)
            || !room(&mut self.output, 0)
        {
            Some(Refused::Tokens)
        } else {
            None
        };
        if let Some(refused) = refused {
            self.account.throttled += 1;
            return Err(refused);
        }
        if let Some(bucket) = &mut self.requests {
            bucket.level -= 1.0;
        }
        for bucket in [&mut self.tokens, &mut self.input].into_iter().flatten() {
            bucket.level -= tokens as f64;
        }
        if let Some(daily) = &mut self.daily {
            daily.level -= tokens as f64;
        }
        self.account.calls += 1;
        self.account.in_flight += 1;
        self.account.peak_in_flight = self.account.peak_in_flight.max(self.account.in_flight);
        Ok(())
    }

    /// What a request costs of the quotas that count input and output together.
    fn charge(&self, usage: Usage) -> u64 {
        let burndown = u64::from(self.settings.and_then(|s| s.burndown).unwrap_or(1));
        usage
            .input
            .saturating_add(usage.cache_write)
            .saturating_add(usage.output.saturating_mul(burndown))
    }

    fn settle(&mut self, taken: u64, charge: u64, usage: Usage, now: Instant) {
        let input = usage.input.saturating_add(usage.cache_write) as f64;
        let taken = taken as f64;
        let costs = [
            (&mut self.tokens, taken - charge as f64),
            (&mut self.input, taken - input),
            (&mut self.output, -(usage.output as f64)),
        ];
        for (bucket, given_back) in costs {
            bucket.iter_mut().for_each(|bucket| bucket.give(given_back, now));
        }
        let account = &mut self.account;
        account.in_flight = account.in_flight.saturating_sub(1);
        account.input_tokens += usage.input;
        account.output_tokens += usage.output;
        account.cache_read_tokens += usage.cache_read;
        account.cache_write_tokens += usage.cache_write;
    }
}

/// The wall clock, as time since 1970, by tokio's clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    since_1970: Duration,
    origin: Instant,
}

impl Clock {
    fn now(self) -> Duration {
        self.since_1970 + self.origin.elapsed()
    }
}

/// What is left of a figure for each UTC day, or for each shorter time that stands for a day.
#[derive(Debug)]
struct Daily {
    figure: f64,
    level: f64,
    length: Duration,
    day: u128,
}

impl Daily {
    fn new(figure: u64, length: Duration, time: Duration) -> Self {
        let figure = figure as f64;
        let day = time.as_nanos() / length.as_nanos().max(1);
        Self { figure, level: figure, length, day }
    }

    fn day_of(&self, time: Duration) -> u128 {
        time.as_nanos() / self.length.as_nanos().max(1)
    }

    fn left(&mut self, time: Duration) -> f64 {
        let day = self.day_of(time);
        if day != self.day {
            (self.day, self.level) = (day, self.figure);
        }
        self.level
    }

    /// Settles what was taken at `taken_at`. A request that ends on another day than it began costs of that day.
    fn settle(&mut self, taken: u64, taken_at: Duration, charge: u64, time: Duration) {
        let is_same_day = self.day_of(taken_at) == self.day_of(time);
        let taken = if is_same_day { taken as f64 } else { 0.0 };
        self.level = self.left(time) + taken - charge as f64;
    }
}

#[derive(Debug)]
struct Bucket {
    capacity: f64,
    level: f64,
    period: Duration,
    at: Instant,
}

impl Bucket {
    fn full(figure: u64, period: Duration, now: Instant) -> Self {
        Self { capacity: figure as f64, level: figure as f64, period, at: now }
    }

    fn left(&mut self, now: Instant) -> f64 {
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        let refilled = self.level + self.capacity * past / self.period.as_secs_f64();
        self.level = refilled.min(self.capacity);
        self.level
    }

    fn give(&mut self, amount: f64, now: Instant) {
        self.level = (self.left(now) + amount).min(self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(settings: ModelSettings) -> Quotas {
        let quotas = Quotas::default();
        quotas.set("m", settings);
        quotas
    }

    fn input(tokens: u64) -> Usage {
        Usage { input: tokens, ..Usage::default() }
    }

    fn tokens_left(quotas: &Quotas) -> f64 {
        quotas.states()["m"].tokens_left.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_run_out_and_refill_continuously() {
        let quotas = limited(ModelSettings { rpm: Some(2), ..Default::default() });
        for _ in 0..2 {
            drop(quotas.take("m", input(1), 1).unwrap());
        }
        assert_eq!(quotas.take("m", input(1), 1).unwrap_err(), Refused::Requests);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(quotas.take("m", input(1), 1).unwrap_err(), Refused::Requests);
        tokio::time::advance(Duration::from_secs(1)).await;
        quotas.take("m", input(1), 1).unwrap();
        assert_eq!(quotas.accounts()["m"].throttled, 2);
        assert_eq!(quotas.accounts()["m"].calls, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_maximum_is_taken_first_and_the_rest_given_back_at_the_end() {
        let quotas = limited(ModelSettings { tpm: Some(1000), ..Default::default() });
        let mut held = quotas.take("m", input(100), 800).unwrap();
        assert_eq!(tokens_left(&quotas), 100.0);
        assert_eq!(quotas.take("m", input(1), 100).unwrap_err(), Refused::Tokens);
        held.generated(50);
        drop(held);
        assert_eq!(tokens_left(&quotas), 850.0);
        assert_eq!(quotas.accounts()["m"].output_tokens, 50);
        assert_eq!(quotas.accounts()["m"].in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn burndown_multiplies_output_and_may_leave_a_debt() {
        let quotas =
            limited(ModelSettings { tpm: Some(1000), burndown: Some(5), ..Default::default() });
        let mut held = quotas.take("m", input(100), 300).unwrap();
        held.generated(300);
        drop(held);
        assert_eq!(tokens_left(&quotas), 1000.0 - 100.0 - 1500.0);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(tokens_left(&quotas), 400.0);
    }

    #[tokio::test(start_paused = true)]
    async fn cache_reads_are_taken_but_not_charged_and_cache_writes_are_charged() {
        let quotas = limited(ModelSettings { tpm: Some(1000), ..Default::default() });
        let usage = Usage { input: 10, cache_read: 500, cache_write: 40, ..Usage::default() };
        let held = quotas.take("m", usage, 100).unwrap();
        assert_eq!(tokens_left(&quotas), 350.0);
        drop(held);
        assert_eq!(tokens_left(&quotas), 950.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_for_tokens_takes_no_request() {
        let quotas = limited(ModelSettings { rpm: Some(1), tpm: Some(10), ..Default::default() });
        assert_eq!(quotas.take("m", input(11), 0).unwrap_err(), Refused::Tokens);
        quotas.take("m", input(5), 0).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_begins_with_the_whole_figure_and_does_not_refill() {
        let quotas = Quotas::starting_at(UNIX_EPOCH + Duration::from_secs(23 * 3600));
        quotas.set("m", ModelSettings { tpd: Some(1000), ..Default::default() });
        let mut held = quotas.take("m", input(100), 800).unwrap();
        held.generated(50);
        drop(held);
        let left = || quotas.states()["m"].tokens_left_today.unwrap();
        assert_eq!(left(), 850.0);
        tokio::time::advance(Duration::from_secs(3599)).await;
        assert_eq!(left(), 850.0);
        let over_midnight = quotas.take("m", input(100), 0).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(left(), 1000.0);
        drop(over_midnight);
        assert_eq!(left(), 900.0, "it costs of the day in which it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_has_one_day_for_all_models() {
        let quotas = Quotas::default();
        quotas.set(ACCOUNT, ModelSettings { tpd: Some(1000), ..Default::default() });
        drop(quotas.take("a", input(600), 0).unwrap());
        assert_eq!(quotas.take("b", input(500), 0).unwrap_err(), Refused::TokensPerDay);
        drop(quotas.take("b", input(400), 0).unwrap());
        assert_eq!(quotas.states()[ACCOUNT].tokens_left_today, Some(0.0));
        assert_eq!(quotas.accounts().keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn input_and_output_can_be_counted_apart() {
        let settings =
            ModelSettings { input_tpm: Some(1000), output_tpm: Some(60), ..Default::default() };
        let quotas = limited(settings);
        let mut held = quotas.take("m", input(100), 800).unwrap();
        assert_eq!(quotas.take("m", input(101), 0).unwrap_err(), Refused::Tokens);
        held.generated(90);
        drop(held);
        assert_eq!(quotas.take("m", input(10), 0).unwrap_err(), Refused::Tokens, "output is owed");
        tokio::time::advance(Duration::from_secs(30)).await;
        quotas.take("m", input(900), 100).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_day_has_its_own_message() {
        let quotas = limited(ModelSettings { tpd: Some(10), ..Default::default() });
        let refused = quotas.take("m", input(11), 0).unwrap_err();
        assert!(refused.to_string().contains("per day"), "{refused}");
    }
}
