//! The policies of clients: allowed models, operations, guardrails, body sizes and priorities.
//!
//! A [`Policy`] allows a request, or returns the reason of a denial. The pipeline checks it as soon as the
//! request's data are known. A client without restrictions has no policy, nor has a caller without a name.

use std::time::Duration;

use http::HeaderMap;

use crate::bedrock::guardrail::{self, Named};
use crate::bedrock::{ModelId, Operation};
use crate::config::{ClientPolicy, Glob, GlobError, Guardrail, Guardrails, Priority};

/// Why a client's policy denies a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyDenial {
    /// The requested model is not allowed.
    #[error(
        "You don't have access to the model with the specified model ID: {model} is not among the allowed_models of this client."
    )]
    Model {
        /// Its id.
        model: String,
    },
    /// No model that could answer is allowed.
    #[error(
        "You don't have access to a model that can answer for {model}: no target of its route is among the allowed_models of this client."
    )]
    Targets {
        /// The id of the requested model.
        model: String,
    },
    /// The operation is not allowed.
    #[error("{operation} is not among the allowed_operations of this client.")]
    Operation {
        /// Its name.
        operation: &'static str,
    },
    /// The operation can't have the guardrail that this client's requests must have.
    #[error("{operation} can't be called with the guardrail that this client's requests have.")]
    Unguarded {
        /// Its name.
        operation: &'static str,
    },
    /// The request names another guardrail than the client's.
    #[error(
        "The guardrail of this client's requests is {} version {}; leave it out or name the same.",
        .0.identifier, .0.version
    )]
    OtherGuardrail(Guardrail),
    /// The guardrail is not allowed.
    #[error("The guardrail is not among the allowed_guardrails of this client.")]
    Guardrail,
    /// The client has a budget, and the cost of the operation is unknown.
    #[error(
        "What {operation} costs is not known, so it can't count against the budget of this client: it must be among its allowed_operations."
    )]
    Uncounted {
        /// Its name.
        operation: &'static str,
    },
    /// The client has a budget, and the prices of the models are unknown.
    #[error(
        "What {model} costs is not known, so it can't count against the budget of this client: it needs a price."
    )]
    Unpriced {
        /// The id of the requested model.
        model: String,
    },
    /// Only clients of the config may call the control plane.
    #[error("{operation} is relayed only for the clients that the config of the gateway names.")]
    Unnamed {
        /// Its name.
        operation: &'static str,
    },
    /// The body is larger than the client's limit.
    #[error("the request body is larger than the max_body of this client, {limit} bytes")]
    Body {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl PolicyDenial {
    /// The config key that denies the request.
    pub fn policy(&self) -> &'static str {
        match self {
            PolicyDenial::Model { .. } | PolicyDenial::Targets { .. } => "allowed_models",
            PolicyDenial::Operation { .. } | PolicyDenial::Uncounted { .. } => "allowed_operations",
            PolicyDenial::Unpriced { .. } => "prices",
            PolicyDenial::Unguarded { .. } | PolicyDenial::OtherGuardrail(_) => "guardrail",
            PolicyDenial::Guardrail => "allowed_guardrails",
            PolicyDenial::Unnamed { .. } => "control_plane",
            PolicyDenial::Body { .. } => "max_body",
        }
    }
}

/// The policy of one client.
#[derive(Debug)]
pub struct Policy {
    models: Option<Vec<Glob>>,
    operations: Option<Vec<Operation>>,
    guardrails: Guardrails,
    max_body: Option<usize>,
    max_priority: Option<Priority>,
    wait_before_fallback: Option<Duration>,
    has_stored_responses: bool,
}

impl Policy {
    /// The policy of a client's config; `None` if everything is allowed.
    ///
    /// # Errors
    /// If a pattern is invalid, which the config has checked.
    pub(super) fn of(config: &ClientPolicy) -> Result<Option<Policy>, GlobError> {
        let limits_only = ClientPolicy {
            rpm: config.rpm,
            tpm: config.tpm,
            max_concurrent: config.max_concurrent,
            ..ClientPolicy::default()
        };
        if *config == limits_only { Ok(None) } else { Policy::new(config).map(Some) }
    }

