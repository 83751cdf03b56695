//! The process log: what the gateway itself has to say, on standard error, panics included.
//!
//! A thread of its own writes it, so that nobody waits for who reads it: what that thread can't write
//! is dropped and counted. LogWriter that callers can provoke are limited: of each kind so many are
//! written, then one a second, and a line tells how many were left out.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write, stderr};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use prometheus::{IntCounter, IntCounterVec, Opts};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use super::json::Object;
use super::log_rate_limit::{LogRateLimit, Suppressed};
use super::log_writer::{Buffered, LogWriter, Sink, unlocked};
use crate::config::{Log, LogFormat, log_filter};

/// The name of events that are never left out: those that no caller can provoke, and those that
/// callers with a right have. To be given as `name:` to tracing's macros.
pub const UNLIMITED: &str = "unlimited";

/// LogWriter that are not in the log, by the reason.
pub(super) static DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "LogWriter of the process log that are not in it: unwritten, since standard error did \
                not take them, or limited, since there were too many of their kind.";
    let opts = Opts::new("sluice_process_log_dropped_total", help);
    #[expect(clippy::expect_used, reason = "name and label are written here")]
    IntCounterVec::new(opts, &["reason"]).expect("a valid name")
});

/// The log of this process. What is still to be written is, when it is dropped; that takes a moment
/// at most.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct ProcessLog {
    lines: LogWriter,
    limit: Arc<LogRateLimit>,
}

impl Drop for ProcessLog {
    fn drop(&mut self) {
        self.limit.left_out(true).iter().for_each(tell);
        self.lines.flush();
    }
}

/// Sends tracing's events and panics to standard error in the configured form. A second call changes
/// nothing of that.
pub fn init(log: &Log) -> ProcessLog {
    let filter = log_filter(&log.level);
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let unwritten = DROPPED.with_label_values(&["unwritten"]);
    let limit = Arc::new(LogRateLimit::new(DROPPED.with_label_values(&["limited"])));
    let sink = Output {
        out: Buffered::new(unlocked(stderr())),
        limit: Arc::clone(&limit),
        unwritten: unwritten.clone(),
        told: unwritten.get(),
    };
    let lines = LogWriter::start("process-log", sink, unwritten);
    let filtered = registry().with(filter).with(Limited(Arc::clone(&limit)));
    // What goes wrong inside would be told on standard error directly.
    let layer = fmt::layer().with_writer(Writer(lines.clone())).log_internal_errors(false);
    let _ = match log.format {
        LogFormat::Json => filtered.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Text => filtered.with(layer).try_init(),
    };
    log_panics(log.format, lines.clone(), Arc::clone(&limit));
    ProcessLog { lines, limit }
}

/// Has panics told by the log, in place of the standard library's way, which waits for the reader of
/// standard error. Not by an event: what has panicked may be in the middle of one.
fn log_panics(format: LogFormat, lines: LogWriter, limit: Arc<LogRateLimit>) {
    std::panic::set_hook(Box::new(move |panic| {
        let what = panic.payload_as_str().unwrap_or("of an unknown kind");
        if !limit.admits_panic(what) {
            return;
        }
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let at = panic.location().map_or_else(String::new, ToString::to_string);
        // There is one only where RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let backtrace =
            (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        lines.write(panic_line(format, what, thread, &at, backtrace.as_deref()));
    }));
}

/// The line of a panic, like those of events.
fn panic_line(
    format: LogFormat,
    what: &str,
    thread: &str,
    at: &str,
    backtrace: Option<&str>,
) -> Vec<u8> {
    let now = SystemTime::now();
    let mut line = match format {
        LogFormat::Json => {
            let mut object = Object::with_capacity(512);
            object
                .time("timestamp", now)
                .plain("level", "ERROR")
                .text("message", &format!("panicked: {what}"))
                .text("thread", thread)
                .text("at", at)
                .some_text("backtrace", backtrace)
                .plain("target", module_path!());
            object.finish()
        }
        LogFormat::Text => {
            let time = humantime::format_rfc3339_micros(now);
            let more = backtrace.map(|it| format!("\n{it}")).unwrap_or_default();
            format!("{time} ERROR thread '{thread}' panicked at {at}: {what}{more}").into_bytes()
        }
    };
    line.push(b'\n');
    line
}

/// Tells of lines that are not in the log.
fn tell(left_out: &Suppressed) {
    let Suppressed { like, count } = left_out;
    tracing::warn!(name: UNLIMITED, like, count, "lines of one kind were left out of this log");
}

/// Standard error, in the hands of the thread that writes.
struct Output {
    out: Buffered<Box<dyn Write + Send>>,
    limit: Arc<LogRateLimit>,
    unwritten: IntCounter,
    /// How many of those lines the log has told of.
    told: u64,
}

impl Sink for Output {
    fn line(&mut self, line: &[u8]) -> u64 {
        self.out.line(line)
    }

    fn flush(&mut self) -> u64 {
        self.out.flush()
    }

    fn look(&mut self) {
        self.limit.left_out(false).iter().for_each(tell);
        let unwritten = self.unwritten.get();
        let count = unwritten.saturating_sub(self.told);
        if count > 0 {
            tracing::warn!(name: UNLIMITED, count, "lines of this log could not be written");
            // Else it was not taken either, and is told of later.
            if self.unwritten.get() == unwritten {
                self.told = unwritten;
            }
        }
    }
}

/// Hands on what the formatter of events writes, a line at a time.
#[derive(Debug)]
struct Writer(LogWriter);

impl<'a> MakeWriter<'a> for Writer {
    type Writer = &'a Writer;

    fn make_writer(&'a self) -> &'a Writer {
        self
    }
}

impl Write for &Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Leaves out events of which there are too many.
struct Limited(Arc<LogRateLimit>);

impl<S: Subscriber> Layer<S> for Limited {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        event.metadata().name() == UNLIMITED || self.0.admits(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_line_like_those_of_events() {
        let line = |format| {
            let line =
                panic_line(format, "no \"such\" thing", "worker-1", "a.rs:1:2", Some("0: f\n"));
            String::from_utf8(line).unwrap()
        };
        let json = line(LogFormat::Json);
        assert_eq!(json.matches('\n').count(), 1, "{json}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["message"], "panicked: no \"such\" thing");
        assert_eq!((&json["level"], &json["thread"]), (&"ERROR".into(), &"worker-1".into()));
        assert_eq!((&json["at"], &json["backtrace"]), (&"a.rs:1:2".into(), &"0: f\n".into()));
        let text = line(LogFormat::Text);
        let said = "ERROR thread 'worker-1' panicked at a.rs:1:2: no \"such\" thing\n0: f\n";
        assert!(text.contains(said), "{text}");
    }
}
