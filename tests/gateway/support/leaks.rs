//! Secrets that the tests know, and a search for them in all that a gateway lets out.
//!
//! Whatever plants a secret registers it here: the variables of a gateway, keys of certificates, what
//! clients sign with or present. From then on it must not be in any answer, log, metric or admin
//! output of any gateway of the test run. Each gateway is searched at its end, each answer when it
//! comes.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;

use super::gateway::ADMIN_KEY;

/// Shorter ones could be part of anything.
const SHORTEST: usize = 12;

/// What the end of a gateway is asked for.
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

/// Registers what an environment variable holds, if its name says that it is a secret or it is a URL
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

/// Asserts that no known secret is in a text, as it is or in another coding.
#[track_caller]
pub fn none_in(place: &str, text: &str) {
    let known = KNOWN.lock().clone();
    let found = known.iter().find(|secret| holds(text, secret));
    let lines: Vec<&str> =
        text.lines().filter(|line| found.is_some_and(|secret| holds(line, secret))).collect();
    assert_eq!(found, None, "a secret is in {place}: {lines:#?}");
}

/// Whether a text holds a secret: as it is, in JSON, in a URL, or in Base64.
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

/// What a gateway tells on its admin port, as far as it is there: a path and the answer to each.
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
