//! `sluice tail`: the access log for people, one short line per request, with filters.
//!
//! It reads the log from a file or from standard input. Other lines pass through unchanged, since a
//! container's two streams often arrive as one.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Deserialize;

use crate::bedrock::Api;
use crate::config::Glob;
use crate::telemetry::Choice;
use crate::telemetry::SUCCESS;

/// Longest line that is read, in bytes; what is longer is passed on in pieces.
const MAX_LINE: u64 = 1024 * 1024;

/// Pause between two looks at a file that may have grown.
const PAUSE: Duration = Duration::from_millis(200);

/// Arguments of `sluice tail`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The access log file. Default: standard input.
    file: Option<PathBuf>,
    /// Keep reading at the end of the file, and follow it when it is rotated.
    #[arg(short, long, requires = "file")]
    follow: bool,
    #[command(flatten)]
    filter: Filter,
}

/// Which requests are shown: those that meet every condition.
#[derive(Debug, Default, clap::Args)]
struct Filter {
    /// Only requests of this client; a glob, like the next five.
    #[arg(long, value_parser = glob)]
    client: Option<Glob>,
    /// Only requests for this model, or answered by it.
    #[arg(long, value_parser = glob)]
    model: Option<Glob>,
    /// Only requests that tried this target.
    #[arg(long, value_parser = glob)]
    target: Option<Glob>,
    /// Only requests with this outcome, such as `success` or `throttled`.
    #[arg(long, value_parser = glob)]
    outcome: Option<Glob>,
    /// Only requests of this operation, such as `Converse`.
    #[arg(long, value_parser = glob)]
    operation: Option<Glob>,
    /// Only requests of this API, such as `messages` or `bedrock`.
    #[arg(long, value_parser = glob)]
    api: Option<Glob>,
    /// Only requests that did not succeed.
    #[arg(long)]
    failed: bool,
    /// Only requests with more than one attempt.
    #[arg(long)]
    retried: bool,
    /// Only requests that another model than the first choice answered.
    #[arg(long)]
    fallback: bool,
    /// Only requests that took at least this long, such as `2s`.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    slower: Option<Duration>,
}

fn glob(text: &str) -> Result<Glob, String> {
    Glob::new(text).map_err(|error| error.to_string())
}

/// What is read of a line; see `telemetry::access_log`.
#[derive(Debug, Deserialize)]
struct Record {
    time: String,
    client: String,
    /// An older gateway leaves it out.
    #[serde(default = "native_api")]
    api: String,
    operation: String,
    requested_model: Option<String>,
    model: Option<String>,
    status: u16,
    outcome: String,
    error: Option<String>,
    message: Option<String>,
    attempts: Vec<Attempt>,
    #[serde(default)]
    passed_over: Vec<PassedOver>,
    #[serde(default)]
    passed_over_more: u64,
    choice: Option<String>,
    queued_ms: u64,
    first_byte_ms: Option<u64>,
    duration_ms: u64,
    usage: Option<Tokens>,
}

/// What stands for the API of a native operation, and of a request that is no operation. Neither is shown:
/// the operation tells as much.
const HIDDEN_APIS: [&str; 2] = ["bedrock", "-"];

fn native_api() -> String {
    Api::Bedrock.name().to_owned()
}

