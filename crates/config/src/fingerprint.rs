//! A fingerprint of a configuration on disk: of its file, and of the files that it names.
//!
//! A config of 100,000 clients has 18 MB, too much to read every few seconds. So a file is read again
//! only if its metadata has changed or may hide a change: after a write so recent that another one may
//! have the same time. Some file systems do not update the metadata, so every file is read again once
//! a minute. The config is parsed for the files that it names only if it has changed, since that takes
//! a second.

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
use super::{BUILT_IN, MAX_FILE_BYTES, Source, deprecated, files, schema};

/// The prefix of a value that names a file.
const FILE: &str = "file:";

/// Longest step of a file system's clock, with a wide margin.
const TICK: Duration = Duration::from_secs(5);

/// How long the metadata of a file is trusted.
const TRUST: Duration = Duration::from_secs(60);

/// The files of a configuration at one time: equal to another if no byte has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// The files of one configuration, which are checked again and again.
#[derive(Debug)]
pub struct Files {
    source: Source,
    env: Env,
    named: Option<Named>,
    /// The files that were read.
    known: HashMap<PathBuf, KnownFile>,
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
struct KnownFile {
    stat: FileStat,
    hash: [u8; 32],
    read_at: Instant,
}

/// The metadata that a change of a file shows in. No program can set the time of the last status change.
#[derive(Debug, PartialEq, Eq)]
struct FileStat {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl FileStat {
    fn of(about: &Metadata) -> FileStat {
        FileStat {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            written: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// Whether the metadata shows a change from now on: the last one is long enough ago, by a clock
    /// that is not behind the file system's.
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

    /// Takes their fingerprint. Blocks. A file that cannot be read counts by its error, and one that can
    /// be read only once, such as a pipe, by its kind.
    pub fn fingerprint(&mut self) -> Fingerprint {
        let mut known = std::mem::take(&mut self.known);
        let mut look = |path: &Path| {
            let last = known.remove(path);
            let (hash, text, stat) = hash_file(path, last.as_ref());
            let read_at =
                last.filter(|_| text.is_none()).map_or_else(Instant::now, |it| it.read_at);
            if let Some(stat) = stat {
                self.known.insert(path.to_owned(), KnownFile { stat, hash, read_at });
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
                Source::BuiltIn => (BUILT_IN.as_bytes().to_vec(), None),
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

/// The fingerprint of any files. Blocks.
pub fn fingerprint_of(paths: &[PathBuf]) -> Fingerprint {
    let mut all = Context::new(&SHA256);
    for path in paths {
        all.update(&hash_file(path, None).0);
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

/// The hash of a file's name and content; its text, if it was read for that; and its metadata, if the
/// next check may trust it.
fn hash_file(
    path: &Path,
    last: Option<&KnownFile>,
) -> ([u8; 32], Option<Vec<u8>>, Option<FileStat>) {
    let (about, now) = (std::fs::metadata(path), SystemTime::now());
    let stat = about.as_ref().ok().filter(|about| about.is_file()).map(FileStat::of);
    let is_same =
        |last: &&KnownFile| Some(&last.stat) == stat.as_ref() && last.read_at.elapsed() < TRUST;
    if let Some(last) = last.filter(is_same) {
        return (last.hash, None, stat);
    }
    let mut text = Vec::new();
    let read = about.and_then(|about| match about.is_file() {
        // Another file may be there by now.
        true => files::open(path).and_then(|(file, about)| match about.is_file() {
            true => file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map(|_| "read"),
            false => Ok(files::in_one_word(about.file_type())),
        }),
        false => Ok(files::in_one_word(about.file_type())),
    });
    let trusted = stat.filter(|stat| read.is_ok() && stat.shows_changes(now));
    let outcome = read.map_or_else(|error| format!("{:?}", error.kind()), str::to_owned);
    let mut hash = Context::new(&SHA256);
    // With the lengths no two lists of parts have the same bytes.
    for part in [path.as_os_str().as_encoded_bytes(), outcome.as_bytes(), &text] {
        hash.update(&part.len().to_le_bytes());
        hash.update(part);
    }
    (bytes(hash), Some(text), trusted)
}

/// The files that the values of a config name: `file:PATH`, and the catalogue's.
fn named(text: &str, env: &Env, base: Option<&Path>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    // An invalid document names nothing; loading reports what is wrong with it.
    let Ok(mut document) = Document::parse(text, "") else { return found };
    environment::override_keys(&mut document, env, schema::compiled());
    deprecated::apply(&mut document, schema::compiled());
    let catalogue = document.root().get("catalogue").and_then(|it| it.get("file")?.as_str());
    found.extend(catalogue.map(|path| files::resolve(base, path)));
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
        let mut seen = vec![files.fingerprint()];
        let mut look = |what: &str, is_new: bool| {
            let now = files.fingerprint();
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
        let mut look = || files.fingerprint();
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
        let stat = || FileStat::of(&std::fs::metadata(&path).unwrap());
        assert!(!stat().shows_changes(now), "it may be written again in this tick");
        assert!(stat().shows_changes(now + 2 * TICK));
        assert!(!stat().shows_changes(now - TICK), "a clock that is behind");
        let (hash, text, trusted) = hash_file(&path, None);
        assert!(text.is_some() && trusted.is_none());
        let known = |age| {
            let read_at = Instant::now().checked_sub(age).unwrap();
            KnownFile { stat: stat(), hash, read_at }
        };
        let last = known(Duration::ZERO);
        assert!(hash_file(&path, Some(&last)).1.is_none());
        assert!(hash_file(&path, Some(&known(TRUST))).1.is_some());
        write(dir.path().join("new"), "[log]\n").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        let (again, text, _) = hash_file(&path, Some(&last));
        assert!(text.is_some() && again == hash, "another file with the same bytes");
    }

    #[test]
    fn what_takes_the_place_of_a_file_is_a_change_and_so_is_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let mut files = Files::new(Source::File(path.clone()), Env::default());
        write(&path, "").unwrap();
        let empty = files.fingerprint();
        std::fs::remove_file(&path).unwrap();
        let fifo = rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU);
        fifo.unwrap();
        let pipe = files.fingerprint();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let folder = files.fingerprint();
        assert!(empty != pipe && pipe != folder && empty != folder);
        std::fs::remove_dir(&path).unwrap();
        write(&path, "").unwrap();
        assert_eq!(files.fingerprint(), empty);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let look = || Files::new(Source::File("/dev/zero".into()), Env::default()).fingerprint();
        assert_eq!(look(), look());
    }
}
