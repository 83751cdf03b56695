//! The files that a configuration is and names.
//!
//! Owns the bound on their size and the place where relative paths start, so that no file, however
//! large, fills the memory.

use std::io::{Error, Read, Result};
use std::path::{Path, PathBuf};

/// A path that a config names: a relative one starts at `base`, the config file's directory.
pub(super) fn resolve(base: Option<&Path>, path: &str) -> PathBuf {
    base.map_or_else(|| PathBuf::from(path), |base| base.join(path))
}

/// Reads a text of at most `max` bytes.
pub(super) fn read_text(path: &Path, max: u64) -> Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(max + 1).read_to_string(&mut text)?;
    within(read, max).map(|()| text)
}

/// Reads a file of at most `max` bytes.
pub(super) fn read_bytes(path: &Path, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    within(read, max).map(|()| bytes)
}

fn within(read: usize, max: u64) -> Result<()> {
    if read as u64 > max {
        return Err(Error::other(format!("it is larger than {}", in_words(max))));
    }
    Ok(())
}

/// A number of bytes that is whole KiB.
pub(super) fn in_words(bytes: u64) -> String {
    match bytes >> 10 {
        kib if kib % 1024 == 0 => format!("{}MiB", kib >> 10),
        kib => format!("{kib}KiB"),
    }
}
