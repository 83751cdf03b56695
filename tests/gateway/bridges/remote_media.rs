//! Images and documents at addresses, which are fetched for targets that take bytes alone.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::support::certificates::Authority;
use crate::support::tls::Terminator;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nthe rest";

/// A server of images with TLS, and a gateway that trusts it, in front of a scripted Bedrock.
struct Rig {
    images: Bedrock,
    tls: Terminator,
    bedrock: Bedrock,
    gateway: Gateway,
}

impl Rig {
    /// The gateway may fetch from every host at 127.0.0.1.
    async fn new(
        targets: &[(&str, &str)],
        script: impl Fn(usize, &Seen) -> Vec<u8> + Send + Sync + 'static,
        change: impl Fn(Config) -> Config,
    ) -> Rig {
        let authority = Authority::new();
        let images = Bedrock::start(script).await;
        let tls = Terminator::start(&authority.server(), &["http/1.1"], images.address).await;
        let bedrock = Bedrock::start(|_, seen| match seen.path.ends_with("/invoke") {
            true => say(200, "application/json", br#"{"type":"message","role":"assistant","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":11,"output_tokens":7}}"#),
            false => converse_text("hello"),
        })
        .await;
        let port = i64::from(tls.port());
        let gateway = gateway(&bedrock, targets, |config| {
            change(
                config
                    .set("upstream.ca_file", authority.path())
                    .set("apis.remote_media.hosts", vec!["*"])
                    .set("apis.remote_media.ports", vec![port])
                    .set("apis.remote_media.allow_addresses", vec!["127.0.0.1/32"]),
            )
        })
        .await;
        Rig { images, tls, bedrock, gateway }
    }

    async fn nova(
        script: impl Fn(usize, &Seen) -> Vec<u8> + Send + Sync + 'static,
        change: impl Fn(Config) -> Config,
    ) -> Rig {
        Rig::new(&[("nova", NOVA)], script, change).await
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.tls.port())
    }

    /// Asks what is at these addresses.
    async fn ask_of(&self, urls: &[String]) -> Response {
        let parts: Vec<_> = urls
            .iter()
            .map(|url| json!({ "type": "image_url", "image_url": { "url": url } }))
            .collect();
        let body = with(chat(), "messages", json!([{ "role": "user", "content": parts }]));
        post(&self.gateway, CHAT, &body).await
    }

    async fn ask(&self, path: &str) -> Response {
        self.ask_of(&[self.url("localhost", path)]).await
    }

