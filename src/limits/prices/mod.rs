//! What tokens cost: by the config's prices, else by the catalogue's.

mod model_prices;
mod rates;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

pub use model_prices::{AssumedPrice, Cost, ModelPrices, ServiceLevel};

use crate::bedrock::ModelId;
use crate::catalogue;
use crate::config::{self, Glob, GlobError};

/// The pattern whose price counts for models that nothing else has a price for.
const REST: &str = "*";

/// The prices of one config.
#[derive(Debug, Default)]
pub struct Prices {
    exact: HashMap<String, Arc<ModelPrices>>,
    globs: Vec<(Glob, Arc<ModelPrices>)>,
    rest: Option<ModelPrices>,
    /// What the config states for the models of its targets, by the id that goes on the wire. No client chooses
    /// the ids, so a fast hash will do.
    of_targets: HashMap<ModelId, StatedPrices, RandomState>,
}

/// What a config states for one model.
#[derive(Debug)]
struct StatedPrices {
    base_model: ModelId,
    prices: Option<Arc<ModelPrices>>,
}

impl Prices {
    /// The prices that a config states.
    ///
    /// # Errors
    /// When a pattern is invalid, which the config has checked.
    pub fn new(config: &[config::Price]) -> Result<Prices, GlobError> {
        let mut prices = Prices::default();
        for price in config {
            let pattern = price.models.as_str();
            if pattern == REST {
                prices.rest = Some(price.into());
            } else if Glob::describes(pattern) {
                prices.globs.push((Glob::new(pattern)?, Arc::new(price.into())));
            } else {
                prices.exact.insert(pattern.to_owned(), Arc::new(price.into()));
            }
        }
        Ok(prices)
    }

    /// The same prices, with what they state for these models, each with its base model, found beforehand: a
    /// request asks for the prices of all its candidates, and matching patterns takes long.
    pub fn for_targets<'a>(
        mut self,
        models: impl Iterator<Item = (&'a ModelId, &'a ModelId)>,
    ) -> Prices {
        if !self.states_any() {
            return self;
        }
        for (model, base_model) in models {
            if !self.of_targets.contains_key(model) {
                let prices = self.search(model, base_model).cloned();
                let stated = StatedPrices { base_model: base_model.clone(), prices };
                self.of_targets.insert(model.clone(), stated);
            }
        }
        self
    }

    /// The prices of a model: by the id that goes on the wire or the id of `base_model`, as they
    /// stand or without ARN and geography. An exact id counts before a glob, that before the
    /// catalogue, whose facts of `base_model` are `known`. `None` if there is no price.
    pub fn of(
        &self,
        model: &ModelId,
        base_model: &ModelId,
        known: Option<&catalogue::ModelFacts>,
    ) -> Option<Cow<'_, ModelPrices>> {
        // Prices are rarely configured, so their text is seldom in a cache.
        let states_any = self.states_any();
        let stated = || if states_any { self.stated(model, base_model) } else { None };
        let listed =
            || ModelPrices::listed(&known?.prices).filter(ModelPrices::is_by_token).map(Cow::Owned);
        stated()
            .map(Cow::Borrowed)
            .or_else(listed)
            .or_else(|| self.rest.as_ref().map(Cow::Borrowed))
    }

    fn states_any(&self) -> bool {
        !self.exact.is_empty() || !self.globs.is_empty()
    }

    fn stated(&self, model: &ModelId, base_model: &ModelId) -> Option<&ModelPrices> {
        match self.of_targets.get(model).filter(|stated| stated.base_model == *base_model) {
            Some(stated) => stated.prices.as_deref(),
            None => self.search(model, base_model).map(Arc::as_ref),
        }
    }

    fn search(&self, model: &ModelId, base_model: &ModelId) -> Option<&Arc<ModelPrices>> {
        let ids = [
            Some(model.as_str()),
            model.arn_resource(),
            Some(base_model.as_str()),
            base_model.base(),
        ];
        let ids = || ids.into_iter().flatten();
        let glob = |id: &str| self.globs.iter().find(|(glob, _)| glob.is_match(id));
        ids()
            .find_map(|id| self.exact.get(id))
            .or_else(|| ids().find_map(|id| glob(id).map(|(_, prices)| prices)))
    }
}
