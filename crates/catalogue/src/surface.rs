//! Surfaces: the ways to call a model.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sluice_bedrock::Operation;

use super::Endpoint;

/// A way to call a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// InvokeModel and InvokeModelWithResponseStream.
    InvokeModel,
    /// Converse and ConverseStream.
    Converse,
    /// CountTokens, or at the mantle endpoint the count of Anthropic's Messages.
    CountTokens,
    /// OpenAI's Chat Completions.
    ChatCompletions,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

impl Surface {
    /// Every surface.
    pub const ALL: [Surface; 6] = [
        Surface::InvokeModel,
        Surface::Converse,
        Surface::CountTokens,
        Surface::ChatCompletions,
        Surface::Responses,
        Surface::Messages,
    ];

    /// Its name in the file and in a config.
    pub fn name(self) -> &'static str {
        match self {
            Surface::InvokeModel => "invoke_model",
            Surface::Converse => "converse",
            Surface::CountTokens => "count_tokens",
            Surface::ChatCompletions => "chat_completions",
            Surface::Responses => "responses",
            Surface::Messages => "messages",
        }
    }

    /// The surface that an operation belongs to; `None` for one that needs none.
    pub fn of(operation: Operation) -> Option<Surface> {
        Some(match operation {
            Operation::InvokeModel
            | Operation::InvokeModelWithResponseStream
            | Operation::InvokeModelWithBidirectionalStream => Surface::InvokeModel,
            Operation::Converse | Operation::ConverseStream => Surface::Converse,
            Operation::CountTokens | Operation::CountMessageTokens => Surface::CountTokens,
            Operation::CreateChatCompletion => Surface::ChatCompletions,
            Operation::CreateMessage => Surface::Messages,
            Operation::CreateResponse
            | Operation::GetResponse
            | Operation::CancelResponse
            | Operation::DeleteResponse
            | Operation::ListInputItems => Surface::Responses,
            _ => return None,
        })
    }
}

/// A set of surfaces. Serialized as the list of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surfaces(u8);

impl Surfaces {
    /// Those of a model that the catalogue does not know, at an endpoint.
    pub fn of_unknown_model(endpoint: Endpoint) -> Surfaces {
        let surfaces: &[Surface] = match endpoint {
            Endpoint::Runtime => &[Surface::InvokeModel, Surface::Converse, Surface::CountTokens],
            Endpoint::Mantle => &[Surface::ChatCompletions, Surface::Responses],
        };
        surfaces.iter().copied().collect()
    }

    /// Those that an endpoint has for any model.
    pub fn of_endpoint(endpoint: Endpoint) -> Surfaces {
        let all = Surface::ALL.into_iter();
        let is_native = |it: &Surface| matches!(it, Surface::InvokeModel | Surface::Converse);
        all.filter(|surface| endpoint == Endpoint::Runtime || !is_native(surface)).collect()
    }

    /// Whether a surface is among them.
    pub fn contains(self, surface: Surface) -> bool {
        self.0 & bit(surface) != 0
    }

    /// Those of these that are not among others.
    #[must_use]
    pub fn without(self, others: Surfaces) -> Surfaces {
        Surfaces(self.0 & !others.0)
    }

    /// Whether the set has no surface.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Surface> {
        Surface::ALL.into_iter().filter(move |surface| self.contains(*surface))
    }

    /// Their names, with commas between them.
    pub fn names(self) -> String {
        self.iter().map(Surface::name).collect::<Vec<_>>().join(", ")
    }
}

fn bit(surface: Surface) -> u8 {
    1 << surface as u8
}

impl FromIterator<Surface> for Surfaces {
    fn from_iter<I: IntoIterator<Item = Surface>>(all: I) -> Surfaces {
        Surfaces(all.into_iter().fold(0, |set, surface| set | bit(surface)))
    }
}

impl Serialize for Surfaces {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Surface::name))
    }
}

impl<'de> Deserialize<'de> for Surfaces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Surfaces, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let surfaces = names.iter().map(|name| {
            let known = Surface::ALL.into_iter().find(|it| it.name() == name);
            known.ok_or_else(|| D::Error::custom(format!("unknown surface `{name}`")))
        });
        surfaces.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_the_list_of_its_names() {
        let all: Surfaces = Surface::ALL.into_iter().collect();
        for surface in Surface::ALL {
            assert_eq!(serde_json::to_value(surface).unwrap(), surface.name());
            let one: Surfaces = [surface].into_iter().collect();
            let written = serde_json::to_value(one).unwrap();
            assert_eq!(written, serde_json::json!([surface.name()]));
            assert_eq!(serde_json::from_value::<Surfaces>(written).unwrap(), one);
            assert!(all.contains(surface) && !all.without(one).contains(surface));
        }
        assert!(serde_json::from_str::<Surfaces>(r#"["chat"]"#).is_err());
        assert_eq!(
            Surfaces::of_unknown_model(Endpoint::Mantle).names(),
            "chat_completions, responses"
        );
    }

    #[test]
    fn every_surface_has_an_operation_and_the_mantle_endpoint_has_no_native_ones() {
        let of_operations: Surfaces = Operation::ALL.into_iter().filter_map(Surface::of).collect();
        assert_eq!(of_operations, Surfaces::of_endpoint(Endpoint::Runtime));
        let mantle = Surfaces::of_endpoint(Endpoint::Mantle);
        assert!(!mantle.contains(Surface::Converse) && mantle.contains(Surface::Messages));
        for endpoint in Endpoint::ALL {
            let unknown = Surfaces::of_unknown_model(endpoint);
            assert!(unknown.without(Surfaces::of_endpoint(endpoint)).is_empty());
        }
    }
}
