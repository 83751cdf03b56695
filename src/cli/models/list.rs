//! The list of models: as a table, value by value with their sources, or as JSON.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::ListArguments;
use crate::catalogue::Endpoint;
use crate::cli::{load, print, runtime};
use crate::config::{FactSource, KnownModel, ModelFilter};

/// Columns of the table.
const HEADINGS: [&str; 8] =
    ["MODEL", "TARGET", "CONTEXT", "OUTPUT", "$ IN", "$ OUT", "RETIRES", "SURFACES"];

pub(super) fn run(arguments: ListArguments) -> Result<(), String> {
    let ListArguments { name, surface, feature, long, json, running, admin_port } = arguments;
    let filter = ModelFilter { name, surface, feature };
    if running {
        let port = admin_port.connect()?;
        let answer = runtime(Some(1))?.block_on(async {
            port.get::<Value>(&format!("/admin/models{}", query(&filter))).await
        });
        let answer = answer.map_err(|error| error.to_string())?;
        // The gateway's own form has all that the table needs, and more.
        return print_json(answer.get("models").unwrap_or(&answer));
    }
    let loaded = load::load(&admin_port.into_config().source()).map_err(|error| error.report())?;
    let models = loaded.config.list_models(&filter);
    if json {
        return print_json(&serde_json::to_value(&models).map_err(|error| error.to_string())?);
    }
    if models.is_empty() {
        return Err("no model is like that".to_owned());
    }
    if long || models.len() == 1 {
        models.iter().for_each(print_values);
    } else {
        print_table(&models);
    }
    Ok(())
}

fn print_json(value: &Value) -> Result<(), String> {
    print(&serde_json::to_string_pretty(value).map_err(|error| error.to_string())?);
    Ok(())
}

fn query(filter: &ModelFilter) -> String {
    let ModelFilter { name, surface, feature } = filter;
    let parts = [("name", name), ("surface", surface), ("feature", feature)];
    let parts = parts.into_iter().filter_map(|(key, value)| {
        let value = utf8_percent_encode(value.as_ref()?, NON_ALPHANUMERIC);
        Some(format!("{key}={value}"))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

fn print_table(models: &[KnownModel]) {
    let rows = models.iter().map(|model| {
        let shown = |field: &str| model.value(field).map(shown).unwrap_or_default();
        let id = match model.endpoint {
            Endpoint::Runtime => model.model.clone(),
            Endpoint::Mantle => format!("{} (mantle)", model.model),
        };
        let surfaces: Vec<&str> = model.texts("surfaces").collect();
        [
            id,
            model.target.clone().unwrap_or_default(),
            shown("max_input_tokens"),
            shown("max_output_tokens"),
            shown("prices.standard.input"),
            shown("prices.standard.output"),
            shown("retires"),
            surfaces.join(" "),
        ]
    });
    let rows: Vec<[String; 8]> = std::iter::once(HEADINGS.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        print(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

fn print_values(model: &KnownModel) {
    let place = match (&model.target, &model.region) {
        (Some(target), Some(region)) => format!(", target '{target}' in {region}"),
        _ => String::new(),
    };
    print(&format!("{} at {}{place}", model.model, model.endpoint.name()));
    let width = model.facts.keys().map(|field| field.chars().count()).max().unwrap_or_default();
    for (field, fact) in &model.facts {
        print(&format!("  {field:width$}  {}  ({})", shown(&fact.value), source(&fact.from)));
    }
    print("");
}

fn source(from: &FactSource) -> String {
    match from {
        FactSource::Catalogue(origin) => {
            let variant =
                origin.variant.as_ref().map(|it| format!(", variant '{it}'")).unwrap_or_default();
            format!("{} of {}, row '{}'{variant}", origin.layer, origin.date, origin.row)
        }
        FactSource::Target { target } => format!("target '{target}'"),
        FactSource::Assumed { assumed_at } => {
            format!("assumed of any model at {}", assumed_at.name())
        }
        FactSource::Learned { learned_by } => format!("learned by target '{learned_by}'"),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
