//! Why credentials could not be resolved, in a sentence.
//!
//! The errors of the AWS chain hold the debug output of its parts, hundreds of characters long. What an
//! operator needs is at the end of the chain of causes: what STS said, or what the system did.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::error::ProvideErrorMetadata;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

use crate::config::tls_error;

/// Longest reason, in characters.
const MAX_CHARS: usize = 300;

/// Why nothing was found, and what helps.
const NOT_FOUND: &str = "none found in the environment, the files of AWS, the container or the \
                         instance; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and \
                         AWS_SECRET_ACCESS_KEY; without an AWS account, try `sluice demo`";

/// The reason in a sentence, without a secret. `uses_chain`: all sources of AWS's default chain were
/// tried.
pub(super) fn reason(error: &CredentialsError, uses_chain: bool) -> String {
    match error {
        _ if uses_chain && is_not_found(error) => NOT_FOUND.to_owned(),
        CredentialsError::ProviderTimedOut(_) => {
            "the source of the credentials did not answer in time".to_owned()
        }
        error => said_of(error).unwrap_or_else(|| clipped(&error.to_string())),
    }
}

/// Whether no source had credentials. Those of a role are asked for within another error.
fn is_not_found(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), cause_of).any(|cause| {
        let error = cause.downcast_ref::<CredentialsError>();
        matches!(error, Some(CredentialsError::CredentialsNotLoaded(_)))
    })
}

fn cause_of<'e>(error: &&'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let error: &'e (dyn Error + 'static) = *error;
    error.source()
}

/// What the innermost cause says that is for people.
fn said_of(error: &dyn Error) -> Option<String> {
    let mut last = None;
    for cause in std::iter::successors(error.source(), cause_of) {
        if let Some(answer) = answer_of_sts(cause) {
            return Some(answer);
        }
        let text = tls_error(cause).unwrap_or_else(|| cause.to_string());
        // Debug output of a part of the chain, which is not for people.
        if !text.contains('{') && !text.is_empty() {
            last = Some(text);
        }
    }
    last.map(|text| clipped(&text))
}

/// The error that STS has answered.
fn answer_of_sts(cause: &(dyn Error + 'static)) -> Option<String> {
    let role = cause.downcast_ref::<AssumeRoleError>().map(ProvideErrorMetadata::meta);
    let web = cause.downcast_ref::<AssumeRoleWithWebIdentityError>();
    let meta = role.or_else(|| web.map(ProvideErrorMetadata::meta))?;
    match (meta.code(), meta.message()) {
        (Some(code), Some(message)) => Some(clipped(&format!("STS answered {code}: {message}"))),
        (Some(code), None) => Some(format!("STS answered {code}")),
        _ => None,
    }
}

fn clipped(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or(line)),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_found_is_told_with_what_helps() {
        let error = CredentialsError::not_loaded_no_source();
        let said = reason(&error, true);
        assert!(said.contains("AWS_PROFILE") && said.contains("`sluice demo`"), "{said}");
        assert!(said.len() < MAX_CHARS, "{said}");
        let profile = CredentialsError::not_loaded("profile `x` was not defined");
        assert_eq!(reason(&profile, false), "profile `x` was not defined");
    }

    #[test]
    fn the_innermost_cause_that_is_for_people_is_the_reason() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Cause {
            text: String,
            source: Option<Box<Cause>>,
        }
        let cause = |text: &str, source| Box::new(Cause { text: text.to_owned(), source });
        let inner = cause("DispatchFailure { source: ConnectorError { .. } }", None);
        let refused = cause("Connection refused (os error 111)", Some(inner));
        let error = CredentialsError::provider_error(cause("dispatch failure", Some(refused)));
        assert_eq!(reason(&error, true), "Connection refused (os error 111)");
        let long = CredentialsError::provider_error(cause(&"x".repeat(1000), None));
        assert!(reason(&long, true).len() <= MAX_CHARS + 3);
    }
}
