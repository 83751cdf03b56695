//! The page with the results, `docs/fault-matrix.md`, in two parts: each test has one.

use parking_lot::Mutex;

use super::root;

/// The first line of the second part.
const SECOND: &str = "# The fault matrix of OpenAI's and Anthropic's APIs\n";

/// A part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Native,
    Apis,
}

/// Both parts are in one file.
static PAGE: Mutex<()> = Mutex::new(());

/// Asserts that the page has this part; writes it first with `UPDATE_DOCS=1`.
pub(super) fn is_written(part: Part, text: &str) {
    let path = root().join("docs/fault-matrix.md");
    let _page = PAGE.lock();
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let (native, apis) = match page.find(SECOND) {
        Some(at) => page.split_at(at),
        None => (page.as_str(), ""),
    };
    let written = if part == Part::Native { native.trim_end() } else { apis.trim_end() };
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let [native, apis] = if part == Part::Native { [text, apis] } else { [native, text] };
        let page = format!("{}\n\n{}", native.trim_end(), apis.trim_end());
        std::fs::write(&path, format!("{}\n", page.trim_end())).unwrap();
        return;
    }
    let differs = text.lines().zip(written.lines()).find(|(text, written)| text != written);
    assert!(
        written == text.trim_end(),
        "docs/fault-matrix.md is out of date, see {differs:?}: run with UPDATE_DOCS=1"
    );
}
