//! A stack of layers, and the answers to what counts for a model.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, OnceLock};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value};
use sluice_bedrock::{Date, ModelId};

use super::Endpoint;
use super::betas::{BetaSurface, BetaTable, Betas};
use super::facts::ModelFacts;
use super::file::{FileError, Row};
use super::layer::Layer;
use super::merge::{leaves, merge};
use super::typo::Spellings;

const SHIPPED: &str = include_str!("shipped.json");

/// How many answers are remembered; a catalogue that is asked for more models works them out each time.
const MAX_REMEMBERED: usize = 4096;

static SHIPPED_CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
    let layer = Layer::compiled_in("shipped", SHIPPED);
    #[expect(clippy::expect_used, reason = "the text is compiled in, and the tests read it")]
    let layer = layer.expect("the shipped catalogue is readable");
    Arc::new(Catalogue::of(vec![Arc::new(layer)]))
});

/// Facts about models, in layers.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// The lowest first.
    layers: Vec<Arc<Layer>>,
    remembered: Mutex<HashMap<Question, Option<Arc<ModelFacts>>>>,
    names: OnceLock<HashMap<String, String>>,
    /// Ids at the mantle endpoint, by the other id of the same model at Bedrock Runtime.
    mantle_ids: OnceLock<HashMap<String, String>>,
    betas: OnceLock<Betas>,
    /// What unknown ids are compared with.
    pub(super) spellings: Spellings,
}

impl PartialEq for Catalogue {
    fn eq(&self, other: &Catalogue) -> bool {
        self.layers == other.layers
    }
}

type Question = (Endpoint, Box<str>, Box<str>);

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The name of the layer.
    pub layer: Arc<str>,
    /// The day of the layer's facts.
    pub date: Date,
    /// The key of the row.
    pub row: String,
    /// The geography or region whose deviation it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// One value of a model, and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedFact {
    /// The field, with dots: `prices.standard.input`.
    pub field: String,
    /// Its value.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

impl Catalogue {
    /// What is built in.
    pub fn shipped() -> Arc<Catalogue> {
        Arc::clone(&SHIPPED_CATALOGUE)
    }

    /// These layers, the lowest first.
    pub fn of(layers: Vec<Arc<Layer>>) -> Catalogue {
        Catalogue { layers, ..Catalogue::default() }
    }

    /// This catalogue with the layers of another on top.
    #[must_use]
    pub fn below(&self, above: &Catalogue) -> Catalogue {
        Catalogue::of(self.layers.iter().chain(&above.layers).cloned().collect())
    }

    /// This catalogue with a file on top.
    ///
    /// # Errors
    /// When the text is no catalogue.
    pub fn with_file(&self, name: &str, text: &str) -> Result<Catalogue, FileError> {
        let layer = Arc::new(Layer::read(name, text)?);
        Ok(self.below(&Catalogue::of(vec![layer])))
    }

    /// Its layers, the lowest first.
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// The facts of a model that is called at Bedrock Runtime in a region; `None` if no layer knows it.
    pub fn facts(&self, model: &ModelId, region: &str) -> Option<Arc<ModelFacts>> {
        self.facts_at(Endpoint::Runtime, model, region)
    }

    /// The facts of a model that is called at an endpoint in a region; `None` if no layer knows it. The
    /// region of an ARN has precedence.
    pub fn facts_at(
        &self,
        endpoint: Endpoint,
        model: &ModelId,
        region: &str,
    ) -> Option<Arc<ModelFacts>> {
        let region = model.arn_place().map_or(region, |(_, region)| region);
        let full = model.arn_resource().unwrap_or(model.as_str());
        let question = (endpoint, full.into(), region.into());
        if let Some(known) = self.remembered.lock().get(&question) {
            return known.clone();
        }
        let is_listed = self.has_row(endpoint, model);
        let merged = self.merge_rows(endpoint, model, region, &mut |_, _| {});
        let facts = merged.and_then(|row| {
            // Every row was checked; what fails here is a fault of the shipped file, and unknown.
            let row: Row = serde_json::from_value(Value::Object(row)).ok()?;
            Some(Arc::new(ModelFacts::of(row, is_listed)))
        });
        let mut remembered = self.remembered.lock();
        // A client can ask for any id; those that no row has would take the place of those that one has.
        if is_listed && remembered.len() < MAX_REMEMBERED {
            remembered.insert(question, facts.clone());
        }
        facts
    }