    fn new(config: &ClientPolicy) -> Result<Policy, GlobError> {
        let models = config.allowed_models.as_ref();
        let models = models.map(|all| all.iter().map(|it| Glob::new(it)).collect());
        Ok(Policy {
            models: models.transpose()?,
            operations: config.allowed_operations.clone(),
            guardrails: config.guardrails.clone(),
            max_body: config.max_body,
            max_priority: config.max_priority,
            wait_before_fallback: config.wait_before_fallback,
            has_stored_responses: config.has_stored_responses(),
        })
    }

    /// Checks that the client may call this operation.
    ///
    /// # Errors
    /// The reason of a denial.
    pub fn operation(&self, operation: Operation) -> Result<(), PolicyDenial> {
        let name = operation.name();
        if self.operations.as_ref().is_some_and(|allowed| !allowed.contains(&operation)) {
            return Err(PolicyDenial::Operation { operation: name });
        }
        // These operations run a model and can't have a guardrail. Messages and Responses have one once they
        // are translated.
        let is_unguarded = matches!(
            operation,
            Operation::StartAsyncInvoke | Operation::InvokeModelWithBidirectionalStream
        );
        if is_unguarded && self.forced_guardrail().is_some() {
            return Err(PolicyDenial::Unguarded { operation: name });
        }
        Ok(())
    }

    /// Whether upstreams may store responses for the client, and it may name those that they stored.
    pub fn has_stored_responses(&self) -> bool {
        self.has_stored_responses
    }

    /// Whether the config allows this operation by name.
    pub fn names(&self, operation: Operation) -> bool {
        self.operations.as_ref().is_some_and(|allowed| allowed.contains(&operation))
    }

    /// Checks that the client may request this model.
    ///
    /// # Errors
    /// The reason of a denial.
    pub fn model(&self, model: &ModelId) -> Result<(), PolicyDenial> {
        let denied = || PolicyDenial::Model { model: model.as_str().to_owned() };
        if self.allows(model) { Ok(()) } else { Err(denied()) }
    }

    /// Whether a target's model may answer the client: by the id that is sent to Bedrock, or by the model
    /// that the config names for an opaque id.
    pub fn may_call(&self, model: &ModelId, base_model: &ModelId) -> bool {
        self.allows(model) || base_model != model && self.allows(base_model)
    }

    /// Matches the id as it is, then the id in an ARN of AWS's own models, as routes do.
    fn allows(&self, model: &ModelId) -> bool {
        let Some(models) = &self.models else { return true };
        let fits = |id: &str| models.iter().any(|glob| glob.is_match(id));
        fits(model.as_str()) || model.arn_resource().is_some_and(fits)
    }

    /// Whether the policy restricts models.
    pub fn has_models(&self) -> bool {
        self.models.is_some()
    }

    /// The guardrail that the client's requests must have.
    pub fn forced_guardrail(&self) -> Option<&Guardrail> {
        match &self.guardrails {
            Guardrails::Forced(guardrail) => Some(guardrail),
            Guardrails::Any | Guardrails::Allowed(_) => None,
        }
    }

    /// Whether the policy restricts guardrails.
    pub fn has_guardrails(&self) -> bool {
        self.guardrails != Guardrails::Any
    }

    /// Checks that a request may name this guardrail.
    ///
    /// # Errors
    /// The reason of a denial.
    pub fn guardrail(&self, named: &Named) -> Result<(), PolicyDenial> {
        let is = |said: &Option<String>, wanted: &str| said.as_deref() == Some(wanted);
        match &self.guardrails {
            Guardrails::Any => Ok(()),
            Guardrails::Forced(forced)
                if is(&named.identifier, &forced.identifier)
                    && is(&named.version, &forced.version) =>
            {
                Ok(())
            }
            Guardrails::Forced(forced) => Err(PolicyDenial::OtherGuardrail(forced.clone())),
            Guardrails::Allowed(allowed) if allowed.iter().any(|it| is(&named.identifier, it)) => {
                Ok(())
            }
            Guardrails::Allowed(_) => Err(PolicyDenial::Guardrail),
        }
    }

