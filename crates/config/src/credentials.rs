//! Sources of upstream credentials, and the keys that name them.
//!
//! Equality and hash are those of the identity, secrets included, so that targets with the same
//! credentials share one provider and one refresh. Nothing here prints a secret.

use std::hash::{Hash, Hasher};

#[cfg(test)]
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use super::secret::Secret;

/// A source of upstream credentials. Usable as a map key.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema), serde(into = "CredentialKeys"))]
#[serde(from = "CredentialKeys")]
pub enum Credentials {
    /// The AWS default chain: environment, profile, web identity, container, instance metadata.
    #[default]
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

/// Whose credentials are used: a profile, a role, an access key or a bearer token.
#[derive(Clone, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
struct CredentialKeys {
    /// Profile of the AWS config files. With `role_arn`: the profile that assumes the role.
    #[cfg_attr(test, schemars(example = &"bedrock", extend("format" = "non-blank")))]
    profile: Option<String>,
    /// ARN of a role to assume.
    #[cfg_attr(test, schemars(example = "arn:aws:iam::123456789012:role/bedrock", extend("format" = "role-arn")))]
    role_arn: Option<String>,
    /// External id that the role's trust policy asks for.
    #[cfg_attr(test, schemars(example = &"sluice", extend("format" = "non-blank")))]
    external_id: Option<String>,
    /// Access key id, as it is or by reference.
    #[cfg_attr(test, schemars(example = "env:BEDROCK_KEY_ID", extend("format" = "text-reference")))]
    access_key_id: Option<String>,
    /// Secret access key, by reference.
    secret_access_key: Option<Secret>,
    /// Session token of temporary credentials, by reference.
    session_token: Option<Secret>,
    /// Bedrock API key, by reference; sent as a bearer token instead of a signature.
    bearer_token: Option<Secret>,
}

impl From<CredentialKeys> for Credentials {
    /// The credentials that the keys name, one kind of them alone.
    fn from(keys: CredentialKeys) -> Credentials {
        if let Some(token) = keys.bearer_token {
            Credentials::Bearer(token.into())
        } else if let Some(access_key_id) = keys.access_key_id {
            Credentials::Static {
                access_key_id,
                secret_access_key: keys.secret_access_key.unwrap_or_else(|| "".into()).into(),
                session_token: keys.session_token.map(Into::into),
            }
        } else if let Some(role_arn) = keys.role_arn {
            Credentials::AssumeRole {
                role_arn,
                external_id: keys.external_id,
                base_profile: keys.profile,
            }
        } else {
            keys.profile.map_or(Credentials::DefaultChain, Credentials::Profile)
        }
    }
}

/// For the defaults in the schema, which are none.
#[cfg(test)]
impl From<Credentials> for CredentialKeys {
    fn from(_: Credentials) -> CredentialKeys {
        CredentialKeys::default()
    }
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
