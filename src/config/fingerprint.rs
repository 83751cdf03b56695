//! What a configuration is made of on disk: its file and the files that it names, told by their
//! bytes.
//!
//! A config of 100,000 clients has 18 MB, too much to be read every few seconds. So a file is read
//! again only when what the system says of it has changed, or may not show a change: when it was
//! written so shortly before it was read that another writing may have the same time. For file
//! systems that don't tell, it is read once in a while whatever is said of it. What files the
//! config names is asked of its text only when that has changed: it takes a second to parse.

use std::collections::{BTreeSet, HashMap};
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use tokio::time::Instant;

use super::document::Document;
use super::environment::{self, Env};
use super::{MAX_FILE_BYTES, SHIPPED, Source, files};

/// What stands at the start of a value that names a file.
const FILE: &str = "file:";

/// Longest step between two times that a file system tells apart, with much to spare.
const TICK: Duration = Duration::from_secs(5);

/// What is said of a file is believed for so long.
const TRUST: Duration = Duration::from_secs(60);

/// The files of a configuration at one time: equal to another if no byte has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// The files of one configuration, for who looks at them again and again.
#[derive(Debug)]
pub struct Files {
    source: Source,
    env: Env,
    named: Option<Named>,
    /// Those that were read.
    known: HashMap<PathBuf, Known>,
}

/// The files that a config names.
#[derive(Debug)]
struct Named {
    /// The hash of the config alone; of no bytes for the one that is built in.
    config: [u8; 32],
    paths: BTreeSet<PathBuf>,
}

/// A file that was read.
#[derive(Debug)]
struct Known {
    said: Said,
    hash: [u8; 32],
    read_at: Instant,
}

/// What the system says of a file. The time of its change of state can't be set by anybody.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Said {
    fn of(about: &Metadata) -> Said {
        Said {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            written: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// Whether a change from now on shows: the last one is long enough ago, by a clock that is not
    /// behind the file system's.
    fn shows_changes(&self, now: SystemTime) -> bool {
        let last = self.written.0.max(self.changed.0);
        let last = u64::try_from(last).map_or(SystemTime::UNIX_EPOCH, |seconds| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        });
        now.duration_since(last).is_ok_and(|passed| passed > TICK)
    }
}

impl Files {
    /// The files of `source`, in this environment.
    pub fn new(source: Source, env: Env) -> Files {
        Files { source, env, named: None, known: HashMap::new() }
    }

    /// Looks at them. Blocks. A file that can't be read counts as what the system says of it, and one
    /// that can be read only once, such as a pipe, as itself.
    pub fn look(&mut self) -> Fingerprint {
        let mut known = std::mem::take(&mut self.known);
        let mut look = |path: &Path| {
            let last = known.remove(path);
            let (hash, text, said) = look_at(path, last.as_ref());
            let read_at =
                last.filter(|_| text.is_none()).map_or_else(Instant::now, |it| it.read_at);
            if let Some(said) = said {
                self.known.insert(path.to_owned(), Known { said, hash, read_at });
            }
            (hash, text)
        };
        let (config, text) = match &self.source {
            Source::File(path) => look(path),
            Source::BuiltIn => ([0; 32], None),
        };
        let named = self.named.take().filter(|named| named.config == config).unwrap_or_else(|| {
            let (text, base) = match &self.source {
                Source::File(path) => (text.unwrap_or_default(), path.parent()),
                Source::BuiltIn => (SHIPPED.as_bytes().to_vec(), None),
            };
            Named { config, paths: named(&String::from_utf8_lossy(&text), &self.env, base) }
        });
        let mut all = Context::new(&SHA256);
        all.update(&config);
        for path in &named.paths {
            all.update(&look(path).0);
        }
        self.named = Some(named);
        Fingerprint(bytes(all))
    }
}

/// What these files are now, which a config need not name. Blocks.
pub fn fingerprint_of(paths: &[PathBuf]) -> Fingerprint {
    let mut all = Context::new(&SHA256);
    for path in paths {
        all.update(&look_at(path, None).0);
    }
    Fingerprint(bytes(all))
}

/// The bytes of a SHA-256.
fn bytes(hash: Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    let sum = hash.finish();
    bytes.iter_mut().zip(sum.as_ref()).for_each(|(byte, sum)| *byte = *sum);
    bytes
}

/// The hash of a file, by its name and what is in it; its text, if it was read for that; and what
/// was said of it, if that is to be believed at the next look.
fn look_at(path: &Path, last: Option<&Known>) -> ([u8; 32], Option<Vec<u8>>, Option<Said>) {
    let (about, now) = (std::fs::metadata(path), SystemTime::now());
    let said = about.as_ref().ok().filter(|about| about.is_file()).map(Said::of);
    let is_same =
        |last: &&Known| Some(&last.said) == said.as_ref() && last.read_at.elapsed() < TRUST;
    if let Some(last) = last.filter(is_same) {
        return (last.hash, None, said);
    }
    let mut text = Vec::new();
    let read = about.and_then(|about| match about.is_file() {
        // It may be something else by now.
        true => files::open(path).and_then(|(file, about)| match about.is_file() {
            true => file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map(|_| "read"),
            false => Ok(files::in_one_word(about.file_type())),
        }),
        false => Ok(files::in_one_word(about.file_type())),
    });
    let believed = said.filter(|said| read.is_ok() && said.shows_changes(now));
    let outcome = read.map_or_else(|error| format!("{:?}", error.kind()), str::to_owned);
    let mut hash = Context::new(&SHA256);
    // Lengths keep the end of one part from being taken for the start of the next.
    for part in [path.as_os_str().as_encoded_bytes(), outcome.as_bytes(), &text] {
        hash.update(&part.len().to_le_bytes());
        hash.update(part);
    }
    (bytes(hash), Some(text), believed)
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
    fn a_file_is_read_again_only_when_that_may_tell_something() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        write(&path, "[log]\n").unwrap();
        let now = SystemTime::now();
        let said = || Said::of(&std::fs::metadata(&path).unwrap());
        assert!(!said().shows_changes(now), "it may be written again in this tick");
        assert!(said().shows_changes(now + 2 * TICK));
        assert!(!said().shows_changes(now - TICK), "a clock that is behind");
        let (hash, text, believed) = look_at(&path, None);
        assert!(text.is_some() && believed.is_none());
        let known = |age| {
            let read_at = Instant::now().checked_sub(age).unwrap();
            Known { said: said(), hash, read_at }
        };
        let last = known(Duration::ZERO);
        assert!(look_at(&path, Some(&last)).1.is_none());
        assert!(look_at(&path, Some(&known(TRUST))).1.is_some());
        write(dir.path().join("new"), "[log]\n").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        let (again, text, _) = look_at(&path, Some(&last));
        assert!(text.is_some() && again == hash, "another file with the same bytes");
    }

    #[test]
    fn what_takes_the_place_of_a_file_is_a_change_and_so_is_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let mut files = Files::new(Source::File(path.clone()), Env::default());
        write(&path, "").unwrap();
        let empty = files.look();
        std::fs::remove_file(&path).unwrap();
        let fifo = rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU);
        fifo.unwrap();
        let pipe = files.look();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let folder = files.look();
        assert!(empty != pipe && pipe != folder && empty != folder);
        std::fs::remove_dir(&path).unwrap();
        write(&path, "").unwrap();
        assert_eq!(files.look(), empty);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let look = || Files::new(Source::File("/dev/zero".into()), Env::default()).look();
        assert_eq!(look(), look());
    }
}
