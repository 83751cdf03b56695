//! Streams: relayed as they come, their failures raised by the SDKs as the failures they are.

use std::time::Duration;

use sluice::simulator::{Ending, Fault, FaultRule};

use crate::support::raw::Connection;
use crate::support::{Call, Client, Config, Gateway, PRIMARY, SECOND, Simulator, bodies};

/// A prompt whose answer takes long enough that nothing ends it by chance.
const LONG_ANSWER: &str = "hello sim:tokens=3000 sim:token_ms=20";

fn long_stream() -> Call {
    Call::invoke_stream(PRIMARY, "").body(bodies::messages(LONG_ANSWER, 4000))
}

fn streams() -> [Call; 2] {
    [Call::invoke_stream(PRIMARY, "hello"), Call::converse_stream(PRIMARY, "hello")]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_in_the_first_frame_falls_back() {
    for client in Client::SDKS {
        for call in streams() {
            let simulator = Simulator::start().await;
            let gateway = Gateway::with_four_models(&simulator).await;
            let name = "throttlingException".to_owned();
            simulator.strikes(PRIMARY, 1, Fault::ExceptionFirstFrame { name });
            for attempts in ["2", "1"] {
                let answer = gateway.call(client, call.clone()).await;
                assert_eq!(answer.text(), format!("[{SECOND}] hello"), "{client:?}");
                assert_eq!(answer.header("x-sluice-attempts"), Some(attempts), "{client:?}");
            }
            assert_eq!(simulator.calls_to(PRIMARY).len(), 1, "it cools");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_in_the_middle_is_raised_under_its_own_name() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    for name in [
        "throttlingException",
        "internalServerException",
        "modelStreamErrorException",
        "validationException",
        "serviceUnavailableException",
    ] {
        simulator.recovers();
        let fault = Fault::ExceptionFrame { name: name.to_owned(), frame: 4 };
        simulator.add(FaultRule::always(fault));
        for client in Client::SDKS {
            for call in streams() {
                let what = format!("{client:?} {} {name}", call.operation);
                let answer = gateway.call(client, call).await;
                let raised = answer.raised();
                assert!(raised.in_stream && raised.is(name), "{what}: {raised:?}");
                assert_eq!(answer.events.len(), 3, "{what}");
                assert_eq!(answer.status, Some(200), "{what}");
                assert_eq!(answer.header("x-sluice-attempts"), Some("1"), "{what}");
            }
        }
    }
    // A stream that had begun is never begun again elsewhere, whatever came of it.
    assert!(simulator.models_called().iter().all(|model| model == PRIMARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_is_raised_and_never_taken_for_an_end() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator)
        .set("upstream.idle_timeout", "400ms")
        .set("fallback.eject_after", 1_000)
        .set("fallback.eject_below_success_rate", 0.0);
    let gateway = Gateway::start(&config).await;
    for fault in [
        Fault::ResetAfterFrames { frames: 3 },
        Fault::CloseAfterFrames { frames: 3 },
        Fault::TruncatedFrame { frame: 4 },
        Fault::StallAfterFrames { frames: 3 },
    ] {
        simulator.recovers();
        simulator.add(FaultRule::always(fault.clone()));
        for client in Client::SDKS {
            for call in streams() {
                let what = format!("{client:?} {} {fault:?}", call.operation);
                let answer = gateway.call(client, call).await;
                let raised = answer.raised();
                if client == Client::JavaScript {
                    // An HTTP/2 stream that is reset may lose what was sent before.
                    assert!(answer.events.len() <= 3, "{what}: {answer:?}");
                    continue;
                }
                assert!(raised.in_stream, "{what}: {raised:?}");
                assert_eq!(answer.events.len(), 3, "{what}: {answer:?}");
            }
        }
    }
    assert!(simulator.models_called().iter().all(|model| model == PRIMARY));
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_relayed_before_the_stream_goes_on() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    // Nothing comes after the third frame, so whoever sees it did not wait for more.
    simulator.add(FaultRule::always(Fault::StallAfterFrames { frames: 3 }));
    for client in Client::SDKS {
        for call in streams() {
            let answer = gateway.call(client, call.abandon_after(3)).await;
            assert_eq!(answer.events.len(), 3, "{client:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_stream_is_noticed_upstream_within_a_second() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    for (calls, client) in (1..).zip(Client::SDKS) {
        let answer = gateway.call(client, long_stream().abandon_after(5)).await;
        assert_eq!(answer.events.len(), 5, "{client:?}");
        let second = Duration::from_secs(1);
        simulator
            .sees_within(second, "the disconnect", |entry| {
                entry.seq == calls && entry.ending == Ending::Disconnected
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_answer_is_noticed_upstream_within_a_second() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    simulator.add(FaultRule::always(Fault::HangBeforeHead));
    let body = bodies::messages("hello", 10);
    let request = format!(
        "POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(request.as_bytes()).await;
    simulator.sees("the request", |entry| entry.body_bytes > 0).await;
    drop(connection);
    simulator
        .sees_within(Duration::from_secs(1), "the disconnect", |entry| {
            entry.ending == Ending::Disconnected
        })
        .await;
    assert_eq!(simulator.log().len(), 1, "nobody is left to try another target for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_stream_arrives_whole() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    simulator.add(FaultRule::always(Fault::SlowTrickle { bytes: 11, ms: 0 }));
    for client in Client::SDKS {
        for call in streams() {
            let answer = gateway.call(client, call).await;
            assert_eq!(answer.text(), format!("[{PRIMARY}] hello"), "{client:?}");
        }
    }
}
