//! A non-blocking log writer: a thread of its own writes the lines, so that no request waits for a
//! pipe, a terminal or a disk.
//!
//! The buffer is bounded: a line that does not fit or can't be written is dropped and counted. The end
//! of the process waits a bounded time for the last lines.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;

/// Most memory of lines in the buffer, in bytes. Further lines are dropped.
const MAX_BUFFERED: usize = 8 * 1024 * 1024;

/// The memory of a line beside its text.
const LINE_OVERHEAD: usize = size_of::<usize>();

/// Most lines that are written between two checks of the sink.
const MAX_TURN: usize = 1024;

/// Most bytes of one write, and most memory that is kept for the next lines.
const BUFFER: usize = 64 * 1024;

/// Pause of the writer between two turns. Waking it for each line would cost the request more than
/// the line does.
const PAUSE: Duration = Duration::from_millis(5);

/// Longest time between two checks of the sink.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Most retries when a non-blocking descriptor has no room.
const MAX_BUSY: u32 = 200;

/// Longest wait of a flush.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The destination of lines.
pub(super) trait Sink: Send + 'static {
    /// Takes a line, which ends with a newline. Returns how many lines were lost.
    fn line(&mut self, line: &[u8]) -> u64;

    /// Writes all lines taken. Returns how many were lost.
    fn flush(&mut self) -> u64;

    /// Checks the destination: before lines are taken, and once a second while there are none.
    fn check(&mut self) {}
}

/// The way to the writing thread, which ends with the last clone.
#[derive(Clone, Debug)]
pub struct LogWriter {
    open: Arc<Open>,
    dropped: IntCounter,
}

/// Ends the writing thread when it is dropped.
#[derive(Debug)]
struct Open(Arc<Shared>);

/// What the writers of lines share with the writing thread. A line is copied into memory that they have in
/// common, so that it takes none of its own.
#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    /// Notified when the thread waits for a line and there is one.
    has_line: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    lines: Lines,
    /// Memory of the lines that the thread has taken and has not written yet.
    taken: usize,
    /// Requests for a write of every line so far; dropped once that is done.
    flushes: Vec<SyncSender<()>>,
    /// Whether the thread waits to be notified.
    is_idle: bool,
    /// Whether no line can come any more, or there is no thread that would write it.
    is_closed: bool,
}

/// Lines, one behind the other.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    /// Where in the text each line ends.
    ends: Vec<usize>,
}

impl Lines {
    fn push(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
    }

    fn memory(&self) -> usize {
        self.text.len() + self.ends.len() * LINE_OVERHEAD
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.text.get(start..*end).unwrap_or_default())
    }

    /// Forgets the lines, and gives back the memory of unusually many.
    fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(BUFFER);
        self.ends.clear();
        self.ends.shrink_to(MAX_TURN);
    }
}

impl LogWriter {
    /// Starts a thread of this name that writes to `out`.
    pub fn to(name: &str, out: impl Write + Send + 'static, dropped: IntCounter) -> LogWriter {
        LogWriter::start(name, Buffered::new(out), dropped)
    }

    /// Starts a thread of this name that writes to `sink`.
    pub(super) fn start(name: &str, sink: impl Sink, dropped: IntCounter) -> LogWriter {
        let shared = Arc::<Shared>::default();
        let (of_thread, lost) = (Arc::clone(&shared), dropped.clone());
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write(&of_thread, sink, &lost));
        // Without the thread every line counts as dropped.
        shared.pending.lock().is_closed = thread.is_err();
        LogWriter { open: Arc::new(Open(shared)), dropped }
    }

    /// Queues a line, which ends with a newline, or drops it if there is no room.
    pub fn write(&self, line: &[u8]) {
        let Open(shared) = &*self.open;
        let mut pending = shared.pending.lock();
        let size = line.len() + LINE_OVERHEAD;
        if pending.taken + pending.lines.memory() + size > MAX_BUFFERED || pending.is_closed {
            drop(pending);
            self.dropped.inc();
            return;
        }
        pending.lines.push(line);
        pending.wake(shared);
    }

    /// Waits until all lines so far are written, for a bounded time. Blocks: for the end of the process.
    pub fn flush(&self) {
        let (written, ack) = sync_channel(0);
        let Open(shared) = &*self.open;
        {
            let mut pending = shared.pending.lock();
            if pending.is_closed {
                return;
            }
            pending.flushes.push(written);
            pending.wake(shared);
        }
        // The channel closes when the lines are written.
        let _ = ack.recv_timeout(FLUSH_TIMEOUT);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut pending = self.0.pending.lock();
        pending.is_closed = true;
        pending.wake(&self.0);
    }
}

