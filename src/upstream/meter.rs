//! Bounds the HTTP/2 frames from an upstream that carry no answer: SETTINGS, PING, interim HEADERS, empty
//! DATA and the like. Such frames cost the upstream little, and cost the gateway CPU time.
//!
//! The HTTP/2 library answers or skips them without a bound. The meter counts them by their heads alone.
//! Sent bytes and received body bytes earn credit, so that a connection that makes progress never reaches
//! the bound.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use prometheus::IntCounter;

/// Most debt of a connection. A frame without body data adds one, and one more for each
/// [`BYTES_PER_DEBT`] of its payload.
const MAX_DEBT: usize = 4096;
const BYTES_PER_DEBT: usize = 256;

/// So many sent bytes reduce the debt by one: a request pays for the frames of its response, and a long
/// body for the window updates that it causes.
const SENT_BYTES_PER_CREDIT: usize = 1024;

const DATA: u8 = 0;
const PADDED: u8 = 8;

/// The upstream sent more frames without an answer than the bound allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream floods its HTTP/2 connection with frames that carry no answer")]
struct Flood;

/// An HTTP/2 connection whose received frames are metered.
#[derive(Debug)]
pub(super) struct Metered<I> {
    io: I,
    meter: Meter,
    sent: usize,
    floods: IntCounter,
}

impl<I> Metered<I> {
    /// `floods` counts the connections that are closed because of a flood.
    pub(super) fn new(io: I, floods: IntCounter) -> Metered<I> {
        Metered { io, meter: Meter::default(), sent: 0, floods }
    }

    fn wrote(&mut self, count: usize) {
        self.sent += count;
        self.meter.debt = self.meter.debt.saturating_sub(self.sent / SENT_BYTES_PER_CREDIT);
        self.sent %= SENT_BYTES_PER_CREDIT;
    }
}

/// Parses the frame heads of the received bytes, and adds up the debt.
#[derive(Debug, Default)]
struct Meter {
    /// The received part of a frame's head: nine bytes, and the length of the padding if there is one.
    head: [u8; 10],
    filled: usize,
    /// Bytes of the frame's payload that are still to come.
    skip: usize,
    debt: usize,
}

impl Meter {
    fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
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
                self.debt = 0;
            } else {
                self.debt += 1 + length / BYTES_PER_DEBT;
            }
            self.skip = length - usize::from(is_padded);
            (self.head, self.filled) = ([0; 10], 0);
            if self.debt > MAX_DEBT {
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
        // The meter needs the bytes as a slice, which the cursor of the caller does not give.
        let mut space = [std::mem::MaybeUninit::uninit(); 16 * 1024];
        let room = space.len().min(buf.remaining());
        let mut read = hyper::rt::ReadBuf::uninit(space.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(&mut self.io).poll_read(cx, read.unfilled()))?;
        let bytes = read.filled();
        if let Err(flood) = self.meter.receive(bytes) {
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
            assert_eq!(meter.receive(&flood.repeat(MAX_DEBT)), Ok(()), "{what}");
            assert_eq!(meter.receive(&flood), Err(Flood), "{what}");
        }
        // Fewer long frames reach the bound.
        let mut meter = Meter::default();
        assert_eq!(meter.receive(&frame(HEADERS, 4, &[0; 16_000]).repeat(66)), Err(Flood));
    }

    #[test]
    fn a_connection_that_makes_progress_is_not_a_flood() {
        let io = Metered::new((), IntCounter::new("floods", "f").unwrap());
        let mut metered = io;
        for _ in 0..100_000 {
            metered.wrote(16 * 1024);
            assert_eq!(metered.meter.receive(&frame(8, 0, &[0, 0, 64, 0]).repeat(2)), Ok(()));
        }
        let mut meter = Meter::default();
        for _ in 0..100_000 {
            assert_eq!(meter.receive(&frame(PING, 0, &[0; 8])), Ok(()));
            assert_eq!(meter.receive(&frame(DATA, PADDED, &[1, 7, 0])), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn the_debt_does_not_depend_on_how_the_bytes_are_split(
            frames in prop::collection::vec((0u8..10, any::<u8>(), 0usize..600), 1..40),
            cuts in prop::collection::vec(1usize..400, 1..60),
        ) {
            let bytes: Vec<u8> = frames
                .iter()
                .flat_map(|&(kind, flags, length)| frame(kind, flags, &vec![3; length]))
                .collect();
            let mut whole = Meter::default();
            whole.receive(&bytes).unwrap();
            let (mut cut, mut rest) = (Meter::default(), bytes.as_slice());
            for at in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*at).min(rest.len()));
                cut.receive(piece).unwrap();
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!((cut.debt, cut.skip, cut.filled), (whole.debt, 0, 0));
            prop_assert_eq!(whole.skip, 0);
        }
    }
}
