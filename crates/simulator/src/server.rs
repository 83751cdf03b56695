//! The listener: HTTP/1.1 and cleartext HTTP/2 on one port, and connections that can be broken.
//!
//! A fault breaks a connection through its [`Wire`]: what was written before is handed to the
//! kernel first, then the socket is closed, reset, or given bytes that are not HTTP.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::poll_immediate;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::State;
use super::handler::handle;
use super::wire::{ConnectionFault, Wire};

const MAX_CONNECTIONS: usize = 10_000;
/// How long connections may go on after the shutdown.
const GRACE: Duration = Duration::from_secs(1);

/// Serves connections until `shutdown` resolves, then lets those that are open end.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<State>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (closing, closed) = watch::channel(false);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let numbers = AtomicU64::new(1);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let permit = tokio::select! {
            () = &mut shutdown => break,
            permit = Arc::clone(&room).acquire_owned() => permit.map_err(io::Error::other)?,
        };
        let stream = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors, or the peer was gone already: neither ends the listener.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        let wire =
            Arc::new(Wire { number: numbers.fetch_add(1, Ordering::Relaxed), ..Wire::default() });
        let (shared, closed) = (Arc::clone(&shared), closed.clone());
        connections.spawn(async move {
            connection(stream, shared, wire, closed).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    closing.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    // What is still open after the grace is dropped with the set.
    let _ = tokio::time::timeout(GRACE, all).await;
    Ok(())
}

async fn connection(
    stream: TcpStream,
    shared: Arc<State>,
    wire: Arc<Wire>,
    mut closed: watch::Receiver<bool>,
) {
    // Small frames must go out as they are written; the answer is just slower if this fails.
    let _ = stream.set_nodelay(true);
    let socket = Socket { stream, wire: Arc::clone(&wire) };
    let service = service_fn({
        let wire = Arc::clone(&wire);
        move |request| handle(Arc::clone(&shared), Arc::clone(&wire), request)
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut serving = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let mut draining = false;
    loop {
        tokio::select! {
            _ = serving.as_mut() => return,
            () = wire.broken.notified() => {
                // What was written before must be in the kernel's hands before the socket goes.
                for _ in 0..3 {
                    if poll_immediate(serving.as_mut()).await.is_some() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
                return;
            }
            _ = async { closed.wait_for(|closed| *closed).await.is_ok() }, if !draining => {
                serving.as_mut().graceful_shutdown();
                draining = true;
            }
        }
    }
}

/// A TCP stream that ends as its [`Wire`] was told by a fault.
struct Socket {
    stream: TcpStream,
    wire: Arc<Wire>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        match *self.wire.fault.lock() {
            Some(ConnectionFault::Reset) => {
                let _ = self.stream.set_zero_linger();
            }
            Some(ConnectionFault::Garbage) => {
                let _ = self.stream.try_write(b"\x16\x03\x01 this is not HTTP\r\n\r\n");
            }
            Some(ConnectionFault::Close) | None => {}
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
