//! The merge of rows: objects field by field, all else as a whole, and `null` makes a value unknown again.

use serde_json::{Map, Value};

/// Lays `above` on top of `below`. `set` is called for each value that is set, with its path.
pub(super) fn merge(
    below: &mut Map<String, Value>,
    above: Map<String, Value>,
    path: &mut Vec<String>,
    set: &mut impl FnMut(&[String]),
) {
    for (key, value) in above {
        path.push(key);
        let key = path.last().cloned().unwrap_or_default();
        match value {
            Value::Null => drop(below.remove(&key)),
            Value::Object(fields) => {
                let slot = below.entry(key).or_insert_with(|| Value::Object(Map::new()));
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(inner) = slot {
                    merge(inner, fields, path, set);
                }
            }
            value => {
                set(path);
                below.insert(key, value);
            }
        }
        path.pop();
    }
}

/// The values of a merged row with their paths, in order.
pub(super) fn leaves(row: &Map<String, Value>) -> Vec<(Vec<String>, Value)> {
    fn walk(row: &Map<String, Value>, path: &mut Vec<String>, all: &mut Vec<(Vec<String>, Value)>) {
        for (key, value) in row {
            path.push(key.clone());
            match value {
                Value::Object(fields) => walk(fields, path, all),
                value => all.push((path.clone(), value.clone())),
            }
            path.pop();
        }
    }
    let mut all = Vec::new();
    walk(row, &mut Vec::new(), &mut all);
    all
}
