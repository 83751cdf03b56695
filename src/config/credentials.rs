//! Sources of upstream credentials.
//!
//! Equality and hash are those of the identity, secrets included, so that targets with the same
//! credentials share one provider and one refresh. Nothing here prints a secret.

use std::hash::{Hash, Hasher};

use secrecy::{ExposeSecret, SecretString};

/// A source of upstream credentials. Usable as a map key.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The AWS default chain: environment, profile, web identity, container, instance metadata.
    DefaultChain,
    /// A named profile of the AWS config files.
    Profile(String),
    /// A role, assumed through STS.
    AssumeRole {
        /// ARN of the role.
        role_arn: String,
        /// External id that the role's trust policy asks for.
        external_id: Option<String>,
        /// Profile that assumes the role. `None`: the default chain does.
        base_profile: Option<String>,
    },
    /// A fixed access key.
    Static {
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: SecretString,
        /// Session token of temporary credentials.
        session_token: Option<SecretString>,
    },
    /// A Bedrock API key, sent as a bearer token instead of a signature.
    Bearer(SecretString),
}

/// The parts that make two credentials the same; never leaves this module.
type Identity<'a> = (u8, [Option<&'a str>; 3]);

impl Credentials {
    fn identity(&self) -> Identity<'_> {
        match self {
            Self::DefaultChain => (0, [None; 3]),
            Self::Profile(profile) => (1, [Some(profile), None, None]),
            Self::AssumeRole { role_arn, external_id, base_profile } => {
                (2, [Some(role_arn), external_id.as_deref(), base_profile.as_deref()])
            }
            Self::Static { access_key_id, secret_access_key, session_token } => (
                3,
                [
                    Some(access_key_id),
                    Some(secret_access_key.expose_secret()),
                    session_token.as_ref().map(ExposeSecret::expose_secret),
                ],
            ),
            Self::Bearer(token) => (4, [Some(token.expose_secret()), None, None]),
        }
    }
}

/// Describes credentials for logs and messages, without their secrets.
pub fn describe(credentials: &Credentials) -> String {
    match credentials {
        Credentials::DefaultChain => "the default chain".to_owned(),
        Credentials::Profile(profile) => format!("profile {profile}"),
        Credentials::AssumeRole { role_arn, .. } => format!("role {role_arn}"),
        Credentials::Static { access_key_id, .. } => format!("access key {access_key_id}"),
        Credentials::Bearer(_) => "the bearer token".to_owned(),
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Credentials {}

impl Hash for Credentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn access_key(secret: &str) -> Credentials {
        Credentials::Static {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: secret.into(),
            session_token: None,
        }
    }

    #[test]
    fn one_identity_is_one_map_key_and_secrets_tell_identities_apart() {
        let set: HashSet<_> = [
            access_key("a"),
            access_key("a"),
            access_key("b"),
            Credentials::Bearer("a".into()),
            Credentials::Profile("a".into()),
            Credentials::DefaultChain,
            Credentials::DefaultChain,
        ]
        .into();
        assert_eq!(set.len(), 5);
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let shown =
            format!("{:?} {:?}", access_key("hush-1"), Credentials::Bearer("hush-2".into()));
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("AKIDEXAMPLE"), "{shown}");
    }
}
