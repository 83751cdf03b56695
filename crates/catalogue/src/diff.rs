//! What differs between two files of a catalogue, value by value.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::Endpoint;
use super::betas::{BetaSurface, BetaTable, Betas};
use super::layer::Layer;
use super::merge::leaves;

/// A value that two files have differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The endpoint of the row; `None` for beta flags, which are of no model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The key of the row, or `betas`.
    pub row: String,
    /// The field, with dots: `prices.standard.input`.
    pub field: String,
    /// The value in the first file; `None` if it has none.
    pub before: Option<Value>,
    /// The value in the second file; `None` if it has none.
    pub after: Option<Value>,
}

/// The values that differ: those of beta flags, then those of rows in order of endpoint, row and field.
pub fn differences(before: &Layer, after: &Layer) -> Vec<Difference> {
    let mut all = of_betas(before.betas(), after.betas());
    for endpoint in Endpoint::ALL {
        let rows = |layer: &Layer| -> BTreeMap<String, BTreeMap<String, Value>> {
            let rows = layer.texts(endpoint).map(|(key, text)| {
                let row = match serde_json::from_str(text) {
                    Ok(Value::Object(row)) => row,
                    _ => serde_json::Map::new(),
                };
                let values = leaves(&row).into_iter();
                (key.to_owned(), values.map(|(path, value)| (path.join("."), value)).collect())
            });
            rows.collect()
        };
        let (before, after) = (rows(before), rows(after));
        for row in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let (old, new) = (before.get(row), after.get(row));
            let fields = old.into_iter().chain(new).flat_map(BTreeMap::keys);
            for field in fields.collect::<BTreeSet<_>>() {
                let value = |values: Option<&BTreeMap<String, Value>>| values?.get(field).cloned();
                let (before, after) = (value(old), value(new));
                if before != after {
                    let (endpoint, row, field) = (Some(endpoint), row.clone(), field.clone());
                    all.push(Difference { endpoint, row, field, before, after });
                }
            }
        }
    }
    all
}

fn of_betas(before: &Betas, after: &Betas) -> Vec<Difference> {
    let differing = BetaSurface::ALL.into_iter().flat_map(|surface| {
        let (before, after) = (before.of(surface), after.of(surface));
        let flags: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        flags.into_iter().filter_map(move |flag| {
            let value = |table: &BetaTable| table.get(flag).cloned().map(Value::from);
            let (before, after) = (value(before), value(after));
            let field = format!("{}.{flag}", surface.name());
            let row = "betas".to_owned();
            (before != after).then_some(Difference { endpoint: None, row, field, before, after })
        })
    });
    differing.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changed_new_and_lost_values_are_named() {
        let layer = |runtime: Value| {
            let text = json!({ "format": 1, "date": "2026-11-28", "runtime": runtime }).to_string();
            Layer::read("one", &text).unwrap()
        };
        let before = layer(
            json!({ "acme.a": { "burndown": 1, "mode": "chat" }, "acme.b": { "burndown": 2 } }),
        );
        let after = layer(
            json!({ "acme.a": { "burndown": 3, "mode": "chat" }, "acme.*": { "burndown": 4 } }),
        );
        let found = differences(&before, &after);
        let found: Vec<_> =
            found.iter().map(|it| (&*it.row, &*it.field, &it.before, &it.after)).collect();
        let (one, two) = (Some(json!(1)), Some(json!(2)));
        let (three, four) = (Some(json!(3)), Some(json!(4)));
        assert_eq!(
            found,
            [
                ("acme.*", "burndown", &None, &four),
                ("acme.a", "burndown", &one, &three),
                ("acme.b", "burndown", &two, &None),
            ]
        );
        assert_eq!(differences(&after, &after), []);
    }

    #[test]
    fn changed_beta_flags_are_named() {
        let layer = |betas: Value| {
            let text = json!({ "format": 1, "date": "2026-11-28", "betas": betas }).to_string();
            Layer::read("one", &text).unwrap()
        };
        let before = layer(json!({ "mantle": { "a": "a", "b": null } }));
        let after = layer(json!({ "mantle": { "a": null, "b": null }, "converse": { "c": "d" } }));
        let found = differences(&before, &after);
        let found: Vec<_> = found.iter().map(|it| (&*it.field, &it.before, &it.after)).collect();
        assert_eq!(
            found,
            [
                ("converse.c", &None, &Some(json!("d"))),
                ("mantle.a", &Some(json!("a")), &Some(Value::Null)),
            ]
        );
    }
}
