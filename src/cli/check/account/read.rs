//! Reads an account: makes the calls about it, one after the other, within bounds of time, pages and bytes.
//!
//! A call that the credentials lack the permission for skips its part. A service that is not reached is not
//! asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

use super::models::{Resolved, resolve};
use super::quota_name::Scope;
use super::snapshot::{Quota, Skipped, Snapshot, is_application_profile};
use super::wire::{Availability, ListedQuota, Models, Profile, Profiles, Quotas};
use crate::bedrock::ModelId;
use crate::bedrock::account::{AccountOperation, QUOTAS_SERVICE_CODE, Service};
use crate::catalogue::Catalogue;
use crate::config::Target;
use crate::system::time::sleep;
use crate::upstream::sign::Auth;
use crate::upstream::{Origin, ServiceError, ServiceRequest, Upstream};

/// Time for one call.
const CALL_TIME: Duration = Duration::from_secs(10);
/// Time for all calls about one account in one region.
const ACCOUNT_TIME: Duration = Duration::from_secs(60);
/// Longest answer.
const MAX_BYTES: usize = 8 << 20;
/// Most pages of a list.
const MAX_PAGES: usize = 100;
/// Tries of a call that AWS throttles, and the wait before the second, which doubles.
const TRIES: u32 = 4;
const WAIT: Duration = Duration::from_millis(250);

/// What asks about one account in one region.
pub(super) struct Reader<'a> {
    upstream: &'a Upstream,
    catalogue: &'a Catalogue,
    auth: &'a Auth,
    region: &'a str,
    /// Where the services listen, or why they are not asked.
    bedrock: Result<Origin, String>,
    quotas: Result<Origin, String>,
    deadline: Instant,
    /// The services that were not reached.
    unreachable: BTreeSet<&'static str>,
    snapshot: Snapshot,
}

/// A list that was read only in part.
type Failed = (AccountOperation, ServiceError);

