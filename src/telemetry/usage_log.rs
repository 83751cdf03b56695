//! A record of what each request has used, in files of JSON lines: enough to make the bill again.
//!
//! The file is put aside when it is full, under its name with a number that rises, and the oldest of
//! those is removed when there are too many. A file that somebody else moves, deletes or truncates is
//! noticed before the next record is written, and begun anew. A record says what metrics and budgets
//! count, from the same figures. It never says what was asked or answered.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prometheus::IntCounterVec;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Metrics;
use super::json::Object;
use super::log_writer::{Buffered, LogWriter, Sink};
use crate::config;

/// What one request has used, of which a record has these members under the same names.
#[derive(Debug)]
pub struct Record<'a> {
    /// When the request arrived.
    pub time: SystemTime,
    /// The gateway's id of the request.
    pub request_id: &'a str,
    /// The client's name, as in metrics: `other` without one.
    pub client: &'a str,
    /// The operation.
    pub operation: &'a str,
    /// The model in the client's path.
    pub requested_model: Option<&'a str>,
    /// The model that answered.
    pub model: Option<&'a str>,
    /// The target that answered.
    pub target: Option<&'a str>,
    /// Its region.
    pub region: Option<&'a str>,
    /// The HTTP status that the client got; 0 if it went away before.
    pub status: u16,
    /// What the client got, as in `sluice_requests_total`.
    pub outcome: &'static str,
    /// Requests that were sent for it.
    pub attempts: usize,
    /// Input tokens that were not read from a cache, nor written to one.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens that were read from a cache.
    pub cache_read_tokens: u64,
    /// Input tokens that were written to one.
    pub cache_write_tokens: u64,
    /// Of these, for an hour.
    pub cache_write_1h_tokens: u64,
    /// `estimated`: whether the answer did not come to tell its tokens, so that they are about what has passed.
    pub is_estimated: bool,
    /// What that costs, in USD; `None` where no price is known.
    pub cost_usd: Option<f64>,
    /// Time in the queue.
    pub queued_ms: u64,
    /// Time to the head of the answer.
    pub first_byte_ms: u64,
    /// Time to the last byte.
    pub duration_ms: u64,
}

/// Where records go; nowhere, if the config names no file.
#[derive(Clone, Debug)]
pub struct UsageLog(Option<LogWriter>);

impl UsageLog {
    /// Nowhere.
    pub const NONE: UsageLog = UsageLog(None);

    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn open(config: &config::UsageLog, metrics: &Metrics) -> io::Result<UsageLog> {
        let file = Rotating::open(config, metrics.usage_log_reopened.clone())?;
        let dropped = metrics.usage_log_dropped.clone();
        Ok(UsageLog(Some(LogWriter::start("usage-log", file, dropped))))
    }

    /// Whether anybody wants records.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes a record, or drops it, counted, when the disk does not keep up.
    pub fn write(&self, record: &Record<'_>) {
        let Some(lines) = &self.0 else { return };
        let mut text = json(record);
        text.push(b'\n');
        lines.write(text);
    }

    /// Waits until all records so far are in the file, or for a moment. Blocks: for the end of the
    /// process.
    pub fn flush(&self) {
        if let Some(lines) = &self.0 {
            lines.flush();
        }
    }
}

fn json(record: &Record<'_>) -> Vec<u8> {
    let mut object = Object::with_capacity(768);
    object
        .time("time", record.time)
        .text("request_id", record.request_id)
        .text("client", record.client)
        .text("operation", record.operation)
        .text_or_null("requested_model", record.requested_model)
        .text_or_null("model", record.model)
        .text_or_null("target", record.target)
        .text_or_null("region", record.region)
        .number("status", record.status.into())
        .text("outcome", record.outcome)
        .number("attempts", record.attempts as u64)
        .number("input_tokens", record.input_tokens)
        .number("output_tokens", record.output_tokens)
        .number("cache_read_tokens", record.cache_read_tokens)
        .number("cache_write_tokens", record.cache_write_tokens)
        .number("cache_write_1h_tokens", record.cache_write_1h_tokens)
        .flag("estimated", record.is_estimated)
        .real_or_null("cost_usd", record.cost_usd)
        .number("queued_ms", record.queued_ms)
        .number("first_byte_ms", record.first_byte_ms)
        .number("duration_ms", record.duration_ms);
    object.finish()
}

/// A file that is put aside when it is full.
#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    max_size: u64,
    max_files: usize,
    /// `None` while it can't be opened.
    file: Option<Open>,
    /// Times that somebody else has changed the file, by what they did.
    reopened: IntCounterVec,
}

