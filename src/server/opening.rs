//! The beginning of a connection: its first bytes tell which version of HTTP it speaks.
//!
//! A socket is looked at, and its bytes stay in it; what was read to see it is read again by who
//! serves the connection. One that stops before it has said which it is can so be told from one that
//! is served, and timed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::socket::Reset;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// A stream whose first bytes have been read, and are read again.
#[derive(Debug)]
pub(super) struct Opened<S> {
    stream: S,
    first: [u8; PREFACE.len()],
    read: usize,
    given: usize,
}

/// The version that the first bytes of a socket tell, if those that come first are enough. They are
/// still to be read: the library makes room for what it reads next to what it has, so a head that
/// comes at once takes half as much if it is all there.
pub(super) async fn glance(socket: &TcpStream) -> io::Result<Option<Version>> {
    let mut first = [0; PREFACE.len()];
    let count = socket.peek(&mut first).await?;
    Ok(first.get(..count).filter(|first| !first.is_empty()).and_then(version_of))
}

/// The version that a connection speaks which begins so; `None` if more has to come.
fn version_of(first: &[u8]) -> Option<Version> {
    match PREFACE.strip_prefix(first) {
        Some([]) => Some(Version::Http2),
        Some(_) => None,
        None => Some(Version::Http1),
    }
}

/// Reads as much of a stream as tells its version; `None` if it ends before it begins.
pub(super) async fn open<S>(mut stream: S) -> io::Result<Option<(Version, Opened<S>)>>
where
    S: AsyncRead + Unpin,
{
    let (mut first, mut read) = ([0; PREFACE.len()], 0);
    let version = loop {
        match stream.read(first.get_mut(read..).unwrap_or_default()).await? {
            0 if read == 0 => return Ok(None),
            // Too short for anything; said by who serves it.
            0 => break Version::Http1,
            count => read += count,
        }
        if let Some(version) = version_of(first.get(..read).unwrap_or_default()) {
            break version;
        }
    };
    Ok(Some((version, Opened { stream, first, read, given: 0 })))
}

impl<S> Opened<S> {
    /// Of a stream of which nothing was read.
    pub(super) fn untouched(stream: S) -> Opened<S> {
        Opened { stream, first: [0; PREFACE.len()], read: 0, given: 0 }
    }
}

impl<S: Reset> Reset for Opened<S> {
    fn reset_on_close(&self, does: bool) -> io::Result<()> {
        self.stream.reset_on_close(does)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Opened { stream, first, read, given } = &mut *self;
        match first.get(*given..*read) {
            Some(left) if !left.is_empty() => {
                let (now, _) = left.split_at(left.len().min(buf.remaining()));
                buf.put_slice(now);
                *given += now.len();
                Poll::Ready(Ok(()))
            }
            _ => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn opened(chunks: &[&[u8]]) -> Option<(Version, Vec<u8>)> {
        let (mut client, server) = tokio::io::duplex(1024);
        let chunks: Vec<Vec<u8>> = chunks.iter().map(|chunk| chunk.to_vec()).collect();
        tokio::spawn(async move {
            for chunk in chunks {
                client.write_all(&chunk).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let (version, mut stream) = open(server).await.unwrap()?;
        let mut all = Vec::new();
        // In small steps, so that the first bytes are given in parts.
        loop {
            let mut some = [0; 7];
            match stream.read(&mut some).await.unwrap() {
                0 => return Some((version, all)),
                count => all.extend_from_slice(&some[..count]),
            }
        }
    }

    #[tokio::test]
    async fn the_version_is_told_and_no_byte_is_lost() {
        let request = b"GET / HTTP/1.1\r\nhost: a-host-with-a-name\r\n\r\n";
        assert_eq!(opened(&[request]).await, Some((Version::Http1, request.to_vec())));
        assert_eq!(
            opened(&[b"PRI * HT", b"TP/1.1\r\n"]).await,
            Some((Version::Http1, b"PRI * HTTP/1.1\r\n".to_vec()))
        );
        let two = [PREFACE.as_slice(), b"frames"].concat();
        assert_eq!(opened(&[&two]).await, Some((Version::Http2, two.clone())));
        let bytes: Vec<&[u8]> = two.chunks(1).collect();
        assert_eq!(opened(&bytes).await, Some((Version::Http2, two.clone())));
    }

    #[tokio::test]
    async fn what_ends_before_it_begins_is_nothing() {
        assert_eq!(opened(&[]).await, None);
        assert_eq!(opened(&[b"PRI"]).await, Some((Version::Http1, b"PRI".to_vec())));
    }
}
