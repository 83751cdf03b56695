//! Each `toml` block of a page is a config that loads: as it stands, or within a frame that its fence
//! names, as in ```` ```toml frame=tls ````.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use sluice::config::{Config, Env, Source};

use crate::page::{page, pages, root};

/// What a fragment with this frame stands in; the fragment wins where both say something.
fn frame(name: &str) -> &'static str {
    match name {
        "tls" => "[server.tls]\ncert = 'tls.crt'\nkey = 'tls.key'",
        "mtls" => {
            "[server.tls]\ncert = 'tls.crt'\nkey = 'tls.key'\nclient_ca = 'clients-ca.crt'\n\
             client_auth = 'optional'"
        }
        other => panic!("no frame is named {other}"),
    }
}

#[test]
fn toml_blocks_load() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    let mut problems = Vec::new();
    let mut count = 0;
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.language() == "toml") {
            count += 1;
            if let Err(error) = load(folder.path(), &block.text, block.option("frame")) {
                problems.push(format!("{}:\n{}{error}", page.path.display(), block.text));
            }
        }
    }
    assert!(count > 10, "the blocks are found");
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

fn load(folder: &Path, fragment: &str, within: Option<&str>) -> Result<(), String> {
    let fragment: toml::Table =
        fragment.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut config: toml::Table = within.map_or("", frame).parse().unwrap();
    merge(&mut config, fragment);
    let text = config.to_string();
    let file = folder.join("sluice.toml");
    std::fs::write(&file, &text).unwrap();
    let env: Env = variables(&text).collect();
    let config = Config::load(&Source::File(file), &env).map_err(|error| error.to_string())?.config;
    // A page shows models that the catalogue has, or ARNs, which name no model.
    let unknown = config
        .targets
        .iter()
        .map(|target| target.named_model())
        .find(|model| !model.starts_with("arn:") && !config.known_models.is_listed(model));
    unknown.map_or(Ok(()), |model| Err(format!("the catalogue does not have '{model}'")))
}

#[test]
fn every_target_of_a_shipped_config_is_in_the_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = vec![root().join("config.toml")];
    let examples = std::fs::read_dir(root().join("examples")).unwrap();
    files.extend(examples.map(|file| file.unwrap().path()));
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "toml")) {
        let text = std::fs::read_to_string(file).unwrap();
        let loaded = load(folder.path(), &text, None);
        assert_eq!(loaded, Ok(()), "{}", file.display());
    }
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// A value for each variable that a config names, another for each.
fn variables(text: &str) -> impl Iterator<Item = (&str, String)> {
    text.split("env:").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        let value = match name {
            _ if name.ends_with("_URL") => "redis://localhost:6379/0".to_owned(),
            _ if name.ends_with("_AUTHORIZATION") => "Bearer 0123456789abcdef".to_owned(),
            _ => format!("0123456789abcdef-{name}"),
        };
        (name, value)
    })
}

/// The files that examples name.
fn write_files(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    for name in ["tls.crt", "clients-ca.crt", "ca.pem", "corporate-ca.pem"] {
        std::fs::write(folder.join(name), &certificate).unwrap();
    }
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    std::fs::create_dir(folder.join("prompts")).unwrap();
    std::fs::write(folder.join("prompts/analysis.jinja"), "Look at {{ content }}.").unwrap();
    std::fs::create_dir(folder.join("keys")).unwrap();
    for name in ["search-7wdkfa", "search-n4zjtc", "responses", "responses-1", "responses-2"] {
        let secret = format!("the-long-enough-secret-of-{name}");
        std::fs::write(folder.join("keys").join(name), secret).unwrap();
    }
    // The catalogue that the page shows has to be one.
    let catalogue = page("docs/catalogue.md");
    let mut shown = catalogue.blocks.iter().filter(|block| block.language() == "json");
    std::fs::write(folder.join("models.json"), &shown.next().unwrap().text).unwrap();
}