#[derive(Debug, Deserialize)]
struct Attempt {
    target: String,
    outcome: String,
    error: Option<String>,
    upstream_request_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct PassedOver {
    target: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Tokens {
    input: u64,
    output: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), String> {
    let mut out = anstream::stdout().lock();
    let result = match &arguments.file {
        None => show(BufReader::new(io::stdin().lock()), &arguments.filter, &mut out, || false),
        Some(file) => follow(file, arguments, &mut out),
    };
    match result {
        // A reader that went away, such as `head`, has read what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Ok(()),
    }
}

/// Shows a file, and continues with its successor when the log is rotated.
fn follow(path: &Path, arguments: &Arguments, out: &mut impl Write) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("can't read {}: {error}", path.display()))
    };
    loop {
        let file = File::open(path).map_err(named)?;
        let (opened, mut read_to) = (file.metadata().map_err(named)?, 0);
        let waits = || {
            if !arguments.follow {
                return false;
            }
            pause();
            // Not there for a moment: the next one is on its way.
            let Ok(now) = std::fs::metadata(path) else { return true };
            let is_same = (now.dev(), now.ino()) == (opened.dev(), opened.ino());
            let has_shrunk = now.len() < read_to;
            read_to = now.len();
            is_same && !has_shrunk
        };
        show(BufReader::new(file), &arguments.filter, out, waits)?;
        if !arguments.follow {
            return Ok(());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the command has a thread of its own and no worker")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// Shows the lines of `log` to its end, and on while `waits` reports that more may come.
fn show(
    mut log: impl BufRead,
    filter: &Filter,
    out: &mut impl Write,
    mut waits: impl FnMut() -> bool,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        let read = (&mut log).take(MAX_LINE).read_until(b'\n', &mut line)?;
        // A line that is still being written is taken up again when there is more of it.
        if read == 0 || !line.ends_with(b"\n") && (line.len() as u64) < MAX_LINE {
            if waits() {
                continue;
            }
            if line.is_empty() {
                return Ok(());
            }
        }
        if let Some(text) = shown(&line, filter) {
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        line.clear();
    }
}

/// What is shown of a line, with the end of the line; nothing if it is filtered out.
fn shown(line: &[u8], filter: &Filter) -> Option<String> {
    match serde_json::from_slice::<Record>(line) {
        Ok(record) => filter.passes(&record).then(|| pretty(&record)),
        Err(_) if filter.is_none() => Some(String::from_utf8_lossy(line).into_owned()),
        Err(_) => None,
    }
}

impl Filter {
    fn is_none(&self) -> bool {
        let Filter { client, model, target, outcome, operation, api, .. } = self;
        let Filter { failed, retried, fallback, slower, .. } = self;
        let globs = [client, model, target, outcome, operation, api];
        let is_flagged = *failed || *retried || *fallback;
        globs.iter().all(|glob| glob.is_none()) && !is_flagged && slower.is_none()
    }

    fn passes(&self, record: &Record) -> bool {
        let fits = |glob: &Option<Glob>, texts: &[&str]| {
            glob.as_ref().is_none_or(|glob| texts.iter().any(|text| glob.is_match(text)))
        };
        let models: Vec<&str> = [&record.requested_model, &record.model]
            .into_iter()
            .flatten()
            .map(|it| &**it)
            .collect();
        let targets: Vec<&str> = record.attempts.iter().map(|it| &*it.target).collect();
        let took = Duration::from_millis(record.duration_ms);
        fits(&self.client, &[&record.client])
            && fits(&self.model, &models)
            && fits(&self.target, &targets)
            && fits(&self.outcome, &[&record.outcome])
            && fits(&self.operation, &[&record.operation])
            && fits(&self.api, &[&record.api])
            && !(self.failed && record.outcome == SUCCESS)
            && !(self.retried && record.attempts.len() < 2)
            && !(self.fallback && record.choice.as_deref() != Some(Choice::Other.name()))
            && self.slower.is_none_or(|least| took >= least)
    }
}

fn pretty(record: &Record) -> String {
    let style = match record.status {
        200..=299 if record.outcome == SUCCESS => AnsiColor::Green.on_default(),
        429 => AnsiColor::Yellow.on_default(),
        _ => AnsiColor::Red.on_default(),
    };
    let dim = Style::new().dimmed();
    // The time of the day, to the millisecond: `2026-11-24T00:45:58.14663Z`.
    let time = record.time.split_once('T').map_or(&*record.time, |(_, time)| time);
    let time = time.trim_end_matches('Z').get(..12).unwrap_or(time.trim_end_matches('Z'));
    let mut text = String::with_capacity(256);
    // Writing to memory can't fail.
    let _ = write!(
        text,
        "{dim}{time:<12}{dim:#} {style}{} {:<9}{style:#} {:>8} {}",
        record.status,
        record.outcome,
        milliseconds(record.duration_ms),
        record.client,
    );
    if !HIDDEN_APIS.contains(&&*record.api) {
        let _ = write!(text, " {}", record.api);
    }
    let _ = write!(text, " {}", record.operation);
    match (&record.requested_model, &record.model) {
        (Some(asked), Some(got)) if asked == got => _ = write!(text, " {asked}"),
        (Some(asked), Some(got)) => _ = write!(text, " {asked} -> {got}"),
        (Some(asked), None) => _ = write!(text, " {asked} -> nobody"),
        (None, _) => {}
    }
    if let Some(Tokens { input, output }) = record.usage {
        let _ = write!(text, ", {input}+{output} tokens");
    }
    if let Some(first_byte) = record.first_byte_ms.filter(|it| *it < record.duration_ms)
        && record.status == 200
    {
        let _ = write!(text, ", first byte {}", milliseconds(first_byte));
    }
    if record.queued_ms > 0 {
        let _ = write!(text, ", queued {}", milliseconds(record.queued_ms));
    }
    if let Some(error) = &record.error {
        let _ = write!(text, ", {error}");
    }
    if let Some(message) = &record.message {
        let _ = write!(text, ": {message}");
    }
    if record.attempts.len() > 1 || record.outcome != SUCCESS && !record.attempts.is_empty() {
        let attempts: Vec<String> =
            record.attempts.iter().map(|it| format!("{} {}", it.target, it.outcome)).collect();
        let _ = write!(text, " {dim}({}){dim:#}", attempts.join(", "));
    }
    if !record.passed_over.is_empty() {
        let targets: Vec<String> =
            record.passed_over.iter().map(|it| format!("{} {}", it.target, it.reason)).collect();
        let _ = write!(text, " {dim}(passed over {}", targets.join(", "));
        if record.passed_over_more > 0 {
            let _ = write!(text, " and {} more", record.passed_over_more);
        }
        let _ = write!(text, "){dim:#}");
    }
    for failures in failures(record) {
        let _ = write!(text, " {dim}{failures}{dim:#}");
    }
    text.push('\n');
    text
}

/// The attempts of a request that failed with the same error.
#[derive(Debug)]
struct SameFailures<'a> {
    /// The error, unless the client's message says the same.
    error: Option<&'a str>,
    targets: Vec<&'a str>,
    count: usize,
    request_ids: Vec<&'a str>,
}

/// The failed attempts, by their errors.
fn failures(record: &Record) -> Vec<SameFailures<'_>> {
    // The client's message says the same of an error that was passed on.
    let is_told = |error: &str| {
        record.message.as_ref().is_some_and(|message| error.ends_with(message.as_str()))
    };
    let mut all: Vec<SameFailures<'_>> = Vec::new();
    for attempt in record.attempts.iter().filter(|attempt| attempt.outcome != SUCCESS) {
        let error = attempt.error.as_deref().filter(|error| !is_told(error));
        let (target, id) = (&*attempt.target, attempt.upstream_request_id.as_deref());
        if error.is_none() && id.is_none() {
            continue;
        }
        if let Some(same) = all.iter_mut().find(|it| it.error == error) {
            same.count += 1;
            same.request_ids.extend(id);
            if !same.targets.contains(&target) {
                same.targets.push(target);
            }
        } else {
            let request_ids = id.into_iter().collect();
            all.push(SameFailures { error, targets: vec![target], count: 1, request_ids });
        }
    }
    all
}

