//! The catalogue of models: what is built in, with the operator's file on top.

use std::sync::Arc;

use sluice_catalogue::{Catalogue, MAX_FILE_BYTES};

use super::Checker;
use crate::document::KeyPath;
use crate::files;
use crate::model::CatalogueSettings;
use crate::reference::Scope;

impl Checker<'_> {
    pub(super) fn known_models(&mut self, settings: &CatalogueSettings) -> Arc<Catalogue> {
        let shipped = Catalogue::shipped();
        let Some(file) = settings.file.as_ref().filter(|_| self.scope == Scope::Whole) else {
            return shipped;
        };
        let path = files::resolve(self.base, file);
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let read = files::read_text(&path, MAX_FILE_BYTES).map_err(|error| error.to_string());
        let catalogue = read
            .and_then(|text| shipped.with_file(&name, &text).map_err(|error| error.to_string()));
        match catalogue {
            Ok(catalogue) => Arc::new(catalogue),
            Err(why) => {
                let message = format!("the catalogue '{}': {why}", path.display());
                self.problem(&KeyPath::from(["catalogue", "file"]), message);
                shipped
            }
        }
    }
}
