//! Beta flags of Anthropic's Messages: which of them each way to Bedrock takes, and by which name.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Longest beta flag, in bytes.
const MAX_FLAG_BYTES: usize = 128;

/// The flags of one way, by their names in requests: the name that Bedrock takes there, or `None` for one that
/// it refuses. It refuses what is not here, too.
pub type BetaTable = BTreeMap<String, Option<String>>;

/// A way to Bedrock that has beta flags of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BetaSurface {
    /// InvokeModel and Messages at Bedrock Runtime.
    InvokeModel,
    /// Converse.
    Converse,
    /// Messages at the mantle endpoint.
    Mantle,
}

impl BetaSurface {
    /// Every one.
    pub const ALL: [BetaSurface; 3] =
        [BetaSurface::InvokeModel, BetaSurface::Converse, BetaSurface::Mantle];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            BetaSurface::InvokeModel => "invoke_model",
            BetaSurface::Converse => "converse",
            BetaSurface::Mantle => "mantle",
        }
    }
}

/// The flags of every way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Betas {
    invoke_model: BetaTable,
    converse: BetaTable,
    mantle: BetaTable,
}

impl Betas {
    /// The flags of one way.
    pub(super) fn of(&self, surface: BetaSurface) -> &BetaTable {
        match surface {
            BetaSurface::InvokeModel => &self.invoke_model,
            BetaSurface::Converse => &self.converse,
            BetaSurface::Mantle => &self.mantle,
        }
    }

    /// These with others on top, flag by flag.
    pub(super) fn below(mut self, above: &Betas) -> Betas {
        let Betas { invoke_model, converse, mantle } = above;
        let tables = [&mut self.invoke_model, &mut self.converse, &mut self.mantle];
        for (table, above) in tables.into_iter().zip([invoke_model, converse, mantle]) {
            table.extend(above.iter().map(|(flag, taken)| (flag.clone(), taken.clone())));
        }
        self
    }

    /// Checks that every flag can stand in a header beside others.
    pub(super) fn check(&self) -> Result<(), String> {
        for surface in BetaSurface::ALL {
            for (flag, taken) in self.of(surface) {
                if let Some(wrong) =
                    [Some(flag), taken.as_ref()].into_iter().flatten().find(|it| !is_flag(it))
                {
                    let name = surface.name();
                    return Err(format!("{name}: '{wrong}' is no beta flag"));
                }
            }
        }
        Ok(())
    }
}

fn is_flag(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_FLAG_BYTES).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, FileError};

    const RENAMED: &str = "advanced-tool-use-2025-11-20";

    fn taken<'c>(catalogue: &'c Catalogue, surface: BetaSurface, flag: &str) -> Option<&'c str> {
        catalogue.betas(surface).get(flag)?.as_deref()
    }

    fn with(betas: &str) -> Result<Catalogue, FileError> {
        let text = format!(r#"{{"format":1,"date":"2026-11-28","betas":{betas}}}"#);
        Catalogue::shipped().with_file("own", &text)
    }

    #[test]
    fn each_way_takes_flags_of_its_own() {
        let shipped = Catalogue::shipped();
        let claude_code = "claude-code-20250219";
        let tool_search = Some("tool-search-tool-2025-10-19");
        for (surface, renamed, own) in [
            (BetaSurface::InvokeModel, tool_search, None),
            (BetaSurface::Converse, None, None),
            (BetaSurface::Mantle, tool_search, Some(claude_code)),
        ] {
            assert_eq!(taken(&shipped, surface, RENAMED), renamed, "{surface:?}");
            assert_eq!(taken(&shipped, surface, claude_code), own, "{surface:?}");
            assert_eq!(taken(&shipped, surface, "files-api-2025-04-14"), None, "{surface:?}");
        }
    }

    #[test]
    fn a_file_corrects_the_table_flag_by_flag() {
        let betas = format!(r#"{{"mantle":{{"{RENAMED}":null,"new-2027":"new-2027"}}}}"#);
        let corrected = with(&betas).unwrap();
        assert_eq!(taken(&corrected, BetaSurface::Mantle, RENAMED), None);
        assert_eq!(taken(&corrected, BetaSurface::Mantle, "new-2027"), Some("new-2027"));
        assert!(taken(&corrected, BetaSurface::Mantle, "claude-code-20250219").is_some());
        assert!(taken(&corrected, BetaSurface::InvokeModel, RENAMED).is_some());
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        for wrong in [
            r#"{"mantle":{"a,b":null}}"#,
            r#"{"converse":{"a":"b\r\nc"}}"#,
            r#"{"mantle":{"":null}}"#,
        ] {
            let why = with(wrong).unwrap_err().to_string();
            assert!(why.starts_with("betas: ") && why.contains("is no beta flag"), "{why}");
        }
        assert!(with(r#"{"invoke":{}}"#).is_err());
    }
}
