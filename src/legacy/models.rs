//! `/model_stats`: the models and which of them are throttled.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::response::timestamp;
use crate::bedrock::error::whole_seconds;
use crate::pipeline::Gateway;
use crate::routing::Target;
use crate::routing::cooldown::State;

/// Whether there is a model to fall back to.
pub(super) fn has_fallback(gateway: &Gateway) -> bool {
    gateway.config.legacy.models.len() > 1
}

pub(super) fn stats(gateway: &Gateway) -> Value {
    if !has_fallback(gateway) {
        return json!({
            "success": false,
            "multi_model_enabled": false,
            "message": "Multi-model fallback not configured",
        });
    }
    let now = Instant::now();
    let targets = gateway.config.legacy.models.iter();
    let targets = targets.filter_map(|&index| gateway.router.targets().get(index));
    let models: Vec<Value> =
        targets.enumerate().map(|(index, target)| model(index + 1, target, now)).collect();
    let throttled = models.iter().filter(|model| model["status"] == "throttled").count();
    json!({
        "success": true,
        "multi_model_enabled": true,
        "stats": {
            "total_models": models.len(),
            "available_models": models.len() - throttled,
            "throttled_models": throttled,
            "models": models,
        },
    })
}

fn model(priority: usize, target: &Target, now: Instant) -> Value {
    let remaining: Option<Duration> = match target.state(now) {
        State::Cooling(until) => Some(until.saturating_duration_since(now)),
        State::Available | State::Probing | State::Drained => None,
    };
    let is_out = remaining.is_some() || target.state(now) == State::Drained;
    let (throttles, last) = target.throttles();
    let mut model = json!({
        "id": target.named_model(),
        "name": target.display_name,
        "priority": priority,
        "status": if is_out { "throttled" } else { "available" },
        "throttle_count": throttles,
        "last_throttle": last.map(timestamp),
    });
    if let (Some(remaining), Some(object)) = (remaining, model.as_object_mut()) {
        object.insert("cooldown_remaining".to_owned(), whole_seconds(remaining).into());
    }
    model
}
