//! What a client meets for each fault, and what the log says of clients that leave.

use super::*;

#[tokio::test]
async fn every_error_fault_has_its_status_and_name() {
    let simulator = start().await;
    for (fault, status, name) in [
        (Fault::Throttle, 429, "ThrottlingException"),
        (Fault::ThrottleTokens, 429, "ThrottlingException"),
        (Fault::ThrottleDaily, 429, "ThrottlingException"),
        (Fault::ServiceQuotaExceeded, 400, "ServiceQuotaExceededException"),
        (Fault::ModelNotReady, 429, "ModelNotReadyException"),
        (Fault::ServiceUnavailable, 503, "ServiceUnavailableException"),
        (Fault::Internal, 500, "InternalServerException"),
        (Fault::ModelTimeout, 408, "ModelTimeoutException"),
        (Fault::ModelError, 424, "ModelErrorException"),
        (Fault::Validation, 400, "ValidationException"),
        (Fault::AccessDenied, 403, "AccessDeniedException"),
        (Fault::NotFound, 404, "ResourceNotFoundException"),
        (Fault::ExpiredToken, 403, "ExpiredTokenException"),
        (Fault::InvalidSignature, 403, "InvalidSignatureException"),
        (
            Fault::ErrorAsTypeInBody { name: "ThrottlingException".to_owned(), status: 429 },
            429,
            "ThrottlingException",
        ),
        (Fault::Error { name: "Odd".to_owned(), status: 418, message: String::new() }, 418, "Odd"),
    ] {
        let kind = fault.kind();
        simulator.fault(fault);
        let answered = simulator.converse("hello").await;
        assert_eq!((answered.status.as_u16(), answered.error().as_str()), (status, name), "{kind}");
        assert!(answered.json()["message"].is_string());
        assert!(answered.headers.contains_key("x-amzn-requestid"));
        assert_eq!(simulator.controls.log.entries().pop().unwrap().fault.unwrap(), kind);
    }
    simulator.fault(Fault::Html502);
    let answered = simulator.converse("hello").await;
    assert_eq!(answered.status, 502);
    assert_eq!(answered.headers["content-type"], "text/html");
    assert_eq!(simulator.converse("hello").await.status, 200);
}

#[tokio::test]
async fn the_daily_throttle_says_so() {
    let simulator = start().await;
    simulator.fault(Fault::ThrottleDaily);
    let message = simulator.converse("hello").await.json()["message"].to_string();
    assert!(message.contains("per day"), "{message}");
}

#[tokio::test]
async fn a_connection_is_reset_closed_or_filled_with_garbage() {
    let simulator = start().await;
    simulator.fault(Fault::ResetBeforeHead);
    let (got, end) = simulator.raw().await;
    assert!(got.is_empty());
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    simulator.fault(Fault::CloseBeforeHead);
    let (got, end) = simulator.raw().await;
    assert_eq!((got.len(), end.is_ok()), (0, true));

    simulator.fault(Fault::GarbageHead);
    let (got, _) = simulator.raw().await;
    assert!(!got.is_empty() && !got.starts_with(b"HTTP"));

    simulator.fault(Fault::ShortBody);
    let (got, end) = simulator.raw().await;
    assert!(got.starts_with(b"HTTP/1.1 200"));
    assert!(end.is_ok());
    let text = String::from_utf8(got).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len(), length.parse::<usize>().unwrap() / 2);

    simulator.fault(Fault::ResetMidBody);
    let (got, end) = simulator.raw().await;
    assert!(got.ends_with(&body.as_bytes()[body.len() - 8..]), "the half before it arrives");
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    for entry in simulator.controls.log.entries() {
        assert_eq!(entry.ending, Ending::Broken);
    }
}

