//! Key pairs and several bearer keys of a client: what a file says of them, and what is wrong.

use std::time::Duration;

use super::{config, env, only_problem};
use crate::{Config, ConfigError, IssuerKeys, Loaded, TokenAlgorithm};

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
    only(&many, "clients[0].keys: at most 16 keys, not 17");
}

const TLS: &str =
    "[server.tls]\ncert = 'missing.crt'\nkey = 'missing.key'\nclient_ca = 'missing.crt'\n";

#[test]
fn a_client_is_known_by_certificates_where_they_are_asked_for() {
    let names = "certificates = ['CN=a,O=Example', 'CN:a', 'DNS:A.Example.com', 'IP:2001:DB8::1', \
                 'URI:spiffe://example.com/a', 'email:a@example.com', '2.5.4.3=a:b']";
    only(&client(names), "clients[0].certificates: needs 'client_ca' in [server.tls]");
    // Nothing is wrong but the files of this test, which are not there.
    let error = load(&(client(names) + TLS)).unwrap_err().to_string();
    assert!(!error.contains("clients"), "{error}");
    for (wrong, expected) in [
        ("'a'", "'a' is no name of a certificate"),
        ("'CN='", "'CN=' is no name of a certificate"),
        ("'DNS:'", "'DNS:' has no name"),
        ("'IP:a'", "'IP:a' has no address"),
        ("'MAC:a'", "'MAC:a' is no name of a certificate"),
        ("'DNS:a', 'DNS:A'", "certificates[1]: is there twice"),
    ] {
        let error = load(&(client(&format!("certificates = [{wrong}]")) + TLS)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let both = client("certificates = ['CN:x']")
        + &client("certificates = ['CN:x']").replace("'a'", "'b'");
    let error = load(&(both + TLS)).unwrap_err().to_string();
    assert!(error.contains("clients[1].certificates[0]: is another client's too"), "{error}");
}

#[test]
fn a_client_is_known_by_tokens_of_an_issuer() {
    let issuer =
        "[[issuers]]\nname = 'corp'\nissuer = 'https://login.example.com/'\naudiences = ['a']\n";
    let identity = client("identities = [{ issuer = 'corp', value = 'x' }]");
    let config = load(&(identity.clone() + issuer)).unwrap().config;
    let read = &config.issuers[0];
    let discovery = "https://login.example.com/.well-known/openid-configuration";
    assert_eq!(read.keys, IssuerKeys::Discovered(discovery.parse().unwrap()));
    assert_eq!(read.algorithms, [TokenAlgorithm::RS256, TokenAlgorithm::ES256]);
    assert_eq!((read.claim.as_str(), read.leeway), ("sub", Duration::from_secs(60)));
    assert_eq!(config.clients[0].identities[0].value, "x");
    let with = |key: &str| format!("{issuer}{key}\n{identity}");
    let keys =
        load(&with("jwks_url = 'http://127.0.0.1:1/keys'")).unwrap().config.issuers.remove(0).keys;
    assert_eq!(keys, IssuerKeys::At("http://127.0.0.1:1/keys".parse().unwrap()));
    for (text, expected) in [
        (identity.clone(), "identities[0].issuer: there is no issuer 'corp'"),
        (issuer.to_owned(), "issuers[0]: is in no client's 'identities'"),
        (
            issuer.to_owned() + &client("identities = [{ issuer = 'corp', value = '' }]"),
            "identities[0].value: must have 1 to 1024 bytes",
        ),
        (
            issuer.to_owned() + &client("identities = [{ issuer = 'corp' }]"),
            "identities[0]: needs 'value'",
        ),
        (
            issuer.to_owned() + &identity + &identity.replace("'a'", "'b'"),
            "clients[1].identities[0]: is another client's too",
        ),
        (with("jwks_url = 'http://login.example.com/keys'"), "jwks_url: must be an https URL"),
        (with("jwks_url = 'https://a:hush@example.com/'"), "jwks_url: must not have a user"),
        (with("jwks_url = '/keys'"), "jwks_url: is not a URL with a host"),
        (
            identity.clone() + &issuer.replace("https:", "http:"),
            "issuers[0].issuer: must be an https URL",
        ),
        (
            (identity.clone() + issuer).replace("'corp'", "'my corp'"),
            "a token issuer's name is 1 to 64 letters",
        ),
        (
            identity.clone() + &issuer.replace("['a']", "[]"),
            "issuers[0].audiences: must not be empty",
        ),
        (with("algorithms = []"), "issuers[0].algorithms: must not be empty"),
        (with("algorithms = ['HS256']"), "HS256"),
        (with("leeway = '2h'"), "leeway: must be whole seconds, and at most 1h"),
        (with("refresh_interval = '10ms'"), "refresh_interval: must be at least 1s"),
        (with("claim = ''"), "issuers[0].claim: must have 1 to 1024 bytes"),
        (
            identity.clone()
                + issuer
                + &identity.replace("'a'", "'b'").replace("'corp'", "'other'")
                + &issuer.replace("'corp'", "'other'"),
            "issuers[1].issuer: is that of issuers[0] too",
        ),
        (
            identity.clone() + "[[issuers]]\nname = 'corp'\naudiences = ['a']\n",
            "issuers[0]: needs 'issuer'",
        ),
    ] {
        only(&text, expected);
    }
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
