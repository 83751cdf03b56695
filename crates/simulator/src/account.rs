//! The account that the simulator plays: which models and inference profiles it has, whether it may use
//! them, its quotas, and what its credentials may not ask.
//!
//! It shapes what the calls about an account are answered, and nothing else: a model that is retired or
//! not enabled here still answers requests, and these quotas throttle none.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

/// The most models, application profiles and quotas of an account, each.
const MAX_ENTRIES: usize = 5_000;

/// An account. By default it has the models of the catalogue, all enabled, and no quota.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountSettings {
    /// The number of the account.
    pub account_id: String,
    /// What differs from the catalogue, by the id of the foundation model. A model that the catalogue
    /// does not have is one more.
    pub models: BTreeMap<String, AccountModel>,
    /// The application inference profiles: the id at the end of the ARN, and the model or the
    /// system-defined profile behind it. If there are none, every id is one of the account's.
    pub application_profiles: BTreeMap<String, String>,
    /// The quotas that Service Quotas lists.
    pub quotas: Vec<AccountQuota>,
    /// Actions of IAM that the credentials lack, such as `bedrock:ListFoundationModels`.
    pub denied_actions: Vec<String>,
    /// The most entries of a page; 100 if left out.
    pub page_size: Option<usize>,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self {
            account_id: "123456789012".to_owned(),
            models: BTreeMap::new(),
            application_profiles: BTreeMap::new(),
            quotas: Vec::new(),
            denied_actions: Vec::new(),
            page_size: None,
        }
    }
}

/// A model of an account. What is left out is the catalogue's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountModel {
    /// Whether the region does not have it, as after its end of life.
    pub absent: bool,
    /// The name for people, which quotas have in their names.
    pub name: Option<String>,
    /// The name of the provider.
    pub provider: Option<String>,
    /// Whether it is called by an inference profile only.
    pub profile_only: Option<bool>,
    /// The geographies of its system-defined profiles, such as `us` and `global`.
    pub profiles: Option<Vec<String>>,
    /// Whether the account may not use it yet.
    pub not_enabled: bool,
    /// Whether the account has no agreement for it yet, which the first call makes.
    pub no_agreement: bool,
    /// Whether it is legacy, since when, and when it ends: times such as `2026-03-01T00:00:00Z`.
    pub legacy: bool,
    /// When it became legacy.
    pub legacy_time: Option<String>,
    /// When it ends.
    pub end_of_life_time: Option<String>,
    /// What it reads, such as `TEXT` and `IMAGE`.
    pub input_modalities: Option<Vec<String>>,
    /// What it writes.
    pub output_modalities: Option<Vec<String>>,
    /// Whether it can't stream.
    pub no_streaming: bool,
}

/// A quota as Service Quotas lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountQuota {
    /// The name, such as `On-demand model inference requests per minute for Amazon Nova Lite`.
    pub name: String,
    /// The value that accounts have by default.
    pub default: f64,
    /// The value of this account, if Service Quotas has one; else the default counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// Too many entries for one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account has at most {MAX_ENTRIES} models, application profiles and quotas, each")]
pub struct AccountTooLarge;

/// The account in force. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct AccountControl(Arc<RwLock<Arc<AccountSettings>>>);

impl AccountControl {
    /// The account in force.
    pub fn get(&self) -> Arc<AccountSettings> {
        Arc::clone(&self.0.read())
    }

    /// Puts another account in its place.
    ///
    /// # Errors
    /// When it has too many entries.
    pub fn set(&self, account: AccountSettings) -> Result<(), AccountTooLarge> {
        let counts =
            [account.models.len(), account.application_profiles.len(), account.quotas.len()];
        if counts.into_iter().any(|count| count > MAX_ENTRIES) {
            return Err(AccountTooLarge);
        }
        *self.0.write() = Arc::new(account);
        Ok(())
    }
}

impl AccountSettings {
    /// Whether the credentials lack the permission for an action.
    pub(super) fn denies(&self, action: &str) -> bool {
        self.denied_actions.iter().any(|denied| denied == action)
    }

    /// How many entries a page has if the request asks for `wanted`, of which `most` are allowed.
    pub(super) fn page(&self, wanted: Option<usize>, most: usize) -> usize {
        wanted.unwrap_or(most).min(self.page_size.unwrap_or(most)).clamp(1, most)
    }
}
