//! Filter directives of the log, such as `info,sluice=debug`.

use tracing_subscriber::filter::Targets;

use super::error::suggestion;

/// The filter of directives such as `info,sluice=debug`; `None` if they are not valid.
pub fn log_filter(directives: &str) -> Option<Targets> {
    let words: Vec<&str> = directives.split(',').map(str::trim).collect();
    // A span would be taken for a part of a module's name.
    let has_spans = directives.contains(['[', ']', '{', '}']);
    words.join(",").parse().ok().filter(|_| !has_spans)
}

/// Checks filter directives. A bare word must be a level: any other is a module's name to the parser,
/// and so a misspelt level "log all of this module".
pub(super) fn check_filter(directives: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    if directives.trim().is_empty() {
        return Err("must not be empty; write it like \"info\"".to_owned());
    }
    let bare = directives.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ']']));
    for word in bare {
        if !LEVELS.contains(&word.to_lowercase().as_str()) {
            let hint = suggestion(word, LEVELS.into_iter());
            return Err(format!("'{word}' is not a level{hint}"));
        }
    }
    log_filter(directives).map(drop).ok_or_else(|| {
        format!("'{directives}' is not a filter; write it like \"info,sluice=debug\"")
    })
}
