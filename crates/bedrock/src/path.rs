//! Request paths of the Bedrock Runtime API: from method and raw path to a [`Call`], and back.
//!
//! SDKs encode what they put into a path differently: `:` raw or `%3A`, ARN slashes raw or
//! `%2F`. All forms are read; one form, fully encoded, is written.

use std::borrow::Cow;

use http::Method;
use percent_encoding::{percent_decode_str, utf8_percent_encode};

use super::model_id::{ModelId, ModelIdError, SEGMENT};
use super::operation::Operation;

/// What a request asks for, by its method and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The operation.
    pub operation: Operation,
    /// What the path names.
    pub resource: Resource,
}

/// What the path of a [`Call`] names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The model of a model operation.
    Model(ModelId),
    /// The guardrail of ApplyGuardrail.
    Guardrail {
        /// Its id or ARN, decoded.
        identifier: String,
        /// Its version: a number or `DRAFT`.
        version: String,
    },
    /// The invocation ARN of GetAsyncInvoke, decoded.
    Invocation(String),
    /// The inference profile or the model that a call of the control plane describes, decoded.
    Described(String),
    /// The stored response with this id, as the path has it, decoded.
    Response(String),
    /// The model that GetModel describes, decoded.
    Listed(String),
    /// A model that the request body names.
    InBody,
    /// Nothing beyond the operation.
    None,
}

/// How to make calls of the control plane when a gateway is in front of the runtime.
pub const ASK_CONTROL_PLANE: &str = "Give the client an endpoint of its own for the service bedrock, such as AWS_ENDPOINT_URL_BEDROCK=https://bedrock.REGION.amazonaws.com";

/// Why method and path are no call of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No operation has this path.
    #[error("no operation of Bedrock Runtime has this path")]
    Unknown,
    /// The gateway serves no API of OpenAI or Anthropic at this path. The text says why, and what to do.
    #[error("{0}")]
    Unserved(Cow<'static, str>),
    /// The path is an operation's, the method is not.
    #[error("this path takes {allow} only")]
    Method {
        /// The methods the path takes, as in an `Allow` header.
        allow: &'static str,
    },
    /// A call of the control plane that neither lists nor describes models or inference profiles.
    #[error(
        "This is a call of Bedrock's control plane, which the gateway does not relay. {ASK_CONTROL_PLANE}."
    )]
    ControlPlane,
    /// The model id in the path is invalid.
    #[error(transparent)]
    Model(#[from] ModelIdError),
    /// A guardrail id or an invocation ARN in the path is invalid.
    #[error("the path has an identifier that is not allowed")]
    Identifier,
}

impl Call {
    /// The model, for the operations that name one.
    pub fn model(&self) -> Option<&ModelId> {
        match &self.resource {
            Resource::Model(model) => Some(model),
            _ => None,
        }
    }

    /// The model or inference profile that a call of the control plane describes.
    pub fn described(&self) -> Option<&str> {
        match &self.resource {
            Resource::Described(identifier) => Some(identifier),
            _ => None,
        }
    }

    /// The path as it goes on the wire, every identifier encoded once; `None` if the operation has
    /// no such resource.
    pub fn to_path(&self) -> Option<String> {
        let path = match &self.resource {
            Resource::Model(model) => return model_path(self.operation, &model.encode()),
            Resource::Guardrail { identifier, version } => format!(
                "/guardrail/{}/version/{}/apply",
                utf8_percent_encode(identifier, SEGMENT),
                utf8_percent_encode(version, SEGMENT)
            ),
            Resource::Invocation(arn) => {
                format!("/async-invoke/{}", utf8_percent_encode(arn, SEGMENT))
            }
            Resource::Described(identifier) => {
                let collection = match self.operation {
                    Operation::GetInferenceProfile => INFERENCE_PROFILES,
                    _ => FOUNDATION_MODELS,
                };
                format!("/{collection}/{}", utf8_percent_encode(identifier, SEGMENT))
            }
            // Paths of the other APIs begin with a prefix that only a target knows (`api_path`).
            Resource::Response(_) | Resource::Listed(_) | Resource::InBody => return None,
            Resource::None => match self.operation {
                Operation::InvokeGuardrailChecks => "/guardrail-checks/invoke".to_owned(),
                Operation::ListInferenceProfiles => format!("/{INFERENCE_PROFILES}"),
                Operation::ListFoundationModels => format!("/{FOUNDATION_MODELS}"),
                Operation::StartAsyncInvoke | Operation::ListAsyncInvokes => {
                    "/async-invoke".to_owned()
                }
                _ => return None,
            },
        };
        Some(path)
    }
}

/// The wire path of a model operation for a model id that is already encoded
/// (see [`ModelId::encode`]); `None` if the operation's path has no model.
pub fn model_path(operation: Operation, encoded_model: &str) -> Option<String> {
    let suffix = operation.model_suffix()?;
    let mut path = String::with_capacity(8 + encoded_model.len() + suffix.len());
    path.push_str("/model/");
    path.push_str(encoded_model);
    path.push('/');
    path.push_str(suffix);
    Some(path)
}

