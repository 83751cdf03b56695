//! The simulated Bedrock in this process, on a free port, stopped when dropped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sluice::simulator::{
    Account, AccountSettings, Controls, DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY, Entry,
    Fault, FaultRule, ModelSettings, Settings,
};
use tokio::task::JoinHandle;

use super::patience::{LONG, within};

/// A simulator that verifies signatures and answers at once.
#[derive(Debug)]
pub struct Simulator {
    url: String,
    access_key_id: String,
    controls: Controls,
    serving: JoinHandle<()>,
}

impl Simulator {
    /// The secret of the access key of all simulators.
    pub const SECRET: &str = DEFAULT_SECRET_ACCESS_KEY;

    /// Starts one.
    pub async fn start() -> Simulator {
        Simulator::that_knows(DEFAULT_ACCESS_KEY_ID).await
    }

    /// Starts a simulator with this access key and the usual secret.
    pub async fn that_knows(access_key_id: &str) -> Simulator {
        let keys = [(access_key_id.to_owned(), Simulator::SECRET.into())].into();
        let settings = Settings { keys, ..Settings::default() };
        let simulator = sluice::simulator::Simulator::bind(settings).await.unwrap();
        let (url, controls) = (simulator.url(), simulator.controls());
        let serving = tokio::spawn(async move {
            simulator.serve(std::future::pending()).await.unwrap();
        });
        Simulator { url, access_key_id: access_key_id.to_owned(), controls, serving }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Its endpoint URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The id of the access key that it accepts.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// Adds a rule for faults.
    pub fn add(&self, rule: FaultRule) {
        self.controls.faults.add(rule).unwrap();
    }

    /// Injects a fault into the next `times` requests of a model.
    pub fn strikes(&self, model: &str, times: u64, fault: Fault) {
        self.add(FaultRule::next(times, fault).on(model));
    }

    /// Throttles the next `times` requests of a model.
    pub fn throttles(&self, model: &str, times: u64) {
        self.strikes(model, times, Fault::Throttle);
    }

    /// Throttles every request of a model from now on.
    pub fn always_throttles(&self, model: &str) {
        self.add(FaultRule::always(Fault::Throttle).on(model));
    }

    /// Sets the text of a model's answers.
    pub fn says(&self, model: &str, text: &str) {
        self.controls.answers.set(model, text).unwrap();
    }

    /// Removes all faults.
    pub fn recovers(&self) {
        self.controls.faults.clear();
    }

    /// Sets a model's quotas, cap and latency.
    pub fn limits(&self, model: &str, settings: ModelSettings) {
        self.controls.quotas.set(model, settings);
    }

    /// Sets the account whose models, profiles and quotas are listed.
    pub fn has_account(&self, account: AccountSettings) {
        self.controls.account.set(account).unwrap();
    }

    /// All received requests, in their order.
    pub fn log(&self) -> Vec<Entry> {
        self.controls.log.entries()
    }

    /// The counts of requests and answers of each model.
    pub fn accounts(&self) -> BTreeMap<String, Account> {
        self.controls.quotas.accounts()
    }

    /// The requests for one model.
    pub fn calls_to(&self, model: &str) -> Vec<Entry> {
        self.log().into_iter().filter(|entry| entry.model.as_deref() == Some(model)).collect()
    }

    /// The models that were called, in order.
    pub fn models_called(&self) -> Vec<String> {
        self.log().into_iter().filter_map(|entry| entry.model).collect()
    }

    /// The only received request.
    #[track_caller]
    pub fn only_call(&self) -> Entry {
        let mut log = self.log();
        assert_eq!(log.len(), 1, "{log:#?}");
        log.remove(0)
    }

    /// Waits until a request matches.
    pub async fn sees(&self, what: &str, wanted: impl Fn(&Entry) -> bool) -> Entry {
        self.sees_within(LONG, what, wanted).await
    }

    /// The same within a limit that belongs to the test.
    pub async fn sees_within(
        &self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Entry {
        within(limit, what, self.controls.log.wait_for(wanted)).await
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
