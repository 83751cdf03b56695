//! Forward proxies on the way to the upstream: who goes through them, and who past them.

use crate::support::patience::eventually;
use crate::support::{Ask, Authority, Config, Gateway, Proxy, Simulator, Terminator};

/// `user:p@ss` in the form of Basic, and in that of a URL.
const BASIC: &str = "Basic dXNlcjpwQHNz";
const USER_INFO: &str = "user:p%40ss";

/// An upstream with a name that only the proxy can find.
struct Rig {
    authority: Authority,
    simulator: Simulator,
    upstream: Terminator,
    proxy: Proxy,
}

impl Rig {
    async fn start(authorization: Option<&'static str>) -> Rig {
        let authority = Authority::new();
        let simulator = Simulator::start().await;
        let upstream = Terminator::start(&authority.server(), &["h2"], simulator.address()).await;
        let proxy = Proxy::start(upstream.address(), authorization).await;
        Rig { authority, simulator, upstream, proxy }
    }

    fn config(&self, endpoint: &str) -> Config {
        Config::four_models(&self.simulator)
            .set("upstream.endpoint_url", endpoint)
            .set("upstream.ca_file", self.authority.path())
            .set("queue.max_wait", "0s")
    }

    fn proxy_url(&self, user_info: &str) -> String {
        format!("http://{user_info}{}", self.proxy.address())
    }

    /// An endpoint on this machine whose address is none of loopback.
    fn here(&self) -> String {
        format!("https://0.0.0.0:{}", self.upstream.port())
    }
}

