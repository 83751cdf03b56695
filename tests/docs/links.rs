//! Relative links and their anchors resolve, and the source files that pages name exist.

use std::path::{Component, Path, PathBuf};

use crate::page::{Page, page, pages, root};

#[test]
fn relative_links_and_their_anchors_resolve() {
    let pages = pages();
    let mut broken = Vec::new();
    for page in &pages {
        for link in &page.links {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            if let Err(why) = resolve(&pages, page, link) {
                broken.push(format!("{}: {link}: {why}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_index_links_every_page_of_the_documentation() {
    let index = page("docs/README.md");
    let linked = |page: &Page| {
        let path = page.path.strip_prefix("docs").unwrap_or(&page.path);
        index.links.iter().any(|link| Path::new(link.split('#').next().unwrap_or(link)) == path)
    };
    let pages = pages().into_iter().filter(|it| it.path.starts_with("docs"));
    let pages = pages.filter(|it| it.path != index.path);
    let missing: Vec<_> = pages.filter(|it| !linked(it)).map(|it| it.path).collect();
    assert!(missing.is_empty(), "docs/README.md does not link {missing:?}");
}

/// The file or folder that `module/file.rs` stands for on a page: one of `src/`, or of a crate.
fn source(code: &str) -> Option<PathBuf> {
    let (module, rest) = code.split_once('/')?;
    let in_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    if module.is_empty() || !rest.chars().all(in_path) {
        return None;
    }
    let module = match module {
        "bedrock" | "config" | "simulator" => format!("crates/{module}/src"),
        _ => format!("src/{module}"),
    };
    root().join(&module).is_dir().then(|| Path::new(&module).join(rest))
}

#[test]
fn source_files_that_pages_name_exist() {
    let mut missing = Vec::new();
    let mut count = 0;
    for page in pages() {
        for path in page.code.iter().filter_map(|code| source(code)) {
            count += 1;
            if !root().join(&path).exists() {
                missing.push(format!("{}: {}", page.path.display(), path.display()));
            }
        }
    }
    assert!(count > 100, "{count} names of source files");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

fn resolve(pages: &[Page], from: &Page, link: &str) -> Result<(), &'static str> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = match path {
        "" => from.path.clone(),
        path => normal(&from.path.parent().unwrap_or(Path::new("")).join(path)),
    };
    if !root().join(&path).exists() {
        return Err("there is no such file");
    }
    if anchor.is_empty() {
        return Ok(());
    }
    let page = pages.iter().find(|page| page.path == path).ok_or("an anchor in no page")?;
    match page.anchors.iter().any(|known| known == anchor) {
        true => Ok(()),
        false => Err("the page has no such heading"),
    }
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}