/// The file that is written.
#[derive(Debug)]
struct Open {
    out: Buffered<File>,
    /// What is in it, with what is about to be written.
    size: u64,
    identity: Identity,
    /// Whether it keeps what is written: a pipe does not.
    is_regular: bool,
}

/// By this the system tells two files apart: device and inode.
type Identity = (u64, u64);

impl Rotating {
    fn open(config: &config::UsageLog, reopened: IntCounterVec) -> io::Result<Rotating> {
        let file = match append(&config.path) {
            Ok(file) => Some(file),
            // A named pipe that nobody has opened yet.
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                complain(&config.path, &error);
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Rotating {
            path: config.path.clone(),
            max_size: config.max_size as u64,
            max_files: config.max_files,
            file,
            reopened,
        })
    }

    /// Puts the file aside and begins another.
    fn rotate(&mut self) -> io::Result<()> {
        let aside = self.aside()?;
        let next = aside.last().map_or(1, |(number, _)| number.saturating_add(1));
        std::fs::rename(&self.path, numbered(&self.path, next))?;
        self.file = Some(append(&self.path)?);
        // The one that is written counts, and the one that was put aside just now.
        let surplus = (aside.len() + 2).saturating_sub(self.max_files);
        for (_, old) in aside.into_iter().take(surplus) {
            std::fs::remove_file(old)?;
        }
        Ok(())
    }

    /// The files that were put aside, the oldest first.
    fn aside(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let folder = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        let own = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix(&own)?.strip_prefix('.')?.parse::<u64>().ok());
            found.extend(number.map(|number| (number, entry.path())));
        }
        found.sort();
        Ok(found)
    }

    /// What somebody else has done to the file since it was opened or looked at.
    fn change(&mut self) -> Option<&'static str> {
        let open = self.file.as_mut()?;
        match std::fs::metadata(&self.path) {
            Ok(about) if identity(&about) != open.identity => Some("replaced"),
            Ok(about) => {
                let before = std::mem::replace(&mut open.size, about.len());
                (open.is_regular && about.len() < before).then_some("truncated")
            }
            Err(error) if is_gone(&error) => Some("deleted"),
            // It may still be there: what is open is all there is to write to.
            Err(_) => None,
        }
    }
}

impl Sink for Rotating {
    fn line(&mut self, line: &[u8]) -> u64 {
        let length = line.len() as u64;
        let is_full = self.file.as_ref().is_some_and(|open| {
            open.is_regular && open.size > 0 && open.size.saturating_add(length) > self.max_size
        });
        let mut lost = 0;
        if is_full {
            lost += self.flush();
            if let Err(error) = self.rotate() {
                complain(&self.path, &error);
                return lost + 1;
            }
        }
        let Some(open) = &mut self.file else { return lost + 1 };
        open.size += length;
        lost + open.out.line(line)
    }

    fn flush(&mut self) -> u64 {
        self.file.as_mut().map_or(0, |open| open.out.flush())
    }

    fn look(&mut self) {
        let was_open = self.file.is_some();
        let change = self.change();
        if let Some(how) = change {
            self.reopened.with_label_values(&[how]).inc();
            let path = self.path.display();
            tracing::warn!(%path, how, "the file of records of use was changed by somebody else");
        }
        if was_open && matches!(change, None | Some("truncated")) {
            return;
        }
        match append(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                tracing::info!(path = %self.path.display(), "records of use go to a new file");
            }
            Err(error) => {
                self.file = None;
                if was_open {
                    complain(&self.path, &error);
                }
            }
        }
    }
}

fn complain(path: &Path, error: &io::Error) {
    let path = path.display();
    tracing::error!(%path, %error, "records of use can't be written, and are lost until they can");
}

/// Whether the path leads nowhere.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn identity(about: &Metadata) -> Identity {
    (about.dev(), about.ino())
}