    /// Checks that the request is refused for its only address, with these words and this outcome.
    async fn refuses(&self, got: Response, words: &str, outcome: &str) {
        assert_eq!(got.status, 400, "{}", got.text());
        let error = &got.json()["error"];
        assert_eq!(error["param"], "messages[0].content[0]", "{error}");
        assert_eq!(error["type"], "invalid_request_error", "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert!(!error["message"].as_str().unwrap().contains("127."), "{error}");
        assert!(self.bedrock.seen().is_empty());
        assert_eq!(self.fetched(outcome).await, 1.0, "{outcome}");
    }

    async fn fetched(&self, outcome: &str) -> f64 {
        self.gateway.metrics().await.sum("sluice_fetched_media_total", &[("outcome", outcome)])
    }
}

fn image() -> Vec<u8> {
    say(200, "image/png", PNG)
}

fn redirect(to: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_fetched_once_and_its_bytes_take_the_place_of_its_address() {
    let rig = Rig::nova(|_, _| image(), |config| config).await;
    let url = rig.url("localhost", "/a%20b.png?size=1#part");
    let got = rig.ask_of(&[url.clone(), url]).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let content = &rig.bedrock.seen()[0].body["messages"][0]["content"];
    for block in [&content[0], &content[1]] {
        assert_eq!(block["image"]["format"], "png");
        assert_eq!(block["image"]["source"]["bytes"], STANDARD.encode(PNG));
    }
    let seen = rig.images.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/a%20b.png?size=1");
    let head = seen[0].head.to_ascii_lowercase();
    assert!(head.contains(&format!("host: localhost:{}", rig.tls.port())), "{head}");
    assert!(head.contains("user-agent: sluice"), "{head}");
    for none in ["authorization", "cookie", "referer", "x-api-key", "x-amz"] {
        assert!(!head.contains(none), "{head}");
    }
    assert_eq!(rig.fetched("fetched").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_gets_bytes_by_invoke_model_too() {
    let script = |_: usize, seen: &Seen| match seen.path.as_str() {
        "/a.pdf" => say(200, "application/pdf", b"%PDF-1.7"),
        _ => image(),
    };
    let by_invoke =
        |config: Config| config.every_target("surfaces", vec!["invoke_model", "converse"]);
    let rig = Rig::new(&[("claude", CLAUDE)], script, by_invoke).await;
    let source = |path| json!({ "type": "url", "url": rig.url("localhost", path) });
    let content = json!([
        { "type": "image", "source": source("/a.png") },
        { "type": "document", "source": source("/a.pdf") },
        { "type": "text", "text": "?" },
    ]);
    let body = with(message(), "messages", json!([{ "role": "user", "content": content }]));
    let got = post(&rig.gateway, MESSAGES, &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let seen = &rig.bedrock.seen()[0];
    assert!(seen.path.ends_with("/invoke"), "{}", seen.path);
    let content = &seen.body["messages"][0]["content"];
    let bytes = |media_type: &str, bytes: &[u8]| json!({ "type": "base64", "media_type": media_type, "data": STANDARD.encode(bytes) });
    assert_eq!(content[0]["source"], bytes("image/png", PNG));
    assert_eq!(content[1]["source"], bytes("application/pdf", b"%PDF-1.7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_responses_is_fetched() {
    let rig =
        Rig::nova(|_, _| say(200, "text/plain; charset=utf-8", b"notes"), |config| config).await;
    let file = json!({ "type": "input_file", "file_url": rig.url("localhost", "/notes.txt") });
    let text = json!({ "type": "input_text", "text": "?" });
    let input = json!([{ "role": "user", "content": [file, text] }]);
    let body = json!({ "model": "m", "input": input, "store": false });
    let got = post(&rig.gateway, "/openai/v1/responses", &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let document = &rig.bedrock.seen()[0].body["messages"][0]["content"][0]["document"];
    assert_eq!(document["format"], "txt", "{document}");
    assert_eq!(document["source"]["bytes"], STANDARD.encode("notes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_takes_the_request_gets_the_address_and_nothing_is_fetched() {
    let targets = [("gpt", "us.openai.gpt-5.6-sol"), ("nova", NOVA)];
    let rig = Rig::new(&targets, |_, _| image(), |config| config).await;
    let url = rig.url("localhost", "/a.png");
    rig.ask_of(std::slice::from_ref(&url)).await;
    assert!(rig.bedrock.seen()[0].body.to_string().contains(&url));
    assert!(rig.images.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_that_needs_bytes_gets_them() {
    let authority = Authority::new();
    let images = Bedrock::start(|_, _| image()).await;
    let tls = Terminator::start(&authority.server(), &["http/1.1"], images.address).await;
    let bedrock = Bedrock::start(|number, _| match number {
        1 => throttle(),
        _ => converse_text("hello"),
    })
    .await;
    let targets = [("gpt", "us.openai.gpt-5.6-sol"), ("nova", NOVA)];
    let gateway = gateway(&bedrock, &targets, |config| {
        config
            .set("upstream.ca_file", authority.path())
            .set("apis.remote_media.hosts", vec!["localhost"])
            .set("apis.remote_media.ports", vec![i64::from(tls.port())])
            .set("apis.remote_media.allow_addresses", vec!["127.0.0.0/8"])
    })
    .await;
    let url = format!("https://localhost:{}/a.png", tls.port());
    let part = json!({ "type": "image_url", "image_url": { "url": url } });
    let body = with(chat(), "messages", json!([{ "role": "user", "content": [part] }]));
    let got = post(&gateway, CHAT, &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let seen = bedrock.seen();
    assert_eq!(seen.len(), 2);
    let image = &seen[1].body["messages"][0]["content"][0]["image"];
    assert_eq!(image["source"]["bytes"], STANDARD.encode(PNG));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_image_cant_be_had_goes_to_a_target_that_takes_its_address() {
    let targets = [("nova", NOVA), ("gpt", "us.openai.gpt-5.6-sol")];
    let rig = Rig::new(&targets, |_, _| error(404, "x", "x"), |config| config).await;
    rig.ask("/a.png").await;
    let seen = rig.bedrock.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/openai/v1/chat/completions");
    assert_eq!(rig.images.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_private_address_is_connected_to_and_none_is_told_from_one_that_is_not_there() {
    let none =
        |config: Config| config.set("apis.remote_media.allow_addresses", Vec::<String>::new());
    let mut said = Vec::new();
    // The name of a loopback address, addresses in several forms, and a name that nobody has.
    for host in
        ["localhost", "127.0.0.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "x.invalid"]
    {
        let rig = Rig::nova(|_, _| image(), none).await;
        let got = rig.ask_of(&[rig.url(host, "/a.png")]).await;
        said.push(got.json()["error"]["message"].clone());
        rig.refuses(got, "the host of the address can't be reached", "unreachable").await;
        assert!(rig.images.seen().is_empty(), "{host}");
        assert!(rig.tls.agreed().is_empty(), "{host}");
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirections_are_followed_and_each_is_checked() {
    // 127.0.0.2 is this machine, too, but only 127.0.0.1 is allowed.
    let script = |_: usize, seen: &Seen| {
        let port = seen.head.to_ascii_lowercase();
        let port = port.split("host: localhost:").nth(1).and_then(|it| it.lines().next());
        let port = port.unwrap_or_default().to_owned();
        match seen.path.as_str() {
            "/near" => redirect("there.png"),
            "/private" => redirect(&format!("https://127.0.0.2:{port}/a.png")),
            "/plain" => redirect(&format!("http://localhost:{port}/a.png")),
            "/secret" => redirect(&format!("https://u:p@localhost:{port}/a.png")),
            "/port" => redirect("https://localhost:1/a.png"),
            "/loop" => redirect("/loop"),
            _ => image(),
        }
    };
    let rig = Rig::nova(script, |config| config).await;
    let got = rig.ask("/near").await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(rig.images.seen()[1].path, "/there.png");
    for (path, words, outcome, asked) in [
        ("/private", "can't be reached", "unreachable", 1),
        ("/plain", "must be an https address", "not_allowed", 1),
        ("/secret", "must be an https address", "not_allowed", 1),
        ("/port", "of a port", "not_allowed", 1),
        ("/loop", "redirected too often", "redirects", 4),
    ] {
        let rig = Rig::nova(script, |config| config).await;
        let got = rig.ask(path).await;
        rig.refuses(got, words, outcome).await;
        assert_eq!(rig.images.seen().len(), asked, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_too_slow_or_something_else_is_refused() {
    let script = |_: usize, seen: &Seen| {
        let long = [PNG, &[0; 2000]].concat();
        match seen.path.as_str() {
            "/announced" => say(200, "image/png", &long),
            "/unannounced" => {
                let head = b"HTTP/1.1 200 X\r\ncontent-type: image/png\r\n\r\n";
                [head, &long[..], PAUSE].concat()
            }
            "/slow" => [&image()[..20], PAUSE, b"x"].concat(),
            "/html" => say(200, "text/html", b"<html>"),
            "/renamed" => say(200, "image/png", b"<html>"),
            "/gone" => error(404, "x", "x"),
            "/cut" => image().split_last().map(|(_, most)| most.to_vec()).unwrap_or_default(),
            "/packed" => {
                let head =
                    b"HTTP/1.1 200 X\r\ncontent-type: image/png\r\ncontent-encoding: gzip\r\n\r\n";
                [head, PNG].concat()
            }
            _ => Vec::new(),
        }
    };
    for (path, words, outcome) in [
        ("/announced", "longer than 1000 bytes", "too_long"),
        ("/unannounced", "longer than 1000 bytes", "too_long"),
        ("/slow", "did not come within 1s", "too_slow"),
        ("/html", "is no PNG, JPEG, GIF or WebP image", "wrong_type"),
        ("/renamed", "is no PNG, JPEG, GIF or WebP image", "wrong_type"),
        ("/gone", "answered with status 404", "status"),
        ("/cut", "broke off", "broken"),
        ("/packed", "has a content encoding", "wrong_type"),
        ("/nothing", "can't be reached", "unreachable"),
    ] {
        let rig = Rig::nova(script, |config| {
            config.set("apis.remote_media.max_size", "1KB").set("apis.remote_media.timeout", "1s")
        })
        .await;
        let got = rig.ask(path).await;
        rig.refuses(got, words, outcome).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_the_config_does_not_name_is_not_asked() {
    let rig =
        Rig::nova(|_, _| image(), |it| it.set("apis.remote_media.hosts", vec!["x.example"])).await;
    let got = rig.ask("/a.png").await;
    rig.refuses(got, "of a host from which this gateway does not fetch", "not_allowed").await;
    assert!(rig.tls.agreed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_refused_by_default_and_beyond_their_number() {
    let off = |config: Config| config.set("apis.remote_media.hosts", Vec::<String>::new());
    let rig = Rig::nova(|_, _| image(), off).await;
    let got = rig.ask("/a.png").await;
    assert_eq!(got.status, 400, "{}", got.text());
    assert!(got.text().contains("an address is not fetched here"), "{}", got.text());
    let few = |config: Config| config.set("apis.remote_media.max_per_request", 2);
    let rig = Rig::nova(|_, _| image(), few).await;
    let urls: Vec<String> = (0..3).map(|n| rig.url("localhost", &format!("/{n}.png"))).collect();
    let got = rig.ask_of(&urls).await;
    assert_eq!(got.status, 400, "{}", got.text());
    assert_eq!(got.json()["error"]["param"], "messages[0].content[2]");
    assert!(rig.images.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_for_a_request_that_is_refused_anyway() {
    let rig = Rig::nova(|_, _| image(), |config| config).await;
    let part = json!({ "type": "image_url", "image_url": { "url": rig.url("localhost", "/a") } });
    let body = with(chat(), "messages", json!([{ "role": "user", "content": [part] }]));
    let got = post(&rig.gateway, CHAT, &with(body, "logit_bias", json!({ "5": 1 }))).await;
    assert_eq!(got.json()["error"]["param"], "logit_bias", "{}", got.text());
    assert!(rig.images.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fetched_counts_as_in_flight_and_is_bounded() {
    let large = [PNG, &[0; 60_000]].concat();
    let script = move |number: usize, _: &Seen| {
        let whole = say(200, "image/png", &large);
        let (most, rest) = whole.split_at(whole.len() - 10);
        // The first one stays in flight.
        if number == 1 { [most, PAUSE, rest].concat() } else { whole }
    };
    let rig = Rig::nova(script, |it| it.set("server.max_in_flight_bytes", "250KB")).await;
    let (url, body) = (format!("{}{CHAT}", rig.gateway.url()), {
        let url = rig.url("localhost", "/a.png");
        let part = json!({ "type": "image_url", "image_url": { "url": url } });
        with(chat(), "messages", json!([{ "role": "user", "content": [part] }])).to_string()
    });
    let first = tokio::spawn(async move { crate::support::http::post(&url, &[], body).await });
    let bytes = async || rig.gateway.metrics().await.sum("sluice_in_flight_bytes", &[]);
    crate::support::patience::eventually("in flight", bytes, |bytes| *bytes > 200_000.0).await;
    let refused = rig.ask("/b.png").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(rig.fetched("overloaded").await, 1.0);
    rig.images.go_on();
    let first = tokio::time::timeout(Duration::from_secs(60), first).await.unwrap().unwrap();
    assert_eq!(first.status, 200, "{}", first.text());
    crate::support::patience::eventually("in flight", bytes, |bytes| *bytes == 0.0).await;
}
