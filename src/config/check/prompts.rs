//! The templates of the legacy prompts: the shipped ones, and those of the file.
//!
//! A template that leaves here compiles; what its variables hold is known only when it is used.

use super::Checker;
use super::template::{self, MAX_TEMPLATE_BYTES};
use crate::config::document::KeyPath;
use crate::config::files;
use crate::config::raw::RawPrompts;
use crate::config::settings::LegacyPrompts;

const ANALYSIS_SYSTEM: &str = include_str!("../prompts/analysis_system.jinja");
const ANALYSIS: &str = include_str!("../prompts/analysis.jinja");
const CHAT_SYSTEM: &str = include_str!("../prompts/chat_system.jinja");
const CHAT: &str = include_str!("../prompts/chat.jinja");
const TEST: &str = include_str!("../prompts/test.jinja");

impl Checker<'_> {
    pub(super) fn prompts(&mut self, at: &KeyPath, raw: &RawPrompts) -> LegacyPrompts {
        let mut prompt = |key: &str, given: &Option<String>, shipped: &str| match given {
            Some(text) => self.prompt(&at.key(key), text),
            None => shipped.to_owned(),
        };
        LegacyPrompts {
            analysis_system: prompt("analysis_system", &raw.analysis_system, ANALYSIS_SYSTEM),
            analysis: prompt("analysis", &raw.analysis, ANALYSIS),
            chat_system: prompt("chat_system", &raw.chat_system, CHAT_SYSTEM),
            chat: prompt("chat", &raw.chat, CHAT),
            test: prompt("test", &raw.test, TEST),
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
        if let Err(why) = template::check(&template) {
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
        for template in [ANALYSIS_SYSTEM, ANALYSIS, CHAT_SYSTEM, CHAT, TEST] {
            assert_eq!(template::check(template), Ok(()));
        }
    }
}