/// Opens a file to write at its end, or makes it. Does not wait for whoever is to read a named pipe.
fn append(path: &Path) -> io::Result<Open> {
    // For who runs the gateway, and whoever of its group fetches the files.
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)?;
    let about = file.metadata()?;
    let kind = about.file_type();
    if kind.is_fifo() || kind.is_char_device() {
        // From here on the thread may wait: it has nothing else to do.
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    } else if !kind.is_file() {
        return Err(io::Error::other("it is neither a file nor a pipe"));
    }
    Ok(Open {
        out: Buffered::new(file),
        size: about.len(),
        identity: identity(&about),
        is_regular: kind.is_file(),
    })
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path, max_size: usize, max_files: usize) -> config::UsageLog {
        config::UsageLog { enabled: true, path: folder.join("usage.jsonl"), max_size, max_files }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn rotating(config: &config::UsageLog) -> Rotating {
        Rotating::open(config, Metrics::new().usage_log_reopened.clone()).unwrap()
    }

    fn put(file: &mut Rotating, lines: &[&str]) -> u64 {
        file.look();
        let lost: u64 = lines.iter().map(|line| file.line(line.as_bytes())).sum();
        lost + file.flush()
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = rotating(&config(folder.path(), 20, 3));
        for number in 0..9 {
            assert_eq!(file.line(format!("line {number}..\n").as_bytes()), 0);
        }
        assert_eq!(file.flush(), 0);
        // Two lines a file: 0-1, 2-3, 4-5, 6-7, 8.
        assert_eq!(names(folder.path()), ["usage.jsonl", "usage.jsonl.3", "usage.jsonl.4"]);
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(text("usage.jsonl"), "line 8..\n");
        assert_eq!(text("usage.jsonl.4"), "line 6..\nline 7..\n");
    }

    #[test]
    fn a_restart_goes_on_in_the_file_and_its_numbers() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("usage.jsonl.7"), "old\n").unwrap();
        std::fs::write(folder.path().join("usage.jsonl.bak"), "not its own\n").unwrap();
        let config = config(folder.path(), 10, 5);
        let write = |text: &str| {
            assert_eq!(put(&mut rotating(&config), &[text]), 0);
        };
        write("first\n");
        write("next\n");
        assert_eq!(
            names(folder.path()),
            ["usage.jsonl", "usage.jsonl.7", "usage.jsonl.8", "usage.jsonl.bak"]
        );
    }

    #[test]
    fn a_file_that_others_move_delete_or_truncate_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.jsonl");
        let mut file = rotating(&config(folder.path(), 1000, 3));
        let text = || std::fs::read_to_string(&path).unwrap_or_default();
        let counted = |file: &Rotating, how| file.reopened.with_label_values(&[how]).get();
        assert_eq!(put(&mut file, &["one\n", "two\n"]), 0);

        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        assert_eq!(put(&mut file, &["three\n"]), 0);
        assert_eq!((text(), counted(&file, "deleted")), ("three\n".to_owned(), 1));

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "of another\n").unwrap();
        assert_eq!(put(&mut file, &["four\n"]), 0);
        assert_eq!((text(), counted(&file, "replaced")), ("of another\nfour\n".to_owned(), 1));

        File::create(&path).unwrap();
        assert_eq!(put(&mut file, &["five\n"]), 0);
        assert_eq!((text(), counted(&file, "truncated")), ("five\n".to_owned(), 1));

        // Nobody has done anything since.
        file.look();
        let all = ["deleted", "replaced", "truncated"].map(|how| counted(&file, how));
        assert_eq!(all, [1, 1, 1]);
    }

    #[test]
    fn without_its_folder_records_are_lost_and_counted_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (own, path) = (folder.path().join("own"), folder.path().join("own/usage.jsonl"));
        std::fs::create_dir(&own).unwrap();
        let mut file = rotating(&config(&own, 1000, 3));
        assert_eq!(put(&mut file, &["one\n"]), 0);
        std::fs::remove_dir_all(&own).unwrap();
        assert_eq!(put(&mut file, &["two\n", "three\n"]), 2);
        assert_eq!(put(&mut file, &["four\n"]), 1);
        std::fs::create_dir(&own).unwrap();
        assert_eq!(put(&mut file, &["five\n"]), 0);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "five\n");
        assert_eq!(file.reopened.with_label_values(&["deleted"]).get(), 1);
    }

    #[test]
    fn a_named_pipe_is_written_to_while_somebody_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.jsonl");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let mut file = rotating(&config(folder.path(), 10, 3));
        assert_eq!(put(&mut file, &["nobody is there\n"]), 1);
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut reader = OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap();
        // Longer than a file may be: a pipe is not put aside.
        assert_eq!(put(&mut file, &["the first line\n", "the second line\n"]), 0);
        let mut read = vec![0; 100];
        let count = io::Read::read(&mut reader, &mut read).unwrap();
        assert_eq!(&read[..count], b"the first line\nthe second line\n");
        assert_eq!(names(folder.path()), ["usage.jsonl"]);
    }
}
