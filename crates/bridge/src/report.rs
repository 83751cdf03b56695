//! What a translation could not carry: what it refuses, and what it left out by the operator's leave.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// A request that a bridge can't carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The member of the client's request that it is about, such as `logit_bias` or
    /// `messages[2].content[0]`; `None` if it is about the whole.
    pub param: Option<String>,
    /// What is wrong, in a sentence for the client.
    pub message: String,
    /// Whether another model might carry the request. A body that is wrong for each of them is refused at
    /// once.
    pub is_of_model: bool,
}

/// Which parameters may be left out where they can't be carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropPolicy {
    /// Whether those that `fields` does not name may be.
    pub drops: bool,
    /// Exceptions, by the parameter's name in the client's API.
    pub fields: BTreeMap<String, bool>,
    /// Parameters that AWS's records of the request are to show, by the client's names of them: `metadata`, `user`,
    /// `safety_identifier`.
    pub recorded: BTreeSet<String>,
    /// Whether the model answers in place of the one that was asked for. What tunes a model, such as a
    /// temperature, was meant for that one, and is left out where this one does not take it.
    pub is_for_another_model: bool,
}

impl DropPolicy {
    /// The same for a model that answers in place of the one that was asked for.
    #[must_use]
    pub fn for_another_model(&self) -> DropPolicy {
        DropPolicy { is_for_another_model: true, ..self.clone() }
    }

    /// Whether this top-level parameter may be left out.
    pub fn may_drop(&self, param: &str) -> bool {
        self.fields.get(param).copied().unwrap_or(self.drops)
    }
}

/// Collects what a translation can't carry while it goes on. The first refusal counts.
#[derive(Debug)]
pub struct Report<'p> {
    policy: &'p DropPolicy,
    dropped: Vec<Cow<'static, str>>,
    refusal: Option<Refusal>,
}

impl<'p> Report<'p> {
    /// Nothing so far.
    pub fn new(policy: &'p DropPolicy) -> Report<'p> {
        Report { policy, dropped: Vec::new(), refusal: None }
    }

    /// A top-level parameter that no bridge to this API carries, or that its model does not take
    /// (`is_of_model`). It is left out if the policy allows that, else the request is refused.
    pub fn unsupported(&mut self, param: &str, is_of_model: bool, why: &str) {
        if self.policy.may_drop(param) {
            self.dropped(param.to_owned());
        } else {
            self.refuse(Some(param.to_owned()), is_of_model, format!("`{param}` {why}"));
        }
    }

    /// A top-level parameter that only advises a model that can follow it, such as how hard to think: the
    /// answer is whole without it. It is left out of a request for a model that does not take it, unless the
    /// policy refuses it by name.
    pub fn advice(&mut self, param: &str, why: &str) {
        if self.policy.fields.get(param) == Some(&false) {
            self.unsupported(param, true, why);
        } else {
            self.dropped(param.to_owned());
        }
    }

    /// The same for a part of the parameter with this name.
    pub fn part_of_advice(&mut self, param: &str, name: &str, why: &str) {
        if self.policy.fields.get(param) == Some(&false) {
            self.unsupported(param, false, why);
        } else {
            self.dropped(name.to_owned());
        }
    }

    /// Whether AWS's records of the request are to show this parameter.
    pub fn is_recorded(&self, param: &str) -> bool {
        self.policy.recorded.contains(param)
    }

    /// A top-level parameter that tunes a model, and that this one does not take.
    pub fn tuning(&mut self, param: &str, why: &str) {
        if self.policy.is_for_another_model {
            self.advice(param, why);
        } else {
            self.unsupported(param, true, why);
        }
    }

    /// Notes something that was left out because it means nothing to the model, such as another family's
    /// thinking. Clients see its name in a header.
    pub fn dropped(&mut self, what: impl Into<Cow<'static, str>>) {
        let what = what.into();
        if !self.dropped.contains(&what) {
            self.dropped.push(what);
        }
    }

    /// Refuses the request: content is never left out.
    pub fn refuse(&mut self, param: Option<String>, is_of_model: bool, message: impl Into<String>) {
        if self.refusal.is_none() {
            self.refusal = Some(Refusal { param, message: message.into(), is_of_model });
        }
    }

    /// Whether the request is refused already.
    pub fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// What was left out, each once, in the order of its finding.
    ///
    /// # Errors
    /// The first refusal.
    pub fn finish(self) -> Result<Vec<Cow<'static, str>>, Refusal> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(self.dropped),
        }
    }
}
