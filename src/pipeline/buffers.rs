//! The memory of large request bodies, kept a while for the next ones.
//!
//! When a large buffer is freed the system takes its pages back, and must clear others for the
//! next body: that took a fifth of the time of a request of 1 MB. So buffers come back here, up to
//! a bound, and those that were unused for a while are freed. Without large bodies nothing
//! is kept, and nothing runs.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use crate::system::time::sleep;

/// Buffers of fewer bytes are not kept: the allocator does so itself.
const LARGE: usize = 64 * 1024;

/// Most bytes that the pool keeps.
const MAX_KEPT: usize = 32 * 1024 * 1024;

/// The pool keeps at most `max_in_flight_bytes / MAX_PART`.
const MAX_PART: usize = 8;

/// A buffer that was unused for this long, or twice as long at most, is freed.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// A pool of unused buffers. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct BufferPool(Arc<Mutex<IdleBuffers>>);

struct IdleBuffers {
    /// Most bytes that the pool keeps.
    max_bytes: usize,
    /// A stack: the buffer returned last is reused first.
    buffers: Vec<Vec<u8>>,
    /// The sum of their capacities.
    bytes: usize,
    /// How many buffers at the front were not used since the last check.
    unused_prefix: usize,
    /// Whether a task runs that evicts unused buffers.
    has_evictor: bool,
}

impl BufferPool {
    /// An empty pool for a gateway with this `max_in_flight_bytes`.
    pub(super) fn new(max_in_flight_bytes: usize) -> BufferPool {
        BufferPool(Arc::new(Mutex::new(IdleBuffers {
            max_bytes: MAX_KEPT.min(max_in_flight_bytes / MAX_PART),
            buffers: Vec::new(),
            bytes: 0,
            unused_prefix: 0,
            has_evictor: false,
        })))
    }

    /// An empty buffer with room for `size` bytes. Must be called within a tokio runtime.
    pub(super) fn take(&self, size: usize) -> Buffer {
        let pool = self.clone();
        if size < LARGE {
            return Buffer { bytes: Vec::with_capacity(size), pool };
        }
        // Sizes in steps, so that a buffer fits the next body, too. Memory that is not written to
        // takes no pages.
        let bytes =
            self.take_kept(size).unwrap_or_else(|| Vec::with_capacity(size.next_power_of_two()));
        Buffer { bytes, pool }
    }

    fn take_kept(&self, size: usize) -> Option<Vec<u8>> {
        let mut kept = self.kept();
        if !kept.has_evictor {
            kept.has_evictor = true;
            tokio::spawn(evict_unused(Arc::downgrade(&self.0)));
        }
        kept.take(size)
    }

    fn kept(&self) -> MutexGuard<'_, IdleBuffers> {
        self.0.lock()
    }
}

impl IdleBuffers {
    fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        // A far larger buffer stays in the pool for a large body.
        let fits = |buffer: &Vec<u8>| (size..=4 * size).contains(&buffer.capacity());
        let at = self.buffers.iter().rposition(fits)?;
        self.unused_prefix = self.unused_prefix.min(at);
        let buffer = self.buffers.remove(at);
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn put(&mut self, mut buffer: Vec<u8>) {
        if self.bytes + buffer.capacity() <= self.max_bytes {
            buffer.clear();
            self.bytes += buffer.capacity();
            self.buffers.push(buffer);
        }
    }

    /// Takes out the buffers that were not used since the last check.
    fn take_unused(&mut self) -> Vec<Vec<u8>> {
        let unused: Vec<_> = self.buffers.drain(..self.unused_prefix).collect();
        self.bytes -= unused.iter().map(Vec::capacity).sum::<usize>();
        self.unused_prefix = self.buffers.len();
        unused
    }
}

impl fmt::Debug for IdleBuffers {
    /// Without what the buffers hold, which are others' prompts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleBuffers").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Frees unused buffers, until there are none left.
async fn evict_unused(kept: Weak<Mutex<IdleBuffers>>) {
    loop {
        sleep(KEPT_FOR).await;
        let Some(buffers) = kept.upgrade().map(BufferPool) else { return };
        // Freed after the lock.
        let _unused = {
            let mut kept = buffers.kept();
            let unused = kept.take_unused();
            if unused.is_empty() && kept.buffers.is_empty() {
                kept.has_evictor = false;
                return;
            }
            unused
        };
    }
}

/// A buffer in use. On drop a large buffer returns to the pool, also after `freeze`.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    pool: BufferPool,
}

