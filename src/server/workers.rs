//! The worker threads, each with a runtime of its own. A connection stays on its thread, with its requests
//! and their upstream connections: no request wakes another thread or waits for one, so that a second
//! core nearly doubles the throughput.
//!
//! A new connection goes to the thread with the fewest connections.

use std::io;
use std::net::TcpStream as Socket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::upstream;

/// The worker threads of a gateway, which end when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    each: Vec<Worker>,
    _stop: Option<DropGuard>,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Its connections.
    open: Arc<AtomicUsize>,
}

impl Workers {
    /// No threads: connections are served on the runtime that accepts them.
    pub fn none() -> Workers {
        Workers(Arc::new(Threads { each: Vec::new(), _stop: None }))
    }

    /// Starts `count` threads.
    ///
    /// # Errors
    /// The system has no threads or file descriptors left.
    pub fn start(count: usize) -> io::Result<Workers> {
        let stop = CancellationToken::new();
        let each = (1..=count).map(|number| Worker::start(number, stop.clone()));
        let each = each.collect::<io::Result<_>>()?;
        Ok(Workers(Arc::new(Threads { each, _stop: Some(stop.drop_guard()) })))
    }

    /// Serves a connection, with a non-blocking socket, on the thread with the fewest connections.
    pub(super) fn spawn<F>(
        &self,
        tasks: &TaskTracker,
        socket: Socket,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let load = |worker: &&Worker| worker.open.load(Ordering::Relaxed);
        let worker = self.0.each.iter().min_by_key(load);
        let slot = worker.map(|worker| WorkerSlot::take(&worker.open));
        let task = async move {
            let _slot = slot;
            match TcpStream::from_std(socket) {
                Ok(socket) => serve(socket).await,
                Err(error) => tracing::warn!(%error, "cannot serve a connection"),
            }
        };
        match worker {
            Some(worker) => drop(tasks.spawn_on(task, &worker.runtime)),
            None => drop(tasks.spawn(task)),
        }
    }
}

impl Worker {
    fn start(number: usize, stop: CancellationToken) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, open) = (runtime.handle().clone(), Arc::default());
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            upstream::set_shard(number);
            runtime.block_on(stop.cancelled());
            // Tasks that still run are dropped.
            runtime.shutdown_background();
        })?;
        Ok(Worker { runtime: handle, open })
    }
}

/// Counts a connection of a thread until it is dropped.
struct WorkerSlot(Arc<AtomicUsize>);

impl WorkerSlot {
    fn take(open: &Arc<AtomicUsize>) -> WorkerSlot {
        open.fetch_add(1, Ordering::Relaxed);
        WorkerSlot(Arc::clone(open))
    }
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    fn socket(listener: &TcpListener) -> Socket {
        let _client = Socket::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    #[test]
    fn connections_go_to_the_thread_with_the_fewest_and_stay_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (workers, tasks) = (Workers::start(2).unwrap(), TaskTracker::new());
        let (sender, received) = channel();
        let open = |end: CancellationToken| {
            let sender = sender.clone();
            workers.spawn(&tasks, socket(&listener), move |_| async move {
                let name = || thread::current().name().map(str::to_owned);
                let before = name();
                tokio::task::yield_now().await;
                assert_eq!(name(), before);
                sender.send(before.unwrap()).unwrap();
                end.cancelled().await;
                sender.send("ended".to_owned()).unwrap();
            });
            received.recv_timeout(Duration::from_secs(10)).unwrap()
        };
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        assert_eq!(open(first.clone()), "worker-1");
        assert_eq!(open(second.clone()), "worker-2");
        assert_eq!(open(first.clone()), "worker-1");
        first.cancel();
        for _ in 0..2 {
            assert_eq!(received.recv_timeout(Duration::from_secs(10)).unwrap(), "ended");
        }
        // The slots are freed a moment after the tasks report their end.
        while workers.0.each[0].open.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        assert_eq!(open(first.clone()), "worker-1");
    }

    #[test]
    fn threads_end_when_the_last_clone_is_dropped() {
        let workers = Workers::start(1).unwrap();
        let runtime = workers.0.each[0].runtime.clone();
        let (hold, held) = channel::<()>();
        runtime.spawn(async move {
            let _hold = hold;
            std::future::pending::<()>().await;
        });
        drop(workers);
        assert!(held.recv_timeout(Duration::from_secs(10)).is_err(), "its tasks are dropped");
    }
}