impl Pending {
    fn wake(&mut self, shared: &Shared) {
        if mem::take(&mut self.is_idle) {
            shared.has_line.notify_one();
        }
    }

    fn is_empty(&self) -> bool {
        self.lines.ends.is_empty() && self.flushes.is_empty()
    }
}

/// Closes the way to the thread when it ends, also if the sink panics: lines that nobody would write count as
/// dropped.
struct Closes<'s> {
    shared: &'s Shared,
    dropped: &'s IntCounter,
}

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        let mut pending = self.shared.pending.lock();
        pending.is_closed = true;
        self.dropped.inc_by(pending.lines.ends.len() as u64);
        pending.lines.clear();
        // Those who wait for a flush wait in vain.
        pending.flushes.clear();
    }
}

fn write(shared: &Shared, mut sink: impl Sink, dropped: &IntCounter) {
    let mut lines = Lines::default();
    let mut flushes;
    // Rust drops this guard before `lines` and `flushes`. So the buffer is closed by the time that the end of
    // `flushes` wakes a caller that waits for a flush.
    let _closes = Closes { shared, dropped };
    loop {
        flushes = {
            let mut pending = shared.pending.lock();
            pending.taken = 0;
            if pending.is_empty() && !pending.is_closed {
                pending.is_idle = true;
                shared.has_line.wait_for(&mut pending, CHECK_INTERVAL);
                pending.is_idle = false;
            }
            if pending.is_empty() && pending.is_closed {
                return;
            }
            mem::swap(&mut pending.lines, &mut lines);
            pending.taken = lines.memory();
            mem::take(&mut pending.flushes)
        };
        sink.check();
        for (number, line) in lines.iter().enumerate() {
            if number > 0 && number % MAX_TURN == 0 {
                dropped.inc_by(sink.flush());
                sink.check();
            }
            dropped.inc_by(sink.line(line));
        }
        dropped.inc_by(sink.flush());
        lines.clear();
        if flushes.is_empty() {
            std::thread::park_timeout(PAUSE);
        }
        flushes.clear();
    }
}

/// Lines that are written together.
#[derive(Debug)]
pub(super) struct Buffered<W> {
    out: W,
    text: Vec<u8>,
    /// Where in the text each line ends.
    ends: Vec<usize>,
    /// Bytes of a line of which only the beginning was written, at the end of what was. The next line starts on
    /// a new line then.
    partial: usize,
    /// Bytes that the last flush could not write.
    unwritten: usize,
}

impl<W: Write> Buffered<W> {
    pub(super) fn new(out: W) -> Buffered<W> {
        Buffered { out, text: Vec::new(), ends: Vec::new(), partial: 0, unwritten: 0 }
    }

    /// Where the lines go.
    pub(super) fn out(&self) -> &W {
        &self.out
    }

    /// Bytes that the last flush could not write.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// Bytes of the beginning of a line, at the end of what was written, whose rest could not be written.
    pub(super) fn partial(&self) -> usize {
        self.partial
    }

    /// Notes that the beginning of a line was taken back.
    pub(super) fn has_cut_partial(&mut self) {
        self.partial = 0;
    }
}

impl<W: Write + Send + 'static> Sink for Buffered<W> {
    fn line(&mut self, line: &[u8]) -> u64 {
        let is_full = !self.text.is_empty() && self.text.len() + line.len() > BUFFER;
        let lost = if is_full { self.flush() } else { 0 };
        if self.partial > 0 && self.text.is_empty() {
            self.text.push(b'\n');
        }
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
        lost
    }

    fn flush(&mut self) -> u64 {
        if self.ends.is_empty() {
            return 0;
        }
        let written = write_some(&mut self.out, &self.text);
        let whole = self.ends.partition_point(|end| *end <= written);
        if written > 0 {
            let end = whole.checked_sub(1).and_then(|last| self.ends.get(last)).copied();
            self.partial = written - end.unwrap_or_default();
        }
        self.unwritten = self.text.len() - written;
        let lost = self.ends.len() - whole;
        self.text.clear();
        self.ends.clear();
        // Give back the memory of an unusually long line.
        self.text.shrink_to(BUFFER);
        lost as u64
    }
}

/// Writes as much as possible and returns how much that was.
fn write_some(out: &mut impl Write, text: &[u8]) -> usize {
    let (mut written, mut busy) = (0, 0);
    while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => break,
            Ok(more) => (written, busy) = (written + more, 0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The descriptor is non-blocking; there may be room soon.
            Err(error) if error.kind() == ErrorKind::WouldBlock && busy < MAX_BUSY => {
                busy += 1;
                std::thread::park_timeout(PAUSE);
            }
            Err(_) => break,
        }
    }
    if out.flush().is_ok() { written } else { 0 }
}