impl Buffer {
    /// Appends `more`, in a larger buffer if there is no room.
    pub(super) fn extend(&mut self, more: &[u8]) {
        let needed = self.bytes.len() + more.len();
        if needed > self.bytes.capacity() {
            self.grow(needed.max(2 * self.bytes.len()));
        }
        self.bytes.extend_from_slice(more);
    }

    /// Makes room for `size` bytes in all.
    fn grow(&mut self, size: usize) {
        let kept = if size < LARGE { None } else { self.pool.take_kept(size) };
        match kept {
            Some(mut larger) => {
                larger.extend_from_slice(&self.bytes);
                *self = Buffer { bytes: larger, pool: self.pool.clone() };
            }
            // For large buffers realloc remaps pages instead of copying them.
            None => {
                let size = if size < LARGE { size } else { size.next_power_of_two() };
                self.bytes.reserve_exact(size - self.bytes.len());
            }
        }
    }

    /// How many bytes are in it.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The content, without a copy.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.capacity() >= LARGE {
            self.pool.kept().put(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1024 * 1024;

    fn full(buffers: &BufferPool, size: usize) -> Bytes {
        let mut buffer = buffers.take(size);
        buffer.extend(&vec![b'x'; size]);
        buffer.freeze()
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_reuses_the_memory_of_one_that_was_dropped() {
        let buffers = BufferPool::new(usize::MAX);
        let first = full(&buffers, MB);
        let (place, held) = (first.as_ptr(), first.slice(10..20));
        drop(first);
        let second = full(&buffers, MB);
        assert_ne!(second.as_ptr(), place, "a part of the first is in use");
        drop(held);
        let third = full(&buffers, MB - 1000);
        assert_eq!(third.as_ptr(), place);
        assert_eq!(third.len(), MB - 1000);
        assert!(third.iter().all(|&byte| byte == b'x'));
    }

    #[tokio::test(start_paused = true)]
    async fn a_buffer_that_grows_keeps_its_bytes() {
        let buffers = BufferPool::new(usize::MAX);
        let mut buffer = buffers.take(10);
        let mut expected = Vec::new();
        for number in 0..100_000_u32 {
            buffer.extend(&number.to_le_bytes());
            expected.extend_from_slice(&number.to_le_bytes());
        }
        assert_eq!(buffer.len(), expected.len());
        assert_eq!(buffer.freeze(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_memory_is_bounded_and_freed_after_a_while() {
        let buffers = BufferPool::new(usize::MAX);
        let bodies: Vec<_> = (0..50).map(|_| full(&buffers, MB)).collect();
        assert_eq!(buffers.kept().bytes, 0);
        drop(bodies);
        assert_eq!(buffers.kept().bytes, MAX_KEPT);
        // One is used repeatedly, and only it is left.
        for _ in 0..10 {
            sleep(KEPT_FOR / 2).await;
            drop(full(&buffers, MB));
        }
        assert_eq!(buffers.kept().bytes, MB);
        sleep(3 * KEPT_FOR).await;
        assert_eq!(buffers.kept().bytes, 0);
        assert!(!buffers.kept().has_evictor);
        drop(full(&buffers, MB));
        assert!(buffers.kept().has_evictor);
    }

    #[tokio::test]
    async fn small_bodies_get_no_kept_memory() {
        let buffers = BufferPool::new(usize::MAX);
        drop(full(&buffers, LARGE - 1));
        assert_eq!(buffers.kept().bytes, 0);
        drop(full(&buffers, 8 * MB));
        let small = full(&buffers, MB);
        assert_eq!(buffers.kept().bytes, 8 * MB, "the large one is kept for a large body");
        drop(small);
        assert_eq!(buffers.kept().bytes, 9 * MB);
    }
}