impl fmt::Display for SameFailures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.targets.join(", "))?;
        let ids = self.request_ids.join(", ");
        let Some(error) = self.error else { return write!(f, " upstream request id {ids}") };
        write!(f, " {error}")?;
        match (self.count, ids.is_empty()) {
            (1, true) => Ok(()),
            (1, false) => write!(f, " (upstream request id {ids})"),
            (count, true) => write!(f, " ({count}x)"),
            (count, false) => write!(f, " ({count}x, upstream request id {ids})"),
        }
    }
}

fn milliseconds(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} ms"),
        _ => format!("{}.{} s", count / 1000, count % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-11-24T00:45:58.14663Z","request_id":"r","client":"team-a","peer":"127.0.0.1:1","operation":"Converse","requested_model":"claude-a","model":"claude-b","target":"b","status":200,"outcome":"success","attempts":[{"target":"a","outcome":"throttled","status":429,"ms":1},{"target":"b","outcome":"success","status":200,"ms":1}],"choice":"other","queued_ms":12,"first_byte_ms":300,"duration_ms":12345,"request_bytes":59,"response_bytes":281,"usage":{"input":2,"output":13,"cache_read":0,"cache_write":0}}"#;

    fn read(log: &str, filter: &Filter) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        show(log.as_bytes(), filter, &mut out, || false).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn a_line_shows_the_outcome_of_a_request() {
        let text = read(LINE, &Filter::default());
        assert_eq!(
            text,
            "00:45:58.146 200 success     12.3 s team-a Converse claude-a -> claude-b, 2+13 \
             tokens, first byte 300 ms, queued 12 ms (a throttled, b success)\n"
        );
    }

    #[test]
    fn a_line_shows_an_api_that_is_not_bedrocks_own() {
        let line = |api: &str, operation: &str| {
            let names = format!(r#""api":"{api}","operation":"{operation}""#);
            read(&LINE.replace(r#""operation":"Converse""#, &names), &Filter::default())
        };
        let of_messages = line("messages", "CreateMessage");
        assert!(of_messages.contains(" team-a messages CreateMessage claude-a "), "{of_messages}");
        assert!(line("bedrock", "Converse").contains(" team-a Converse claude-a "));
        assert!(line("-", "-").contains(" team-a - claude-a "));
    }

    #[test]
    fn a_line_shows_why_each_attempt_failed_and_what_the_client_was_told() {
        let log = LINE
            .replace(r#""status":429,"ms":1"#, r#""status":0,"ms":1,"error":"connection refused""#)
            .replace(
                r#""outcome":"success","attempts""#,
                r#""outcome":"upstream_error","error":"E","message":"no answer","attempts""#,
            );
        let text = read(&log, &Filter::default());
        assert!(text.contains(", E: no answer (a throttled, b success)"), "{text}");
        assert!(text.ends_with(" a: connection refused\n"), "{text}");
    }

    #[test]
    fn a_line_shows_an_error_of_several_attempts_once_and_the_ids_of_the_upstream() {
        let failed = |target: &str, id: &str| {
            format!(
                r#"{{"target":"{target}","outcome":"throttled","status":429,"ms":1,"upstream_request_id":"{id}","error":"E: wait"}}"#
            )
        };
        let attempts = format!(
            r#"{},{},{{"target":"b""#,
            [failed("a", "1-a"), failed("a", "1-b")].join(","),
            failed("c", "1-c")
        );
        let log = LINE.replace(
            r#"{"target":"a","outcome":"throttled","status":429,"ms":1},{"target":"b""#,
            &attempts,
        );
        let text = read(&log, &Filter::default());
        let end = " a, c: E: wait (3x, upstream request id 1-a, 1-b, 1-c)\n";
        assert!(text.ends_with(end), "{text}");
        // The client's message has the error already.
        let told = log.replace(
            r#""outcome":"success","attempts""#,
            r#""outcome":"throttled","error":"E","message":"wait","attempts""#,
        );
        let text = read(&told, &Filter::default());
        assert!(text.ends_with(" a, c: upstream request id 1-a, 1-b, 1-c\n"), "{text}");
    }

    #[test]
    fn a_line_shows_which_better_targets_were_passed_over_and_why() {
        let passed_over = r#""passed_over":[{"target":"x","reason":"no_quota"},{"target":"y","reason":"feature:tools"}],"passed_over_more":2,"choice""#;
        let log = LINE.replace(r#""choice""#, passed_over);
        let text = read(&log, &Filter::default());
        let end =
            " (a throttled, b success) (passed over x no_quota, y feature:tools and 2 more)\n";
        assert!(text.ends_with(end), "{text}");
        let first = log.replace("\"other\"", "\"first\"");
        let only = Filter { fallback: true, ..Filter::default() };
        assert_eq!((read(&log, &only).lines().count(), &*read(&first, &only)), (1, ""));
    }

    #[test]
    fn other_lines_pass_through_without_a_filter() {
        let log = format!("{{\"level\":\"INFO\"}}\n{LINE}\nno JSON\n");
        assert_eq!(read(&log, &Filter::default()).lines().count(), 3);
        let only = Filter { retried: true, ..Filter::default() };
        assert_eq!(read(&log, &only).lines().count(), 1);
    }

    #[test]
    fn each_condition_counts() {
        let some = |text: &str| Some(glob(text).unwrap());
        let seconds = |count| Some(Duration::from_secs(count));
        for (filter, passes) in [
            (Filter { client: some("team-*"), ..Filter::default() }, true),
            (Filter { client: some("team-b"), ..Filter::default() }, false),
            (Filter { model: some("claude-a"), ..Filter::default() }, true),
            (Filter { model: some("*-b"), ..Filter::default() }, true),
            (Filter { model: some("*-c"), ..Filter::default() }, false),
            (Filter { target: some("a"), ..Filter::default() }, true),
            (Filter { target: some("c"), ..Filter::default() }, false),
            (Filter { outcome: some("success"), ..Filter::default() }, true),
            (Filter { operation: some("Invoke*"), ..Filter::default() }, false),
            (Filter { api: some("bedrock"), ..Filter::default() }, true),
            (Filter { api: some("messages"), ..Filter::default() }, false),
            (Filter { failed: true, ..Filter::default() }, false),
            (Filter { retried: true, ..Filter::default() }, true),
            (Filter { fallback: true, ..Filter::default() }, true),
            (Filter { slower: seconds(12), ..Filter::default() }, true),
            (Filter { slower: seconds(13), ..Filter::default() }, false),
        ] {
            assert_eq!(!read(LINE, &filter).is_empty(), passes, "{filter:?}");
        }
    }

    #[test]
    fn a_line_that_is_written_in_two_parts_is_one() {
        struct Growing(Vec<&'static [u8]>);
        impl Read for Growing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0.is_empty() { Ok(0) } else { self.0.remove(0).read(buffer) }
            }
        }
        let (first, second) = LINE.as_bytes().split_at(100);
        let mut out = Vec::new();
        let mut looks = 0;
        // The end of the file, where the first part ends.
        let log = BufReader::new(Growing(vec![first, b"", second, b"\n"]));
        show(log, &Filter { retried: true, ..Filter::default() }, &mut out, || {
            looks += 1;
            looks < 3
        })
        .unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
    }
}
