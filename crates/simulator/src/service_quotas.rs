//! Service Quotas: lists the quotas of the account that the simulator plays, in pages.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode, request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::account::{AccountQuota, AccountSettings};
use super::reply::{Failure, Reply};
use sluice_bedrock::account::{AccountOperation, QUOTAS_CONTENT_TYPE, QUOTAS_SERVICE_CODE, TARGET};
use sluice_bedrock::error::ERROR_TYPE;

/// Most entries of a page. Source: the service model.
const MAX_PAGE: usize = 100;

/// The value of the header that names an operation of Service Quotas, if this is a request to it.
pub(super) fn target(head: &request::Parts) -> Option<&str> {
    let is_call = head.method == Method::POST && head.uri.path() == "/";
    let target = head.headers.get(TARGET).filter(|_| is_call)?.to_str().ok()?;
    target.starts_with("ServiceQuotasV20190624.").then_some(target)
}

/// A request of either list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListRequest {
    service_code: String,
    next_token: Option<String>,
    max_results: Option<usize>,
}

/// Answers a request.
pub(super) fn list(
    account: &AccountSettings,
    region: &str,
    operation: AccountOperation,
    body: &[u8],
) -> Result<Reply, Failure> {
    if account.denies(operation.action()) {
        let message = format!(
            "User: arn:aws:iam::{}:user/simulated is not authorized to perform: {}",
            account.account_id,
            operation.action()
        );
        return Err(failure("AccessDeniedException", &message));
    }
    let request: ListRequest = serde_json::from_slice(body)
        .map_err(|_| failure("SerializationException", "The body is not a request."))?;
    if request.service_code != QUOTAS_SERVICE_CODE {
        let message = "The service code is not one of those that Service Quotas has.";
        return Err(failure("NoSuchResourceException", message));
    }
    let skip = match &request.next_token {
        None => 0,
        Some(token) => token
            .parse::<usize>()
            .map_err(|_| failure("InvalidPaginationTokenException", "Invalid token."))?,
    };
    let page = account.page(request.max_results, MAX_PAGE);
    let mut rest = account
        .quotas
        .iter()
        .filter_map(|quota| Some((quota, value(operation, quota)?)))
        .skip(skip);
    let quotas: Vec<Value> = rest
        .by_ref()
        .take(page)
        .map(|(quota, value)| entry(account, region, quota, value))
        .collect();
    let mut answer = json!({ "Quotas": quotas });
    if let (Some(_), Some(members)) = (rest.next(), answer.as_object_mut()) {
        members.insert("NextToken".to_owned(), Value::from((skip + page).to_string()));
    }
    Ok(as_quotas(Reply::json(&answer, 0)))
}

/// The value that the operation lists; none if it does not list the quota.
fn value(operation: AccountOperation, quota: &AccountQuota) -> Option<f64> {
    match operation {
        AccountOperation::ListServiceQuotas => quota.value,
        _ => Some(quota.default),
    }
}

fn entry(account: &AccountSettings, region: &str, quota: &AccountQuota, value: f64) -> Value {
    let code = code(&quota.name);
    let id = &account.account_id;
    json!({
        "ServiceCode": QUOTAS_SERVICE_CODE,
        "ServiceName": "Amazon Bedrock",
        "QuotaArn": format!("arn:aws:servicequotas:{region}:{id}:bedrock/{code}"),
        "QuotaCode": code,
        "QuotaName": quota.name,
        "Value": value,
        "Unit": "None",
        "Adjustable": true,
        "GlobalQuota": false,
    })
}

/// A code in the form of AWS's, which follows from the name.
fn code(name: &str) -> String {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("L-{hash:08X}")
}

fn failure(name: &str, message: &str) -> Failure {
    Failure::named(name, StatusCode::BAD_REQUEST, message)
}

/// The reply of an error, in the form of Service Quotas: the body names it, and no header does.
pub(super) fn into_reply(failure: Failure) -> Reply {
    let body = json!({ "__type": failure.name, "Message": failure.message });
    let mut reply = as_quotas(Reply::json(&body, 0));
    reply.status = failure.status;
    reply
}

fn as_quotas(mut reply: Reply) -> Reply {
    let is_replaced = |name: &HeaderName| *name == CONTENT_TYPE || name.as_str() == ERROR_TYPE;
    reply.headers.retain(|(name, _)| !is_replaced(name));
    reply.headers.push((CONTENT_TYPE, HeaderValue::from_static(QUOTAS_CONTENT_TYPE)));
    reply
}
