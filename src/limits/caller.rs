//! The client that a request comes from, as limits, fairness and the log see it.

use std::sync::Arc;

use super::record::Member;

/// Who is calling.
#[derive(Clone, Debug)]
pub struct Client {
    /// Whom the gateway takes it for.
    pub who: Who,
    /// The access key id, if the request has one.
    pub access_key_id: Option<Arc<str>>,
}

/// Whom the gateway takes a client for.
#[derive(Clone, Debug)]
pub enum Who {
    /// One that the config names.
    Member(Arc<Member>),
    /// One that an older config named.
    Former(Arc<str>),
    /// One without a name, by what limits and fairness count.
    Unnamed(Arc<str>),
}

impl Client {
    /// The name that the config has for it, or had.
    pub fn name(&self) -> Option<&Arc<str>> {
        match &self.who {
            Who::Member(member) => Some(&member.name),
            Who::Former(name) => Some(name),
            Who::Unnamed(_) => None,
        }
    }

    /// What limits and fairness count by.
    pub fn key(&self) -> &Arc<str> {
        match &self.who {
            Who::Member(member) => &member.name,
            Who::Former(key) | Who::Unnamed(key) => key,
        }
    }

    /// Its record, if the config names it.
    pub fn member(&self) -> Option<&Arc<Member>> {
        match &self.who {
            Who::Member(member) => Some(member),
            Who::Former(_) | Who::Unnamed(_) => None,
        }
    }

    /// What it is called in the access log: never a secret.
    pub fn label(&self) -> Option<&str> {
        self.name().or(self.access_key_id.as_ref()).map(AsRef::as_ref)
    }
}
