//! Lines of text that a thread of its own writes, so that no request waits for a pipe or a disk.
//!
//! Bounded: a line for which there is no room, or that can't be written, is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use prometheus::IntCounter;

/// Lines that may wait to be written before further ones are dropped.
const BACKLOG: usize = 8192;

/// Pause of the writer between two looks. Waking it for each line would cost the request more than
/// the line does.
const PAUSE: Duration = Duration::from_millis(5);

/// How long the last lines may take when the process ends.
const LAST: Duration = Duration::from_secs(1);

/// Where lines go in the end.
pub(super) trait Sink: Send + 'static {
    /// Writes a whole line, which ends with a newline.
    ///
    /// # Errors
    /// When it can't be written.
    fn line(&mut self, line: &[u8]) -> io::Result<()>;

    /// Has what was written reach the file or the reader.
    ///
    /// # Errors
    /// When it can't be written.
    fn flush(&mut self) -> io::Result<()>;
}

impl<W: Write + Send + 'static> Sink for io::BufWriter<W> {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.write_all(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(self)
    }
}

/// A way to the thread that writes. Clones share it; it ends with the last.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    // Grows as it fills: one with bounds of its own has its room taken from the beginning.
    entries: Sender<Entry>,
    /// Lines that wait to be written.
    waiting: Arc<AtomicUsize>,
    dropped: IntCounter,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Everything before it is to be written; dropped when it is.
    Flush(SyncSender<()>),
}

impl Lines {
    /// Starts a thread of this name that writes to `sink`.
    pub(super) fn start(name: &str, sink: impl Sink, dropped: IntCounter) -> Lines {
        let (entries, receiver) = channel();
        let waiting = Arc::<AtomicUsize>::default();
        let (taken, failed) = (Arc::clone(&waiting), dropped.clone());
        // Without the thread the receiver is dropped and every line counts as dropped.
        let _ = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write(&receiver, &taken, sink, &failed));
        Lines { entries, waiting, dropped }
    }

    /// Has a line written, which ends with a newline, or drops it when there is no room.
    pub(super) fn write(&self, line: Vec<u8>) {
        let has_room = self.waiting.fetch_add(1, Ordering::Relaxed) < BACKLOG;
        if !has_room || self.entries.send(Entry::Line(line)).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.inc();
        }
    }

    /// Waits until all lines so far are written, or for a second. Blocks: for the end of the process.
    pub(super) fn flush(&self) {
        let (written, ack) = sync_channel(0);
        if self.entries.send(Entry::Flush(written)).is_ok() {
            // The answer is the end of the channel.
            let _ = ack.recv_timeout(LAST);
        }
    }
}

fn write(
    entries: &Receiver<Entry>,
    waiting: &AtomicUsize,
    mut sink: impl Sink,
    dropped: &IntCounter,
) {
    while let Ok(entry) = entries.recv() {
        let mut flushes = Vec::new();
        for entry in std::iter::once(entry).chain(entries.try_iter()) {
            match entry {
                Entry::Line(line) => {
                    waiting.fetch_sub(1, Ordering::Relaxed);
                    if sink.line(&line).is_err() {
                        dropped.inc();
                    }
                }
                Entry::Flush(written) => flushes.push(written),
            }
        }
        if sink.flush().is_err() {
            dropped.inc();
        }
        if flushes.is_empty() {
            std::thread::park_timeout(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "dropped").unwrap()
    }

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flush_waits_for_the_lines_before_it() {
        let out = Out::default();
        let lines = Lines::start("lines", io::BufWriter::new(out.clone()), counter());
        for number in 0..1000 {
            lines.write(format!("{number}\n").into_bytes());
        }
        lines.flush();
        assert_eq!(out.0.lock().unwrap().split(|byte| *byte == b'\n').count(), 1001);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        struct Stuck(Arc<Mutex<()>>);
        impl Sink for Stuck {
            fn line(&mut self, _: &[u8]) -> io::Result<()> {
                drop(self.0.lock());
                Ok(())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let gate = Arc::new(Mutex::new(()));
        let dropped = counter();
        let held = gate.lock().unwrap();
        let lines = Lines::start("lines", Stuck(Arc::clone(&gate)), dropped.clone());
        for _ in 0..BACKLOG + 10 {
            lines.write(b"\n".to_vec());
        }
        // One may be in the thread's hands.
        assert!((9..=10).contains(&dropped.get()), "{}", dropped.get());
        drop(held);
    }

    #[test]
    fn a_line_that_can_not_be_written_is_counted_and_the_next_is_tried() {
        #[derive(Clone, Default)]
        struct Failing(Arc<Mutex<u32>>);
        impl Sink for Failing {
            fn line(&mut self, _: &[u8]) -> io::Result<()> {
                let mut tried = self.0.lock().unwrap();
                *tried += 1;
                if *tried == 1 { Err(io::Error::other("full")) } else { Ok(()) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sink, dropped) = (Failing::default(), counter());
        let lines = Lines::start("lines", sink.clone(), dropped.clone());
        lines.write(b"\n".to_vec());
        lines.write(b"\n".to_vec());
        lines.flush();
        assert_eq!((*sink.0.lock().unwrap(), dropped.get()), (2, 1));
    }
}
