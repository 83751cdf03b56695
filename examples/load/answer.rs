//! What comes back: answers read off a connection, checked and timed.
//!
//! It reads what HTTP/1.1 servers send to a POST that succeeds: a body of known length or in
//! chunks. Of event streams, and of streams of server-sent events, it reads every frame and the time of
//! writing in it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memchr::memmem;
use serde_json::{Value, json};
use sluice::bedrock::event_stream::{Frame, Kind};
use sluice::bedrock::sse;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::Failure;
use crate::delays::FrameDelays;

/// What every answer must have.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) bytes: Option<usize>,
    pub(crate) frames: Option<usize>,
}

/// Times of all answers.
pub(crate) struct Seen {
    /// From begin to last byte.
    pub(crate) latencies: Vec<Duration>,
    /// From begin to the first frame.
    first_frames: Vec<Duration>,
    /// From the writing of a frame to its reading; the first of a stream is not among them.
    frame_delays: FrameDelays,
}

impl Seen {
    pub(crate) fn new(frame_delays: FrameDelays) -> Seen {
        Seen { latencies: Vec::new(), first_frames: Vec::new(), frame_delays }
    }

    pub(crate) fn join(&mut self, other: Seen) {
        self.latencies.extend(other.latencies);
        self.first_frames.extend(other.first_frames);
        self.frame_delays.join(other.frame_delays);
    }

    /// One JSON object, for the script that runs this; times in microseconds.
    pub(crate) fn summary(&self, took: Duration) -> Value {
        json!({
            "requests": self.latencies.len(),
            "seconds": took.as_secs_f64(),
            "latency_us": quantiles(&self.latencies),
            "first_frame_us": quantiles(&self.first_frames),
            "frame_delay_us": quantiles(self.frame_delays.kept()),
            "seconds_of_frames": self.frame_delays.seconds(),
        })
    }
}

fn quantiles(times: &[Duration]) -> Value {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index).or(times.last()).map(|time| time.as_nanos() as f64 / 1e3)
    };
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0)})
}

/// Reads the answers of one connection.
#[derive(Default)]
pub(crate) struct Answers {
    /// Bytes off the wire that no one has looked at.
    wire: Vec<u8>,
    /// Bytes of a stream that are no whole frame yet.
    stream: Vec<u8>,
    /// Whether the stream is one of server-sent events.
    has_events: bool,
}

enum Length {
    Known(usize),
    Chunked,
}

/// What came of a body.
#[derive(Default)]
struct Body {
    bytes: usize,
    frames: usize,
    first_frame: Option<Instant>,
    /// Whether the last frame is one that ends a stream.
    is_ended: bool,
}

impl Answers {
    /// Reads one answer, checks it and notes its times.
    pub(crate) async fn read(
        &mut self,
        socket: &mut TcpStream,
        expected: Expected,
        started: Instant,
        seen: &mut Seen,
    ) -> Result<(), Failure> {
        let mut body = Body::default();
        match self.head(socket).await? {
            Length::Known(length) => self.known(socket, length, &mut body).await?,
            Length::Chunked => {
                let streams = expected.frames.is_some();
                while self.chunk(socket, streams, &mut body, &mut seen.frame_delays).await? {}
            }
        }
        seen.latencies.push(started.elapsed());
        if let Some(first) = body.first_frame {
            seen.first_frames.push(first.saturating_duration_since(started));
        }
        if expected.bytes.is_some_and(|bytes| bytes != body.bytes) {
            return Err(format!("{} bytes, not {:?}", body.bytes, expected.bytes).into());
        }
        let Some(frames) = expected.frames else { return Ok(()) };
        if body.frames == frames && body.is_ended && self.stream.is_empty() {
            Ok(())
        } else {
            let (came, rest) = (body.frames, self.stream.len());
            Err(format!("{came} frames and {rest} bytes, not {frames} frames to an end").into())
        }
    }

    /// Reads the head of a stream and its first frames.
    pub(crate) async fn read_frames(
        &mut self,
        socket: &mut TcpStream,
        frames: usize,
    ) -> Result<(), Failure> {
        let mut body = Body::default();
        let Length::Chunked = self.head(socket).await? else {
            return Err("an answer of known length, not a stream".into());
        };
        let mut delays = FrameDelays::default();
        while body.frames < frames {
            if !self.chunk(socket, true, &mut body, &mut delays).await? {
                return Err(format!("the stream ended after {} frames", body.frames).into());
            }
        }
        Ok(())
    }

