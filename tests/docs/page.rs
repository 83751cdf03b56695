//! The pages: their headings, links and code.

use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A Markdown file.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Its path, from the root of the repository.
    pub(crate) path: PathBuf,
    /// The anchors of its headings.
    pub(crate) anchors: Vec<String>,
    /// The targets of its links and images.
    pub(crate) links: Vec<String>,
    /// Its inline code.
    pub(crate) code: Vec<String>,
    /// Its code blocks.
    pub(crate) blocks: Vec<Block>,
}

/// A fenced code block.
#[derive(Debug)]
pub(crate) struct Block {
    /// The text after the opening fence: the language, and options for tests.
    pub(crate) info: String,
    /// The code.
    pub(crate) text: String,
}

impl Block {
    /// The language.
    pub(crate) fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }

    /// The value of the option `name=value` after the language.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.info.split(' ').filter_map(|option| option.split_once('='));
        options.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

impl Page {
    /// All code of the page, inline and in blocks, except Rust, which `cargo test --doc` compiles.
    pub(crate) fn all_code(&self) -> impl Iterator<Item = &str> {
        let blocks = self.blocks.iter().filter(|block| block.language() != "rust");
        let blocks = blocks.map(|block| block.text.as_str());
        self.code.iter().map(String::as_str).chain(blocks)
    }

    fn read(root: &Path, path: PathBuf) -> Page {
        let text = std::fs::read_to_string(root.join(&path)).unwrap();
        let mut page = Page { path, ..Page::default() };
        let mut heading: Option<String> = None;
        let mut in_block = false;
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let title = heading.take().unwrap_or_default();
                    page.add_anchor(&title);
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    page.blocks.push(Block { info, text: String::new() });
                    in_block = true;
                }
                Event::End(TagEnd::CodeBlock) => in_block = false,
                Event::Text(text) if in_block => {
                    let block = page.blocks.last_mut().expect("text of a block is in one");
                    block.text.push_str(&text);
                }
                Event::Text(text) => heading.iter_mut().for_each(|title| title.push_str(&text)),
                Event::Code(code) => {
                    heading.iter_mut().for_each(|title| title.push_str(&code));
                    page.code.push(code.into_string());
                }
                _ => {}
            }
        }
        page
    }

    /// Adds the anchor that GitHub gives a heading: lower case, spaces as hyphens, no other
    /// punctuation; and a number if the page already has the same one.
    fn add_anchor(&mut self, title: &str) {
        let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchor: String = title.to_lowercase().chars().filter(|c| kept(*c)).collect();
        let anchor = anchor.replace(' ', "-");
        let same = self.anchors.iter().filter(|it| **it == anchor).count();
        self.anchors.push(if same == 0 { anchor } else { format!("{anchor}-{same}") });
    }
}

/// The folder of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the repository.
pub(crate) fn pages() -> Vec<Page> {
    let mut paths = Vec::new();
    for folder in ["", "docs", "deploy", "helm", "bench", "fuzz", "examples", "crates"] {
        find(&root().join(folder), folder.is_empty(), &mut paths);
    }
    let relative = |path: PathBuf| path.strip_prefix(root()).map(Path::to_path_buf).unwrap();
    let pages: Vec<_> = paths.into_iter().map(|path| Page::read(root(), relative(path))).collect();
    assert!(pages.len() > 20, "the pages are found");
    pages
}

/// The page at this path.
pub(crate) fn page(path: &str) -> Page {
    Page::read(root(), PathBuf::from(path))
}

fn find(folder: &Path, is_flat: bool, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let is_built = ["target", "node_modules"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !is_flat && !is_built {
            find(&path, false, paths);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
}
