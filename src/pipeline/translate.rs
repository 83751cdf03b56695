//! The translations of a routed request: made for a candidate when it needs one, within what may be in flight.

use std::sync::Arc;

use super::candidate_state::{CandidateState, LeaveReason};
use super::routed::RoutedRequest;
use super::translations::{Translated, Way};
use crate::quota::Overloaded;
use crate::routing::Target;
use crate::upstream::BuildRequestError;

impl RoutedRequest {
    /// Makes the translation for the candidate with this index, if it needs one. If it can't be translated for
    /// that candidate, the request gives up on it. A large body is translated on another thread.
    pub(super) async fn translate(&mut self, index: usize) -> bool {
        let Some(Way::Translated(None)) = self.candidates.get(index).map(|it| it.way) else {
            return true;
        };
        if let Err(overloaded) = self.reserve_translation() {
            tracing::debug!(%overloaded, "no room for another translation of the request");
            self.give_up_on(index, LeaveReason::Unusable);
            return false;
        }
        let is_first_choice = self.is_first_choice_model(index);
        let made = match (self.target(index).cloned(), self.translations.take()) {
            (Some(target), Some(mut all)) => {
                let (gateway, body) = (Arc::clone(self.context.gateway()), self.body.clone());
                let offload = gateway.offload.clone();
                let bytes = body.len().saturating_add(all.media.bytes());
                let translating = offload.translate(bytes, move || {
                    let made = all.make(&target, is_first_choice, &body, &gateway.drop_policy);
                    (all, made.ok())
                });
                let (all, made) = translating.await;
                self.translations = Some(all);
                made
            }
            (_, none) => {
                self.translations = none;
                None
            }
        };
        if made.is_none() {
            self.give_up_on(index, LeaveReason::Untranslatable);
        } else if let Some(candidate) = self.candidates.get_mut(index) {
            // What must be fetched first is translated later.
            candidate.way = Way::Translated(made.flatten());
        }
        made.is_some()
    }

    /// Counts the next translation as in flight. It is about as large as the request's body.
    fn reserve_translation(&mut self) -> Result<(), Overloaded> {
        let made = self.translations.as_ref().map_or(0, |all| all.bytes());
        let bytes = made.saturating_add(self.body.len().saturating_mul(2));
        let share = self.context.guards.in_flight.as_mut();
        share.map_or(Ok(()), |share| share.reserve_bytes(bytes))
    }

    /// Gives up on the candidates for which the request can't be translated.
    pub(super) async fn leave_untranslatable(&mut self) {
        if self.translations.is_none() {
            return;
        }
        for index in 0..self.candidates.len() {
            if self.candidates.get(index).is_some_and(|it| it.leave_reason.is_none()) {
                self.translate(index).await;
            }
        }
    }

    /// The translation that a target gets; `None` if it gets the request as it came.
    ///
    /// # Errors
    /// If the translation is not made.
    pub(super) fn translated(
        &self,
        target: &Target,
    ) -> Result<Option<&Translated>, BuildRequestError> {
        let Some(translations) = &self.translations else { return Ok(None) };
        let is_target = |candidate: &&CandidateState| {
            let own = self.route.targets.get(candidate.position);
            own.is_some_and(|own| std::ptr::eq(&**own, target))
        };
        match self.candidates.iter().find(is_target).map(|candidate| candidate.way) {
            Some(Way::Translated(number)) => {
                let made = number.and_then(|number| translations.get(number));
                made.map(Some).ok_or(BuildRequestError::NotTranslated)
            }
            Some(Way::PassThrough) | None => Ok(None),
        }
    }

    /// Notes how the target that answers got the request.
    pub(super) fn note_translation(&mut self, target: &Target) {
        let Ok(Some(translated)) = self.translated(target) else { return };
        let to = translated.to();
        let (dropped, added) = (translated.dropped.clone(), translated.added.clone());
        let answer = &mut self.context.answer;
        (answer.translated, answer.dropped, answer.added) = (Some(to), dropped, added);
    }
}
