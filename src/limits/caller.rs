//! The client that a request comes from, as limits, fairness and the log see it.

use std::sync::Arc;

use super::registry::ClientRecord;

/// The caller of a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// How the gateway knows the caller.
    pub kind: CallerKind,
    /// The access key id, if the request has one.
    pub access_key_id: Option<Arc<str>>,
}

/// How the gateway knows a caller.
#[derive(Clone, Debug)]
pub enum CallerKind {
    /// A client of the config.
    Registered(Arc<ClientRecord>),
    /// A client of an older config, by its name.
    Removed(Arc<str>),
    /// A caller without a name, by the key that limits and fairness count by.
    Anonymous(Arc<str>),
}

impl Caller {
    /// The client's name in the config, or in an older config.
    pub fn name(&self) -> Option<&Arc<str>> {
        match &self.kind {
            CallerKind::Registered(client) => Some(&client.name),
            CallerKind::Removed(name) => Some(name),
            CallerKind::Anonymous(_) => None,
        }
    }

    /// The key that limits and fairness count by.
    pub fn key(&self) -> &Arc<str> {
        match &self.kind {
            CallerKind::Registered(client) => &client.name,
            CallerKind::Removed(key) | CallerKind::Anonymous(key) => key,
        }
    }

    /// The client's record, if the config names the client.
    pub fn record(&self) -> Option<&Arc<ClientRecord>> {
        match &self.kind {
            CallerKind::Registered(client) => Some(client),
            CallerKind::Removed(_) | CallerKind::Anonymous(_) => None,
        }
    }

    /// The caller's name in the access log, which is never a secret.
    pub fn label(&self) -> Option<&str> {
        self.name().or(self.access_key_id.as_ref()).map(AsRef::as_ref)
    }
}
