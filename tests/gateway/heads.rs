//! What the head of a request may cost before anybody knows whose it is: its own length, some of it
//! twice, and never its length times itself.

use std::time::{SystemTime, UNIX_EPOCH};

use sluice::bedrock::sigv4::amz_date::amz_date;

use crate::support::raw::Connection;
use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator};

const ID: &str = "SLUICEQ5ZJ2M4TGB7WDKFA";
const VARIABLES: [(&str, &str); 2] = [
    ("TEAM_A_SECRET", "test/secret+of/team-a+0123456789abcdefgh"),
    ("TEAM_B_KEY", "the-key-of-team-b-0123456789"),
];

/// Heads that are held open at once, each about as long as a head may be.
const HEADS: usize = 24;

/// Memory that they may cost together, in bytes: ten times their length.
const LITTLE: u64 = 16_000_000;

async fn gateway(simulator: &Simulator) -> Gateway {
    let config = Config::models(simulator, 1)
        .client_that_signs("team-a", ID, "TEAM_A_SECRET")
        .client("team-b", "env:TEAM_B_KEY");
    Gateway::start_with(&config, &VARIABLES).await
}

/// The head of a request for this path, signed with a known key pair, but not rightly. It asks to be
/// told before its body is sent, which tells that the head was looked at.
fn head(path: &str, fields: &str, signed: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let date = amz_date(i64::try_from(now).unwrap());
    let day = date.day();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\
         x-amz-date: {date}\r\n{fields}authorization: AWS4-HMAC-SHA256 \
         Credential={ID}/{day}/us-east-1/bedrock/aws4_request, SignedHeaders={signed}, \
         Signature={}\r\n\r\n",
        "a".repeat(64)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_signed_headers_that_repeat_or_do_not_ascend_are_refused_at_once() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    let path = format!("/model/{PRIMARY}/converse");
    let long = format!("a: {}\r\n", "y".repeat(32_000));
    for signed in [
        &*format!("host;{}x-amz-date", "a;".repeat(14_000)),
        "a;a;host;x-amz-date",
        "host;a;x-amz-date",
        "a;Host;host;x-amz-date",
        "a;host;x-amz-date;",
        "a;;host;x-amz-date",
    ] {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(head(&path, &long, signed).as_bytes()).await;
        let refused = connection.response().await.unwrap();
        assert_eq!(refused.status, 403, "{}", refused.body);
        assert_eq!(refused.header("x-amzn-errortype"), Some("IncompleteSignatureException"));
        assert!(refused.body.contains("ascending order"), "{}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_head_costs_more_than_a_few_times_its_length() {
    let simulator = Simulator::start().await;
    let usual = "host;x-amz-date";
    let invoke = format!("/model/{PRIMARY}/converse");
    let field = |name: &str, value: &str| format!("{name}: {value}\r\n");
    let long = "y".repeat(32_000);
    let many: String = (0..80).map(|n| format!("x-{n:03}: {}\r\n", "v ".repeat(300))).collect();
    let many_names: String = (0..80).map(|n| format!("x-{n:03};")).collect();
    let same: String = format!("x-000: {}\r\n", "v".repeat(600)).repeat(80);
    let heads = [
        (
            "repeated names",
            head(&invoke, &field("a", &long), &format!("host;{}x-amz-date", "a;".repeat(14_000))),
        ),
        ("many names", head(&invoke, &many, &format!("host;{}x-amz-date", "a;".repeat(10)))),
        ("many signed fields", head(&invoke, &many, &format!("host;{many_names}x-amz-date"))),
        ("one field often", head(&invoke, &same, "host;x-000;x-amz-date")),
        ("one long field", head(&invoke, &field("a", &long), "a;host;x-amz-date")),
        ("blanks", head(&invoke, &field("a", &"b ".repeat(28_000)), "a;host;x-amz-date")),
        ("parameters", head(&format!("{invoke}?{}", "a&".repeat(28_000)), "", usual)),
        ("escapes in the query", head(&format!("{invoke}?{}", "%41".repeat(19_000)), "", usual)),
        (
            "escapes in the path",
            head(&format!("/model/{}/converse", "%3A".repeat(19_000)), "", usual),
        ),
        ("colons in the path", head(&format!("/model/{}/converse", ":".repeat(58_000)), "", usual)),
        ("connection", head(&invoke, &field("connection", &"a,".repeat(28_000)), usual)),
        ("cookies", head(&invoke, &field("cookie", &"a=b;".repeat(14_000)), usual)),
        ("tracestate", head(&invoke, &field("tracestate", &"a=b,".repeat(14_000)), usual)),
        ("region", head(&invoke, "", usual).replace("us-east-1", &"r".repeat(56_000))),
        ("key", head(&invoke, "", usual).replace(ID, &"K".repeat(56_000))),
        ("parts of it", head(&invoke, "", usual).replace("SignedHeaders=", &"x=,".repeat(18_000))),
        ("token", {
            let text = head(&invoke, "", usual);
            let start = text.find("AWS4-").unwrap();
            format!("{}Bearer {}\r\n\r\n", &text[..start], "eyJhbGciOiJSUzI1NiJ9.".repeat(2_600))
        }),
        (
            "legacy",
            head("/chat", &field("a", &long), &format!("host;{}x-amz-date", "a;".repeat(10_000))),
        ),
        (
            "unknown path",
            head(
                "/nothing",
                &field("a", &long),
                &format!("host;{}x-amz-date", "a;".repeat(10_000)),
            ),
        ),
    ];
    for (what, head) in &heads {
        assert!((30_000..65_536).contains(&head.len()), "{what}: {}", head.len());
        let gateway = gateway(&simulator).await;
        let before = gateway.resident_bytes();
        let mut open = Vec::new();
        for _ in 0..HEADS {
            let mut connection = Connection::open(gateway.address()).await;
            connection.send(head.as_bytes()).await;
            let said = connection.response().await.unwrap_or_else(|| panic!("{what}: no answer"));
            assert!(said.status == 100 || (400..500).contains(&said.status), "{what}: {said:?}");
            open.push(connection);
        }
        let grown = gateway.resident_bytes().saturating_sub(before);
        println!("{what}: {} KB for {HEADS} heads of {} KB", grown / 1000, head.len() / 1000);
        assert!(grown < LITTLE, "{what}: {grown} bytes for {HEADS} heads");
        let other = Ask::new(&gateway, "hello").bearer(VARIABLES[1].1).send().await;
        assert_eq!(other.status, 200, "{what}");
    }
}
