//! Key pairs and several bearer keys of a client: what a file says of them, and what is wrong.

use std::time::Duration;

use super::{config, env, only_problem};
use crate::config::{Config, ConfigError, Loaded};

const SECRET: &str = "hush/0123456789+abcdef";

fn load(text: &str) -> Result<Loaded, ConfigError> {
    let variables = [("SECRET", SECRET), ("OTHER", "hush-another-0123456789"), ("SHORT", "hush")];
    Config::from_toml(text, "config.toml", &env(&variables))
}

fn client(keys: &str) -> String {
    format!("[[clients]]\nname = 'a'\n{keys}\n")
}

fn pair(id: &str, secret: &str) -> String {
    format!("access_key_id = '{id}', secret_access_key = '{secret}'")
}

fn only(text: &str, expected: &str) {
    let error = load(text).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{text}: {error}");
    assert!(error.contains(expected) && !error.contains("hush"), "{text}: {error}");
}

#[test]
fn a_client_has_one_pair_or_several_and_bearer_keys_beside_them() {
    let text = client(&format!(
        "access_key_id = 'FIRST'\nsecret_access_key = 'env:SECRET'\nbearer_token = 'env:OTHER'\n\
         keys = [{{ {}, expires = '2999-01-01T00:00:00Z' }}, {{ {} }}]\n\
         bearer_tokens = [{{ token = 'env:SECRET', expires = '1970-01-01T00:01:00Z' }}]",
        pair("SECOND", "env:OTHER"),
        pair("third-of_them", "env:OTHER"),
    ));
    let loaded = load(&text).unwrap();
    assert!(!format!("{loaded:?}").contains("hush"), "{loaded:?}");
    assert_eq!(
        loaded.warnings.iter().filter(|it| it.contains("expired")).collect::<Vec<_>>(),
        ["clients[0].bearer_tokens[0] has expired"]
    );
    let client = &loaded.config.clients[0];
    let ids: Vec<&str> = client.keys.iter().map(|pair| pair.access_key_id.as_str()).collect();
    assert_eq!(ids, ["FIRST", "SECOND", "third-of_them"]);
    assert!(client.keys[0].secret_access_key.matches(SECRET));
    assert!(client.keys[0].expires.is_none() && client.keys[1].expires.is_some());
    let [flat, listed] = client.bearer_tokens.as_slice() else { panic!("two bearer keys") };
    assert!(flat.key.matches("hush-another-0123456789") && flat.expires.is_none());
    assert!(listed.key.matches(SECRET));
    let minute = std::time::UNIX_EPOCH + Duration::from_secs(60);
    assert_eq!(listed.expires, Some(minute));
}

#[test]
fn what_is_wrong_with_keys_is_said_where_it_stands() {
    let twice = format!("keys = [{{ {0} }}, {{ {0} }}]", pair("A", "env:SECRET"));
    let flat = |id: &str, secret: &str| client(&pair(id, secret).replace(", ", "\n"));
    for (text, expected) in [
        (client("access_key_id = 'A'"), "access_key_id: needs 'secret_access_key' beside it"),
        (
            client("secret_access_key = 'env:SECRET'"),
            "secret_access_key: needs 'access_key_id' beside it",
        ),
        (client("keys = []"), "clients[0]: needs one of"),
        (client("bearer_tokens = []"), "clients[0]: needs one of"),
        (client("keys = [{ access_key_id = 'A' }]"), "keys[0]: needs 'secret_access_key'"),
        (client("keys = [{ secret_access_key = 'env:SECRET' }]"), "needs 'access_key_id'"),
        (client("bearer_tokens = [{ }]"), "bearer_tokens[0]: needs 'token'"),
        (flat("hush hush", "env:SECRET"), "access_key_id: is not an access key id"),
        (flat("", "env:SECRET"), "access_key_id: is not an access key id"),
        (flat("A", "env:SHORT"), "secret_access_key: names a key shorter than 16 characters"),
        (flat("A", "env:MISSING"), "names the environment variable 'MISSING'"),
        (flat("A", SECRET), "secret_access_key: takes a reference, not the secret itself"),
        (client(&twice), "clients[0].keys[1].access_key_id: is there twice"),
        (
            flat("A", "env:SECRET") + &flat("A", "env:OTHER").replace("'a'", "'b'"),
            "clients[1].access_key_id: is the key of another client too",
        ),
        (
            client("bearer_token = 'env:SECRET'\nbearer_tokens = [{ token = 'env:SECRET' }]"),
            "clients[0].bearer_tokens[0].token: is there twice",
        ),
        (
            client(&format!("keys = [{{ {}, expires = '2027-01-01' }}]", pair("A", "env:SECRET"))),
            "keys[0].expires: '2027-01-01' is not a time; write it like",
        ),
        (
            client(&format!("keys = [{{ {}, colour = 1 }}]", pair("A", "env:SECRET"))),
            "unknown key 'colour' in [clients[0].keys[0]]",
        ),
    ] {
        only(&text, expected);
    }
    let many = (0..17).map(|n| format!("{{ {} }}", pair(&format!("K{n}"), "env:SECRET")));
    let many = client(&format!("keys = [{}]", many.collect::<Vec<_>>().join(", ")));
    only(&many, "clients[0].keys: at most 16 of them, not 17");
}

#[test]
fn the_clock_may_be_off_by_whole_seconds_up_to_a_day() {
    let auth = config("[auth]\nmax_clock_skew = '90s'\nreplay_protection = true").auth;
    assert_eq!((auth.max_clock_skew, auth.replay_protection), (Duration::from_secs(90), true));
    for wrong in ["1500ms", "25h"] {
        let text = format!("[auth]\nmax_clock_skew = '{wrong}'");
        only_problem(&text, "auth.max_clock_skew: must be whole seconds, and at most 24h");
    }
    only_problem("[auth]\nmax_clock_skew = '0s'", "auth.max_clock_skew: must not be zero");
    only_problem("[auth]\nmax_replay_signatures = 0", "auth.max_replay_signatures");
}
