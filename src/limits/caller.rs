//! The client that a request comes from, as limits, fairness and the log see it.

use std::sync::Arc;

use super::registry::ClientRecord;

/// Who is calling.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whom the gateway takes it for.
    pub kind: CallerKind,
    /// The access key id, if the request has one.
    pub access_key_id: Option<Arc<str>>,
}

/// Whom the gateway takes a client for.
#[derive(Clone, Debug)]
pub enum CallerKind {
    /// One that the config names.
    Registered(Arc<ClientRecord>),
    /// One that an older config named.
    Removed(Arc<str>),
    /// One without a name, by what limits and fairness count.
    Anonymous(Arc<str>),
}

impl Caller {
    /// The name that the config has for it, or had.
    pub fn name(&self) -> Option<&Arc<str>> {
        match &self.kind {
            CallerKind::Registered(member) => Some(&member.name),
            CallerKind::Removed(name) => Some(name),
            CallerKind::Anonymous(_) => None,
        }
    }

    /// What limits and fairness count by.
    pub fn key(&self) -> &Arc<str> {
        match &self.kind {
            CallerKind::Registered(member) => &member.name,
            CallerKind::Removed(key) | CallerKind::Anonymous(key) => key,
        }
    }

    /// Its record, if the config names it.
    pub fn record(&self) -> Option<&Arc<ClientRecord>> {
        match &self.kind {
            CallerKind::Registered(member) => Some(member),
            CallerKind::Removed(_) | CallerKind::Anonymous(_) => None,
        }
    }

    /// What it is called in the access log: never a secret.
    pub fn label(&self) -> Option<&str> {
        self.name().or(self.access_key_id.as_ref()).map(AsRef::as_ref)
    }
}
