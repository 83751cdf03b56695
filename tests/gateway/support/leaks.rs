//! The secrets of the tests, and a search for them in all output of a gateway.
//!
//! A helper that gives a secret to a gateway or a client registers it here: variables of a gateway, keys of
//! certificates, credentials of clients. From then on no response, log, metric or admin output of any
//! gateway of the test run may contain the secret. The output of each gateway is searched when the gateway
//! ends, and each response when it arrives.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;

use super::gateway::ADMIN_KEY;

/// A shorter secret could occur in any text.
const SHORTEST: usize = 12;

/// The admin paths whose output is searched.
const PATHS: [&str; 7] = [
    "/metrics",
    "/admin/targets",
    "/admin/config",
    "/admin/status",
    "/status",
    "/readyz",
    "/admin/none",
];

static KNOWN: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

/// Registers a secret.
pub fn secret(text: &str) {
    if text.len() >= SHORTEST {
        KNOWN.lock().insert(text.to_owned());
    }
}

/// Registers the key of a certificate, by the lines of its file.
pub fn key_file(pem: &str) {
    pem.lines().filter(|line| !line.starts_with("---")).for_each(secret);
}

/// Registers the value of an environment variable, if its name suggests a secret, or its value is a URL
/// with a password.
pub fn variable(name: &str, value: &str) {
    let is_secret = ["KEY", "SECRET", "TOKEN", "PASSWORD"].iter().any(|it| name.contains(it));
    let is_other = name.ends_with("KEY_ID") || name.contains("__") || value.contains("://");
    if is_secret && !is_other {
        secret(value);
    }
    if let Some((_, rest)) = value.split_once("://")
        && let Some((user, _)) = rest.rsplit_once('@')
    {
        secret(user.rsplit_once(':').map_or(user, |(_, password)| password));
    }
}

/// Asserts that a text contains no registered secret, as it is or encoded.
#[track_caller]
pub fn none_in(place: &str, text: &str) {
    let known = KNOWN.lock().clone();
    let found = known.iter().find(|secret| holds(text, secret));
    let lines: Vec<&str> =
        text.lines().filter(|line| found.is_some_and(|secret| holds(line, secret))).collect();
    assert_eq!(found, None, "a secret is in {place}: {lines:#?}");
}

/// Whether a text contains a secret: as it is, in JSON, in a URL, or in Base64.
pub fn holds(text: &str, secret: &str) -> bool {
    let json = serde_json::to_string(secret).unwrap();
    let in_url: String = secret
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let base64 = STANDARD.encode(secret);
    let forms = [secret, json.trim_matches('"'), &in_url, base64.trim_end_matches('=')];
    forms.iter().any(|form| text.contains(form))
}

/// The admin output of a gateway: each path and its response, as far as the gateway responds.
pub fn admin_output(admin: SocketAddr) -> Vec<(&'static str, String)> {
    let read = |path| Some((path, ask(admin, path)?));
    PATHS.into_iter().filter_map(read).collect()
}

fn ask(admin: SocketAddr, path: &str) -> Option<String> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&admin, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {admin}\r\nx-sluice-admin-key: {ADMIN_KEY}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    // What came before an error counts.
    let _ = stream.read_to_end(&mut answer);
    Some(String::from_utf8_lossy(&answer).into_owned())
}
