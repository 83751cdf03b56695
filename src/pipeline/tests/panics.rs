//! A panic fails one request: the client gets an answer, the request is counted, and its guards are released.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt};

use super::super::admit::{Admission, admit};
use super::super::deadline::WaitBudget;
use super::super::error::{GatewayError, RequestError};
use super::super::relay::ResponseBody;
use super::super::routed::RoutedRequest;
use super::super::step::step;
use super::super::{
    Gateway, InboundRequest, authenticate, limit, observe, parse, policy, read_body, route, stack,
};
use super::{End, MODEL, PEER, Scripted, gateway, outcomes, shared_gateway, target};
use crate::limits::{Caller, CallerKind};
use crate::quota::Overloaded;

/// A target with room for one request of these sizes, and clients with one request at once.
const TARGET: &str = "tpm = 1000";
const LIMITS: &str = "[limits]\nkey = 'ip'\nmax_concurrent = 1\ntokens_per_minute = 100000\n";
const BODY: &str = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":500,"messages":[]}"#;

/// Where the innermost service panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// Before it has a future.
    Call,
    /// With a permit for the target, which it has used.
    Attempt,
    /// In the queue for the target.
    Queue,
    /// Nowhere; it refuses all.
    Nowhere,
}

#[derive(Clone, Debug)]
struct Panicking(Where);

impl Service<Box<RoutedRequest>> for Panicking {
    type Response = Response<ResponseBody>;
    type Error = RequestError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, RequestError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut routed: Box<RoutedRequest>) -> Self::Future {
        let at = self.0;
        assert!(at != Where::Call, "panic on purpose");
        Box::pin(async move {
            let deadline = Instant::now() + Duration::from_secs(60);
            let mut wait_budget = WaitBudget { left: Duration::from_secs(60), deadline };
            match at {
                Where::Attempt => {
                    let admission = admit(&mut routed, None, &mut wait_budget).await;
                    let Ok(Admission::Admitted(_, mut permit)) = admission else { unreachable!() };
                    permit.mark_sending();
                    tokio::task::yield_now().await;
                    panic!("panic on purpose");
                }
                Where::Queue => {
                    let mut waiting = pin!(admit(&mut routed, None, &mut wait_budget));
                    poll_fn(|cx| {
                        assert!(waiting.as_mut().poll(cx).is_pending());
                        Poll::Ready(())
                    })
                    .await;
                    panic!("panic on purpose");
                }
                Where::Call | Where::Nowhere => {}
            }
            let error = GatewayError::Overloaded(Overloaded::Requests(1));
            Err(RequestError { error, context: routed.context })
        })
    }
}

fn stack_with(
    gateway: &Arc<Gateway>,
    innermost: Panicking,
) -> impl Service<
    InboundRequest<Full<Bytes>>,
    Response = Response<ResponseBody>,
    Error = Infallible,
    Future: Send,
> + Clone {
    ServiceBuilder::new()
        .layer(observe::layer(&shared_gateway(gateway)))
        .layer(step(authenticate::Authenticate))
        .layer(limit::RateLimitLayer)
        .layer(step(limit::ConcurrencyLimit))
        .layer(step(parse::Parse))
        .layer(step(policy::CheckHead))
        .layer(read_body::ReadBodyLayer)
        .layer(limit::RateLimitLayer)
        .layer(step(limit::ConcurrencyLimit))
        .layer(step(policy::CheckBody))
        .layer(step(route::RouteStep))
        .service(innermost)
}

fn inbound<B>(body: B) -> InboundRequest<B> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/model/{MODEL}/invoke"))
        .header("host", "localhost")
        .body(())
        .unwrap();
    InboundRequest { head: request.into_parts().0, body, peer: PEER.into() }
}

async fn is_an_internal_error(response: Response<ResponseBody>) {
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.headers()["x-amzn-errortype"], "InternalServerException");
    assert_eq!(response.headers()["x-sluice-request-id"], response.headers()["x-amzn-requestid"]);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["message"], "the gateway failed on this request");
}

/// All guards were released.
fn all_is_settled(gateway: &Gateway, panics: u64) {
    assert_eq!(gateway.metrics.panics.get(), panics);
    assert_eq!(outcomes(gateway, "panic"), panics as f64);
    assert_eq!(target(gateway).quota().snapshot(Instant::now()).in_flight, 0);
    assert_eq!(gateway.metrics.queue_waiting.get(), 0);
    assert_eq!(gateway.metrics.queue_waiting_bytes.get(), 0);
    let who = CallerKind::Anonymous(PEER.ip().to_string().into());
    let client = Caller { kind: who, access_key_id: None };
    drop(gateway.limits.acquire(&client).expect("its one request at once is free again"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_or_during_an_attempt_is_answered_and_settled() {
    for at in [Where::Call, Where::Attempt, Where::Queue] {
        let gateway = gateway(TARGET, LIMITS);
        let _used_up = (at == Where::Queue).then(|| {
            let target = target(&gateway);
            let demand = crate::routing::QuotaDemand {
                input: 900,
                max_output: 0,
                operation: Some(crate::bedrock::Operation::Converse),
                upper_bound: None,
                is_reserved_tier: false,
            };
            target.enter(demand, Instant::now()).unwrap()
        });
        let stack = stack_with(&gateway, Panicking(at));
        for _ in 0..2 {
            let response = stack.clone().oneshot(inbound(Full::from(BODY))).await.unwrap();
            is_an_internal_error(response).await;
            // An attempt that was made costs what it may have cost.
            tokio::time::advance(Duration::from_secs(120)).await;
        }
        drop(_used_up);
        all_is_settled(&gateway, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_the_body_is_read_is_answered_and_settled() {
    let gateway = gateway(TARGET, LIMITS);
    let body = Scripted::new([Bytes::from_static(b"{")], End::Panics);
    let response = stack(&shared_gateway(&gateway)).oneshot(inbound(body)).await.unwrap();
    is_an_internal_error(response).await;
    all_is_settled(&gateway, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_relaying_is_answered_and_settled() {
    let gateway = gateway(TARGET, LIMITS);
    let frame = crate::bedrock::event_stream::event("contentBlockDelta", "{}");
    let mut body = super::relay::relayed(&gateway, Scripted::new([frame.clone()], End::Panics));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), frame);
    assert!(body.frame().await.unwrap().is_err(), "the answer ends with an error");
    assert!(body.frame().await.is_none());
    drop(body);
    all_is_settled(&gateway, 1);
}

#[tokio::test]
async fn a_panic_keeps_the_connection_open() {
    let gateway = gateway(TARGET, LIMITS);
    let stacks = [Where::Attempt, Where::Nowhere].map(|at| stack_with(&gateway, Panicking(at)));
    let [panicking, well] = stacks;
    let (client, server) = tokio::io::duplex(4096);
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (panicking, well) = (panicking.clone(), well.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = Full::from(body.collect().await.unwrap().to_bytes());
            let inbound = InboundRequest { body, ..inbound(Full::default()) };
            match head.headers.contains_key("x-panic") {
                true => panicking.oneshot(inbound).await,
                false => well.oneshot(inbound).await,
            }
        }
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    let asking = async move {
        for (header, status) in [("x-panic", 500), ("x-well", 503), ("x-panic", 500)] {
            sender.ready().await.unwrap();
            let request = Request::post("/").header("host", "localhost").header(header, "1");
            let request = request.body(Full::<Bytes>::from(BODY)).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), status);
            response.into_body().collect().await.unwrap();
        }
    };
    let (served, ()) = tokio::join!(serving, asking);
    served.unwrap();
    all_is_settled(&gateway, 2);
}
