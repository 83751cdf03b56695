//! Generates the admin key at a first start.
//!
//! The key is kept in a file that only the user of the gateway can read. No log shows it: `sluice keys
//! admin` prints it.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use uuid::Uuid;

use super::keys::bearer_key;
use crate::config::Server;

/// The permissions of users who are neither the file's owner nor of its group, to read and to write.
const OTHERS: u32 = 0o006;

/// Why a key could not be generated.
#[derive(Debug, thiserror::Error)]
enum AdminKeyError {
    #[error("{0}")]
    NoRandomness(String),
    #[error("it is a symbolic link to a file that does not exist")]
    DanglingLink,
    #[error(transparent)]
    Unwritable(#[from] io::Error),
}

/// Generates the key that the config asks for, and logs where it is. Returns whether the config has
/// to be loaded again. Without a key the gateway serves, and its admin API stays closed.
pub(super) fn generate_missing(server: &Server) -> bool {
    let Some(path) = server.missing_admin_key_file() else { return false };
    let file = path.display();
    match generate(path) {
        Ok(is_new) => {
            if is_new {
                tracing::info!(%file, "generated an admin key; `sluice keys admin` prints it");
            }
            true
        }
        Err(error) => {
            tracing::warn!(
                %file,
                %error,
                "cannot keep a generated admin key in this file; \
                 the admin API stays closed until server.admin_key is set"
            );
            false
        }
    }
}

/// Logs a warning if users other than the gateway's can read or write the file of the generated key.
pub(super) fn warn_if_exposed(server: &Server) {
    let path = server.admin_key_file.as_deref().filter(|_| !server.admin_listen.ip().is_loopback());
    let Some(path) = path else { return };
    // A missing file has its own warning.
    let Ok(about) = fs::metadata(path) else { return };
    if about.is_file() && about.mode() & OTHERS != 0 {
        tracing::warn!(
            file = %path.display(),
            mode = format!("{:04o}", about.mode() & 0o7777),
            "every user of this machine has access to the file with the admin key; \
             set its mode to 0600"
        );
    }
}

/// Writes a new key into the file, and returns whether it did. A file that another process has made
/// meanwhile stays.
fn generate(path: &Path) -> Result<bool, AdminKeyError> {
    let key = bearer_key().map_err(AdminKeyError::NoRandomness)?;
    // The file appears under its name with all of its content, so nobody reads half a key.
    let draft = path.with_extension(Uuid::new_v4().to_string());
    let written = write(&draft, &key).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match written {
        Ok(()) => Ok(removed.map(|()| true)?),
        // The name is taken, but it may lead nowhere.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match fs::metadata(path) {
            Ok(_) => Ok(removed.map(|()| false)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(AdminKeyError::DanglingLink),
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

fn write(path: &Path, key: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{key}\n").as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_readable_by_its_user_only_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin-key");
        assert!(generate(&path).unwrap());
        let key = fs::read_to_string(&path).unwrap();
        assert!(key.trim_end().len() >= 43, "256 bits: {}", key.len());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!generate(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), key);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_link_to_a_missing_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin-key");
        std::os::unix::fs::symlink(folder.path().join("missing"), &path).unwrap();
        assert!(matches!(generate(&path), Err(AdminKeyError::DanglingLink)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(generate(&folder.path().join("missing/admin-key")).is_err());
    }
}
