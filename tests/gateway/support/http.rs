//! A plain HTTP client for requests that SDKs don't make: HTTP/2 without TLS, odd headers, health checks.

use std::convert::Infallible;

use ::http::{HeaderMap, Method, Request, Version};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;

use super::gateway::ADMIN_KEY;
use super::patience::{LONG, within};
use super::{Dialer, leaks};

/// A response with its body.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Whether the body broke off.
    pub broken: bool,
    /// The protocol of the response.
    pub version: Version,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The value of a header that occurs once.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A GET with the admin key.
pub async fn get(url: &str) -> Response {
    let request = Request::get(url).header("x-sluice-admin-key", ADMIN_KEY);
    send(request.body(Full::default()).unwrap()).await
}

/// A POST of JSON with these headers.
pub async fn post(url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response {
    send(posting(url, headers, body)).await
}

/// A request with these headers.
pub async fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response {
    let mut request = posting(url, headers, body);
    *request.method_mut() = method.parse().unwrap();
    send(request).await
}

/// A POST of a body with this media type.
pub async fn send_as(url: &str, media_type: &str, body: &str) -> Response {
    let request = Request::post(url).header("content-type", media_type);
    send(request.body(Full::from(body.to_owned())).unwrap()).await
}

/// The same over HTTP/2 without TLS or upgrade.
pub async fn post_by_http2(
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    receive(client.request(posting(url, headers, body))).await
}

/// Posts a body over HTTP/2 of which pieces are sent behind the answer, too; they must be taken. Returns the answer's
/// status.
pub async fn status_of_a_slow_post(url: &str, media_type: &str, piece: &Bytes) -> u16 {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let (pieces, sent) = mpsc::channel::<Bytes>(1);
    let body = stream::unfold(sent, async |mut sent| {
        Some((Ok::<_, Infallible>(Frame::data(sent.recv().await?)), sent))
    });
    let request = Request::post(url).header("content-type", media_type);
    let request = request.body(BodyExt::boxed_unsync(StreamBody::new(body))).unwrap();
    let answer = within(LONG, "the answer", client.request(request)).await.unwrap();
    let status = answer.status().as_u16();
    answer.collect().await.unwrap();
    // The channel and the connection take the first few in any case.
    for _ in 0..50 {
        within(LONG, "a piece is sent", pieces.send(piece.clone())).await.unwrap();
    }
    status
}

/// The same over TLS, in the HTTP version that ALPN selects.
pub async fn post_by_tls(
    dialer: &Dialer,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(dialer.config())
        .https_only()
        .enable_all_versions()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    receive(client.request(posting(url, headers, body))).await
}

fn posting(url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(Method::POST).uri(url);
    request = request.header("content-type", "application/json");
    for (name, value) in headers {
        value.strip_prefix("Bearer ").into_iter().for_each(leaks::secret);
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

async fn send(request: Request<Full<Bytes>>) -> Response {
    let client = Client::builder(TokioExecutor::new()).build_http();
    receive(client.request(request)).await
}

async fn receive(answer: hyper_util::client::legacy::ResponseFuture) -> Response {
    let work = async {
        let (head, mut incoming) = answer.await.unwrap().into_parts();
        let (mut body, mut broken) = (BytesMut::new(), false);
        while let Some(frame) = incoming.frame().await {
            match frame {
                Ok(frame) => body.extend(frame.into_data()),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        leaks::none_in("an answer", &format!("{head:?} {}", String::from_utf8_lossy(&body)));
        Response {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.freeze(),
            broken,
            version: head.version,
        }
    };
    within(LONG, "a response", work).await
}
