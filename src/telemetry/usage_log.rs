//! The usage log: a record of what each request used, as JSON lines in files, enough to recompute the
//! bill.
//!
//! A full file is renamed with a rising number, and the oldest is removed if there are too many. If
//! another process moves, deletes or truncates the file, that is noticed before the next record is
//! written, and a new file is started. Records have the figures that metrics and budgets count. They
//! never contain prompts or answers.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prometheus::IntCounterVec;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Metrics;
use super::json::{self, Object, key};
use super::log_writer::{Buffered, LogWriter, Sink};
use super::operation_names::Names;
use crate::bedrock::Operation;
use crate::config;

/// What one request used. Its JSON has members of the same names.
#[derive(Debug)]
pub struct Record<'a> {
    /// When the request arrived.
    pub time: SystemTime,
    /// The gateway's id of the request.
    pub request_id: &'a str,
    /// The client's name, as in metrics: `other` without one.
    pub client: &'a str,
    /// The operation; `-` in the record, as is its API, for a request that is not one.
    pub operation: Option<Operation>,
    /// The requested model.
    pub requested_model: Option<&'a str>,
    /// The model that answered.
    pub model: Option<&'a str>,
    /// The target that answered.
    pub target: Option<&'a str>,
    /// Its region.
    pub region: Option<&'a str>,
    /// The HTTP status of the answer; 0 if the client went away before it.
    pub status: u16,
    /// The outcome, as in `sluice_requests_total`.
    pub outcome: &'static str,
    /// The number of attempts.
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
    /// `estimated`: whether the tokens are estimated from what was streamed, because the answer ended
    /// before it reported them.
    pub is_estimated: bool,
    /// The service tier that served it: as the answer says, else as the request asked.
    pub service_tier: Option<&'a str>,
    /// The length of the prompt, in tokens, above which the prices of its cost count.
    pub price_above: Option<u64>,
    /// Why the price is not one that is stated for the tier.
    pub price_assumed: Option<&'a str>,
    /// The cost in USD; `None` if there is no price.
    pub cost_usd: Option<f64>,
    /// Time in the queue.
    pub queued_ms: u64,
    /// Time to the head of the answer; `None` if the client went away before it.
    pub first_byte_ms: Option<u64>,
    /// Time to the last byte.
    pub duration_ms: u64,
    /// The operation into which the request was translated; `None` if it was not.
    pub translated: Option<&'a str>,
    /// What was left out in the translation, with commas between the names.
    pub dropped: Option<&'a str>,
}

/// The usage log; empty if it is disabled.
#[derive(Clone, Debug)]
pub struct UsageLog(Option<LogWriter>);

impl UsageLog {
    /// A disabled log.
    pub const NONE: UsageLog = UsageLog(None);

    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn open(config: &config::UsageLog, metrics: &Metrics) -> io::Result<UsageLog> {
        let file = Rotating::open(config, metrics.usage_log_reopened.clone())?;
        let dropped = metrics.usage_log_dropped.clone();
        Ok(UsageLog(Some(LogWriter::start("usage-log", file, dropped))))
    }

    /// Whether the log is enabled.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes a record, or drops and counts it if the disk does not keep up.
    pub fn write(&self, record: &Record<'_>) {
        let Some(lines) = &self.0 else { return };
        let mut text = json(record);
        text.push(b'\n');
        lines.write(&text);
        json::reuse(text);
    }

    /// Waits until all records so far are in the file, for a bounded time. Blocks: for the end of the
    /// process.
    pub fn flush(&self) {
        if let Some(lines) = &self.0 {
            lines.flush();
        }
    }
}

fn json(record: &Record<'_>) -> Vec<u8> {
    let Names { api, operation } = Names::in_logs(record.operation);
    let mut object = Object::new();
    object
        .time(key!("time"), record.time)
        .text(key!("request_id"), record.request_id)
        .text(key!("client"), record.client)
        .plain(key!("api"), api)
        .plain(key!("operation"), operation)
        .text_or_null(key!("requested_model"), record.requested_model)
        .text_or_null(key!("model"), record.model)
        .text_or_null(key!("target"), record.target)
        .text_or_null(key!("region"), record.region)
        .number(key!("status"), record.status.into())
        .text(key!("outcome"), record.outcome)
        .number(key!("attempts"), record.attempts as u64)
        .number(key!("input_tokens"), record.input_tokens)
        .number(key!("output_tokens"), record.output_tokens)
        .number(key!("cache_read_tokens"), record.cache_read_tokens)
        .number(key!("cache_write_tokens"), record.cache_write_tokens)
        .number(key!("cache_write_1h_tokens"), record.cache_write_1h_tokens)
        .flag(key!("estimated"), record.is_estimated)
        .text_or_null(key!("service_tier"), record.service_tier)
        .number_or_null(key!("price_above"), record.price_above)
        .text_or_null(key!("price_assumed"), record.price_assumed)
        .real_or_null(key!("cost_usd"), record.cost_usd)
        .number(key!("queued_ms"), record.queued_ms)
        .number_or_null(key!("first_byte_ms"), record.first_byte_ms)
        .number(key!("duration_ms"), record.duration_ms)
        .text_or_null(key!("translated"), record.translated)
        .text_or_null(key!("dropped"), record.dropped);
    object.finish()
}

/// A file that is rotated when it is full.
#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    max_size: u64,
    max_files: usize,
    /// `None` while it can't be opened.
    file: Option<OpenFile>,
    /// Counts changes by other processes, by kind.
    reopened: IntCounterVec,
}

