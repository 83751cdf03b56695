//! Load until it is stopped: workers with persistent connections, each with one request at a time,
//! alternating complete responses and streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sluice::bedrock::Usage;
use sluice::bedrock::event_stream::Frame;
use tokio::task::JoinHandle;

use super::patience::{LONG, eventually, within};
use super::{PRIMARY, bodies};

/// The protocol of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1. A request fails if its connection is closed.
    Http1,
    /// HTTP/2, one connection for all workers. A request that the server did not process before a GOAWAY
    /// is repeated, as the protocol allows.
    Http2,
}

/// Load on one gateway, or on several in turn.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Tally>>,
}

/// The results of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests with a complete response.
    pub answered: usize,
    /// How often a request moved to another gateway, because one was down or about to stop.
    pub moved: usize,
    /// The errors of all other requests.
    pub failures: Vec<String>,
}

impl Load {
    /// Starts `workers` that send requests to these gateways in turn.
    pub fn start(urls: &[String], workers: usize, protocol: Protocol) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let client = Client::builder(TokioExecutor::new())
            .http2_only(protocol == Protocol::Http2)
            .retry_canceled_requests(protocol == Protocol::Http2)
            .build_http();
        let start = |number| {
            let worker = Worker { client: client.clone(), protocol, urls: urls.to_vec(), number };
            tokio::spawn(worker.work(Arc::clone(&stop), Arc::clone(&answered)))
        };
        let workers = (0..workers).map(start).collect();
        Load { stop, answered, workers }
    }

    /// Waits until `count` more requests are answered.
    pub async fn goes_on(&self, count: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        let look = async || self.answered.load(Ordering::Relaxed);
        eventually("the load goes on", look, |now| *now >= before + count).await;
    }

    /// Stops the load, and returns the results.
    pub async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for worker in self.workers {
            let tally = within(LONG, "the last answers", worker).await.unwrap();
            sum.answered += tally.answered;
            sum.moved += tally.moved;
            sum.failures.extend(tally.failures);
        }
        sum
    }
}

struct Worker {
    client: Client<HttpConnector, Full<Bytes>>,
    protocol: Protocol,
    urls: Vec<String>,
    number: usize,
}

/// Why a request has no response.
enum Failed {
    NotTaken,
    Otherwise(String),
}

impl Failed {
    fn of(error: &hyper_util::client::legacy::Error, protocol: Protocol) -> Failed {
        let why = format!("{error:?}");
        let goes = why.contains("GoAway(b\"\", NO_ERROR, Remote)") || why.contains("Canceled");
        match error.is_connect() || goes && protocol == Protocol::Http2 {
            true => Failed::NotTaken,
            false => Failed::Otherwise(why),
        }
    }
}

impl Worker {
    async fn work(self, stop: Arc<AtomicBool>, answered: Arc<AtomicUsize>) -> Tally {
        let mut tally = Tally::default();
        for number in self.number.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let mut outcome = Err("nothing to connect to".to_owned());
            for (place, url) in
                self.urls.iter().cycle().skip(number).take(self.urls.len()).enumerate()
            {
                tally.moved += usize::from(place > 0);
                match self.ask(url, number % 3 == 0).await {
                    Err(Failed::NotTaken) => continue,
                    Err(Failed::Otherwise(why)) => outcome = Err(format!("{url}: {why}")),
                    Ok(()) => outcome = Ok(()),
                }
                break;
            }
            match outcome {
                Ok(()) => {
                    tally.answered += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(why) => tally.failures.push(why),
            }
        }
        tally
    }

    async fn ask(&self, url: &str, streams: bool) -> Result<(), Failed> {
        let (operation, prompt) = match streams {
            true => ("invoke-with-response-stream", "hello sim:tokens=10 sim:token_ms=5"),
            false => ("invoke", "hello sim:head_ms=3"),
        };
        let request = Request::post(format!("{url}/model/{PRIMARY}/{operation}"))
            .header("content-type", "application/json")
            .body(Full::from(bodies::messages(prompt, 64)))
            .unwrap();
        let otherwise = |why: &dyn std::fmt::Debug| Failed::Otherwise(format!("{why:?}"));
        let response = self.client.request(request).await;
        let response = response.map_err(|error| Failed::of(&error, self.protocol))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| otherwise(&error))?;
        let body = body.to_bytes();
        match (status.as_u16(), streams) {
            (200, false) => Ok(()),
            (200, true) if is_whole(&body) => Ok(()),
            _ => Err(otherwise(&(status, body))),
        }
    }
}

/// Whether a stream is complete: its last event has the usage.
fn is_whole(mut stream: &[u8]) -> bool {
    let mut has_usage = false;
    while let Ok(Some(frame)) = Frame::read(stream) {
        has_usage = Usage::from_frame(&frame).is_some();
        stream = &stream[frame.len..];
    }
    has_usage && stream.is_empty()
}
