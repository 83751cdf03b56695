//! The process log: the gateway's own messages on standard error, panics included.
//!
//! A thread of its own writes it, so that no task waits for its reader; messages that can't be written
//! are dropped and counted. Messages that callers can provoke are rate-limited, and a summary says how
//! many were suppressed.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write, stderr};
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

use super::json::{Object, key};
use super::log_rate_limit::{LogRateLimit, Suppressed};
use super::log_writer::{Buffered, LogWriter, Sink, unlocked};
use crate::config::{Log, LogFormat, log_filter};

/// The name of events that are never suppressed: those that callers can't provoke, or only authorized
/// callers can. Passed as `name:` to tracing's macros.
pub const UNLIMITED: &str = "unlimited";

/// Messages that are not in the log, by reason.
pub(super) static DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Lines of the process log that are not in it: unwritten, since standard error did \
                not take them, or limited, since there were too many of their kind.";
    let opts = Opts::new("sluice_process_log_dropped_total", help);
    #[expect(clippy::expect_used, reason = "name and label are written here")]
    IntCounterVec::new(opts, &["reason"]).expect("a valid name")
});

/// The log of this process. Dropping it writes the last messages, in a bounded time.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct ProcessLog {
    lines: LogWriter,
    limit: Arc<LogRateLimit>,
}

impl Drop for ProcessLog {
    fn drop(&mut self) {
        self.limit.take_suppressed(true).iter().for_each(log_suppressed);
        self.lines.flush();
    }
}

/// Sends tracing's events and panics to standard error in the configured format, or in the one that
/// suits standard error. A second call has no
/// effect.
pub fn init(log: &Log) -> ProcessLog {
    let filter = log_filter(&log.level);
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let unwritten = DROPPED.with_label_values(&["unwritten"]);
    let limit = Arc::new(LogRateLimit::new(DROPPED.with_label_values(&["limited"])));
    let sink = Output {
        out: Buffered::new(unlocked(stderr())),
        limit: Arc::clone(&limit),
        unwritten: unwritten.clone(),
        reported: unwritten.get(),
    };
    let lines = LogWriter::start("process-log", sink, unwritten);
    let filtered = registry().with(filter).with(Limited(Arc::clone(&limit)));
    // Internal errors would be written to standard error directly.
    let layer = fmt::layer().with_writer(Writer(lines.clone())).log_internal_errors(false);
    let format = log.format_on(stderr().is_terminal());
    let _ = match format {
        LogFormat::Json => filtered.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Text => filtered.with(layer).try_init(),
    };
    log_panics(format, lines.clone(), Arc::clone(&limit));
    ProcessLog { lines, limit }
}

/// Logs panics here instead of by the standard library's hook, which waits for the reader of standard
/// error. Not as an event, since the panic may come from within one.
fn log_panics(format: LogFormat, lines: LogWriter, limit: Arc<LogRateLimit>) {
    std::panic::set_hook(Box::new(move |panic| {
        let what = panic.payload_as_str().unwrap_or("of an unknown kind");
        if !limit.admits_panic(what) {
            return;
        }
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let at = panic.location().map_or_else(String::new, ToString::to_string);
        // Captured only if RUST_BACKTRACE is set.
        let backtrace = Backtrace::capture();
        let backtrace =
            (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        lines.write(&panic_line(format, what, thread, &at, backtrace.as_deref()));
    }));
}

/// The log line of a panic, in the form of an event.
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
            let mut object = Object::new();
            object
                .time(key!("timestamp"), now)
                .plain(key!("level"), "ERROR")
                .text(key!("message"), &format!("panicked: {what}"))
                .text(key!("thread"), thread)
                .text(key!("at"), at)
                .some_text(key!("backtrace"), backtrace)
                .plain(key!("target"), module_path!());
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

/// Logs a summary of suppressed messages.
fn log_suppressed(suppressed: &Suppressed) {
    let Suppressed { sample, count } = suppressed;
    tracing::warn!(name: UNLIMITED, like = sample, count, "log messages of one kind were suppressed");
}

/// Standard error, owned by the writing thread.
struct Output {
    out: Buffered<Box<dyn Write + Send>>,
    limit: Arc<LogRateLimit>,
    unwritten: IntCounter,
    /// How many of those the log has reported.
    reported: u64,
}

impl Sink for Output {
    fn line(&mut self, line: &[u8]) -> u64 {
        self.out.line(line)
    }

    fn flush(&mut self) -> u64 {
        self.out.flush()
    }

    fn check(&mut self) {
        self.limit.take_suppressed(false).iter().for_each(log_suppressed);
        let unwritten = self.unwritten.get();
        let count = unwritten.saturating_sub(self.reported);
        if count > 0 {
            tracing::warn!(name: UNLIMITED, count, "log messages could not be written");
            // Otherwise this message was lost too, and the count is reported later.
            if self.unwritten.get() == unwritten {
                self.reported = unwritten;
            }
        }
    }
}

/// Passes the formatted events on, a line at a time.
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
        self.0.write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Suppresses events beyond the rate limit.
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
    fn a_panic_is_logged_like_an_event() {
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
        let expected = "ERROR thread 'worker-1' panicked at a.rs:1:2: no \"such\" thing\n0: f\n";
        assert!(text.contains(expected), "{text}");
    }
}
