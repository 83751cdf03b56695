//! A bound on what an upstream may send by HTTP/2 that is no part of an answer: SETTINGS, PING,
//! interim HEADERS, empty DATA and the like, which cost it little and the gateway time.
//!
//! The library answers such frames, or skips them, as long as they come. Here they are counted as they
//! pass, without a look into them. Sent bytes and received body bytes earn credit, so a connection
//! that makes progress never reaches the bound.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use prometheus::IntCounter;

/// What may be owed at most. A frame without a body costs one, and one more for each [`PIECE`].
const MOST_OWED: usize = 4096;
const PIECE: usize = 256;

/// How many bytes that were sent pay for one frame: a request allows for its answer, and the parts of a
/// long body for the windows that are opened for them.
const PAYMENT: usize = 1024;

const DATA: u8 = 0;
const PADDED: u8 = 8;

/// The upstream sends frames without end that are no part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream floods its HTTP/2 connection with frames that carry no answer")]
struct Flood;

/// A connection that speaks HTTP/2, metered.
#[derive(Debug)]
pub(super) struct Metered<I> {
    io: I,
    meter: Meter,
    sent: usize,
    floods: IntCounter,
}

impl<I> Metered<I> {
    /// `floods` counts the connection if it is ended for what is sent on it.
    pub(super) fn new(io: I, floods: IntCounter) -> Metered<I> {
        Metered { io, meter: Meter::default(), sent: 0, floods }
    }

    fn wrote(&mut self, count: usize) {
        self.sent += count;
        self.meter.owed = self.meter.owed.saturating_sub(self.sent / PAYMENT);
        self.sent %= PAYMENT;
    }
}

/// Follows the frames in what comes, and adds up what they cost.
#[derive(Debug, Default)]
struct Meter {
    /// What is there of the head of a frame: nine bytes, and the length of the padding if it has any.
    head: [u8; 10],
    filled: usize,
    /// Bytes of the frame's rest that are still to come.
    skip: usize,
    owed: usize,
}

impl Meter {
    fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            bytes = bytes.get(skipped..).unwrap_or_default();
            self.skip -= skipped;
            let Some((&byte, rest)) = bytes.split_first() else { break };
            if let Some(place) = self.head.get_mut(self.filled) {
                *place = byte;
            }
            self.filled += 1;
            bytes = rest;
            let [high, middle, low, kind, flags, ..] = self.head;
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            let is_padded = kind == DATA && flags & PADDED != 0 && length > 0;
            if self.filled < if is_padded { 10 } else { 9 } {
                continue;
            }
            let padding = if is_padded { 1 + usize::from(self.head[9]) } else { 0 };
            if kind == DATA && length > padding {
                self.owed = 0;
            } else {
                self.owed += 1 + length / PIECE;
            }
            self.skip = length - usize::from(is_padded);
            (self.head, self.filled) = ([0; 10], 0);
            if self.owed > MOST_OWED {
                return Err(Flood);
            }
        }
        Ok(())
    }
}

impl<I: Read + Unpin> Read for Metered<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // What is read is looked at where it lies, which takes a buffer that knows what it has.
        let mut space = [std::mem::MaybeUninit::uninit(); 16 * 1024];
        let room = space.len().min(buf.remaining());
        let mut read = hyper::rt::ReadBuf::uninit(space.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(&mut self.io).poll_read(cx, read.unfilled()))?;
        let bytes = read.filled();
        if let Err(flood) = self.meter.pass(bytes) {
            self.floods.inc();
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flood)));
        }
        buf.put_slice(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<I: Write + Unpin> Write for Metered<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        self.wrote(count);
        Poll::Ready(Ok(count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADERS: u8 = 1;
    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_without_an_answer_are_bounded() {
        let padded = [[200].as_slice(), &[0; 200]].concat();
        for (what, flood) in [
            ("PING", frame(PING, 0, &[0; 8])),
            ("empty DATA", frame(DATA, 0, b"")),
            ("DATA of padding", frame(DATA, PADDED, &padded)),
            ("SETTINGS", frame(4, 0, b"")),
            ("interim HEADERS", frame(HEADERS, 4, &[0x61; 5])),
            ("unknown", frame(0xfa, 0, b"whatever")),
        ] {
            let mut meter = Meter::default();
            assert_eq!(meter.pass(&flood.repeat(MOST_OWED)), Ok(()), "{what}");
            assert_eq!(meter.pass(&flood), Err(Flood), "{what}");
        }
        // Long ones are fewer.
        let mut meter = Meter::default();
        assert_eq!(meter.pass(&frame(HEADERS, 4, &[0; 16_000]).repeat(66)), Err(Flood));
    }

    #[test]
    fn an_exchange_pays_for_its_frames() {
        let io = Metered::new((), IntCounter::new("floods", "f").unwrap());
        let mut metered = io;
        for _ in 0..100_000 {
            metered.wrote(16 * 1024);
            assert_eq!(metered.meter.pass(&frame(8, 0, &[0, 0, 64, 0]).repeat(2)), Ok(()));
        }
        let mut meter = Meter::default();
        for _ in 0..100_000 {
            assert_eq!(meter.pass(&frame(PING, 0, &[0; 8])), Ok(()));
            assert_eq!(meter.pass(&frame(DATA, PADDED, &[1, 7, 0])), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut(
            frames in prop::collection::vec((0u8..10, any::<u8>(), 0usize..600), 1..40),
            cuts in prop::collection::vec(1usize..400, 1..60),
        ) {
            let bytes: Vec<u8> = frames
                .iter()
                .flat_map(|&(kind, flags, length)| frame(kind, flags, &vec![3; length]))
                .collect();
            let mut whole = Meter::default();
            whole.pass(&bytes).unwrap();
            let (mut cut, mut rest) = (Meter::default(), bytes.as_slice());
            for at in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*at).min(rest.len()));
                cut.pass(piece).unwrap();
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!((cut.owed, cut.skip, cut.filled), (whole.owed, 0, 0));
            prop_assert_eq!(whole.skip, 0);
        }
    }
}
