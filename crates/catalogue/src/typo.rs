//! What was probably meant by a model id that no layer has.

use std::sync::OnceLock;

use sluice_bedrock::ModelId;

use super::Endpoint;
use super::catalogue::Catalogue;

/// How many letters of an id may differ from what was meant.
const MOST_TYPOS: usize = 2;

/// The known ids of each endpoint as they are compared, once one is needed.
#[derive(Debug, Default)]
pub(super) struct Spellings {
    runtime: OnceLock<Vec<Spelling>>,
    mantle: OnceLock<Vec<Spelling>>,
}

/// An id, and what is left of it.
#[derive(Debug)]
struct Spelling {
    id: String,
    without_digits: String,
    without_date: Option<String>,
    letters: Letters,
}

impl Spelling {
    fn of(id: String) -> Spelling {
        let (without_digits, without_date) = (without_digits(&id), without_date(&id));
        Spelling { without_digits, without_date, letters: Letters::of(&id), id }
    }
}

/// How often an id has each letter. Letters whose last six bits are alike count as one.
#[derive(Debug)]
struct Letters([u8; 64]);

impl Letters {
    fn of(id: &str) -> Letters {
        let mut counts = [0u8; 64];
        for byte in id.bytes() {
            if let Some(count) = counts.get_mut(usize::from(byte & 63)) {
                *count = count.saturating_add(1);
            }
        }
        Letters(counts)
    }

    /// How many typos there are at least between two ids with these letters: each one changes two counts at most.
    fn least_distance(&self, other: &Letters) -> usize {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(one, other)| usize::from(one.abs_diff(*other))).sum::<usize>().div_ceil(2)
    }
}

impl Catalogue {
    /// The id that was probably meant by one that is not in the catalogue of an endpoint: that lacks its `:0`,
    /// has another date, or differs in a letter or two. One that differs in other numbers alone may well be a
    /// newer model.
    pub fn probably_meant(&self, endpoint: Endpoint, model: &ModelId) -> Option<&str> {
        let is_unknown = !self.has_row(endpoint, model);
        let base = model.base().filter(|base| base.contains('.') && is_unknown)?;
        let with_version = format!("{base}:0");
        let unknown = Spelling::of(base.to_owned());
        let distance = |known: &Spelling| {
            let has_same_rest =
                unknown.without_date.is_some() && unknown.without_date == known.without_date;
            if known.id == with_version || has_same_rest {
                return 0;
            }
            // Nearly all ids are spared the comparison, which a config with thousands of targets would wait for.
            if known.letters.least_distance(&unknown.letters) > MOST_TYPOS
                || known.without_digits == unknown.without_digits
            {
                return usize::MAX;
            }
            strsim::osa_distance(&known.id, base)
        };
        let known = self.spellings(endpoint).iter();
        let (least, nearest) = known.map(|known| (distance(known), &known.id)).min()?;
        (least <= MOST_TYPOS).then_some(nearest.as_str())
    }

    fn spellings(&self, endpoint: Endpoint) -> &[Spelling] {
        let spellings = match endpoint {
            Endpoint::Runtime => &self.spellings.runtime,
            Endpoint::Mantle => &self.spellings.mantle,
        };
        spellings.get_or_init(|| self.ids(endpoint).into_iter().map(Spelling::of).collect())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn letters_show_no_more_typos_than_there_are(
            one in "[a-z0-9.:-]{0,20}",
            other in "[a-z0-9.:-]{0,20}",
        ) {
            let typos = strsim::osa_distance(&one, &other);
            prop_assert!(Letters::of(&one).least_distance(&Letters::of(&other)) <= typos);
        }
    }
}
