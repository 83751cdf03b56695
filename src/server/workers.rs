//! The threads that connections are served on. Each has a runtime of its own, and a connection
//! stays on the thread that it was given to, with its requests and what they send upstream: so no
//! request wakes another thread or waits for one, and a second core is worth nearly a second gateway.
//!
//! A new connection goes to the thread that has the fewest, since who has most of the clients has,
//! in the long run, most of the work.

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

/// The threads of a gateway; they end when the last clone is dropped.
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
    /// Connections that it has.
    open: Arc<AtomicUsize>,
}

impl Workers {
    /// None of its own: connections are served on the runtime that accepts them.
    pub fn none() -> Workers {
        Workers(Arc::new(Threads { each: Vec::new(), _stop: None }))
    }

    /// Starts so many threads.
    ///
    /// # Errors
    /// The system has no more threads or open files.
    pub fn start(count: usize) -> io::Result<Workers> {
        let stop = CancellationToken::new();
        let each = (1..=count).map(|number| Worker::start(number, stop.clone()));
        let each = each.collect::<io::Result<_>>()?;
        Ok(Workers(Arc::new(Threads { each, _stop: Some(stop.drop_guard()) })))
    }

    /// Serves a connection, whose socket must not block, on the thread that has the fewest.
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
        let place = worker.map(|worker| Place::take(&worker.open));
        let task = async move {
            let _place = place;
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
            // What still runs is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Worker { runtime: handle, open })
    }
}

/// A connection's place on a thread, free again when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Place {
        open.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(open))
    }
}

impl Drop for Place {
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
        let (tell, told) = channel();
        let open = |end: CancellationToken| {
            let tell = tell.clone();
            workers.spawn(&tasks, socket(&listener), move |_| async move {
                let name = || thread::current().name().map(str::to_owned);
                let before = name();
                tokio::task::yield_now().await;
                assert_eq!(name(), before);
                tell.send(before.unwrap()).unwrap();
                end.cancelled().await;
                tell.send("ended".to_owned()).unwrap();
            });
            told.recv_timeout(Duration::from_secs(10)).unwrap()
        };
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        assert_eq!(open(first.clone()), "worker-1");
        assert_eq!(open(second.clone()), "worker-2");
        assert_eq!(open(first.clone()), "worker-1");
        first.cancel();
        for _ in 0..2 {
            assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), "ended");
        }
        // Both have ended, but their places are free a moment after they said so.
        while workers.0.each[0].open.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        assert_eq!(open(first.clone()), "worker-1");
    }

    #[test]
    fn threads_end_with_the_last_clone() {
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