#[tokio::test]
async fn every_stream_fault_breaks_the_stream_in_its_way() {
    let simulator = start().await;
    // The whole: messageStart, 4 deltas, contentBlockStop, messageStop, metadata.
    let named = |name: &str| name.to_owned();
    for (fault, frames, last, left_over, broken) in [
        (Fault::ResetAfterFrames { frames: 2 }, 2, "contentBlockDelta", false, true),
        (Fault::CloseAfterFrames { frames: 3 }, 3, "contentBlockDelta", false, true),
        (Fault::EndAfterFrames { frames: 1 }, 1, "messageStart", false, false),
        (Fault::EndAfterFrames { frames: 0 }, 0, "", false, false),
        (Fault::EmptyStream, 0, "", false, false),
        (Fault::TruncatedFrame { frame: 3 }, 2, "contentBlockDelta", true, false),
        (Fault::ShortBody, 0, "", true, true),
        (Fault::ResetMidBody, 0, "", true, true),
        (
            Fault::ExceptionFirstFrame { name: named("throttlingException") },
            1,
            "throttlingException",
            false,
            false,
        ),
        (
            Fault::ExceptionFrame { name: named("modelStreamErrorException"), frame: 4 },
            4,
            "modelStreamErrorException",
            false,
            false,
        ),
        (Fault::ErrorFrame { frame: 2 }, 2, "InternalFailure", false, false),
        (Fault::SlowTrickle { bytes: 5, ms: 0 }, 8, "metadata", false, false),
        (Fault::BadCrcFrame { frame: 2 }, 8, "metadata", false, false),
    ] {
        let kind = fault.kind();
        simulator.fault(fault);
        let answered = simulator.stream("hello sim:tokens=4").await;
        assert_eq!(answered.headers["content-type"], "application/vnd.amazon.eventstream");
        let (names, rest) = answered.frames();
        assert_eq!(names.len(), frames, "{kind} {names:?}");
        assert_eq!(names.last().map_or("", String::as_str), last, "{kind}");
        assert_eq!((rest, answered.broken), (left_over, broken), "{kind}");
        let entry = simulator.controls.log.entries().pop().unwrap();
        assert_eq!(entry.frames, frames as u64, "{kind}");
        assert_eq!(entry.ending == Ending::Broken, broken, "{kind}");
    }
    assert_eq!(simulator.controls.quotas.accounts()[HAIKU].in_flight, 0);
}

#[tokio::test]
async fn one_checksum_is_wrong_and_no_other() {
    let simulator = start().await;
    simulator.fault(Fault::BadCrcFrame { frame: 2 });
    let answered = simulator.stream("hello sim:tokens=4").await;
    let (mut rest, mut wrong) = (answered.body.as_slice(), Vec::new());
    while let Ok(Some(frame)) = Frame::read(rest) {
        let read = aws_smithy_eventstream::frame::read_message_from(&rest[..frame.len]);
        wrong.push(read.is_err());
        rest = &rest[frame.len..];
    }
    assert_eq!(wrong, [false, true, false, false, false, false, false, false]);
}

#[tokio::test]
async fn a_stream_operation_can_answer_json() {
    let simulator = start().await;
    simulator.fault(Fault::Json200OnStream);
    let answered = simulator.stream("hello").await;
    assert_eq!(
        (answered.status.as_u16(), &answered.headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    assert!(answered.json()["Output"]["__type"].to_string().contains("UnknownOperation"));
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_is_seen_and_its_quota_settled() {
    let simulator = start().await;
    let limits = ModelSettings { tpm: Some(1000), ..ModelSettings::default() };
    simulator.controls.quotas.set(HAIKU, limits);
    simulator.fault(Fault::StallAfterFrames { frames: 3 });
    let request =
        simulator.request(HAIKU, "converse-stream", converse("hello there, sim:tokens=9"));
    let mut response = send(request, false).await;
    let mut got = Vec::new();
    while (Answered {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: got.clone(),
        broken: false,
    })
    .frames()
    .0
    .len()
        < 3
    {
        let frame = tokio::time::timeout(LIMIT, response.frame()).await.unwrap().unwrap();
        got.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    assert!(simulator.controls.quotas.states()[HAIKU].tokens_left.unwrap() < 950.0);
    drop(response);
    let entry = simulator.last().await;
    assert_eq!((entry.ending, entry.frames, entry.output_tokens), (Ending::Disconnected, 3, 2));
    let settled = async {
        while simulator.controls.quotas.accounts()[HAIKU].in_flight > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap();
    assert_eq!(simulator.controls.quotas.accounts()[HAIKU].output_tokens, 2);
    assert!(simulator.controls.quotas.states()[HAIKU].tokens_left.unwrap() > 980.0);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_seen() {
    let simulator = start().await;
    simulator.fault(Fault::HangBeforeHead);
    let client = Client::builder(TokioExecutor::new()).build_http();
    let asked = tokio::spawn(client.request(simulator.request(HAIKU, "converse", converse("x"))));
    let struck = simulator.controls.log.wait_for(|entry| entry.fault.is_some());
    tokio::time::timeout(LIMIT, struck).await.unwrap();
    asked.abort();
    let entry = simulator.last().await;
    assert_eq!((entry.ending, entry.status), (Ending::Disconnected, None));
}
