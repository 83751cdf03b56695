//! The model that a request is written for, and what must be reported on the way.

use crate::conversation::{At, CacheTtl};
use crate::json::Array;
use crate::model::Model;
use crate::report::Report;
use crate::source::Source;

use super::super::params::Field;

/// Most cache points of a request.
const MAX_CACHE_POINTS: u32 = 4;

/// A model, and the report of what it does not take.
pub(super) struct Target<'t, 'p> {
    pub(super) source: Source,
    pub(super) model: &'t Model,
    pub(super) report: &'t mut Report<'p>,
    cache_points: u32,
    has_short_cache_point: bool,
}

impl<'t, 'p> Target<'t, 'p> {
    pub(super) fn new(
        source: Source,
        model: &'t Model,
        report: &'t mut Report<'p>,
    ) -> Target<'t, 'p> {
        Target { source, model, report, cache_points: 0, has_short_cache_point: false }
    }

    /// A parameter that this model does not take: left out if the operator allows it.
    pub(super) fn unsupported(&mut self, field: Field, why: &str) {
        self.report.unsupported(field.name(self.source), true, why);
    }

    /// A parameter that only advises a model: left out, unless the operator refuses that.
    pub(super) fn advice(&mut self, field: Field, why: &str) {
        self.report.advice(field.name(self.source), why);
    }

    /// A parameter that tunes a model, and that this one does not take.
    pub(super) fn tuning(&mut self, field: Field, why: &str) {
        self.report.tuning(field.name(self.source), why);
    }

    /// Notes that something was left out which means nothing to this model.
    pub(super) fn dropped(&mut self, field: Field) {
        self.report.dropped(field.name(self.source));
    }

    /// A block that this model does not take.
    pub(super) fn refuse_block(&mut self, at: At, what: &str) {
        let message = format!("{}: this model takes no {what}", at.param());
        self.report.refuse(Some(at.param()), true, message);
    }

    /// A block that no model takes.
    pub(super) fn invalid(&mut self, at: At, what: &str) {
        let param = at.param();
        let message = if param.is_empty() { what.to_owned() } else { format!("{param}: {what}") };
        self.report.refuse(Some(param).filter(|param| !param.is_empty()), false, message);
    }

    /// Whether a cache point can be written; if not, that is noted.
    pub(super) fn takes_cache_point(&mut self) -> bool {
        if !self.model.takes_cache_points {
            self.dropped(Field::CacheControl);
        }
        self.model.takes_cache_points
    }

    /// Writes a cache point after what stands in the list. They must come in the order of the prompt: tools,
    /// system, messages.
    pub(super) fn cache_point(&mut self, list: &mut Array<'_>, ttl: CacheTtl) {
        if !self.takes_cache_point() {
            return;
        }
        // There is nothing that it could end, as when the text before it was blank.
        if list.is_empty() || list.ends_with_cache_point() {
            self.dropped(Field::CacheControl);
            return;
        }
        let name = Field::CacheControl.name(self.source);
        self.cache_points += 1;
        if self.cache_points > MAX_CACHE_POINTS {
            let message =
                format!("`{name}`: a request has at most {MAX_CACHE_POINTS} cache points");
            self.report.refuse(Some(name.to_owned()), false, message);
        }
        // Others cache for five minutes only.
        let is_hour = ttl == CacheTtl::Hour && self.model.is_claude();
        if ttl == CacheTtl::Hour && !is_hour {
            self.report.dropped(format!("{name}.ttl"));
        }
        if is_hour && self.has_short_cache_point {
            let message = format!(
                "`{name}`: cache points of one hour must come before those of five minutes, in the order of \
                 tools, system and messages"
            );
            self.report.refuse(Some(name.to_owned()), false, message);
        }
        self.has_short_cache_point |= !is_hour;
        list.raw(match is_hour {
            true => r#"{"cachePoint":{"type":"default","ttl":"1h"}}"#,
            false => r#"{"cachePoint":{"type":"default"}}"#,
        });
    }
}
