//! Schemas of the elements of lists: names that the protocol owns, and patterns of models.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;

use crate::units::schema_of;
use sluice_bedrock::{Features, Operation};
use sluice_catalogue::{Endpoint, Surface};

/// The name of an operation.
pub(crate) struct OperationNames;

/// The name of a feature.
pub(crate) struct FeatureNames;

/// The name of an endpoint of Bedrock.
pub(crate) struct EndpointNames;

/// The name of a surface.
pub(crate) struct SurfaceNames;

/// An exact model id or a glob.
pub(crate) struct ModelPattern;

schema_of!(ModelPattern, { "type": "string", "format": "model-pattern" });

/// What the paths of an API begin with.
pub(crate) struct PathPrefix;

schema_of!(PathPrefix, { "type": "string", "format": "path-prefix" });

/// The id or ARN of a guardrail.
pub(crate) struct GuardrailId;

schema_of!(GuardrailId, { "type": "string", "format": "guardrail-id" });

/// An audience of tokens.
pub(crate) struct ShortText;

schema_of!(ShortText, { "type": "string", "format": "short-text" });

impl JsonSchema for OperationNames {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Operation".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of(Operation::ALL.into_iter().map(Operation::name))
    }
}

impl JsonSchema for FeatureNames {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Feature".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of(Features::NAMES.into_iter().map(|(name, _)| name))
    }
}

impl JsonSchema for EndpointNames {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of(Endpoint::ALL.into_iter().map(Endpoint::name))
    }
}

impl JsonSchema for SurfaceNames {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Surface".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of(Surface::ALL.into_iter().map(Surface::name))
    }
}

fn one_of(names: impl Iterator<Item = &'static str>) -> Schema {
    let names: Vec<_> = names.map(|name| json!({ "const": name, "type": "string" })).collect();
    schemars::json_schema!({ "oneOf": names })
}
