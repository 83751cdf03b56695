//! Opening and reading the files of a configuration: its own, and those that it names.
//!
//! A file may be a regular one, through any links; `/dev/null`; or a pipe that the process was started
//! with, as `/dev/stdin` or `/dev/fd/N`. Anything else is refused, since opening or reading it might
//! block for ever. The check is of the opened file, not of the path, so that a swap in between changes
//! nothing. Relative paths start at the config file's directory, and sizes are bounded.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use tokio::time::Instant;

/// Longest time for a pipe to be written to its end.
const MAX_PIPE_WAIT: Duration = Duration::from_secs(30);

/// Where a process finds the descriptors that it was started with.
const OWN_DESCRIPTORS: [&str; 2] = ["/dev/fd/", "/proc/self/fd/"];

/// A path that a config names: a relative one starts at `base`, the config file's directory.
pub(super) fn resolve(base: Option<&Path>, path: impl AsRef<Path>) -> PathBuf {
    base.map_or_else(|| path.as_ref().to_owned(), |base| base.join(path.as_ref()))
}

/// Reads a text of at most `max` bytes, from a file or from a pipe that the process was started with.
///
/// # Errors
/// When it is missing, too long, not UTF-8, or of a kind that may not be read.
pub fn read_text(path: &Path, max: u64) -> Result<String> {
    String::from_utf8(read_bytes(path, max)?)
        .map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Reads a file of at most `max` bytes.
pub(super) fn read_bytes(path: &Path, max: u64) -> Result<Vec<u8>> {
    let (file, about) = open(path)?;
    let bytes = if about.file_type().is_fifo() {
        let bytes = read_pipe(&file, max)?;
        if bytes.is_empty() {
            return Err(Error::other("it is a pipe with nothing in it, or was read already"));
        }
        bytes
    } else {
        read_to(&file, max)?
    };
    if bytes.len() as u64 > max {
        return Err(Error::other(format!("it is larger than {}", in_words(max))));
    }
    Ok(bytes)
}

/// Opens a file without blocking, and returns its metadata.
///
/// # Errors
/// When it is missing, or of a kind that may not be read.
pub(super) fn open(path: &Path) -> Result<(File, Metadata)> {
    // So that opening a named pipe does not wait for a writer.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match std::fs::metadata(path) {
        // The error of the system is not clear.
        Ok(about) if about.file_type().is_socket() => refused(about.file_type()),
        _ => error,
    })?;
    let about = file.metadata()?;
    let kind = about.file_type();
    if kind.is_file()
        || kind.is_char_device() && is_null(&about)
        || kind.is_fifo() && is_own_descriptor(path)
    {
        return Ok((file, about));
    }
    Err(refused(kind))
}

/// Checks the kind of a file that other code reads, by the same rule. A missing or unreadable file
/// passes: that code reports it.
///
/// # Errors
/// When it is something that may not be read.
pub fn check_regular(path: &Path) -> Result<()> {
    match open(path) {
        Err(error) if error.raw_os_error().is_none() => Err(error),
        _ => Ok(()),
    }
}

/// The error for a file of another kind.
fn refused(kind: FileType) -> Error {
    Error::other(format!("it is {}, not a regular file", in_one_word(kind)))
}

/// The kind of a file, with its article.
pub(super) fn in_one_word(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe (FIFO)"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_block_device() {
        "a block device"
    } else {
        "of a kind that is not known"
    }
}

fn is_null(about: &Metadata) -> bool {
    std::fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == about.rdev())
}

/// Whether a path names a descriptor of this process, and not something that is found by its name.
fn is_own_descriptor(path: &Path) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    let number = OWN_DESCRIPTORS.iter().find_map(|dir| path.strip_prefix(dir.as_bytes()));
    path == b"/dev/stdin"
        || number.is_some_and(|it| !it.is_empty() && it.iter().all(u8::is_ascii_digit))
}

/// Reads to the end, or to one byte more than may be there.
fn read_to(file: &File, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same for a pipe, whose writer has a limited time.
fn read_pipe(pipe: &File, max: u64) -> Result<Vec<u8>> {
    let end = Instant::now() + MAX_PIPE_WAIT;
    let mut bytes = Vec::new();
    loop {
        // What was read before an error stays in the bytes.
        let room = (max + 1).saturating_sub(bytes.len() as u64);
        match pipe.take(room).read_to_end(&mut bytes) {
            Ok(_) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let wait = MAX_PIPE_WAIT.as_secs();
            return Err(Error::other(format!("it is a pipe without an end within {wait} seconds")));
        }
        let left = Timespec::try_from(left).map_err(Error::other)?;
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A number of bytes that is whole KiB.
pub(super) fn in_words(bytes: u64) -> String {
    match bytes >> 10 {
        kib if kib % 1024 == 0 => format!("{}MiB", kib >> 10),
        kib => format!("{kib}KiB"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn why(path: &Path) -> String {
        read_bytes(path, 1024).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once_by_its_kind() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        mkfifoat(CWD, at("fifo"), Mode::RWXU).unwrap();
        symlink("fifo", at("link")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        assert_eq!(why(&at("fifo")), "it is a named pipe (FIFO), not a regular file");
        assert_eq!(why(&at("link")), "it is a named pipe (FIFO), not a regular file");
        assert_eq!(why(&at("socket")), "it is a socket, not a regular file");
        assert_eq!(why(dir.path()), "it is a directory, not a regular file");
        assert_eq!(why(Path::new("/dev/zero")), "it is a character device, not a regular file");
        assert!(read_bytes(&at("missing"), 1024).is_err_and(|e| e.kind() == ErrorKind::NotFound));
        assert_eq!(read_text(Path::new("/dev/null"), 1024).unwrap(), "");
    }

    #[test]
    fn a_file_is_read_by_its_links_and_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("..data")).unwrap();
        std::fs::write(at("..data/key"), [b'k'; 1024]).unwrap();
        symlink("..data/key", at("key")).unwrap();
        assert_eq!(read_text(&at("key"), 1024).unwrap().len(), 1024);
        std::fs::write(at("..data/key"), [b'k'; 1025]).unwrap();
        assert_eq!(read_text(&at("key"), 1024).unwrap_err().to_string(), "it is larger than 1KiB");
        std::fs::write(at("..data/key"), [0xff]).unwrap();
        assert_eq!(read_text(&at("key"), 1024).unwrap_err().to_string(), "it is not UTF-8");
    }

    #[test]
    fn a_pipe_of_the_process_is_read_once_and_to_its_end() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
        let read = std::thread::spawn({
            let path = path.clone();
            move || read_text(&path, 1 << 20)
        });
        for _ in 0..100 {
            writer.write_all(&[b'x'; 1000]).unwrap();
        }
        drop(writer);
        assert_eq!(read.join().unwrap().unwrap().len(), 100_000);
        assert_eq!(why(&path), "it is a pipe with nothing in it, or was read already");
    }

    #[test]
    fn a_file_that_the_process_was_started_with_is_a_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"text").unwrap();
        file.rewind().unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()));
        assert_eq!(read_text(&path, 1024).unwrap(), "text");
    }

    #[test]
    fn only_descriptors_are_told_by_their_number() {
        for own in ["/dev/stdin", "/dev/fd/0", "/dev/fd/63", "/proc/self/fd/3"] {
            assert!(is_own_descriptor(Path::new(own)), "{own}");
        }
        for other in ["/dev/fd/", "/dev/fd/x", "/dev/fd/3/..", "/tmp/fifo", "stdin", "/dev/fd/../x"]
        {
            assert!(!is_own_descriptor(Path::new(other)), "{other}");
        }
    }
}
