//! What differs between two catalogue files.

use std::path::Path;
use std::sync::Arc;

use super::{DiffArguments, read};
use crate::catalogue::{Difference, Layer, differences};
use crate::cli::print;

/// The name of the file that is built in.
const SHIPPED: &str = "shipped";

pub(super) fn run(arguments: &DiffArguments) -> Result<(), String> {
    let (before, after) = (layer(&arguments.before)?, layer(&arguments.after)?);
    let found = differences(&before, &after);
    if arguments.json {
        print(&serde_json::to_string_pretty(&found).map_err(|error| error.to_string())?);
        return Ok(());
    }
    print(&format!(
        "{} of {} and {} of {}",
        arguments.before,
        before.date(),
        arguments.after,
        after.date()
    ));
    print_differences(&found);
    Ok(())
}

fn layer(name: &str) -> Result<Arc<Layer>, String> {
    if name == SHIPPED { Ok(Layer::shipped()) } else { Ok(Arc::new(read(Path::new(name))?)) }
}

/// Prints each difference on a line, under its row.
pub(super) fn print_differences(found: &[Difference]) {
    let mut last = None;
    for Difference { endpoint, row, field, before, after } in found {
        if last != Some((*endpoint, row)) {
            last = Some((*endpoint, row));
            let endpoint = endpoint.map(|it| format!("{} ", it.name())).unwrap_or_default();
            print(&format!("{endpoint}{row}"));
        }
        print(&match (before, after) {
            (Some(before), Some(after)) => format!("  {field}: {before} -> {after}"),
            (None, Some(after)) => format!("  {field}: new, {after}"),
            (Some(before), None) => format!("  {field}: gone, was {before}"),
            (None, None) => format!("  {field}"),
        });
    }
    if found.is_empty() {
        print("no difference");
    }
}
