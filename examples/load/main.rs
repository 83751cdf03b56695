//! A load generator for `bench/run`, on one thread: requests over a fixed number of keep-alive
//! connections, each answer checked.
//!
//! Connections are opened first, so that what is measured is requests and not handshakes. Without
//! `--rate` each connection sends one request after the other; with it, requests begin at random
//! times of that mean rate, whatever the answers do. With `--hold` each sends one request and
//! keeps its stream open until standard input ends. With `--spread-s` connections begin one after the other
//! over that time. Any answer that is not 200 with what is
//! expected ends the run with an error. Its own work a request is little, since it shares the
//! machine with what it measures: heads are written from a template and answers are not kept.

#![allow(clippy::disallowed_methods, reason = "its timers stand beside nothing that is hostile")]

mod answer;
mod delays;
mod pace;
mod request;

use std::error::Error;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use answer::{Answers, Expected, Seen};
use delays::FrameDelays;
use request::Template;

/// Streams that are being opened at the same time.
const OPENED_AT_ONCE: usize = 64;

type Failure = Box<dyn Error + Send + Sync>;

/// Sends POST requests and checks every answer.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Address of the server.
    #[arg(long)]
    to: SocketAddr,
    /// Path of the requests.
    #[arg(long)]
    path: String,
    /// File with the body of the requests.
    #[arg(long)]
    body: PathBuf,
    /// A header beside host and content-length, as "name: value".
    #[arg(long = "header")]
    headers: Vec<String>,
    /// File whose lines take the place of "{}" in path and headers, in turn.
    #[arg(long)]
    variants: Option<PathBuf>,
    /// Bytes that every answer must have.
    #[arg(long)]
    expect_bytes: Option<usize>,
    /// Frames that every answer must have, the last of them one that ends a stream.
    #[arg(long)]
    expect_frames: Option<usize>,
    /// Requests in all; each connection sends its share.
    #[arg(long)]
    requests: usize,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests in a second, begun at random times. Default: as fast as answers come.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds over which the first requests of the connections are spread evenly.
    #[arg(long, default_value_t = 0.0)]
    spread_s: f64,
    /// Count the frames of each second that were under way for more than so many milliseconds, instead of
    /// keeping the delay of each.
    #[arg(long)]
    late_ms: Option<u64>,
    /// Keep streams open, after this many frames of each, until standard input ends.
    #[arg(long)]
    hold: Option<usize>,
    /// Longest time for the whole run, in seconds; of --hold until all streams are open.
    #[arg(long, default_value_t = 60)]
    limit_s: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let limit = Duration::from_secs(args.limit_s);
    let template = Arc::new(Template::new(&args)?);
    if let Some(frames) = args.hold {
        let open = timeout(limit, hold(&args, &template, frames)).await??;
        return wait_for_the_end(open);
    }
    let started = Instant::now();
    let (took, seen) = timeout(limit, run(&args, &template)).await??;
    let told = seen.summary(took);
    writeln!(std::io::stdout(), "{told}")?;
    if seen.latencies.len() < args.requests {
        return Err(format!("{} answers in {:?}", seen.latencies.len(), started.elapsed()).into());
    }
    Ok(())
}

/// Opens the connections, sends all requests and returns the time this took and what came back.
async fn run(args: &Args, template: &Arc<Template>) -> Result<(Duration, Seen), Failure> {
    let mut sockets = Vec::with_capacity(args.connections);
    for _ in 0..args.connections {
        sockets.push(connect(args.to).await?);
    }
    let expected = Expected { bytes: args.expect_bytes, frames: args.expect_frames };
    let share = args.requests.div_ceil(args.connections.max(1));
    let started = Instant::now();
    let delays = match args.late_ms {
        Some(late) => FrameDelays::counted(started, Duration::from_millis(late)),
        None => FrameDelays::default(),
    };
    let mut paces = args.rate.map(|rate| pace::start(rate, args.connections, args.requests));
    let mut running = JoinSet::new();
    for (number, socket) in sockets.into_iter().enumerate() {
        let pace = paces.as_mut().and_then(Vec::pop);
        let begins = started
            + Duration::from_secs_f64(args.spread_s * number as f64 / args.connections as f64);
        let sender = Sender { socket, template: Arc::clone(template), expected, begins };
        let seen = Seen::new(delays.clone());
        // Variants are dealt out so that all connections together take them in turn.
        running.spawn(sender.send(number, args.connections, share, pace, seen));
    }
    let mut seen = Seen::new(delays);
    while let Some(finished) = running.join_next().await {
        seen.join(finished??);
    }
    Ok((started.elapsed(), seen))
}

async fn connect(to: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = TcpStream::connect(to).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// One connection.
struct Sender {
    socket: TcpStream,
    template: Arc<Template>,
    expected: Expected,
    /// When its first request is sent.
    begins: Instant,
}

impl Sender {
    /// Sends `share` requests one after the other, or those that `pace` calls for.
    async fn send(
        mut self,
        first: usize,
        step: usize,
        share: usize,
        mut pace: Option<Receiver<Instant>>,
        mut seen: Seen,
    ) -> Result<Seen, Failure> {
        let mut answers = Answers::default();
        let mut head = Vec::new();
        let mut number = first;
        // A timer takes a millisecond even when its time has passed.
        if self.begins > Instant::now() {
            sleep_until(self.begins).await;
        }
        while seen.latencies.len() < share || pace.is_some() {
            let started = match &mut pace {
                Some(pace) => match pace.recv().await {
                    Some(at) => at,
                    None => break,
                },
                None => Instant::now(),
            };
            self.template.write(&mut self.socket, &mut head, number).await?;
            answers.read(&mut self.socket, self.expected, started, &mut seen).await?;
            number += step;
        }
        Ok(seen)
    }
}

/// Opens all streams, some at a time, and reads the first frames of each.
async fn hold(args: &Args, template: &Template, frames: usize) -> Result<Vec<TcpStream>, Failure> {
    let opened = (0..args.connections).map(|number| async move {
        let mut socket = connect(args.to).await?;
        template.write(&mut socket, &mut Vec::new(), number).await?;
        Answers::default().read_frames(&mut socket, frames).await?;
        Ok::<_, Failure>(socket)
    });
    // More at once than a listener's backlog takes would wait for the kernel to try again.
    stream::iter(opened).buffer_unordered(OPENED_AT_ONCE).try_collect().await
}

/// Says that all streams are open, and, when standard input ends, whether they still are.
fn wait_for_the_end(open: Vec<TcpStream>) -> Result<(), Failure> {
    writeln!(std::io::stdout(), r#"{{"holding":{}}}"#, open.len())?;
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for socket in open {
        match socket.into_std()?.read(&mut [0; 64]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => return Err(format!("a stream did not stay open and silent: {other:?}").into()),
        }
    }
    Ok(())
}
