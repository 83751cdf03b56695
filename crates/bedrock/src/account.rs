//! The calls that describe an account: its models, its inference profiles and its quotas.
//!
//! Facts are those of the service models of `bedrock` (2023-04-20) and `service-quotas` (2019-06-24), and
//! of the AWS Service Authorization Reference.

use http::Method;
use percent_encoding::{percent_decode_str, utf8_percent_encode};

use super::model_id::{ModelId, SEGMENT};

/// The header that names an operation of Service Quotas.
pub const TARGET: &str = "x-amz-target";

/// The media type of requests and responses of Service Quotas.
pub const QUOTAS_CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// What Service Quotas calls Amazon Bedrock.
pub const QUOTAS_SERVICE_CODE: &str = "bedrock";

const AVAILABILITY: &str = "/foundation-model-availability/";

/// An AWS service that describes an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// The control plane of Amazon Bedrock.
    Bedrock,
    /// Service Quotas.
    ServiceQuotas,
}

impl Service {
    /// The name that signatures are scoped to.
    pub fn signing_name(self) -> &'static str {
        match self {
            Service::Bedrock => "bedrock",
            Service::ServiceQuotas => "servicequotas",
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Service::Bedrock => "Bedrock's control plane",
            Service::ServiceQuotas => "Service Quotas",
        }
    }
}

/// An operation that describes an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccountOperation {
    /// Lists the models of a region.
    ListFoundationModels,
    /// Lists the inference profiles of an account in a region.
    ListInferenceProfiles,
    /// Describes one inference profile, with the models behind it.
    GetInferenceProfile,
    /// Tells whether an account may use a model.
    GetFoundationModelAvailability,
    /// Lists the quotas that an account has.
    ListServiceQuotas,
    /// Lists the quotas that accounts have by default.
    ListAwsDefaultServiceQuotas,
}

impl AccountOperation {
    /// All of them.
    pub const ALL: [AccountOperation; 6] = [
        AccountOperation::ListFoundationModels,
        AccountOperation::ListInferenceProfiles,
        AccountOperation::GetInferenceProfile,
        AccountOperation::GetFoundationModelAvailability,
        AccountOperation::ListServiceQuotas,
        AccountOperation::ListAwsDefaultServiceQuotas,
    ];

    /// The name in the service model.
    pub fn name(self) -> &'static str {
        match self {
            AccountOperation::ListFoundationModels => "ListFoundationModels",
            AccountOperation::ListInferenceProfiles => "ListInferenceProfiles",
            AccountOperation::GetInferenceProfile => "GetInferenceProfile",
            AccountOperation::GetFoundationModelAvailability => "GetFoundationModelAvailability",
            AccountOperation::ListServiceQuotas => "ListServiceQuotas",
            AccountOperation::ListAwsDefaultServiceQuotas => "ListAWSDefaultServiceQuotas",
        }
    }

    /// The service that has it.
    pub fn service(self) -> Service {
        match self {
            AccountOperation::ListServiceQuotas | AccountOperation::ListAwsDefaultServiceQuotas => {
                Service::ServiceQuotas
            }
            _ => Service::Bedrock,
        }
    }

    /// The action of IAM that permits it.
    pub fn action(self) -> &'static str {
        match self {
            AccountOperation::ListFoundationModels => "bedrock:ListFoundationModels",
            AccountOperation::ListInferenceProfiles => "bedrock:ListInferenceProfiles",
            AccountOperation::GetInferenceProfile => "bedrock:GetInferenceProfile",
            AccountOperation::GetFoundationModelAvailability => {
                "bedrock:GetFoundationModelAvailability"
            }
            AccountOperation::ListServiceQuotas => "servicequotas:ListServiceQuotas",
            AccountOperation::ListAwsDefaultServiceQuotas => {
                "servicequotas:ListAWSDefaultServiceQuotas"
            }
        }
    }

    /// The value of the header [`TARGET`]; `None` for an operation that has a path of its own.
    pub fn target(self) -> Option<&'static str> {
        match self {
            AccountOperation::ListServiceQuotas => Some("ServiceQuotasV20190624.ListServiceQuotas"),
            AccountOperation::ListAwsDefaultServiceQuotas => {
                Some("ServiceQuotasV20190624.ListAWSDefaultServiceQuotas")
            }
            _ => None,
        }
    }

    /// The HTTP method.
    pub fn method(self) -> Method {
        match self.service() {
            Service::Bedrock => Method::GET,
            Service::ServiceQuotas => Method::POST,
        }
    }

    /// The path on the wire. `identifier` is the model or the inference profile, not encoded; an
    /// operation that lists takes none.
    pub fn path(self, identifier: &str) -> String {
        let encoded = || utf8_percent_encode(identifier, SEGMENT);
        match self {
            AccountOperation::ListFoundationModels => "/foundation-models".to_owned(),
            AccountOperation::ListInferenceProfiles => "/inference-profiles".to_owned(),
            AccountOperation::GetInferenceProfile => format!("/inference-profiles/{}", encoded()),
            AccountOperation::GetFoundationModelAvailability => {
                format!("{AVAILABILITY}{}", encoded())
            }
            AccountOperation::ListServiceQuotas | AccountOperation::ListAwsDefaultServiceQuotas => {
                "/".to_owned()
            }
        }
    }
}

/// The model whose availability a request asks for, decoded; `None` if it asks for something else.
pub fn availability_of(method: &Method, path: &str) -> Option<String> {
    let raw = path.strip_prefix(AVAILABILITY).filter(|_| *method == Method::GET)?;
    let text = percent_decode_str(raw).decode_utf8().ok()?;
    ModelId::new(&text).ok().map(|id| id.as_str().to_owned())
}

/// The operation of Service Quotas that the value of [`TARGET`] names.
pub fn quotas_operation(target: &str) -> Option<AccountOperation> {
    AccountOperation::ALL.into_iter().find(|operation| operation.target() == Some(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_a_services_prefix_and_an_operations_name() {
        for operation in AccountOperation::ALL {
            let service = operation.service().signing_name();
            assert_eq!(operation.action(), format!("{service}:{}", operation.name()));
            let target = operation.target().map(|target| target.rsplit('.').next().unwrap());
            assert!(target.is_none_or(|name| name == operation.name()), "{operation:?}");
            assert_eq!(operation.target().is_some(), service == "servicequotas");
        }
    }

    #[test]
    fn the_availability_of_a_model_is_read_as_it_is_written() {
        let model = "anthropic.claude-3-haiku-20240307-v1:0";
        let path = AccountOperation::GetFoundationModelAvailability.path(model);
        assert_eq!(path, "/foundation-model-availability/anthropic.claude-3-haiku-20240307-v1%3A0");
        assert_eq!(availability_of(&Method::GET, &path).as_deref(), Some(model));
        assert_eq!(availability_of(&Method::POST, &path), None);
        assert_eq!(availability_of(&Method::GET, "/foundation-model-availability/../x"), None);
        assert_eq!(availability_of(&Method::GET, "/foundation-models/x"), None);
    }

    #[test]
    fn operations_of_service_quotas_are_found_by_their_header() {
        for operation in AccountOperation::ALL {
            let Some(target) = operation.target() else { continue };
            assert_eq!(quotas_operation(target), Some(operation));
        }
        assert_eq!(quotas_operation("ServiceQuotasV20190624.GetServiceQuota"), None);
    }
}
