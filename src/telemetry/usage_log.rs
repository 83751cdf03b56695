//! A record of what each request has used, in files of JSON lines: enough to make the bill again.
//!
//! The file is put aside when it is full, under its name with a number that rises, and the oldest of
//! those is removed when there are too many. A record says what metrics and budgets count, from the
//! same figures. It never says what was asked or answered.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prometheus::IntCounter;

use super::json::Object;
use super::lines::{Lines, Sink};
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
pub struct UsageLog(Option<Lines>);

impl UsageLog {
    /// Nowhere.
    pub const NONE: UsageLog = UsageLog(None);

    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn open(config: &config::UsageLog, dropped: IntCounter) -> io::Result<UsageLog> {
        let file = Rotating::open(config)?;
        Ok(UsageLog(Some(Lines::start("usage-log", file, dropped))))
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

    /// Waits until all records so far are in the file, for a second at most. Blocks: for the end of
    /// the process.
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
    file: BufWriter<File>,
    size: u64,
}

impl Rotating {
    fn open(config: &config::UsageLog) -> io::Result<Rotating> {
        let (file, size) = append(&config.path)?;
        Ok(Rotating {
            path: config.path.clone(),
            max_size: config.max_size as u64,
            max_files: config.max_files,
            file,
            size,
        })
    }

    /// Puts the file aside and begins another.
    fn rotate(&mut self) -> io::Result<()> {
        Write::flush(&mut self.file)?;
        let aside = self.aside()?;
        let next = aside.last().map_or(1, |(number, _)| number.saturating_add(1));
        std::fs::rename(&self.path, numbered(&self.path, next))?;
        (self.file, self.size) = append(&self.path)?;
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
}

impl Sink for Rotating {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.size > 0 && self.size.saturating_add(length) > self.max_size {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += length;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.file)
    }
}

fn append(path: &Path) -> io::Result<(BufWriter<File>, u64)> {
    // For who runs the gateway, and whoever of its group fetches the files.
    let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
    let size = file.metadata()?.len();
    Ok((BufWriter::new(file), size))
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
        config::UsageLog { path: folder.join("usage.jsonl"), max_size, max_files }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = Rotating::open(&config(folder.path(), 20, 3)).unwrap();
        for number in 0..9 {
            file.line(format!("line {number}..\n").as_bytes()).unwrap();
        }
        Sink::flush(&mut file).unwrap();
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
            let mut file = Rotating::open(&config).unwrap();
            file.line(text.as_bytes()).unwrap();
            Sink::flush(&mut file).unwrap();
        };
        write("first\n");
        write("next\n");
        assert_eq!(
            names(folder.path()),
            ["usage.jsonl", "usage.jsonl.7", "usage.jsonl.8", "usage.jsonl.bak"]
        );
    }
}
