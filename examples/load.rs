//! A load generator for `bench/run`: a fixed number of requests over a fixed number of
//! connections, each answer checked.
//!
//! Connections are opened first and each sends one request after the other, so that what is
//! measured is requests and not handshakes. Any answer that is not 200 with the expected number
//! of bytes ends the run with an error.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

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
    /// Bytes that every answer must have.
    #[arg(long)]
    expect: usize,
    /// Requests in all; each connection sends its share.
    #[arg(long)]
    requests: usize,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Longest time for the whole run, in seconds.
    #[arg(long, default_value_t = 60)]
    limit_s: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let body = Bytes::from(tokio::fs::read(&args.body).await?);
    let limit = Duration::from_secs(args.limit_s);
    let (took, mut latencies) = timeout(limit, run(args, body)).await??;
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index).copied().unwrap_or_default().as_micros()
    };
    // One JSON object, for the script that runs this.
    writeln!(
        std::io::stdout(),
        r#"{{"requests":{},"seconds":{:.4},"p50_us":{},"p99_us":{}}}"#,
        latencies.len(),
        took.as_secs_f64(),
        at(0.5),
        at(0.99),
    )?;
    Ok(())
}

async fn run(args: Args, body: Bytes) -> Result<(Duration, Vec<Duration>), Failure> {
    let mut senders = Vec::with_capacity(args.connections);
    for _ in 0..args.connections {
        let socket = TcpStream::connect(args.to).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        senders.push(sender);
    }
    let share = args.requests.div_ceil(args.connections.max(1));
    let started = Instant::now();
    let mut running = JoinSet::new();
    for sender in senders {
        running.spawn(send(sender, args.clone(), body.clone(), share));
    }
    let mut latencies = Vec::with_capacity(share * args.connections);
    while let Some(finished) = running.join_next().await {
        latencies.extend(finished??);
    }
    Ok((started.elapsed(), latencies))
}

/// Sends `count` requests on one connection and returns how long each took, to its last byte.
async fn send(
    mut sender: SendRequest<Full<Bytes>>,
    args: Args,
    body: Bytes,
    count: usize,
) -> Result<Vec<Duration>, Failure> {
    let mut latencies = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        sender.ready().await?;
        let response = sender.send_request(request(&args, body.clone())?).await?;
        let status = response.status();
        let mut answer = response.into_body();
        let mut bytes = 0;
        while let Some(frame) = answer.frame().await {
            bytes += frame?.data_ref().map_or(0, Bytes::len);
        }
        if status != StatusCode::OK || bytes != args.expect {
            return Err(format!("{status} with {bytes} bytes, not 200 with {}", args.expect).into());
        }
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

/// A request with the headers that an SDK sends.
fn request(args: &Args, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
    Request::builder()
        .method(Method::POST)
        .uri(&args.path)
        .header(HOST, args.to.to_string())
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux lang/python#3.12.0")
        .header("x-amz-date", "20261123T120000Z")
        .header(
            AUTHORIZATION,
            "AWS4-HMAC-SHA256 Credential=BENCHKEY/20261123/us-east-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        )
        .header("amz-sdk-invocation-id", "00000000-0000-4000-8000-000000000000")
        .header("amz-sdk-request", "attempt=1")
        .body(Full::new(body))
}
