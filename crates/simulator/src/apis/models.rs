//! The list of models that mantle has.

use serde_json::{Value, json};

use super::super::reply::Failure;
use super::model::unknown;
use sluice_bedrock::{Dialect, ModelId};
use sluice_catalogue::{Catalogue, Endpoint};

/// When the models were made, in seconds since 1970: one time for all of them.
const CREATED: u64 = 1_764_547_200;

/// All models.
pub(super) fn list() -> Value {
    let ids = Catalogue::shipped().ids(Endpoint::Mantle);
    let models = ids.iter().filter(|id| !id.contains('*')).map(|id| described(id));
    json!({"object": "list", "data": models.collect::<Vec<_>>()})
}

/// One of them.
///
/// # Errors
/// When mantle does not have it.
pub(super) fn get(id: &str) -> Result<Value, Failure> {
    let is_there = ModelId::new(id).is_ok_and(|model| {
        model.base() == Some(id) && Catalogue::shipped().has_row(Endpoint::Mantle, &model)
    });
    if is_there { Ok(described(id)) } else { Err(unknown(id, Dialect::OpenAi)) }
}

fn described(id: &str) -> Value {
    let owner = id.split('.').next().unwrap_or_default();
    json!({"id": id, "object": "model", "created": CREATED, "owned_by": owner})
}
