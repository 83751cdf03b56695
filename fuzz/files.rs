//! What holds for whatever operators write: configs, catalogues, patterns.

use std::sync::Arc;

use sluice::bedrock::ModelId;
use sluice::catalogue::{Catalogue, Endpoint, Layer, differences};
use sluice::config::{Config, Env, Glob};

/// Config files: loaded, or refused with a reason.
pub fn config(text: &str) {
    if let Err(error) = Config::from_toml(text, "config.toml", &Env::default()) {
        assert!(!error.to_string().is_empty());
    }
}

/// Catalogues: refused with a reason, or read so that each of their rows has its facts.
pub fn catalogue(text: &str) {
    let layer = match Layer::read("own", text) {
        Ok(layer) => Arc::new(layer),
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let shipped = Layer::shipped();
    differences(&shipped, &layer);
    let catalogue = Catalogue::of(vec![shipped, Arc::clone(&layer)]);
    let alone = Catalogue::of(vec![layer]);
    for endpoint in Endpoint::ALL {
        for id in alone.ids(endpoint).iter().take(16) {
            let Ok(model) = ModelId::new(id) else { continue };
            assert!(alone.has_row(endpoint, &model), "{id}");
            for catalogue in [&alone, &catalogue] {
                catalogue.facts(&model, "us-east-1");
                catalogue.explain(endpoint, &model, "eu-west-1");
                catalogue.burndown(&model);
                catalogue.id_at_runtime(&model);
                catalogue.id_at_mantle(&model);
                catalogue.model_named(id);
            }
        }
    }
}

/// Patterns of names: the first line is a pattern, the rest a name. What has no special character describes
/// itself alone, and so does any name with its characters escaped.
pub fn glob(text: &str) {
    let (pattern, name) = text.split_once('\n').unwrap_or((text, ""));
    let is_plain = !pattern.contains(['*', '?', '[', '{', '}', '\\']);
    if let Ok(glob) = Glob::new(pattern) {
        let is_match = glob.is_match(name);
        assert!(!is_plain || is_match == (pattern == name));
    } else {
        assert!(!is_plain || pattern.len() > 2048, "{pattern}");
    }
    let escaped: String = name.chars().flat_map(|char| ['\\', char]).collect();
    if escaped.len() <= 2048 {
        let glob = Glob::new(&escaped).expect("escaped characters are a pattern");
        assert!(glob.is_match(name), "{escaped}");
        assert_eq!(glob.is_match(pattern), pattern == name, "{escaped}");
    }
    if let Ok(any) = Glob::new(&format!("{escaped}*")) {
        assert!(any.is_match(&format!("{name}{pattern}")), "{escaped}*");
    }
}
