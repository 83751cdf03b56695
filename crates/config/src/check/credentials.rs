//! Credentials: one kind at a time, with the keys that belong to it.

use secrecy::{ExposeSecret, SecretString};

use super::Checker;
use crate::bearer_key::presentable;
use crate::credentials::Credentials;
use crate::document::KeyPath;
use crate::error::{Location, Problem};
use crate::reference::is_reference;
use crate::secret::clean_secret;

impl Checker<'_> {
    /// Checks the credentials that the keys at `at` name.
    pub(super) fn credentials(&mut self, at: &KeyPath, credentials: &Credentials) {
        let document = self.document;
        let is_given = |key: &&str| document.get(&at.key(key)).is_some();
        let has_role = is_given(&"role_arn");
        let mut kinds = ["profile", "role_arn", "access_key_id", "bearer_token"]
            .into_iter()
            .filter(|kind| is_given(kind) && !(*kind == "profile" && has_role));
        if let (Some(first), Some(second)) = (kinds.next(), kinds.next()) {
            let message = format!("cannot stand beside {first}: choose one kind of credentials");
            self.problem(&at.key(second), message);
        }
        for (key, companion) in [
            ("external_id", "role_arn"),
            ("session_token", "access_key_id"),
            ("secret_access_key", "access_key_id"),
            ("access_key_id", "secret_access_key"),
        ] {
            self.needs_beside(at, key, companion);
        }
        match credentials {
            Credentials::Bearer(token) => {
                if let Err(why) = presentable(token.expose_secret()) {
                    self.problem(&at.key("bearer_token"), why);
                }
            }
            Credentials::Static { access_key_id: id, .. } => {
                let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let at = at.key("access_key_id");
                let written = self.document.get(&at).and_then(toml::Value::as_str);
                let is_unread = id.is_empty() && written.is_some_and(is_reference);
                // Not repeated: it may be a secret key in the wrong place.
                if !is_unread && (id.is_empty() || !id.chars().all(fits)) {
                    let message = "is not an access key id: it holds letters, digits and '_' only";
                    self.problem(&at, message);
                }
            }
            _ => {}
        }
    }

    /// The text of `AWS_BEARER_TOKEN_BEDROCK`, which stands in no config.
    pub(super) fn bearer_of_aws(&mut self, token: &str) -> SecretString {
        let cleaned = clean_secret(token).and_then(|token| presentable(token).map(|()| token));
        match cleaned {
            Ok(token) => token.into(),
            Err(why) => {
                let location = Location::Variable("AWS_BEARER_TOKEN_BEDROCK".to_owned());
                self.problems.push(Problem::new(location, format!("the value {why}")));
                SecretString::default()
            }
        }
    }

    /// A key that is there without the other that it needs. One that is refused counts as there.
    pub(super) fn needs_beside(&mut self, at: &KeyPath, key: &str, other: &str) {
        let is_given = self.document.get(&at.key(key)).is_some();
        if is_given && !self.document.mentions(&at.key(other)) {
            self.problem(&at.key(key), format!("needs '{other}' beside it"));
        }
    }
}