async fn status(config: &Config, variables: &[(&str, &str)]) -> (u16, String, Gateway) {
    let gateway = Gateway::start_with(config, variables).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    (answer.status, answer.text(), gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_endpoint_is_reached_through_a_tunnel() {
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        let rig = Rig::start(None).await;
        let config = rig.config("https://bedrock.test");
        let (status, text, _gateway) = status(&config, &[(variable, &rig.proxy_url(""))]).await;
        assert_eq!(status, 200, "{text}");
        let heads = rig.proxy.heads();
        assert!(heads[0].starts_with("CONNECT bedrock.test:443 HTTP/1.1\r\n"), "{heads:?}");
        // The tunnel is all it sees.
        assert!(!heads[0].contains("bedrock/aws4_request"), "{heads:?}");
        assert_eq!(rig.upstream.agreed(), ["h2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_its_url_goes_to_the_proxy_only() {
    let rig = Rig::start(Some(BASIC)).await;
    let config = rig.config("https://bedrock.test").set("log.level", "trace");
    let url = rig.proxy_url(&format!("{USER_INFO}@"));
    let (status, text, gateway) = status(&config, &[("HTTPS_PROXY", &url)]).await;
    assert_eq!(status, 200, "{text}");
    let output = gateway.output();
    for secret in [USER_INFO, "p@ss", "dXNlcjpwQHNz"] {
        assert!(!output.contains(secret), "{secret} was logged");
    }
    let simulated = format!("{:?}", rig.simulator.log());
    assert!(!simulated.contains("dXNlcjpwQHNz"), "{simulated}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusing_proxy_is_named() {
    let rig = Rig::start(Some(BASIC)).await;
    let config = rig.config("https://bedrock.test");
    let (status, text, gateway) =
        status(&config, &[("HTTPS_PROXY", &rig.proxy_url("user:wrong@"))]).await;
    assert_eq!(status, 503);
    let proxy = rig.proxy.address().to_string();
    assert!(text.contains("could not connect to the upstream"), "{text}");
    assert!(text.contains(&proxy) && text.contains("authorization required"), "{text}");
    assert!(!text.contains("wrong") && !gateway.output().contains("wrong"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_go_past_it() {
    let rig = Rig::start(None).await;
    let port = format!("0.0.0.0:{}", rig.upstream.port());
    let url = rig.proxy_url("");
    for exceptions in ["0.0.0.0", "example.com, 0.0.0.0/8", &port, "*"] {
        for variable in ["NO_PROXY", "no_proxy"] {
            let variables = [("HTTPS_PROXY", url.as_str()), (variable, exceptions)];
            let (status, text, _gateway) = status(&rig.config(&rig.here()), &variables).await;
            assert_eq!(status, 200, "{exceptions}: {text}");
        }
    }
    assert!(rig.proxy.heads().is_empty(), "{:?}", rig.proxy.heads());
    // The same endpoint goes through it where the exception is for something else.
    let variables = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "0.0.0.0:1,10.0.0.0/8,test")];
    let (status, text, _gateway) = status(&rig.config(&rig.here()), &variables).await;
    assert_eq!(status, 200, "{text}");
    assert!(rig.proxy.heads()[0].starts_with(&format!("CONNECT {port} ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_on_this_machine_are_left_alone_unless_one_is_named_for_them() {
    let rig = Rig::start(None).await;
    let own = format!("https://localhost:{}", rig.upstream.port());
    let url = rig.proxy_url("");
    let (first, text, _gateway) = status(&rig.config(&own), &[("HTTPS_PROXY", &url)]).await;
    assert_eq!(first, 200, "{text}");
    assert!(rig.proxy.heads().is_empty(), "{:?}", rig.proxy.heads());
    let named = rig.config(&own).set("upstream.proxy", url);
    let (second, text, _gateway) = status(&named, &[]).await;
    assert_eq!((second, rig.proxy.heads().len()), (200, 1), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_may_name_one_or_none() {
    let rig = Rig::start(Some(BASIC)).await;
    let url = rig.proxy_url(&format!("{USER_INFO}@"));
    // A proxy that nobody answers at, to be taken no notice of.
    let other = ("HTTPS_PROXY", "http://127.0.0.1:1");
    let named = rig.config("https://bedrock.test").set("upstream.proxy", "env:OWN_PROXY");
    let (status_, text, _gateway) = status(&named, &[other, ("OWN_PROXY", &url)]).await;
    assert_eq!((status_, rig.proxy.heads().len()), (200, 1), "{text}");
    let none = rig.config(&rig.here()).set("upstream.proxy", "off");
    let (status_, text, _gateway) = status(&none, &[other]).await;
    assert_eq!(status_, 200, "{text}");
}

/// Requests in the clear are passed on by the proxy itself, which so needs to see where to.
#[tokio::test(flavor = "multi_thread")]
async fn an_http_endpoint_is_asked_for_by_its_whole_uri() {
    let authority = Authority::new();
    let simulator = Simulator::start().await;
    let proxy = Proxy::start(simulator.address(), Some(BASIC)).await;
    let rig = Rig {
        upstream: Terminator::start(&authority.server(), &[], simulator.address()).await,
        authority,
        simulator,
        proxy,
    };
    // Each thread has connections of its own.
    let config = rig.config("http://bedrock.test:8080").set("server.worker_threads", 1);
    let url = rig.proxy_url(&format!("{USER_INFO}@"));
    for variable in ["HTTP_PROXY", "http_proxy"] {
        let (status, text, gateway) = status(&config, &[(variable, &url)]).await;
        assert_eq!(status, 200, "{text}");
        // The password goes with every request, also on a connection that is used again.
        assert_eq!(Ask::new(&gateway, "again").send().await.status, 200);
    }
    let heads = rig.proxy.heads();
    assert!(heads[0].starts_with("POST http://bedrock.test:8080/model/"), "{heads:?}");
    let direct = rig.config(rig.simulator.url());
    let (status, _, _gateway) = status(&direct, &[("HTTP_PROXY", &url)]).await;
    assert_eq!((status, rig.proxy.heads().len()), (200, 2), "loopback is direct");
}

/// The proxy itself may be one that speaks TLS.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_behind_tls_is_spoken_to_by_tls() {
    let rig = Rig::start(None).await;
    let secure = Terminator::start(&rig.authority.server(), &[], rig.proxy.address()).await;
    let url = format!("https://localhost:{}", secure.port());
    let config = rig.config("https://bedrock.test");
    let (status, text, _gateway) = status(&config, &[("HTTPS_PROXY", &url)]).await;
    assert_eq!(status, 200, "{text}");
    assert!(rig.proxy.heads()[0].starts_with("CONNECT bedrock.test:443 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_names_no_proxy_is_refused_by_its_name() {
    let rig = Rig::start(None).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, rig.config("https://bedrock.test").to_toml()).unwrap();
    let mut command = crate::support::gateway::sluice();
    command.env("HTTPS_PROXY", "socks5://user:hush@127.0.0.1:1");
    command.args(["check", "--offline", "--config", path.to_str().unwrap()]);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("variable HTTPS_PROXY"), "{said}");
    assert!(!said.contains("hush"), "{said}");
}

/// The AWS SDK in the gateway, which fetches credentials, goes the same way.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_fetched_through_it_and_from_the_fips_endpoint() {
    let rig = Rig::start(None).await;
    let token = rig.authority.file();
    let variables = [
        ("HTTPS_PROXY", &*rig.proxy_url("")),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r"),
    ];
    let plain = Config::four_models(&rig.simulator).without_credentials();
    let fips = plain.clone().without_upstream("endpoint_url").set("upstream.use_fips", true);
    for (config, wanted) in
        [(plain, "CONNECT sts.us-east-1."), (fips, "CONNECT sts-fips.us-east-1.")]
    {
        let _gateway = Gateway::start_with(&config, &variables).await;
        let asked = async || rig.proxy.heads();
        eventually(wanted, asked, |heads| heads.iter().any(|head| head.starts_with(wanted))).await;
    }
}
