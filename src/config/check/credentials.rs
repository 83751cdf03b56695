//! Credentials: one kind at a time, and secrets by reference only.

use secrecy::ExposeSecret;

use super::Checker;
use crate::config::bearer_key::presentable;
use crate::config::credentials::Credentials;
use crate::config::document::KeyPath;
use crate::config::error::{Location, Problem};
use crate::config::raw::RawCredentials;
use crate::config::reference::{SecretRef, read_reference};
use crate::config::secret::clean_secret;

impl Checker<'_> {
    /// The credentials that the keys at `at` name; `None` where there are none.
    pub(super) fn credentials(
        &mut self,
        at: &KeyPath,
        raw: &RawCredentials,
    ) -> Option<Credentials> {
        let kinds = [
            ("profile", raw.profile.is_some() && raw.role_arn.is_none()),
            ("role_arn", raw.role_arn.is_some()),
            ("access_key_id", raw.access_key_id.is_some()),
            ("bearer_token", raw.bearer_token.is_some()),
        ];
        let given: Vec<&str> = kinds.iter().filter(|kind| kind.1).map(|kind| kind.0).collect();
        if let [first, second, ..] = given.as_slice() {
            let message = format!("cannot stand beside {first}: choose one kind of credentials");
            self.problem(&at.key(second), message);
        }
        let companions = [
            ("external_id", raw.external_id.is_some(), "role_arn"),
            ("session_token", raw.session_token.is_some(), "access_key_id"),
            ("secret_access_key", raw.secret_access_key.is_some(), "access_key_id"),
            ("access_key_id", raw.access_key_id.is_some(), "secret_access_key"),
        ];
        for (key, present, companion) in companions {
            if present && !self.document.mentions(&at.key(companion)) {
                self.problem(&at.key(key), format!("needs '{companion}' beside it"));
            }
        }
        for (key, text) in [
            ("profile", &raw.profile),
            ("role_arn", &raw.role_arn),
            ("external_id", &raw.external_id),
        ] {
            if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                self.problem(&at.key(key), "must not be empty");
            }
        }
        if let Some(token) = &raw.bearer_token {
            let at = at.key("bearer_token");
            let token = self.secret(&at, token);
            if let Err(why) = presentable(token.expose_secret()) {
                self.problem(&at, why);
            }
            return Some(Credentials::Bearer(token));
        }
        if let Some(id) = &raw.access_key_id {
            let secret = raw.secret_access_key.as_ref();
            let token = raw.session_token.as_ref();
            return Some(Credentials::Static {
                access_key_id: self.access_key_id(&at.key("access_key_id"), id),
                secret_access_key: secret
                    .map(|secret| self.secret(&at.key("secret_access_key"), secret))
                    .unwrap_or_default(),
                session_token: token.map(|token| self.secret(&at.key("session_token"), token)),
            });
        }
        if let Some(role_arn) = &raw.role_arn {
            if !role_arn.starts_with("arn:") || !role_arn.contains(":role/") {
                self.problem(&at.key("role_arn"), format!("'{role_arn}' is not the ARN of a role"));
            }
            return Some(Credentials::AssumeRole {
                role_arn: role_arn.clone(),
                external_id: raw.external_id.clone(),
                base_profile: raw.profile.clone(),
            });
        }
        raw.profile.clone().map(Credentials::Profile)
    }

    /// A secret by reference.
    pub(super) fn secret(&mut self, at: &KeyPath, raw: &SecretRef) -> secrecy::SecretString {
        raw.read(self.env, self.base).unwrap_or_else(|why| {
            self.problem(at, why);
            secrecy::SecretString::default()
        })
    }

    /// The text of `AWS_BEARER_TOKEN_BEDROCK`, which stands in no config.
    pub(super) fn bearer_of_aws(&mut self, token: &str) -> secrecy::SecretString {
        let cleaned = clean_secret(token).and_then(|token| presentable(token).map(|()| token));
        match cleaned {
            Ok(token) => token.into(),
            Err(why) => {
                let location = Location::Variable("AWS_BEARER_TOKEN_BEDROCK".to_owned());
                self.problems.push(Problem { location, message: format!("the value {why}") });
                secrecy::SecretString::default()
            }
        }
    }

    /// An access key id is no secret, but may come from where its secret comes from.
    fn access_key_id(&mut self, at: &KeyPath, text: &str) -> String {
        let id = match read_reference(text, self.env, self.base) {
            None => text.to_owned(),
            Some(Ok(id)) => id.expose_secret().to_owned(),
            Some(Err(why)) => {
                self.problem(at, why);
                return String::new();
            }
        };
        // Not repeated: it may be a secret key in the wrong place.
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.problem(at, "is not an access key id: it holds letters, digits and '_' only");
        }
        id
    }
}
