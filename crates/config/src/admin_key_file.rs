//! The admin key that the gateway has generated: the file `server.admin_key_file` is the admin key
//! where the config has no `admin_key` and the admin listener is not on loopback.

use std::net::SocketAddr;
use std::path::Path;

use super::document::{Document, KeyPath};
use super::files;
use super::units::{Address, TextForm as _};

/// Sets `server.admin_key` to the generated key, if there is one and it applies. `base` is the
/// directory that a relative path starts at.
pub(super) fn apply(document: &mut Document, base: Option<&Path>) {
    let (key, file) =
        (KeyPath::from(["server", "admin_key"]), KeyPath::from(["server", "admin_key_file"]));
    let text = |path: &KeyPath| document.get(path).and_then(toml::Value::as_str);
    let listen = KeyPath::from(["server", "admin_listen"]);
    // Without a value, or with a wrong one, there is no address that other machines reach.
    let address = text(&listen).and_then(|text| Address::read(text).ok());
    let is_reachable = address.is_some_and(|address: SocketAddr| !address.ip().is_loopback());
    if !is_reachable || document.get(&key).is_some() {
        return;
    }
    let Some(path) = text(&file) else { return };
    if files::resolve(base, path).exists() {
        let reference = format!("file:{path}");
        document.set(&key, reference, document.location_of(&file));
    }
}
