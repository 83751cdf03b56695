use super::*;

#[test]
fn names_are_read_in_every_form_they_come_in() {
    for name in [
        "ThrottlingException",
        "throttlingException",
        "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/",
        "com.amazon.coral.service#ThrottlingException",
    ] {
        assert_eq!(ErrorKind::from_name(name), Some(ErrorKind::Throttling), "{name}");
    }
    assert_eq!(ErrorKind::from_name("SomethingElse"), None);
}

#[test]
fn every_kind_is_found_by_its_own_name() {
    for &kind in ErrorKind::ALL {
        assert_eq!(ErrorKind::from_name(kind.name()), Some(kind));
        assert!(kind.status().is_client_error() || kind.status().is_server_error());
    }
}

#[test]
fn the_response_is_in_bedrocks_form() {
    let response = WireError::new(ErrorKind::Throttling, "say \"when\"")
        .retry_after(Duration::from_millis(1500))
        .into_response();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()[ERROR_TYPE], "ThrottlingException");
    assert_eq!(response.headers()[RETRY_AFTER], "2");
    assert_eq!(response.headers()["x-amz-retry-after"], "1500");
    assert_eq!(response.body(), r#"{"message":"say \"when\""}"#);
}

#[test]
fn a_plain_text_is_short_and_on_one_line() {
    for (text, wanted) in [
        ("", ""),
        ("  one\r\n\ttwo\u{0}\u{1b}[31m\u{202e}x ", "one two [31m x"),
        ("0123456789 0123456789", "0123456789 01234567\u{2026}"),
        ("01234567890123456789", "01234567890123456789"),
        ("0123456789012345678 b", "0123456789012345678\u{2026}"),
        ("012345678901234567890", "0123456789012345678\u{2026}"),
    ] {
        let plain = plain_text(text, 20);
        assert_eq!(plain, wanted, "{text:?}");
        assert!(plain.chars().count() <= 20);
    }
}

#[test]
fn a_response_is_read_by_header_first_then_body() {
    let mut headers = HeaderMap::new();
    let body = br#"{"__type":"a#ValidationException","Message":"no"}"#;
    let reported = read(&headers, body);
    assert_eq!(reported.kind(), Some(ErrorKind::Validation));
    assert_eq!(reported.message, "no");
    headers.insert(ERROR_TYPE, HeaderValue::from_static("AccessDeniedException:x"));
    assert_eq!(read(&headers, body).kind(), Some(ErrorKind::AccessDenied));
    assert_eq!(read(&HeaderMap::new(), b"<html>"), Reported::default());
}

#[test]
fn an_error_is_read_in_every_dialect() {
    let read = |body: &str| read_dialect(&HeaderMap::new(), body.as_bytes());
    let text = |text: &str| Some(text.to_owned());
    let reported = read(
        r#"{"error":{"message":"m","type":"invalid_request_error","param":"messages","code":"model_not_found"}}"#,
    );
    let wanted = Reported {
        name: text("invalid_request_error"),
        message: "m".to_owned(),
        code: text("model_not_found"),
        param: text("messages"),
    };
    assert_eq!(reported, wanted);
    assert_eq!(reported.kind(), Some(ErrorKind::ResourceNotFound));
    for (body, name, message, kind) in [
        (
            r#"{"error":{"message":"m","type":"server_error","code":null,"param":null}}"#,
            Some("server_error"),
            "m",
            Some(ErrorKind::InternalServer),
        ),
        (
            r#"{"error":{"message":"m","type":"new","code":"ThrottlingException"}}"#,
            Some("new"),
            "m",
            Some(ErrorKind::Throttling),
        ),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":"r"}"#,
            Some("overloaded_error"),
            "m",
            Some(ErrorKind::ServiceUnavailable),
        ),
        (
            r#"{"type":"error","code":"rate_limit_exceeded","message":"m","param":null}"#,
            Some("rate_limit_exceeded"),
            "m",
            Some(ErrorKind::Throttling),
        ),
        (
            r#"{"__type":"a#ValidationException","message":"m"}"#,
            Some("ValidationException"),
            "m",
            Some(ErrorKind::Validation),
        ),
        (r#"{"message":"m"}"#, None, "m", None),
        (r#"{"error":"m"}"#, None, "m", None),
        (r#"{"error":{"message":7,"code":500}}"#, None, "", None),
        (r#"{"error":[]}"#, None, "", None),
        ("<html>", None, "", None),
    ] {
        let reported = read(body);
        assert_eq!(reported.name.as_deref(), name, "{body}");
        assert_eq!(reported.message, message, "{body}");
        assert_eq!(reported.kind(), kind, "{body}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(ERROR_TYPE, HeaderValue::from_static("ThrottlingException"));
    let reported = read_dialect(&headers, br#"{"error":{"type":"new","message":"m"}}"#);
    assert_eq!((reported.kind(), &*reported.message), (Some(ErrorKind::Throttling), "m"));
}

#[test]
fn a_conversation_that_is_too_long_is_told_from_other_mistakes() {
    let says = |name: &str, message: &str| {
        let (name, message) = (Some(name.to_owned()), message.to_owned());
        is_context_too_long(&Reported { name, message, ..Reported::default() })
    };
    for message in [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "The model returned the following errors: Input is too long for requested model.",
        "This model's maximum context length is 128000 tokens. However, you requested more.",
        "Your input exceeds the context window of this model. Please adjust your input.",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
    ] {
        assert!(says("ValidationException", message), "{message}");
        assert!(says("invalid_request_error", message), "{message}");
        assert!(!says("ThrottlingException", message), "{message}");
    }
    for message in ["", "messages.0: unexpected text: prompt is too long", "max_tokens: 5 > 4", "é"]
    {
        assert!(!says("ValidationException", message), "{message}");
    }
    let code = Some(dialect::CONTEXT_LENGTH_EXCEEDED.to_owned());
    assert!(is_context_too_long(&Reported { code, ..Reported::default() }));
}