/// The file being written.
#[derive(Debug)]
struct OpenFile {
    out: Buffered<File>,
    /// Its size, with what is about to be written.
    size: u64,
    id: FileId,
    /// Whether it is a regular file; a pipe is not rotated.
    is_regular: bool,
}

impl OpenFile {
    /// After records were lost: makes `size` that of the file again, with `waiting` bytes that are about to be
    /// written. Cuts off the beginning of a record that found no room, so that every line is a whole record,
    /// unless another process has written behind it.
    fn forget_lost(&mut self, waiting: u64) {
        let Ok(about) = self.out.out().metadata() else { return };
        let (partial, unwritten) = (self.out.partial() as u64, self.out.unwritten() as u64);
        let is_own = self.size.checked_sub(waiting + unwritten) == Some(about.len());
        let mut length = about.len();
        if let Some(whole) = length.checked_sub(partial).filter(|_| self.is_regular && is_own)
            && partial > 0
            && self.out.out().set_len(whole).is_ok()
        {
            self.out.has_cut_partial();
            length = whole;
        }
        self.size = length + waiting;
    }
}

/// What identifies a file: device and inode.
type FileId = (u64, u64);

impl Rotating {
    fn open(config: &config::UsageLog, reopened: IntCounterVec) -> io::Result<Rotating> {
        let file = match append(&config.path) {
            Ok(file) => Some(file),
            // A named pipe without a reader yet.
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                log_failure(&config.path, &error);
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

    /// Renames the file and starts another.
    fn rotate(&mut self) -> io::Result<()> {
        let rotated = self.rotated()?;
        let next = rotated.last().map_or(1, |(number, _)| number.saturating_add(1));
        std::fs::rename(&self.path, numbered(&self.path, next))?;
        self.file = Some(append(&self.path)?);
        // The current file counts, and the one renamed just now.
        let surplus = (rotated.len() + 2).saturating_sub(self.max_files);
        for (_, old) in rotated.into_iter().take(surplus) {
            std::fs::remove_file(old)?;
        }
        Ok(())
    }

    /// The renamed files, the oldest first.
    fn rotated(&self) -> io::Result<Vec<(u64, PathBuf)>> {
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

    /// What another process did to the file since the last check.
    fn change(&mut self) -> Option<&'static str> {
        let open = self.file.as_mut()?;
        match std::fs::metadata(&self.path) {
            Ok(about) if file_id(&about) != open.id => Some("replaced"),
            Ok(about) => {
                let before = std::mem::replace(&mut open.size, about.len());
                (open.is_regular && about.len() < before).then_some("truncated")
            }
            Err(error) if is_gone(&error) => Some("deleted"),
            // The file may still exist; keep writing to it.
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
                log_failure(&self.path, &error);
                return lost + 1;
            }
        }
        let Some(open) = &mut self.file else { return lost + 1 };
        open.size += length;
        let lost_before = open.out.line(line);
        if lost_before > 0 {
            open.forget_lost(length);
        }
        lost + lost_before
    }

    fn flush(&mut self) -> u64 {
        let Some(open) = &mut self.file else { return 0 };
        let lost = open.out.flush();
        if lost > 0 {
            open.forget_lost(0);
        }
        lost
    }

    fn check(&mut self) {
        let was_open = self.file.is_some();
        let change = self.change();
        if let Some(how) = change {
            self.reopened.with_label_values(&[how]).inc();
            let path = self.path.display();
            tracing::warn!(%path, how, "another process changed the usage log file");
        }
        if was_open && matches!(change, None | Some("truncated")) {
            return;
        }
        match append(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                tracing::info!(path = %self.path.display(), "the usage log continues in a new file");
            }
            Err(error) => {
                self.file = None;
                if was_open {
                    log_failure(&self.path, &error);
                }
            }
        }
    }
}

fn log_failure(path: &Path, error: &io::Error) {
    let path = path.display();
    tracing::error!(%path, %error, "cannot write the usage log; records are lost until that works again");
}

/// Whether the path does not exist.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn file_id(about: &Metadata) -> FileId {
    (about.dev(), about.ino())
}

/// Opens a file for appending, or creates it. Does not wait for the reader of a named pipe.
fn append(path: &Path) -> io::Result<OpenFile> {
    // Readable by the gateway's group, for log shippers.
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)?;
    let about = file.metadata()?;
    let kind = about.file_type();
    if kind.is_fifo() || kind.is_char_device() {
        // The thread may block on it from here on.
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    } else if !kind.is_file() {
        return Err(io::Error::other("neither a file nor a pipe"));
    }
    Ok(OpenFile {
        out: Buffered::new(file),
        size: about.len(),
        id: file_id(&about),
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
        file.check();
        let lost: u64 = lines.iter().map(|line| file.line(line.as_bytes())).sum();
        lost + file.flush()
    }

    #[test]
    fn a_full_file_is_rotated_and_the_oldest_is_removed() {
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
    fn a_restart_continues_the_file_and_its_numbers() {
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
    fn a_file_that_another_process_changes_is_started_again() {
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
        file.check();
        let all = ["deleted", "replaced", "truncated"].map(|how| counted(&file, how));
        assert_eq!(all, [1, 1, 1]);
    }

    #[test]
    fn records_are_counted_as_lost_while_the_folder_is_missing() {
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
    fn a_named_pipe_is_written_while_it_has_a_reader() {
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
