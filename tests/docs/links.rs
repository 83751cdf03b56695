//! Relative links and their anchors resolve.

use std::path::{Component, Path, PathBuf};

use crate::page::{Page, pages, root};

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
