//! A reverse proxy and nothing more: the yardstick that `bench/run` holds the gateway against.
//!
//! Same server and client library, same pool, same runtime. It signs nothing, limits nothing and
//! logs nothing; bodies stream through both ways. What the gateway costs above this is the price
//! of what it does. With `--hash` it takes the SHA-256 of each request body as it passes, which any
//! gateway that signs must do.

use std::convert::Infallible;
use std::error::Error;
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use clap::Parser;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

/// Passes every request on to one upstream.
#[derive(Debug, Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Address of the upstream, spoken to in cleartext HTTP/1.1.
    #[arg(long)]
    upstream: SocketAddr,
    /// Hash the bodies of requests.
    #[arg(long)]
    hash: bool,
}

type Upstream = Client<HttpConnector, Passing>;
type Answer = Response<Either<Incoming, Empty<Bytes>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .set_host(false)
        .build(connector);
    let authority: Authority = args.upstream.to_string().parse()?;
    let host = HeaderValue::from_str(authority.as_str())?;

    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    let listener = TcpListener::bind(args.listen).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (client, authority, host) = (client.clone(), authority.clone(), host.clone());
        let server = server.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let sent = pass_on(&client, &authority, &host, request, args.hash);
                async move { Ok::<_, Infallible>(sent.await) }
            });
            // A client that goes away is no failure of the proxy.
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

fn pass_on(
    client: &Upstream,
    authority: &Authority,
    host: &HeaderValue,
    request: Request<Incoming>,
    hash: bool,
) -> impl Future<Output = Answer> + Send + use<> {
    let (mut head, body) = request.into_parts();
    let mut uri = head.uri.into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority.clone());
    head.uri = Uri::from_parts(uri).unwrap_or_default();
    head.headers.remove(CONNECTION);
    head.headers.insert(HOST, host.clone());
    let hash = hash.then(|| digest::Context::new(&digest::SHA256));
    let sent = client.request(Request::from_parts(head, Passing { body, hash }));
    async move {
        match sent.await {
            Ok(mut response) => {
                response.headers_mut().remove(CONNECTION);
                response.map(Either::Left)
            }
            Err(_) => {
                let mut refused = Response::new(Either::Right(Empty::new()));
                *refused.status_mut() = StatusCode::BAD_GATEWAY;
                refused
            }
        }
    }
}

/// A request body on its way.
struct Passing {
    body: Incoming,
    hash: Option<digest::Context>,
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let (Some(hash), Some(Ok(frame))) = (&mut self.hash, &frame) {
            hash.update(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
        }
        // hyper stops asking after the last byte of a body of known length.
        if self.body.is_end_stream()
            && let Some(hash) = self.hash.take()
        {
            black_box(hash.finish());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
