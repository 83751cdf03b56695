//! The file format of a catalogue: its header, its rows, and the check of every row.
//!
//! The format is documented in `docs/catalogue.md` and described for editors by `schema.json`. A row is read
//! strictly: a field or a name that the format does not have is an error that names it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use sluice_bedrock::Date;

use super::Endpoint;
use super::betas::Betas;
use super::facts::{Effort, TokenCounter};
use super::feature;
use super::price::RawPrice;
use super::surface::Surface;

/// The version of the format that this reads.
pub const FORMAT: u32 = 1;

/// Largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why a text is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is no JSON, or its header is wrong.
    #[error("it is not a catalogue: {0}")]
    Malformed(serde_json::Error),
    /// It is of another version of the format.
    #[error("its format is {0}, and this version of Sluice reads format {FORMAT}")]
    Format(u32),
    /// One of its beta flags is wrong.
    #[error("betas: {0}")]
    Betas(String),
    /// One of its rows is wrong.
    #[error("{endpoint} model '{row}': {reason}")]
    Row {
        /// The endpoint whose row it is.
        endpoint: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong in the row.
        reason: String,
    },
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Answers messages.
    Chat,
    /// Computes embeddings.
    Embedding,
    /// Makes images.
    ImageGeneration,
    /// Changes images.
    ImageEdit,
    /// Ranks documents.
    Rerank,
    /// Talks in both directions.
    Realtime,
    /// Judges content.
    Guardrail,
}

/// A file, with rows that are not read yet. `K` is the type of their keys.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    bound(deserialize = "K: Deserialize<'de> + Eq + std::hash::Hash + Clone")
)]
pub(super) struct File<'a, K> {
    #[expect(dead_code, reason = "read before")]
    pub format: u32,
    pub date: Date,
    #[serde(default)]
    #[expect(dead_code, reason = "for people")]
    pub sources: Vec<String>,
    #[serde(default)]
    pub betas: Betas,
    #[serde(default = "no_rows", borrow, deserialize_with = "rows")]
    pub runtime: Vec<(K, &'a RawValue)>,
    #[serde(default = "no_rows", borrow, deserialize_with = "rows")]
    pub mantle: Vec<(K, &'a RawValue)>,
}

fn no_rows<T>() -> Vec<T> {
    Vec::new()
}

/// Reads rows, and refuses a key that is there twice.
fn rows<'de, D, K>(deserializer: D) -> Result<Vec<(K, &'de RawValue)>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Eq + std::hash::Hash + Clone,
{
    struct Rows<K>(std::marker::PhantomData<K>);

    impl<'de, K: Deserialize<'de> + Eq + std::hash::Hash + Clone> Visitor<'de> for Rows<K> {
        type Value = Vec<(K, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of models")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut rows, mut keys) = (Vec::new(), HashSet::new());
            while let Some((key, row)) = map.next_entry::<K, &RawValue>()? {
                if !keys.insert(key.clone()) {
                    return Err(A::Error::custom("a model is there twice"));
                }
                rows.push((key, row));
            }
            Ok(rows)
        }
    }

    deserializer.deserialize_map(Rows(std::marker::PhantomData))
}

/// A row as it is written. Each field may be left out, or be null.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Row {
    pub mode: Option<Mode>,
    pub names: Option<Vec<String>>,
    pub profiles: Option<Vec<String>>,
    pub on_demand: Option<bool>,
    pub surfaces: Option<Vec<Surface>>,
    pub path_prefix: Option<String>,
    pub max_input_tokens: Option<u32>,
    pub max_output_tokens: Option<u32>,
    pub min_cache_tokens: Option<u32>,
    pub embedding_dimensions: Option<u32>,
    pub features: Option<BTreeMap<String, Option<bool>>>,
    pub effort_levels: Option<Vec<Effort>>,
    pub burndown: Option<u32>,
    pub count_tokens_with: Option<RawTokenCounter>,
    pub legacy: Option<Date>,
    pub retires: Option<Date>,
    pub successor: Option<String>,
    pub prices: Option<RawPrices>,
    pub variants: Option<BTreeMap<String, Row>>,
}

/// What counts tokens, as it is written. A variant may name one of the two.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTokenCounter {
    endpoint: Option<Endpoint>,
    model: Option<String>,
}

impl RawTokenCounter {
    /// Both together; `None` if one is not known.
    pub(super) fn counter(self) -> Option<TokenCounter> {
        Some(TokenCounter { endpoint: self.endpoint?, model: self.model? })
    }
}

/// Prices by tier as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPrices {
    pub standard: Option<RawPrice>,
    pub flex: Option<RawPrice>,
    pub priority: Option<RawPrice>,
    pub batch: Option<RawPrice>,
}

impl Row {
    /// Reads a row and checks all that the types do not.
    pub(super) fn read(text: &str) -> Result<Row, String> {
        let row: Row = serde_json::from_str(text).map_err(|error| error.to_string())?;
        row.check()?;
        for (key, variant) in row.variants.iter().flatten() {
            variant.check().map_err(|reason| format!("variant '{key}': {reason}"))?;
            if variant.variants.is_some() || variant.names.is_some() {
                return Err(format!("variant '{key}': a variant has no variants and no names"));
            }
        }
        Ok(row)
    }

    fn check(&self) -> Result<(), String> {
        for name in self.features.iter().flatten().map(|(name, _)| name) {
            if !feature::is_known(name) {
                return Err(format!("unknown feature `{name}`"));
            }
        }
        for (tier, price) in self.prices.iter().flat_map(RawPrices::tiers) {
            if let Some(price) = price {
                price.check().map_err(|reason| format!("price of tier '{tier}': {reason}"))?;
            }
        }
        if self.burndown.is_some_and(|burndown| !(1..=100).contains(&burndown)) {
            return Err("`burndown` is not between 1 and 100".to_owned());
        }
        if let (Some(legacy), Some(retires)) = (self.legacy, self.retires)
            && legacy > retires
        {
            return Err("`legacy` is later than `retires`".to_owned());
        }
        Ok(())
    }
}

impl RawPrices {
    fn tiers(&self) -> [(&'static str, Option<&RawPrice>); 4] {
        [
            ("standard", self.standard.as_ref()),
            ("flex", self.flex.as_ref()),
            ("priority", self.priority.as_ref()),
            ("batch", self.batch.as_ref()),
        ]
    }
}
