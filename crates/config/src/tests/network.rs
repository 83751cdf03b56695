//! TLS and the way to the upstream: what a file and the environment say of them.

use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::{built_in_problems, config, env, file, only_problem, problems};
use crate::{ClientAuth, Config, Env, Listening, Loaded, Source, TlsFiles, TlsVersion};

/// A folder with a pair, another key, an authority, and a file that holds nothing.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let pair = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut old = CertificateParams::default();
    old.not_after = date_time_ymd(2020, 2, 2);
    for (name, content) in [
        ("tls.crt", pair.self_signed(&key).unwrap().pem()),
        ("tls.key", key.serialize_pem()),
        ("other.key", other.serialize_pem()),
        ("ca.crt", authority.self_signed(&other).unwrap().pem()),
        ("old.crt", old.self_signed(&key).unwrap().pem()),
        ("empty", String::new()),
        ("broken", "-----BEGIN CERTIFICATE-----\nhush!\n-----END CERTIFICATE-----\n".to_owned()),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn load_in(folder: &Path, text: &str, env: &Env) -> Result<Loaded, String> {
    let path = folder.join("config.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&Source::File(path), env).map_err(|error| error.to_string())
}

fn tls(keys: &str) -> String {
    format!("[server.tls]\ncert = 'tls.crt'\nkey = 'tls.key'\n{keys}")
}

#[test]
fn without_its_section_there_is_no_tls() {
    assert_eq!(config("").server.tls, None);
}

#[test]
fn paths_start_at_the_file_and_the_rest_has_defaults() {
    let folder = folder();
    let loaded = load_in(folder.path(), &tls(""), &Env::default()).unwrap();
    let tls = loaded.config.server.tls.unwrap();
    assert_eq!(tls.cert, folder.path().join("tls.crt"));
    assert_eq!(tls.key, folder.path().join("tls.key"));
    assert_eq!((tls.clients.clone(), tls.min_version), (None, TlsVersion::V1_2));
    assert_eq!(tls.reload_interval, Duration::from_secs(30));
    assert_eq!(tls.handshake_timeout, Duration::from_secs(10));
    assert!(!loaded.warnings.iter().any(|warning| warning.contains("certificate")));

    let before = TlsFiles::read(&tls).unwrap();
    assert!(before.material().unwrap().client_roots.is_none());
    assert!(!format!("{before:?}").contains("PRIVATE KEY"));
    std::fs::copy(folder.path().join("other.key"), &tls.key).unwrap();
    let after = TlsFiles::read(&tls).unwrap();
    assert_ne!(before.fingerprint(), after.fingerprint());
    assert!(after.material().unwrap_err().to_string().contains("is not the key of"));
}

#[test]
fn client_certificates_are_required_unless_they_are_optional() {
    let folder = folder();
    let clients = |keys: &str| {
        let loaded = load_in(folder.path(), &tls(keys), &Env::default()).unwrap();
        loaded.config.server.tls.unwrap().clients.unwrap()
    };
    let required = clients("client_ca = 'ca.crt'");
    assert_eq!(required.ca, folder.path().join("ca.crt"));
    assert_eq!(required.auth, ClientAuth::Required);
    assert_eq!(
        clients("client_ca = 'ca.crt'\nclient_auth = 'optional'").auth,
        ClientAuth::Optional
    );
    let shared = "server.listen = '127.0.0.1:1'\nserver.admin_listen = '127.0.0.1:1'\n";
    for (auth, warns) in [("required", true), ("optional", false)] {
        let text =
            format!("{shared}{}", tls(&format!("client_ca = 'ca.crt'\nclient_auth = '{auth}'")));
        let warnings = load_in(folder.path(), &text, &Env::default()).unwrap().warnings;
        assert_eq!(warnings.iter().any(|it| it.contains("share a port")), warns, "{warnings:?}");
    }
    only_problem_in(folder.path(), &tls("client_auth = 'required'"), "needs 'client_ca' beside it");
}

fn only_problem_in(folder: &Path, text: &str, expected: &str) {
    let error = load_in(folder, text, &Env::default()).unwrap_err();
    assert!(error.lines().count() == 1 && error.contains(expected), "{text}: {error}");
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn files_that_do_not_fit_are_named_where_they_stand() {
    let folder = folder();
    for (keys, expected) in [
        ("cert = 'no.crt'\nkey = 'tls.key'", "config.toml:2:1: server.tls.cert: the file '"),
        ("cert = 'no.crt'\nkey = 'tls.key'", "no.crt' can't be read: No such file"),
        ("cert = 'empty'\nkey = 'tls.key'", "empty' holds no certificate in PEM form"),
        ("cert = 'broken'\nkey = 'tls.key'", "broken' is not right PEM"),
        ("cert = 'tls.key'\nkey = 'tls.key'", "tls.key' holds no certificate in PEM form"),
        ("cert = 'tls.crt'\nkey = 'tls.crt'", "config.toml:3:1: server.tls.key: the file '"),
        ("cert = 'tls.crt'\nkey = 'tls.crt'", "tls.crt' holds no private key in PEM form"),
        ("cert = 'tls.crt'\nkey = 'other.key'", "other.key' is not the key of the certificate in"),
        ("cert = ''\nkey = 'tls.key'", "server.tls.cert: must not be empty"),
        ("key = 'tls.key'", "config.toml:1:9: server.tls: needs 'cert'"),
        ("cert = 'tls.crt'", "config.toml:1:9: server.tls: needs 'key'"),
        ("cert = 'tls.crt'\nkey = 'tls.key'\nclient_ca = 'empty'", "server.tls.client_ca: the"),
        ("cert = 'tls.crt'\nkey = 'tls.key'\nmin_version = '1.1'", "one of \"1.2\", \"1.3\""),
        ("cert = 'tls.crt'\nkey = 'tls.key'\nreload_interval = '0s'", "must not be zero"),
    ] {
        only_problem_in(folder.path(), &format!("[server.tls]\n{keys}"), expected);
    }
}

#[test]
fn where_it_listens_is_known_whatever_else_is_wrong() {
    let folder = folder();
    let path = folder.path().join("config.toml");
    let text = "[server]\nlisten = '127.0.0.1:1'\nadmin_listen = '127.0.0.1:1'\nmax_body = 7
[server.tls]\ncert = 'no.crt'\nkey = 'no.key'\n[upstream]\nbearer_token = 'env:NO'\n[nope]";
    std::fs::write(&path, text).unwrap();
    let source = Source::File(path.clone());
    let listening = Listening::load(&source, &Env::default()).unwrap();
    assert_eq!(listening.listen.to_string(), "127.0.0.1:1");
    assert_eq!((listening.admin_listen, listening.tls), (listening.listen, true));
    assert!(!listening.wants_certificates);
    assert!(Config::load(&source, &Env::default()).is_err());
    for (more, wants) in [("", true), ("\nclient_auth = 'optional'", false)] {
        std::fs::write(&path, tls(&format!("client_ca = 'no.crt'{more}"))).unwrap();
        let listening = Listening::load(&source, &Env::default()).unwrap();
        assert_eq!(listening.wants_certificates, wants);
    }

    std::fs::write(&path, "[server]\nadmin_listen = 'nowhere'").unwrap();
    let error = Listening::load(&source, &Env::default()).unwrap_err().to_string();
    assert!(error.contains("server.admin_listen: 'nowhere' is not an address"), "{error}");
}

#[test]
fn a_certificate_that_has_expired_is_warned_about() {
    let folder = folder();
    let text = "[server.tls]\ncert = 'old.crt'\nkey = 'tls.key'";
    let warnings = load_in(folder.path(), text, &Env::default()).unwrap().warnings;
    let expired = "old.crt' has expired on 2020-02-02T00:00:00Z";
    assert!(warnings.iter().any(|warning| warning.contains(expired)), "{warnings:?}");
}

#[test]
fn trust_is_in_the_public_authorities_the_systems_or_a_files() {
    let folder = folder();
    let ca = folder.path().join("ca.crt").display().to_string();
    let trust = |keys: &str, variables: &[(&str, &str)]| {
        let loaded = load_in(folder.path(), &format!("[upstream]\n{keys}"), &env(variables));
        loaded.map(|loaded| loaded.config.upstream.trust)
    };
    let shown = |keys, variables: &[_]| {
        let trust = trust(keys, variables).unwrap();
        (trust.webpki, trust.authorities.len())
    };
    let system = ("SSL_CERT_FILE", ca.as_str());
    assert_eq!(shown("", &[]), (true, 0));
    assert_eq!(shown("ca_file = 'ca.crt'", &[]), (true, 1));
    assert_eq!(shown("trust = 'file'\nca_file = 'ca.crt'", &[]), (false, 1));
    assert_eq!(shown("trust = 'platform'", &[system]), (false, 1));
    assert_eq!(shown("trust = 'platform'\nca_file = 'ca.crt'", &[system]), (false, 2));
    let nowhere = ("SSL_CERT_FILE", "/nowhere");
    let error = trust("trust = 'platform'", &[nowhere]).unwrap_err();
    assert!(error.contains("upstream.trust: the system has no certificate"), "{error}");
    only_problem("[upstream]\ntrust = 'file'", "upstream.trust: needs 'ca_file' beside it");
    let missing = "[upstream]\ntrust = 'file'\nca_file = '/nowhere'";
    only_problem(missing, "upstream.ca_file: the file '/nowhere' can't be read");
}

#[test]
fn fips_endpoints_are_for_who_asks_by_file_or_by_variable() {
    let fips = "https://bedrock-runtime-fips.us-east-1.amazonaws.com";
    let on = ("AWS_USE_FIPS_ENDPOINT", "TRUE");
    let endpoints = |text: &str, variables: &[(&str, &str)]| {
        let text = format!(
            "{text}\n[targets.a]\nmodel = 'm'\n[targets.b]\nmodel = 'm'\nregion = 'us-west-2'"
        );
        let config = Config::from_toml(&text, "config.toml", &env(variables)).unwrap().config;
        config.targets.iter().map(|target| target.endpoint.to_string()).collect::<Vec<_>>()
    };
    let west = fips.replace("us-east-1", "us-west-2");
    assert_eq!(endpoints("upstream.use_fips = true", &[]), [fips, &west]);
    assert_eq!(endpoints("", &[on]), [fips, &west]);
    let not = [fips, &west].map(|url| url.replace("-fips", ""));
    assert_eq!(endpoints("upstream.use_fips = false", &[on]), not);
    assert_eq!(endpoints("", &[]), not);

    let both = "[upstream]\nuse_fips = true\nendpoint_url = 'https://vpce.example.com'";
    only_problem(both, "config.toml:2:1: upstream.use_fips: can't stand beside endpoint_url");
    let given = ("SLUICE__UPSTREAM__ENDPOINT_URL", "https://vpce.example.com");
    let problems = built_in_problems(&[on, given]);
    assert!(
        problems[0].starts_with("environment variable AWS_USE_FIPS_ENDPOINT: "),
        "{problems:?}"
    );
    let own = "upstream.use_fips = true\n[targets.a]\nmodel = 'm'\nendpoint_url = 'https://own'";
    let warnings = file(own).unwrap().warnings;
    assert!(
        warnings.iter().any(|it| it.contains("which use_fips does not change")),
        "{warnings:?}"
    );
}

#[test]
fn proxies_are_read_where_they_stand_and_never_repeated() {
    let proxies = config("[upstream]\nproxy = 'http://proxy:3128'").upstream.proxies;
    assert_eq!(proxies.https, Some("http://proxy:3128".into()));
    let refused = problems("[upstream]\nproxy = 'http://user:hush@proxy'");
    assert!(refused[0].starts_with("config.toml:2:1: upstream.proxy: takes no password"));
    assert!(!refused[0].contains("hush"), "{refused:?}");
    only_problem("[upstream]\nproxy = 40404", "upstream.proxy: must be a reference");
    let variable = built_in_problems(&[("HTTPS_PROXY", "socks5://hush")]);
    assert!(variable[0].starts_with("environment variable HTTPS_PROXY: "), "{variable:?}");
    assert!(!variable[0].contains("hush"), "{variable:?}");
}

#[test]
fn what_may_be_forwarded_are_names_of_headers_that_mean_nothing_to_the_gateway() {
    let config = config("[upstream]\nforward_headers = ['X-Request-Source']");
    assert_eq!(config.upstream.forward_headers, ["x-request-source"]);
    for name in [
        "Authorization",
        "x-api-key",
        "Api-Key",
        "cookie",
        "connection",
        "content-length",
        "accept-encoding",
        "x-forwarded-for",
        "x-sluice-priority",
        "proxy-authorization",
        "x-amz-security-token",
    ] {
        let text = format!("[upstream]\nforward_headers = ['x-a', '{name}']");
        only_problem(&text, "upstream.forward_headers[1]");
        only_problem(&text, "is never sent to upstreams");
    }
    let text = "[upstream]\nforward_headers = ['not a name']";
    only_problem(text, "'not a name' is not the name of a header");
}

/// The warnings about one target with these keys.
fn warnings_of(upstream: &str, keys: &str) -> Vec<String> {
    let text = format!(
        "[upstream]\nregion = '{upstream}'\n[targets.t]\n{keys}\n\
         [[routes]]\nmodels = ['m']\ntargets = ['t']\n"
    );
    file(&text).unwrap().warnings
}

#[test]
fn regions_and_ids_that_aws_does_not_have_are_warned_of() {
    let haiku = "model = 'anthropic.claude-3-haiku-20240307-v1:0'";
    assert_eq!(warnings_of("us-east-1", haiku), [""; 0]);
    for (upstream, keys, wanted) in [
        ("us-esat-1", haiku, "did you mean 'us-east-1'?"),
        ("us-east-1", &format!("{haiku}\nregion = 'eu-wset-1'"), "did you mean 'eu-west-1'?"),
        (
            "us-east-1",
            "model = 'us.anthropic.claude-3-haiku-20240307-v1'",
            "did you mean 'us.anthropic.claude-3-haiku-20240307-v1:0'?",
        ),
        (
            "us-east-1",
            "model = 'antropic.claude-3-haiku-20240307-v1:0'",
            "did you mean 'anthropic.claude-3-haiku-20240307-v1:0'?",
        ),
        (
            "us-east-1",
            "model = 'anthropic.claude-3-haiku-20240308-v1:0'",
            "did you mean 'anthropic.claude-3-haiku-20240307-v1:0'?",
        ),
        ("eu-west-1", "model = 'us.amazon.nova-lite-v1:0'", "no profiles of the geography 'us'"),
        (
            "us-east-1",
            "model = 'arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0'",
            "is called in us-east-1, but its ARN is of eu-west-1",
        ),
        (
            "us-east-1",
            "model = 'arn:aws:bedrock:us-east-1:1:inference-profile/eu.amazon.nova-lite-v1:0'",
            "no profiles of the geography 'eu'",
        ),
        (
            "us-east-1",
            "model = 'arn:aws-cn:bedrock:us-east-1:1:provisioned-model/abc'",
            "its ARN is of 'aws-cn', where us-east-1 is not",
        ),
    ] {
        let warnings = warnings_of(upstream, keys);
        assert_eq!(warnings.len(), 1, "{upstream} {keys}: {warnings:?}");
        assert!(warnings[0].contains(wanted), "{upstream} {keys}: {warnings:?}");
    }
    for fine in ["model = 'somebody.new-model-v9:3'", "model = 'anthropic.claude-sonnet-9-9'"] {
        assert_eq!(warnings_of("us-east-1", fine), [""; 0], "{fine}");
    }
}

#[test]
fn the_control_plane_has_an_endpoint_of_its_own() {
    let place = |upstream: &str| {
        let text = format!("[upstream]\nregion = 'eu-west-1'\n{upstream}");
        file(&text).unwrap().config.upstream.control_plane.map(|endpoint| endpoint.to_string())
    };
    assert_eq!(place(""), None);
    let public = Some("https://bedrock.eu-west-1.amazonaws.com".to_owned());
    assert_eq!(place("control_plane = true"), public);
    let fips = Some("https://bedrock-fips.eu-west-1.amazonaws.com".to_owned());
    assert_eq!(place("control_plane = true\nuse_fips = true"), fips);
    let given = "control_plane_endpoint_url = 'http://127.0.0.1:4599'";
    assert_eq!(place(given), None, "it is off");
    let own = Some("http://127.0.0.1:4599".to_owned());
    assert_eq!(place(&format!("control_plane = true\n{given}")), own);
    only_problem(
        "[upstream]\ncontrol_plane = true\nendpoint_url = 'http://127.0.0.1:4599'",
        "is needed where 'control_plane' is on and 'endpoint_url' is given",
    );
    only_problem(
        "[upstream]\ncontrol_plane_endpoint_url = 'https://a:b@host'",
        "a user name or password has no place in it",
    );
    let open = file("[upstream]\ncontrol_plane = true").unwrap().warnings;
    assert!(open.iter().any(|it| it.contains("upstream.control_plane is on")), "{open:?}");
}
