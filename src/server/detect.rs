//! Detects which version of HTTP a connection speaks by its first bytes.
//!
//! On a plain socket the bytes are peeked at and stay unread. Bytes that had to be read are handed on as
//! [`Preread`], for the HTTP library to read again.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// First bytes of a stream, read to detect its version.
#[derive(Debug, Default)]
pub(super) struct Preread {
    bytes: [u8; PREFACE.len()],
    start: usize,
    end: usize,
}

impl Preread {
    /// Moves up to `limit` of the bytes into `buf`. Returns false if there are none left.
    pub(super) fn read(&mut self, buf: &mut ReadBuf<'_>, limit: usize) -> bool {
        let left = self.bytes.get(self.start..self.end).unwrap_or_default();
        let (now, _) = left.split_at(left.len().min(limit).min(buf.remaining()));
        buf.put_slice(now);
        self.start += now.len();
        !left.is_empty()
    }
}

/// Peeks at the first bytes of a socket, and detects its version if those that have come suffice. The
/// HTTP library reads them then together with the rest of the head, which needs only half the buffer.
pub(super) async fn peek_version(socket: &TcpStream) -> io::Result<Option<Version>> {
    let mut first = [0; PREFACE.len()];
    let count = socket.peek(&mut first).await?;
    Ok(first.get(..count).filter(|first| !first.is_empty()).and_then(version_of))
}

/// The version of a connection with these first bytes; `None` if they don't suffice.
fn version_of(first: &[u8]) -> Option<Version> {
    match PREFACE.strip_prefix(first) {
        Some([]) => Some(Version::Http2),
        Some(_) => None,
        None => Some(Version::Http1),
    }
}

/// Reads the first bytes of a stream until they show its version. `None` if it ends without any.
pub(super) async fn read_version<S>(stream: &mut S) -> io::Result<Option<(Version, Preread)>>
where
    S: AsyncRead + Unpin,
{
    let mut first = Preread::default();
    let version = loop {
        let unfilled = first.bytes.get_mut(first.end..).unwrap_or_default();
        match stream.read(unfilled).await? {
            0 if first.end == 0 => return Ok(None),
            // Too short for a request, which the HTTP library refuses.
            0 => break Version::Http1,
            count => first.end += count,
        }
        if let Some(version) = version_of(first.bytes.get(..first.end).unwrap_or_default()) {
            break version;
        }
    };
    Ok(Some((version, first)))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// The version, and all bytes of the stream.
    async fn detect(chunks: &[&[u8]]) -> Option<(Version, Vec<u8>)> {
        let (mut client, mut server) = tokio::io::duplex(1024);
        let chunks: Vec<Vec<u8>> = chunks.iter().map(|chunk| chunk.to_vec()).collect();
        tokio::spawn(async move {
            for chunk in chunks {
                client.write_all(&chunk).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let (version, mut first) = read_version(&mut server).await.unwrap()?;
        let mut all = Vec::new();
        // In small steps, so that the first bytes are read in parts.
        loop {
            let mut space = [0; 7];
            let mut buf = ReadBuf::new(&mut space);
            if !first.read(&mut buf, 5) {
                break;
            }
            assert!((1..=5).contains(&buf.filled().len()));
            all.extend_from_slice(buf.filled());
        }
        server.read_to_end(&mut all).await.unwrap();
        Some((version, all))
    }

    #[tokio::test]
    async fn the_version_is_detected_and_no_byte_is_lost() {
        let request = b"GET / HTTP/1.1\r\nhost: a-host-with-a-name\r\n\r\n";
        assert_eq!(detect(&[request]).await, Some((Version::Http1, request.to_vec())));
        assert_eq!(
            detect(&[b"PRI * HT", b"TP/1.1\r\n"]).await,
            Some((Version::Http1, b"PRI * HTTP/1.1\r\n".to_vec()))
        );
        let two = [PREFACE.as_slice(), b"frames"].concat();
        assert_eq!(detect(&[&two]).await, Some((Version::Http2, two.clone())));
        let bytes: Vec<&[u8]> = two.chunks(1).collect();
        assert_eq!(detect(&bytes).await, Some((Version::Http2, two.clone())));
    }

    #[tokio::test]
    async fn a_stream_without_bytes_has_no_version() {
        assert_eq!(detect(&[]).await, None);
        assert_eq!(detect(&[b"PRI"]).await, Some((Version::Http1, b"PRI".to_vec())));
    }
}