/// Reads method and raw path (without query).
pub fn parse(method: &Method, path: &str) -> Result<Call, PathError> {
    let call = if let Some(rest) = path.strip_prefix("/model/") {
        let (model, suffix) = rest.rsplit_once('/').ok_or(PathError::Unknown)?;
        let operation = Operation::from_model_suffix(suffix).ok_or(PathError::Unknown)?;
        Call { operation, resource: Resource::Model(ModelId::decode(model)?) }
    } else if let Some(rest) = path.strip_prefix("/guardrail/") {
        let rest = rest.strip_suffix("/apply").ok_or(PathError::Unknown)?;
        let (identifier, version) = rest.rsplit_once("/version/").ok_or(PathError::Unknown)?;
        Call {
            operation: Operation::ApplyGuardrail,
            resource: Resource::Guardrail {
                identifier: identifier_in(identifier)?,
                version: identifier_in(version)?,
            },
        }
    } else if let Some(arn) = path.strip_prefix("/async-invoke/") {
        Call {
            operation: Operation::GetAsyncInvoke,
            resource: Resource::Invocation(identifier_in(arn)?),
        }
    } else {
        let operation = match (path, method) {
            ("/guardrail-checks/invoke", _) => Operation::InvokeGuardrailChecks,
            ("/async-invoke", &Method::GET) => Operation::ListAsyncInvokes,
            ("/async-invoke", &Method::POST) => Operation::StartAsyncInvoke,
            ("/async-invoke", _) => return Err(PathError::Method { allow: "GET, POST" }),
            _ => return control_plane(method, path),
        };
        Call { operation, resource: Resource::None }
    };
    if *method == call.operation.method() {
        Ok(call)
    } else if call.operation.method() == Method::GET {
        Err(PathError::Method { allow: "GET" })
    } else {
        Err(PathError::Method { allow: "POST" })
    }
}

const INFERENCE_PROFILES: &str = "inference-profiles";
const FOUNDATION_MODELS: &str = "foundation-models";

/// What else the paths of the control plane begin with. Source: the service model of `bedrock`
/// (2023-04-20).
const OTHER_COLLECTIONS: [&str; 30] = [
    "advanced-prompt-optimization-job",
    "advanced-prompt-optimization-jobs",
    "automated-reasoning-policies",
    "create-foundation-model-agreement",
    "custom-models",
    "data-retention",
    "delete-foundation-model-agreement",
    "enforcedGuardrailsConfiguration",
    "evaluation-job",
    "evaluation-jobs",
    "foundation-model-availability",
    "guardrails",
    "imported-models",
    "list-foundation-model-agreement-offers",
    "listTagsForResource",
    "logging",
    "marketplace-model",
    "model-copy-jobs",
    "model-customization",
    "model-customization-jobs",
    "model-import-jobs",
    "model-invocation-job",
    "model-invocation-jobs",
    "prompt-routers",
    "provisioned-model-throughput",
    "provisioned-model-throughputs",
    "resource-policy",
    "tagResource",
    "untagResource",
    "use-case-for-model-access",
];

/// What else the paths of Bedrock Runtime begin with.
const RUNTIME_COLLECTIONS: [&str; 4] = ["model", "guardrail", "guardrail-checks", "async-invoke"];

/// Whether a path of Bedrock Runtime or its control plane can begin with this segment.
pub fn is_own_collection(segment: &str) -> bool {
    [INFERENCE_PROFILES, FOUNDATION_MODELS].contains(&segment)
        || RUNTIME_COLLECTIONS.contains(&segment)
        || OTHER_COLLECTIONS.contains(&segment)
}

/// Reads a call of the control plane.
fn control_plane(method: &Method, path: &str) -> Result<Call, PathError> {
    let path = path.strip_prefix('/').ok_or(PathError::Unknown)?;
    let (collection, identifier) = match path.split_once('/') {
        Some((collection, identifier)) => (collection, Some(identifier)),
        None => (path, None),
    };
    let (list, get) = match collection {
        INFERENCE_PROFILES => (Operation::ListInferenceProfiles, Operation::GetInferenceProfile),
        FOUNDATION_MODELS => (Operation::ListFoundationModels, Operation::GetFoundationModel),
        other if OTHER_COLLECTIONS.contains(&other) => return Err(PathError::ControlPlane),
        _ => return Err(PathError::Unknown),
    };
    if method != Method::GET {
        return Err(PathError::ControlPlane);
    }
    Ok(match identifier {
        None | Some("") => Call { operation: list, resource: Resource::None },
        Some(identifier) => {
            Call { operation: get, resource: Resource::Described(identifier_in(identifier)?) }
        }
    })
}