    /// As [`guardrail`](Self::guardrail), for the guardrail that headers name, if any.
    ///
    /// # Errors
    /// The reason of a denial.
    pub fn guardrail_headers(&self, headers: &HeaderMap) -> Result<(), PolicyDenial> {
        let is_other = |name: &str, is_fine: &dyn Fn(&str) -> bool| {
            let mut values = headers.get_all(name).iter();
            values.any(|value| !value.to_str().is_ok_and(is_fine))
        };
        match &self.guardrails {
            Guardrails::Any => Ok(()),
            Guardrails::Forced(forced) => {
                let other = is_other(guardrail::IDENTIFIER, &|it| it == forced.identifier)
                    || is_other(guardrail::VERSION, &|it| it == forced.version);
                if other { Err(PolicyDenial::OtherGuardrail(forced.clone())) } else { Ok(()) }
            }
            Guardrails::Allowed(allowed) => {
                let other = is_other(guardrail::IDENTIFIER, &|it| allowed.iter().any(|a| a == it));
                if other { Err(PolicyDenial::Guardrail) } else { Ok(()) }
            }
        }
    }

    /// The largest body of the client, in bytes, if that is below `general`.
    pub fn max_body(&self, general: usize) -> Option<usize> {
        self.max_body.filter(|own| *own < general)
    }

    /// The priority of a request that names this one.
    pub fn priority(&self, asked: Priority) -> Priority {
        self.max_priority.map_or(asked, |max| asked.min(max))
    }

    /// How long the client's requests stay with the model that they ask for, if that is not for their
    /// routes to say.
    pub fn wait_before_fallback(&self) -> Option<Duration> {
        self.wait_before_fallback
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(change: impl FnOnce(&mut ClientPolicy)) -> Policy {
        let mut config = ClientPolicy::default();
        change(&mut config);
        Policy::new(&config).unwrap()
    }

    fn id(text: &str) -> ModelId {
        ModelId::new(text).unwrap()
    }

    #[test]
    fn models_are_allowed_as_routes_match_them() {
        let policy =
            policy(|it| it.allowed_models = Some(vec!["anthropic.claude-3-haiku*".into()]));
        let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
        assert_eq!(policy.model(&id(haiku)), Ok(()));
        let arn = format!("arn:aws:bedrock:us-east-1::foundation-model/{haiku}");
        assert_eq!(policy.model(&id(&arn)), Ok(()));
        // An inference profile may answer in another region, so the policy must name it.
        assert!(policy.model(&id(&format!("us.{haiku}"))).is_err());
        let opaque = id("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc");
        assert!(policy.model(&opaque).is_err());
        assert!(policy.may_call(&opaque, &id(haiku)));
        assert!(!policy.may_call(&opaque, &opaque));
    }

    #[test]
    fn a_forced_guardrail_leaves_no_way_around_it() {
        let forced = Guardrail { identifier: "gr-1".to_owned(), version: "2".to_owned() };
        let policy = policy(|it| it.guardrails = Guardrails::Forced(forced));
        let named = |identifier: &str, version: Option<&str>| {
            let version = version.map(str::to_owned);
            policy.guardrail(&Named { identifier: Some(identifier.to_owned()), version })
        };
        assert_eq!(named("gr-1", Some("2")), Ok(()));
        assert!(named("gr-1", Some("1")).is_err());
        assert!(named("gr-1", None).is_err());
        assert!(named("gr-2", Some("2")).is_err());
        for operation in Operation::ALL {
            let has_no_place = matches!(
                operation,
                Operation::StartAsyncInvoke | Operation::InvokeModelWithBidirectionalStream
            );
            assert_eq!(policy.operation(operation).is_err(), has_no_place, "{operation:?}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(policy.guardrail_headers(&headers), Ok(()));
        headers.append(guardrail::IDENTIFIER, "gr-1".parse().unwrap());
        assert_eq!(policy.guardrail_headers(&headers), Ok(()));
        headers.append(guardrail::IDENTIFIER, "gr-2".parse().unwrap());
        assert!(policy.guardrail_headers(&headers).is_err());
    }
}
