//! Clients: what a file says of them, and what is wrong with it.

use super::{config, env, file, only_problem};
use crate::{Config, ConfigError, Loaded};

const KEY: &str = "hush-0123456789abcdef";

fn load(text: &str, key: &str) -> Result<Loaded, ConfigError> {
    Config::from_toml(text, "config.toml", &env(&[("KEY", key)]))
}

fn client(name: &str, token: &str) -> String {
    format!("[[clients]]\nname = '{name}'\nbearer_token = '{token}'\n")
}

#[test]
fn clients_have_a_name_and_a_key_of_which_the_digest_is_kept() {
    let abc = "sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let text = client("team-a", "env:KEY") + &client("team.b", abc);
    let loaded = load(&text, KEY).unwrap();
    assert!(!format!("{loaded:?}").contains("hush"), "{loaded:?}");
    let [a, b] = loaded.config.clients.as_slice() else { panic!("two clients") };
    assert_eq!((a.name.as_str(), b.name.as_str()), ("team-a", "team.b"));
    assert!(a.bearer_tokens[0].key.matches(KEY) && !a.bearer_tokens[0].key.matches("abc"));
    assert!(b.bearer_tokens[0].key.matches("abc") && !b.bearer_tokens[0].key.matches(KEY));
    assert!(config("").clients.is_empty());
}

#[test]
fn keys_that_are_bad_are_refused_and_not_repeated() {
    let text = client("a", "env:KEY");
    for (key, expected) in [
        ("hush", "names a key shorter than 16 characters"),
        ("hush hush hush hush hush", "names a key with blanks"),
        ("hush-0123456789\nabcdef", "the value has a control character"),
        ("hush-0123456789abcdé", "names a key with blanks"),
        ("", "names the environment variable 'KEY', which is not set or empty"),
    ] {
        let error = load(&text, key).unwrap_err().to_string();
        assert!(error.starts_with("config.toml:3:1: clients[0].bearer_token: names"), "{error}");
        assert!(error.contains(expected) && !error.contains("hush"), "{error}");
    }
    let same = load(&(text + &client("b", "env:KEY")), KEY).unwrap_err().to_string();
    let expected = "config.toml:6:1: clients[1].bearer_token: is the key of another client too";
    assert_eq!(same, expected);
}

#[test]
fn bad_values_are_refused_where_they_stand() {
    let ok = format!("sha256:{}", "0".repeat(64));
    for (text, expected) in [
        (client("a", KEY), "clients[0].bearer_token: takes a reference or a digest, not the key"),
        (client("a", "sha256:00"), "clients[0].bearer_token: must have 64 hexadecimal digits"),
        (client("", &ok), "clients[0].name: a client's name is 1 to 64 letters"),
        (client("a b", &ok), "clients[0].name: a client's name is 1 to 64 letters"),
        (
            "[[clients]]\nname = 'a'".to_owned(),
            "clients[0]: needs one of 'bearer_token', 'bearer_tokens', 'access_key_id', 'keys'",
        ),
        (format!("[[clients]]\nbearer_token = '{ok}'"), "clients[0]: needs 'name'"),
        (client("a", &ok) + "rmp = 1", "unknown key 'rmp' in [clients[0]]; did you mean 'rpm'?"),
        (client("a", &ok) + "colour = 1", "unknown key 'colour' in [clients[0]]; known: "),
        (
            client("a", &ok) + &client("a", &ok.replace('0', "1")),
            "clients[1].name: 'a' is the name of clients[0]",
        ),
    ] {
        only_problem(&text, expected);
    }
    let error = file(&client("a", KEY)).unwrap_err().to_string();
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn there_are_at_most_a_hundred_thousand() {
    let clients = |count: usize| {
        let text = (0..count).map(|n| client(&n.to_string(), &format!("sha256:{n:064}")));
        file(&text.collect::<String>())
    };
    assert_eq!(clients(100_000).unwrap().config.clients.len(), 100_000);
    let error = clients(100_001).unwrap_err().to_string();
    assert!(error.contains("clients: at most 100000 clients, not 100001"), "{error}");
}