/// Standard output or standard error, without the locks and buffers of the standard library: a stuck
/// writer must not hold them when others print or the process ends.
pub fn unlocked<S: Write + AsFd + Send + 'static>(stream: S) -> Box<dyn Write + Send> {
    match stream.as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(stream),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "dropped").unwrap()
    }

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Has room for so many bytes at each flush, and then fails.
    #[derive(Clone, Default)]
    struct Full(Arc<Mutex<(Vec<usize>, Vec<u8>)>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, written) = &mut *self.0.lock();
            let taken = room.first().map_or(bytes.len(), |room| bytes.len().min(*room));
            if let Some(room) = room.first_mut() {
                *room -= taken;
            }
            written.extend_from_slice(&bytes[..taken]);
            if taken == 0 { Err(io::Error::other("full")) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            let (room, _) = &mut *self.0.lock();
            room.drain(..room.len().min(1));
            Ok(())
        }
    }

    #[test]
    fn a_flush_waits_for_the_lines_before_it() {
        let out = Out::default();
        let lines = LogWriter::to("lines", out.clone(), counter());
        for number in 0..1000 {
            lines.write(format!("{number}\n").as_bytes());
        }
        lines.flush();
        assert_eq!(out.0.lock().split(|byte| *byte == b'\n').count(), 1001);
    }

    /// Blocks in a write while the gate is held.
    struct Stuck(Arc<Mutex<()>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            drop(self.0.lock());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_counted() {
        let gate = Arc::new(Mutex::new(()));
        let dropped = counter();
        let held = gate.lock();
        let lines = LogWriter::to("lines", Stuck(Arc::clone(&gate)), dropped.clone());
        let line = vec![b'x'; MAX_BUFFERED / 16 - LINE_OVERHEAD];
        for _ in 0..40 {
            lines.write(&line);
        }
        // Those that the thread has taken count, too.
        assert_eq!(dropped.get(), 24);
        drop(held);
    }

    #[test]
    fn a_flush_does_not_wait_for_a_stuck_sink() {
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock();
        let lines = LogWriter::to("lines", Stuck(Arc::clone(&gate)), counter());
        lines.write(b"a line\n");
        // Returns although the line is not written.
        lines.flush();
        drop(held);
    }

    #[test]
    fn lines_behind_a_panic_of_the_sink_are_dropped_and_counted() {
        struct Panics;
        impl Write for Panics {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                panic!("the sink fails")
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dropped = counter();
        let lines = LogWriter::to("lines", Panics, dropped.clone());
        lines.write(b"a line\n");
        // Returns when the thread has ended.
        lines.flush();
        for _ in 0..3 {
            lines.write(b"a line\n");
        }
        assert_eq!(dropped.get(), 3);
    }

    #[test]
    fn lost_lines_are_counted_and_partial_lines_are_ended() {
        let full = Full::default();
        full.0.lock().0 = vec![9, 0, 100];
        let mut out = Buffered::new(full.clone());
        let mut write = |lines: &[&str]| {
            let lost: u64 = lines.iter().map(|line| out.line(line.as_bytes())).sum();
            lost + out.flush()
        };
        assert_eq!(write(&["one\n", "two\n", "three\n"]), 1);
        assert_eq!(write(&["four\n", "five\n"]), 2);
        assert_eq!(write(&["six\n"]), 0);
        assert_eq!(write(&["seven\n"]), 0);
        let written = String::from_utf8(full.0.lock().1.clone()).unwrap();
        assert_eq!(written, "one\ntwo\nt\nsix\nseven\n");
    }

    #[test]
    fn text_without_a_newline_is_written_unchanged() {
        let out = Out::default();
        let mut buffered = Buffered::new(out.clone());
        for text in ["10 %", "\r20 %"] {
            assert_eq!(buffered.line(text.as_bytes()) + buffered.flush(), 0);
        }
        assert_eq!(&**out.0.lock(), b"10 %\r20 %");
    }

    #[test]
    fn a_reader_without_room_for_a_moment_gets_everything() {
        struct Busy(Out, bool);
        impl Write for Busy {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(ErrorKind::WouldBlock.into());
                }
                self.0.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (out, dropped) = (Out::default(), counter());
        let lines = LogWriter::to("lines", Busy(out.clone(), false), dropped.clone());
        lines.write(b"a line\n");
        lines.flush();
        assert_eq!((&**out.0.lock(), dropped.get()), (&b"a line\n"[..], 0));
    }
}
