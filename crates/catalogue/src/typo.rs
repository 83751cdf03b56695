//! What was probably meant by a model id that no layer has.

use sluice_bedrock::ModelId;

use super::Endpoint;
use super::catalogue::Catalogue;

impl Catalogue {
    /// The id that was probably meant by one that is not in the catalogue of an endpoint: that lacks its `:0`,
    /// has another date, or differs in a letter or two. One that differs in other numbers alone may well be a
    /// newer model.
    pub fn probably_meant(&self, endpoint: Endpoint, model: &ModelId) -> Option<String> {
        const MOST_TYPOS: usize = 2;
        let is_unknown = !self.has_row(endpoint, model);
        let base = model.base().filter(|base| base.contains('.') && is_unknown)?;
        let with_version = format!("{base}:0");
        let (words, dateless) = (without_digits(base), without_date(base));
        let distance = |id: &str| {
            if id == with_version || dateless.is_some() && without_date(id) == dateless {
                return 0;
            }
            // The difference in length bounds the distance, and spares nearly all ids the comparison.
            if id.len().abs_diff(base.len()) > MOST_TYPOS || without_digits(id) == words {
                return usize::MAX;
            }
            strsim::osa_distance(id, base)
        };
        let known = self.ids(endpoint).into_iter();
        let (least, nearest) = known.map(|id| (distance(&id), id)).min()?;
        (least <= MOST_TYPOS).then_some(nearest)
    }
}

fn without_digits(id: &str) -> String {
    id.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// An id without its date, which is a part of eight digits.
fn without_date(id: &str) -> Option<String> {
    let is_date = |part: &str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = id.split('-').collect();
    let has_date = parts.iter().any(|part| is_date(part));
    let rest: Vec<&str> = parts.into_iter().filter(|part| !is_date(part)).collect();
    has_date.then(|| rest.join("-"))
}