impl<'a> Reader<'a> {
    pub(super) fn new(
        upstream: &'a Upstream,
        catalogue: &'a Catalogue,
        auth: &'a Auth,
        region: &'a str,
        [bedrock, quotas]: [Result<Origin, String>; 2],
    ) -> Reader<'a> {
        Reader {
            upstream,
            catalogue,
            auth,
            region,
            bedrock,
            quotas,
            deadline: Instant::now() + ACCOUNT_TIME,
            unreachable: BTreeSet::new(),
            snapshot: Snapshot::default(),
        }
    }

    /// Reads all that concerns these targets. `show` is told what is asked.
    pub(super) async fn read(mut self, targets: &[&Target], show: impl Fn(&str)) -> Snapshot {
        if let Err(reason) = &self.bedrock {
            self.skip("models, inference profiles and access", None, reason.clone(), false);
        } else {
            show("models");
            self.read_models().await;
            show("inference profiles");
            self.read_profiles(targets).await;
            show("access to models");
            self.read_availability(targets).await;
        }
        match &self.quotas {
            Err(reason) => self.skip("quotas", None, reason.clone(), false),
            Ok(_) if matches!(self.auth, Auth::Bearer(_)) => {
                let reason = "Service Quotas takes no Bedrock API key, so that it needs other \
                              credentials";
                self.skip("quotas", None, reason.to_owned(), false);
            }
            Ok(_) => {
                show("quotas");
                self.read_quotas().await;
            }
        }
        self.snapshot
    }

    async fn read_models(&mut self) {
        let operation = AccountOperation::ListFoundationModels;
        match self.call::<Models>(operation, &operation.path(""), "").await {
            Ok(models) => self.snapshot.models = Some(models.model_summaries),
            Err(error) => self.failed("models", (operation, error)),
        }
    }

    async fn read_profiles(&mut self, targets: &[&Target]) {
        match self.profiles("SYSTEM_DEFINED").await {
            Ok(profiles) => self.snapshot.profiles = Some(profiles),
            Err(failed) => self.failed("inference profiles", failed),
        }
        let arns: BTreeSet<&str> = targets
            .iter()
            .filter(|target| {
                ModelId::new(&target.model).is_ok_and(|it| is_application_profile(&it))
            })
            .map(|target| target.model.as_str())
            .collect();
        let operation = AccountOperation::GetInferenceProfile;
        for arn in arns {
            match self.call::<Profile>(operation, &operation.path(arn), "").await {
                Ok(profile) => {
                    self.snapshot.described.insert(arn.to_owned(), Some(profile));
                }
                Err(error) if error.is_not_found() => {
                    self.snapshot.described.insert(arn.to_owned(), None);
                }
                Err(error) => {
                    let is_denied = error.is_denied();
                    self.failed("models behind application inference profiles", (operation, error));
                    if is_denied {
                        return self.list_application_profiles().await;
                    }
                }
            }
        }
    }

    /// The list tells the models behind the profiles, too.
    async fn list_application_profiles(&mut self) {
        match self.profiles("APPLICATION").await {
            Ok(profiles) => {
                let by_arn = profiles.into_iter().map(|it| (it.inference_profile_arn.clone(), it));
                self.snapshot.described.extend(by_arn.map(|(arn, profile)| (arn, Some(profile))));
            }
            Err(failed) => self.failed("inference profiles", failed),
        }
    }

    async fn profiles(&mut self, kind: &str) -> Result<Vec<Profile>, Failed> {
        let operation = AccountOperation::ListInferenceProfiles;
        let (mut all, mut token) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let mut path = format!("{}?maxResults=1000", operation.path(""));
            if let Some(token) = &token {
                path.push_str("&nextToken=");
                path.extend(utf8_percent_encode(token, NON_ALPHANUMERIC));
            }
            path.push_str("&type=");
            path.push_str(kind);
            let page = self.call::<Profiles>(operation, &path, "").await;
            let page = page.map_err(|error| (operation, error))?;
            all.extend(page.inference_profile_summaries);
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(all);
            }
        }
        Err((operation, too_many_pages()))
    }

    async fn read_availability(&mut self, targets: &[&Target]) {
        let bases: BTreeSet<String> = targets
            .iter()
            .filter_map(|target| match resolve(target, &self.snapshot, self.catalogue) {
                Resolved::Model(called) if called.scope != Scope::Mantle => Some(called.base),
                _ => None,
            })
            .collect();
        let operation = AccountOperation::GetFoundationModelAvailability;
        for base in bases {
            match self.call::<Availability>(operation, &operation.path(&base), "").await {
                Ok(availability) => {
                    self.snapshot.availability.insert(base, Some(availability));
                }
                Err(error) if error.is_not_found() => {
                    self.snapshot.availability.insert(base, None);
                }
                Err(error) => {
                    let is_final = error.is_denied() || error.is_unreachable();
                    self.failed("access to models", (operation, error));
                    if is_final {
                        return;
                    }
                }
            }
        }
    }

    async fn read_quotas(&mut self) {
        let defaults = self.quotas(AccountOperation::ListAwsDefaultServiceQuotas).await;
        let defaults = match defaults {
            Err(failed) if failed.1.is_unreachable() => return self.failed("quotas", failed),
            defaults => defaults,
        };
        let applied = self.quotas(AccountOperation::ListServiceQuotas).await;
        // Of the quotas that AWS has not changed for the account, some are only in the list of defaults.
        let applied = match applied {
            Ok(applied) => applied,
            Err(failed) => return self.failed("quotas", failed),
        };
        let defaults = match defaults {
            Ok(defaults) => defaults,
            Err(failed) => {
                self.failed("quotas that have the default value", failed);
                Vec::new()
            }
        };
        let mut all: BTreeMap<String, Quota> = BTreeMap::new();
        for ListedQuota { quota_name: name, value } in defaults {
            let quota = Quota { name: name.clone(), value, default: Some(value) };
            all.insert(name, quota);
        }
        for ListedQuota { quota_name: name, value } in applied {
            let default = all.get(&name).and_then(|quota| quota.default);
            all.insert(name.clone(), Quota { name, value, default });
        }
        self.snapshot.quotas = Some(all.into_values().collect());
    }

    async fn quotas(&mut self, operation: AccountOperation) -> Result<Vec<ListedQuota>, Failed> {
        let (mut all, mut token) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let mut body = json!({ "ServiceCode": QUOTAS_SERVICE_CODE, "MaxResults": 100 });
            if let (Some(token), Some(members)) = (token.take(), body.as_object_mut()) {
                members.insert("NextToken".to_owned(), token.into());
            }
            let page = self.call::<Quotas>(operation, "/", &body.to_string()).await;
            let page = page.map_err(|error| (operation, error))?;
            all.extend(page.quotas);
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(all);
            }
        }
        Err((operation, too_many_pages()))
    }

    /// Makes one call; again, after a while, if AWS throttles it.
    async fn call<T: DeserializeOwned>(
        &self,
        operation: AccountOperation,
        path: &str,
        body: &str,
    ) -> Result<T, ServiceError> {
        let service = operation.service();
        let origin = match service {
            Service::Bedrock => &self.bedrock,
            Service::ServiceQuotas => &self.quotas,
        };
        let origin = origin.as_ref().map_err(|why| ServiceError::Unreachable(why.clone()))?;
        if self.unreachable.contains(service.title()) {
            return Err(ServiceError::Unreachable("it was not reached before".to_owned()));
        }
        let (auth, region) = (self.auth, self.region);
        let request = ServiceRequest { operation, origin, region, auth, path, body };
        let mut wait = WAIT;
        for left in (0..TRIES).rev() {
            let time = CALL_TIME.min(self.deadline.saturating_duration_since(Instant::now()));
            if time.is_zero() {
                break;
            }
            match self.upstream.call_service(request, MAX_BYTES, time).await {
                Ok(body) => {
                    return serde_json::from_slice(&body).map_err(|error| {
                        ServiceError::Unreachable(format!("the answer can't be read: {error}"))
                    });
                }
                Err(error) if left > 0 && error.is_transient() => {
                    sleep(wait).await;
                    wait *= 2;
                }
                Err(error) => return Err(error),
            }
        }
        Err(ServiceError::TooSlow(ACCOUNT_TIME))
    }

    /// Notes that a part could not be read.
    fn failed(&mut self, part: &'static str, (operation, error): Failed) {
        let service = operation.service().title();
        if error.is_unreachable() && !self.unreachable.insert(service) {
            return;
        }
        if error.is_denied() {
            let action = operation.action();
            return self.skip(part, Some(action), format!("the credentials lack {action}"), false);
        }
        let reason = match error.is_unreachable() {
            true => format!("{service} was not reached: {error}"),
            false => format!("{} failed: {error}", operation.name()),
        };
        self.skip(part, None, reason, true);
    }

    fn skip(
        &mut self,
        part: &'static str,
        action: Option<&'static str>,
        reason: String,
        is_failure: bool,
    ) {
        let skipped = Skipped { part, action, reason, is_failure };
        if !self.snapshot.skipped.contains(&skipped) {
            self.snapshot.skipped.push(skipped);
        }
    }
}

fn too_many_pages() -> ServiceError {
    ServiceError::Unreachable(format!("the list has more than {MAX_PAGES} pages"))
}
