//! What a configuration is made of on disk: its file and the files that it names, told by their
//! bytes.
//!
//! Times and sizes of files say too little: a file may be written twice within a second, and a
//! mounted volume changes by a swapped link. So files are read whole. What files the config names is
//! asked of its text only when that has changed: one of 100,000 clients takes a second to parse.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::document::Document;
use super::environment::{self, Env};
use super::{MAX_FILE_BYTES, SHIPPED, Source, files};

/// What stands at the start of a value that names a file.
const FILE: &str = "file:";

/// The files of a configuration at one time: equal to another if no byte has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents([u8; 32]);

/// The files of one configuration, for who looks at them again and again.
#[derive(Debug)]
pub struct Files {
    source: Source,
    env: Env,
    named: Option<Named>,
}

/// The files that a config names.
#[derive(Debug)]
struct Named {
    /// The hash of the config alone; of no bytes for the one that is built in.
    config: [u8; 32],
    paths: BTreeSet<PathBuf>,
}

impl Files {
    /// The files of `source`, in this environment.
    pub fn new(source: Source, env: Env) -> Files {
        Files { source, env, named: None }
    }

    /// Reads them. Blocks. A file that can't be read counts as what the system says of it, and one
    /// that can be read only once, such as a pipe, as itself.
    pub fn look(&mut self) -> Contents {
        let mut hash = Context::new(&SHA256);
        let (text, base) = match &self.source {
            Source::File(path) => (add(&mut hash, path), path.parent()),
            Source::BuiltIn => (SHIPPED.as_bytes().to_vec(), None),
        };
        let config = bytes(hash.clone());
        let known = self.named.take().filter(|named| named.config == config);
        let named = known.unwrap_or_else(|| Named {
            config,
            paths: named(&String::from_utf8_lossy(&text), &self.env, base),
        });
        drop(text);
        for path in &named.paths {
            add(&mut hash, path);
        }
        self.named = Some(named);
        Contents(bytes(hash))
    }
}

/// The bytes of a SHA-256.
fn bytes(hash: Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    let sum = hash.finish();
    bytes.iter_mut().zip(sum.as_ref()).for_each(|(byte, sum)| *byte = *sum);
    bytes
}

/// The files that the values of a config name, `file:PATH`.
fn named(text: &str, env: &Env, base: Option<&Path>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    // A text that is no document names nothing; what is wrong with it is said when it is loaded.
    let Ok(mut document) = Document::parse(text, "") else { return found };
    environment::override_keys(&mut document, env);
    let mut values = vec![document.root()];
    while let Some(value) = values.pop() {
        match value {
            toml::Value::String(text) => {
                found.extend(text.strip_prefix(FILE).map(|path| files::resolve(base, path)));
            }
            toml::Value::Array(array) => values.extend(array),
            toml::Value::Table(table) => values.extend(table.iter().map(|(_, value)| value)),
            _ => {}
        }
    }
    found
}

/// Adds a file to the hash, by its name and what is in it, and gives the latter.
fn add(hash: &mut Context, path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = std::fs::metadata(path).and_then(|about| match about.is_file() {
        true => std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes),
        false => Ok(0),
    });
    let outcome = read.map_or_else(|error| format!("{:?}", error.kind()), |_| "read".to_owned());
    let name = path.as_os_str().as_encoded_bytes();
    // Lengths keep the end of one part from being taken for the start of the next.
    for part in [name, outcome.as_bytes(), &bytes] {
        hash.update(&part.len().to_le_bytes());
        hash.update(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs::write;

    use super::*;

    #[test]
    fn the_file_and_those_it_names_count_and_others_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let source = Source::File(at("config.toml"));
        let env: Env = [("SLUICE__SERVER__ADMIN_KEY", "file:admin")].into_iter().collect();
        let mut files = Files::new(source, env);
        let mut seen = vec![files.look()];
        let mut look = |what: &str, is_new: bool| {
            let now = files.look();
            assert_eq!(seen.contains(&now), !is_new, "{what}");
            seen.push(now);
        };
        write(at("config.toml"), "[upstream]\nbearer_token = 'file:token'\n").unwrap();
        look("the file is there", true);
        write(at("config.toml"), "[upstream]\nbearer_token = 'file:token'\n").unwrap();
        look("the same again", false);
        write(at("token"), "one").unwrap();
        look("a file that it names", true);
        write(at("token"), "two").unwrap();
        look("as large as before", true);
        write(at("admin"), "key").unwrap();
        look("a file that a variable names", true);
        write(at("other"), "x").unwrap();
        look("a file that nobody names", false);
        write(at("config.toml"), "[upstream\nbearer_token = 'file:token'\n").unwrap();
        look("no document", true);
        for name in ["config.toml", "admin"] {
            std::fs::remove_file(at(name)).unwrap();
        }
        look("gone, as at the start", false);
    }

    #[test]
    fn a_swapped_link_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, text) in [("one", "[log]\n"), ("two", "[retry]\n")] {
            std::fs::create_dir(at(version)).unwrap();
            write(at(version).join("config.toml"), text).unwrap();
        }
        std::os::unix::fs::symlink("one", at("data")).unwrap();
        std::os::unix::fs::symlink("data/config.toml", at("config.toml")).unwrap();
        let mut files = Files::new(Source::File(at("config.toml")), Env::default());
        let mut look = || files.look();
        let before = look();
        std::os::unix::fs::symlink("two", at("new")).unwrap();
        std::fs::rename(at("new"), at("data")).unwrap();
        assert_ne!(look(), before);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let look = || Files::new(Source::File("/dev/zero".into()), Env::default()).look();
        assert_eq!(look(), look());
    }
}
