//! The templates of the legacy prompts: the shipped ones, and those of the file.
//!
//! A template that leaves here compiles; what its variables hold is known only when it is used.

use super::Checker;
use super::template_limits::{self, MAX_TEMPLATE_BYTES};
use crate::config::document::KeyPath;
use crate::config::files;
use crate::config::model::LegacyPrompts;
use crate::config::raw::RawPrompts;

impl Checker<'_> {
    pub(super) fn prompts(&mut self, at: &KeyPath, raw: &RawPrompts) -> LegacyPrompts {
        let shipped = LegacyPrompts::default();
        let mut prompt = |key: &str, given: &Option<String>, shipped: String| match given {
            Some(text) => self.prompt(&at.key(key), text),
            None => shipped,
        };
        LegacyPrompts {
            analysis_system: prompt(
                "analysis_system",
                &raw.analysis_system,
                shipped.analysis_system,
            ),
            analysis: prompt("analysis", &raw.analysis, shipped.analysis),
            chat_system: prompt("chat_system", &raw.chat_system, shipped.chat_system),
            chat: prompt("chat", &raw.chat, shipped.chat),
            test: prompt("test", &raw.test, shipped.test),
        }
    }

    fn prompt(&mut self, at: &KeyPath, text: &str) -> String {
        let (template, origin) = match text.strip_prefix("file:") {
            None => (text.to_owned(), "the template".to_owned()),
            Some(path) => {
                let path = files::resolve(self.base, path);
                let name = format!("the file '{}'", path.display());
                match files::read_text(&path, MAX_TEMPLATE_BYTES) {
                    Ok(template) => (template, name),
                    Err(why) => {
                        self.problem(at, format!("names {name}: {why}"));
                        return String::new();
                    }
                }
            }
        };
        if let Err(why) = template_limits::check(&template) {
            self.problem(at, format!("{origin} {why}"));
        }
        template
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_templates_are_right() {
        let LegacyPrompts { analysis_system, analysis, chat_system, chat, test } =
            LegacyPrompts::default();
        for template in [analysis_system, analysis, chat_system, chat, test] {
            assert_eq!(template_limits::check(&template), Ok(()));
        }
    }
}