/// Identifiers of guardrails and invocations obey the same rules as model ids.
pub(super) fn identifier_in(raw: &str) -> Result<String, PathError> {
    let text = percent_decode_str(raw).decode_utf8().map_err(|_| PathError::Identifier)?;
    ModelId::new(&text).map_err(|_| PathError::Identifier)?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn post(path: &str) -> Result<Call, PathError> {
        parse(&Method::POST, path)
    }

    #[test]
    fn every_model_operation_is_found() {
        for operation in Operation::ALL {
            let Some(suffix) = operation.model_suffix() else { continue };
            let call = post(&format!("/model/amazon.nova-lite-v1:0/{suffix}")).unwrap();
            assert_eq!(call.operation, operation);
            assert_eq!(call.model().unwrap().as_str(), "amazon.nova-lite-v1:0");
            assert_eq!(call.to_path().unwrap(), format!("/model/amazon.nova-lite-v1%3A0/{suffix}"));
        }
    }

    #[test]
    fn an_arn_may_have_raw_slashes_even_one_that_looks_like_an_operation() {
        let arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/converse";
        let call = post(&format!("/model/{arn}/invoke")).unwrap();
        assert_eq!(call.operation, Operation::InvokeModel);
        assert_eq!(call.model().unwrap().as_str(), arn);
    }

    #[test]
    fn the_other_operations_are_found_and_written_back() {
        let cases = [
            (Method::POST, "/guardrail/gr-1/version/DRAFT/apply", Operation::ApplyGuardrail),
            (
                Method::POST,
                "/guardrail/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aguardrail%2Fabc/version/1/apply",
                Operation::ApplyGuardrail,
            ),
            (Method::POST, "/guardrail-checks/invoke", Operation::InvokeGuardrailChecks),
            (Method::POST, "/async-invoke", Operation::StartAsyncInvoke),
            (Method::GET, "/async-invoke", Operation::ListAsyncInvokes),
            (
                Method::GET,
                "/async-invoke/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aasync-invoke%2Fabc",
                Operation::GetAsyncInvoke,
            ),
            (Method::GET, "/inference-profiles", Operation::ListInferenceProfiles),
            (Method::GET, "/foundation-models", Operation::ListFoundationModels),
            (
                Method::GET,
                "/foundation-models/amazon.nova-lite-v1%3A0",
                Operation::GetFoundationModel,
            ),
            (
                Method::GET,
                "/inference-profiles/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fabc",
                Operation::GetInferenceProfile,
            ),
        ];
        for (method, path, operation) in cases {
            let call = parse(&method, path).unwrap();
            assert_eq!(call.operation, operation, "{path}");
            assert_eq!(call.to_path().unwrap(), path);
        }
    }

    #[test]
    fn changes_in_the_control_plane_are_no_calls() {
        let get = |path: &str| parse(&Method::GET, path);
        let raw = get("/inference-profiles/arn:aws:bedrock:us-east-1:1:inference-profile/us.m");
        let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.m";
        assert_eq!(raw.unwrap().resource, Resource::Described(arn.to_owned()));
        assert_eq!(post("/inference-profiles"), Err(PathError::ControlPlane));
        assert_eq!(parse(&Method::DELETE, "/inference-profiles/a"), Err(PathError::ControlPlane));
        assert_eq!(get("/guardrails"), Err(PathError::ControlPlane));
        assert_eq!(get("/model-customization-jobs/x"), Err(PathError::ControlPlane));
        assert_eq!(get("/inference-profiles/../../x"), Err(PathError::Identifier));
        assert_eq!(get("/inference-profiles2"), Err(PathError::Unknown));
    }

    #[test]
    fn a_path_that_is_no_call_has_a_reason() {
        assert_eq!(post("/"), Err(PathError::Unknown));
        assert_eq!(post("/model/x"), Err(PathError::Unknown));
        assert_eq!(post("/model/x/delete"), Err(PathError::Unknown));
        assert_eq!(post("/model//invoke"), Err(PathError::Model(ModelIdError::Empty)));
        assert_eq!(post("/model/../invoke"), Err(PathError::Model(ModelIdError::Segment)));
        assert_eq!(post("/model/%2e%2e/invoke"), Err(PathError::Model(ModelIdError::Segment)));
        assert_eq!(post("/guardrail/../version/1/apply"), Err(PathError::Identifier));
        assert_eq!(
            parse(&Method::GET, "/model/x/invoke"),
            Err(PathError::Method { allow: "POST" })
        );
        assert_eq!(
            parse(&Method::PUT, "/async-invoke"),
            Err(PathError::Method { allow: "GET, POST" })
        );
        assert_eq!(post("/async-invoke/arn:x"), Err(PathError::Method { allow: "GET" }));
    }

    proptest! {
        #[test]
        fn parse_never_panics(path in "/?(model|guardrail|async-invoke|inference-profiles|foundation-models)?/?\\PC{0,60}(/invoke|/apply)?") {
            let _ = post(&path);
        }

        #[test]
        fn a_parsed_path_is_written_so_that_it_parses_to_the_same_call(
            path in "/(model|guardrail|async-invoke|inference-profiles|foundation-models)/[a-z:./%0-9AF]{1,40}(/invoke|/converse-stream|/version/1/apply)?"
        ) {
            for method in [Method::POST, Method::GET] {
                if let Ok(call) = parse(&method, &path) {
                    prop_assert_eq!(parse(&method, &call.to_path().unwrap()).unwrap(), call);
                }
            }
        }
    }
}
