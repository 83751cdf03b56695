//! One layer of a catalogue: the rows of one file, found by id or glob.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use glob::Pattern;
use serde_json::value::RawValue;
use sluice_bedrock::Date;

use super::Endpoint;
use super::betas::Betas;
use super::file::{FORMAT, File, FileError, Row};

type RowText = Cow<'static, RawValue>;

/// The rows of one file.
#[derive(Debug, Default)]
pub struct Layer {
    name: Arc<str>,
    date: Date,
    /// The hash of its text.
    hash: u64,
    betas: Betas,
    runtime: Rows,
    mantle: Rows,
}

impl PartialEq for Layer {
    fn eq(&self, other: &Layer) -> bool {
        (&self.name, self.hash) == (&other.name, other.hash)
    }
}

#[derive(Debug, Default)]
struct Rows {
    exact: HashMap<Cow<'static, str>, RowText>,
    /// Globs, those with the fewest literal characters first.
    globs: Vec<(Pattern, RowText)>,
}

impl Layer {
    /// Reads a text and checks every row. `name` stands for it where values are explained.
    ///
    /// # Errors
    /// When the text or one of its rows is wrong.
    pub fn read(name: &str, text: &str) -> Result<Layer, FileError> {
        let file: File<'_, String> = parse(text)?;
        for (endpoint, rows) in [("runtime", &file.runtime), ("mantle", &file.mantle)] {
            for (key, row) in rows {
                let wrong = |reason| FileError::Row { endpoint, row: key.clone(), reason };
                if key.contains('*') {
                    Pattern::new(key).map_err(|error| wrong(error.to_string()))?;
                }
                Row::read(row.get()).map_err(wrong)?;
            }
        }
        file.betas.check().map_err(FileError::Betas)?;
        let owned = |rows: Vec<(String, &RawValue)>| {
            let rows = rows.into_iter();
            Rows::of(rows.map(|(key, row)| (Cow::Owned(key), Cow::Owned(row.to_owned()))))
        };
        let (runtime, mantle, betas) = (owned(file.runtime), owned(file.mantle), file.betas);
        Ok(Layer { name: name.into(), date: file.date, hash: hash(text), betas, runtime, mantle })
    }

    /// Reads a text that is compiled in, without a check of its rows and without a copy of them.
    pub(super) fn compiled_in(name: &str, text: &'static str) -> Result<Layer, FileError> {
        let file: File<'static, &'static str> = parse(text)?;
        let borrowed = |rows: Vec<(&'static str, &'static RawValue)>| {
            let rows = rows.into_iter();
            Rows::of(rows.map(|(key, row)| (Cow::Borrowed(key), Cow::Borrowed(row))))
        };
        let (runtime, mantle, betas) = (borrowed(file.runtime), borrowed(file.mantle), file.betas);
        Ok(Layer { name: name.into(), date: file.date, hash: hash(text), betas, runtime, mantle })
    }

    /// The layer that is built in.
    pub fn shipped() -> Arc<Layer> {
        let catalogue = super::Catalogue::shipped();
        // It has this one layer.
        catalogue.layers().first().cloned().unwrap_or_default()
    }

    /// Its name where values are explained.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The day of its facts.
    pub fn date(&self) -> Date {
        self.date
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        [&self.runtime, &self.mantle].iter().map(|rows| rows.exact.len() + rows.globs.len()).sum()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its beta flags.
    pub(super) fn betas(&self) -> &Betas {
        &self.betas
    }

    /// The keys of all its rows, globs included, and their texts.
    pub(super) fn texts(&self, endpoint: Endpoint) -> impl Iterator<Item = (&str, &str)> {
        let rows = self.rows(endpoint);
        let globs = rows.globs.iter().map(|(glob, row)| (glob.as_str(), row.get()));
        rows.exact.iter().map(|(key, row)| (&**key, row.get())).chain(globs)
    }

    /// The exact ids of its rows.
    pub(super) fn ids(&self, endpoint: Endpoint) -> impl Iterator<Item = &str> {
        self.rows(endpoint).exact.keys().map(|key| &**key)
    }

    /// The ids whose rows say by which names they go, with these; no names where a row has `null`.
    pub(super) fn names(&self, endpoint: Endpoint) -> impl Iterator<Item = (&str, Vec<String>)> {
        #[derive(serde::Deserialize)]
        struct Named {
            #[serde(default, deserialize_with = "present")]
            names: Option<Option<Vec<String>>>,
        }
        let exact = self.rows(endpoint).exact.iter();
        exact.filter_map(|(key, row)| {
            let Named { names } = serde_json::from_str(row.get()).ok()?;
            Some((&**key, names?.unwrap_or_default()))
        })
    }

    /// The rows that count for a model, the least specific first: by its base id, then by the id as it is
    /// called.
    pub(super) fn matching<'a>(
        &'a self,
        endpoint: Endpoint,
        base: &'a str,
        full: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a RawValue)> {
        let rows = self.rows(endpoint);
        let globs = rows.globs.iter().filter(move |(glob, _)| glob.matches(base));
        let globs = globs.map(|(glob, row)| (glob.as_str(), &**row));
        let exact = [Some(base), Some(full).filter(|full| *full != base)];
        let exact = exact.into_iter().flatten().filter_map(move |id| {
            let (key, row) = rows.exact.get_key_value(id)?;
            Some((&**key, &**row))
        });
        globs.chain(exact)
    }

    fn rows(&self, endpoint: Endpoint) -> &Rows {
        match endpoint {
            Endpoint::Runtime => &self.runtime,
            Endpoint::Mantle => &self.mantle,
        }
    }
}

impl Rows {
    fn of(rows: impl Iterator<Item = (Cow<'static, str>, RowText)>) -> Rows {
        let (mut exact, mut globs) = (HashMap::new(), Vec::new());
        for (key, row) in rows {
            match key.contains('*').then(|| Pattern::new(&key)) {
                Some(Ok(glob)) => globs.push((glob, row)),
                // A key that is no valid glob counts as an exact id.
                Some(Err(_)) | None => drop(exact.insert(key, row)),
            }
        }
        globs.sort_by_cached_key(|(glob, _)| {
            let literal = glob.as_str().chars().filter(|c| *c != '*').count();
            (literal, glob.as_str().to_owned())
        });
        Rows { exact, globs }
    }
}

/// Tells a field that is null from one that is not there.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn parse<'a, K>(text: &'a str) -> Result<File<'a, K>, FileError>
where
    K: serde::Deserialize<'a> + Eq + std::hash::Hash + Clone,
{
    // The format comes first, so that a file of a later version is called that and not malformed.
    #[derive(serde::Deserialize)]
    struct Header {
        format: u32,
    }
    let header: Header = serde_json::from_str(text).map_err(FileError::Malformed)?;
    if header.format != FORMAT {
        return Err(FileError::Format(header.format));
    }
    serde_json::from_str(text).map_err(FileError::Malformed)
}