    /// All values of a model, and where each came from; none if no layer knows it.
    pub fn explain(&self, endpoint: Endpoint, model: &ModelId, region: &str) -> Vec<ExplainedFact> {
        let region = model.arn_place().map_or(region, |(_, region)| region);
        let mut origins: BTreeMap<Vec<String>, Origin> = BTreeMap::new();
        let mut set = |path: &[String], origin: &Origin| {
            origins.insert(path.to_vec(), origin.clone());
        };
        let row = self.merge_rows(endpoint, model, region, &mut set).unwrap_or_default();
        let explained = leaves(&row).into_iter().filter_map(|(path, value)| {
            let origin = origins.remove(&path)?;
            Some(ExplainedFact { field: path.join("."), value, origin })
        });
        explained.collect()
    }

    /// Whether a layer has a row of this very model, and not only a glob that matches it.
    pub fn has_row(&self, endpoint: Endpoint, model: &ModelId) -> bool {
        let Some(base) = model.base() else { return false };
        let full = model.arn_resource().unwrap_or(model.as_str());
        self.has_id(endpoint, base) || self.has_id(endpoint, full)
    }

    /// The rows that count for a model, merged. `set` is called for each value with its path. `None` if no
    /// row is of the model.
    pub(super) fn merge_rows(
        &self,
        endpoint: Endpoint,
        model: &ModelId,
        region: &str,
        set: &mut impl FnMut(&[String], &Origin),
    ) -> Option<Map<String, Value>> {
        let base = model.base()?;
        let full = model.arn_resource().unwrap_or(model.as_str());
        let geography = model.geography().unwrap_or("-");
        let (mut merged, mut is_known) = (Map::new(), false);
        for layer in &self.layers {
            for (key, text) in layer.matching(endpoint, base, full) {
                is_known = true;
                let Ok(Value::Object(mut row)) = serde_json::from_str(text.get()) else { continue };
                let mut variants = match row.remove("variants") {
                    Some(Value::Object(variants)) => variants,
                    _ => Map::new(),
                };
                let deviations = [geography, region].map(|key| (Some(key), variants.remove(key)));
                for (variant, row) in
                    [(None, Some(Value::Object(row)))].into_iter().chain(deviations)
                {
                    let Some(Value::Object(row)) = row else { continue };
                    let origin = Origin {
                        layer: Arc::clone(layer.name()),
                        date: layer.date(),
                        row: key.to_owned(),
                        variant: variant.map(str::to_owned),
                    };
                    merge(&mut merged, row, &mut Vec::new(), &mut |path| set(path, &origin));
                }
            }
        }
        is_known.then_some(merged)
    }