    async fn more(&mut self, socket: &mut TcpStream) -> Result<(), Failure> {
        if socket.read_buf(&mut self.wire).await? == 0 {
            return Err("the connection was closed within an answer".into());
        }
        Ok(())
    }

    async fn head(&mut self, socket: &mut TcpStream) -> Result<Length, Failure> {
        let end = loop {
            match memmem::find(&self.wire, b"\r\n\r\n") {
                Some(end) => break end,
                None => self.more(socket).await?,
            }
        };
        let head = String::from_utf8_lossy(self.wire.get(..end).unwrap_or_default());
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            let rest = String::from_utf8_lossy(self.wire.get(end..).unwrap_or_default());
            return Err(format!("{status}: {}", rest.trim()).into());
        }
        let mut length = None;
        self.has_events = false;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(Length::Known(value.trim().parse()?));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = Some(Length::Chunked);
            } else if name.eq_ignore_ascii_case("content-type") {
                self.has_events = value.trim().starts_with(sse::CONTENT_TYPE);
            }
        }
        self.wire.drain(..end + 4);
        length.ok_or_else(|| "an answer without a length".into())
    }

    async fn known(
        &mut self,
        socket: &mut TcpStream,
        length: usize,
        body: &mut Body,
    ) -> Result<(), Failure> {
        loop {
            body.bytes += self.wire.len();
            self.wire.clear();
            if body.bytes >= length {
                return if body.bytes == length { Ok(()) } else { Err("too many bytes".into()) };
            }
            self.more(socket).await?;
        }
    }

    /// Reads one chunk; false for the last.
    async fn chunk(
        &mut self,
        socket: &mut TcpStream,
        streams: bool,
        body: &mut Body,
        delays: &mut FrameDelays,
    ) -> Result<bool, Failure> {
        let line = loop {
            match memmem::find(&self.wire, b"\r\n") {
                Some(line) => break line,
                None => self.more(socket).await?,
            }
        };
        let size = std::str::from_utf8(self.wire.get(..line).unwrap_or_default())?;
        let size = usize::from_str_radix(size, 16)?;
        let end = line + 2 + size;
        while self.wire.len() < end + 2 {
            self.more(socket).await?;
        }
        body.bytes += size;
        if streams {
            self.stream.extend_from_slice(self.wire.get(line + 2..end).unwrap_or_default());
            self.frames(body, delays)?;
        }
        self.wire.drain(..end + 2);
        Ok(size > 0)
    }

    /// Takes the whole frames out of the stream.
    fn frames(&mut self, body: &mut Body, delays: &mut FrameDelays) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut taken = 0;
        while let Some(rest) = self.stream.get(taken..)
            && let Some(frame) = if self.has_events { event(rest)? } else { native(rest)? }
        {
            body.frames += 1;
            if body.first_frame.is_none() {
                body.first_frame = Some(Instant::now());
            } else if let Some(written) = written_at(frame.payload) {
                delays.note(now.saturating_sub(written));
            }
            body.is_ended = frame.is_end;
            taken += frame.length;
        }
        self.stream.drain(..taken);
        Ok(())
    }
}

/// One frame at the start of a stream.
struct Read<'a> {
    payload: &'a [u8],
    length: usize,
    is_end: bool,
}

/// A frame of an event stream, if it is whole.
fn native(stream: &[u8]) -> Result<Option<Read<'_>>, Failure> {
    let Some(frame) = Frame::read(stream).map_err(|_| "bytes that are no frame")? else {
        return Ok(None);
    };
    let Kind::Event(name) = frame.kind() else { return Err("an exception in the stream".into()) };
    let is_end = name == "metadata";
    Ok(Some(Read { payload: frame.payload, length: frame.len, is_end }))
}

/// A server-sent event, if it is whole.
fn event(stream: &[u8]) -> Result<Option<Read<'_>>, Failure> {
    let Some(end) = memmem::find(stream, b"\n\n") else { return Ok(None) };
    let payload = stream.get(..end).unwrap_or_default();
    if payload.starts_with(b"event: error") || payload.starts_with(b"data: {\"error\"") {
        return Err("an error event in the stream".into());
    }
    let is_end = payload == b"data: [DONE]" || payload.starts_with(b"event: message_stop\n");
    Ok(Some(Read { payload, length: end + 2, is_end }))
}

/// When a frame was written, as time since 1970.
fn written_at(payload: &[u8]) -> Option<Duration> {
    let start = memmem::find(payload, br#""p":""#)? + 5;
    let digits = std::str::from_utf8(payload.get(start..start + 20)?).ok()?;
    Some(Duration::from_nanos(digits.parse().ok()?))
}