    /// The ids of all models that have a row, without those of profiles, in order.
    pub fn ids(&self, endpoint: Endpoint) -> Vec<String> {
        let ids = self.layers.iter().flat_map(|layer| layer.ids(endpoint));
        let bases = ids.filter_map(|id| Some(ModelId::new(id).ok()?.base()?.to_owned()));
        bases.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The ids of all models and of their inference profiles, in order.
    pub fn ids_with_profiles(&self, endpoint: Endpoint) -> Vec<String> {
        let mut ids = BTreeSet::new();
        for base in self.ids(endpoint) {
            let facts = ModelId::new(&base).ok().and_then(|id| self.facts_at(endpoint, &id, ""));
            let profiles = facts.iter().flat_map(|facts| &facts.profiles);
            ids.extend(profiles.map(|geography| format!("{geography}.{base}")));
            ids.insert(base);
        }
        let written = self.layers.iter().flat_map(|layer| layer.ids(endpoint));
        ids.extend(written.map(str::to_owned));
        ids.into_iter().collect()
    }

    /// Whether this very id is known at Bedrock Runtime: a model, or an inference profile of one.
    pub fn is_listed(&self, id: &str) -> bool {
        if self.has_id(Endpoint::Runtime, id) {
            return true;
        }
        let Ok(model) = ModelId::new(id) else { return false };
        let Some(geography) = model.geography() else { return false };
        let facts = self.facts(&model, "");
        facts.is_some_and(|facts| facts.profiles.iter().any(|known| known == geography))
    }

    /// Whether a layer has a row of this very id.
    pub(super) fn has_id(&self, endpoint: Endpoint, id: &str) -> bool {
        self.layers.iter().any(|layer| layer.has_id(endpoint, id))
    }

    /// The base id of the model that a first-party name stands for: at Bedrock Runtime, or at the mantle endpoint
    /// if that alone has the model.
    pub fn model_named(&self, name: &str) -> Option<&str> {
        let names = self.names.get_or_init(|| {
            let at_mantle = self.names(Endpoint::Mantle);
            let alone = at_mantle.filter(|(_, base)| !self.has_id(Endpoint::Runtime, base));
            // The later one of two counts.
            alone.chain(self.names(Endpoint::Runtime)).collect()
        });
        names.get(name).map(String::as_str)
    }

    /// The base id at Bedrock Runtime of a model that has another one at the mantle endpoint, by that one.
    pub fn id_at_runtime(&self, model: &ModelId) -> Option<&str> {
        let base = model.base().filter(|base| !self.has_id(Endpoint::Runtime, base))?;
        let facts = self.facts_at(Endpoint::Mantle, model, "")?;
        let known = facts.names.iter().find_map(|name| self.model_named(name));
        known.filter(|known| *known != base)
    }

    /// The base id at the mantle endpoint of a model that has another one at Bedrock Runtime, by that one.
    pub fn id_at_mantle(&self, model: &ModelId) -> Option<&str> {
        let base = model.base()?;
        let others = self.mantle_ids.get_or_init(|| {
            let alone = self.names(Endpoint::Mantle);
            let alone = alone.filter(|(_, base)| !self.has_id(Endpoint::Runtime, base));
            let known = alone.filter_map(|(name, id)| {
                Some((self.model_named(&name)?.to_owned(), id)).filter(|(base, id)| base != id)
            });
            known.collect()
        });
        others.get(base).map(String::as_str)
    }

    /// First-party names, each with the base id of its model at an endpoint.
    fn names(&self, endpoint: Endpoint) -> impl Iterator<Item = (String, String)> {
        // Only the names are read, since all facts of all models would take memory for good.
        let mut of_models: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for layer in &self.layers {
            for (id, names) in layer.names(endpoint) {
                let base = ModelId::new(id).ok().and_then(|id| id.base().map(str::to_owned));
                let Some(base) = base else { continue };
                of_models.insert(base, names);
            }
        }
        let pairs = of_models.into_iter();
        pairs.flat_map(|(base, names)| names.into_iter().map(move |it| (it, base.clone())))
    }

    /// The beta flags of a way to Bedrock.
    pub fn betas(&self, surface: BetaSurface) -> &BetaTable {
        let merged = || {
            let layers = self.layers.iter();
            layers.fold(Betas::default(), |below, layer| below.below(layer.betas()))
        };
        self.betas.get_or_init(merged).of(surface)
    }

    /// What an output token of the model costs of its quota, unless the account has it otherwise; 1 if no
    /// layer says it.
    pub fn burndown(&self, model: &ModelId) -> u32 {
        self.facts(model, "").and_then(|facts| facts.burndown).unwrap_or(1)
    }
}
