//! `sluice keys`: creates keys for clients and digests of bearer keys, and prints the admin key.
//!
//! Keys of clients are printed once and stored nowhere. Randomness comes from the operating system.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::{ConfigFile, print};
use crate::config::{AdminListener, Env, key_digest};

/// Longest key that is read, in bytes.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// RFC 4648's base 32.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// The characters of AWS's own secrets.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Arguments of `sluice keys`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create keys for a client and print them with the lines for the config file.
    New(New),
    /// Read a bearer key from standard input and print its digest for the config file.
    Hash,
    /// Print the admin key of a config, such as the one that the gateway generated at its first
    /// start.
    Admin(ConfigFile),
}

#[derive(Debug, clap::Args)]
struct New {
    /// The client's name.
    #[arg(long)]
    name: String,
    /// Create only a bearer key. Without --bearer or --pair: both kinds.
    #[arg(long, conflicts_with = "pair")]
    bearer: bool,
    /// Create only a key pair, for AWS SDKs to sign with.
    #[arg(long)]
    pair: bool,
    /// Print the lines that add the keys to a client that has keys already, for a rotation.
    #[arg(long)]
    rotate: bool,
    /// Refer to the secret of the key pair by a file in this folder, which can be changed without a
    /// restart. Default: by an environment variable of the gateway.
    #[arg(long, value_name = "DIR", conflicts_with = "bearer")]
    file: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    match arguments.command {
        Command::New(new) => {
            print(&made(&new)?);
            Ok(())
        }
        Command::Admin(config) => {
            let listener = AdminListener::load(&config.source(), &Env::of_process(), true);
            let listener = listener.map_err(|error| error.to_string())?;
            let key = listener.key.ok_or_else(|| match listener.key_file {
                Some(file) if !listener.address.ip().is_loopback() => why_missing(&file),
                _ => "this config has no admin key".to_owned(),
            })?;
            print(key.expose());
            Ok(())
        }
        Command::Hash => {
            let mut key = String::new();
            let read = std::io::stdin().take(MAX_KEY_BYTES).read_to_string(&mut key);
            read.map_err(|error| format!("can't read the key: {error}"))?;
            let key = key.trim_end_matches(['\r', '\n']);
            if key.is_empty() {
                return Err("no key on standard input".to_owned());
            }
            print(&key_digest(key)?);
            Ok(())
        }
    }
}

/// Why the file of a generated admin key gives no key.
fn why_missing(file: &Path) -> String {
    let shown = file.display();
    match (file.try_exists(), file.is_symlink()) {
        (Err(error), _) => format!("can't read the admin key: {shown}: {error}"),
        (Ok(_), true) => format!("{shown} is a symbolic link to a file that does not exist"),
        (Ok(_), false) => format!("no admin key was generated yet: {shown} does not exist"),
    }
}

fn made(new: &New) -> Result<String, String> {
    let name = &new.name;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err("a client's name is 1 to 64 letters, digits, '-', '_' and '.'".to_owned());
    }
    let (mut lines, mut config) = (Vec::new(), Vec::new());
    if !new.pair {
        let key = bearer_key()?;
        let digest = key_digest(&key)?;
        config.push(match new.rotate {
            true => format!("bearer_tokens = [{{ token = \"{digest}\" }}]"),
            false => format!("bearer_token = \"{digest}\""),
        });
        lines.push("# The bearer key, for the client:".to_owned());
        lines.push(format!("AWS_BEARER_TOKEN_BEDROCK={key}"));
        lines.push(String::new());
    }
    if !new.bearer {
        let (id, secret) = (access_key_id()?, random_text(BASE64, 40)?);
        let place = SecretPlace::of(new, &id);
        let reference = place.reference();
        config.push(match new.rotate {
            true => format!(
                "keys = [{{ access_key_id = \"{id}\", secret_access_key = \"{reference}\" }}]"
            ),
            false => format!("access_key_id = \"{id}\"\nsecret_access_key = \"{reference}\""),
        });
        lines.push("# The key pair, for the client:".to_owned());
        lines.push(format!("AWS_ACCESS_KEY_ID={id}"));
        lines.push(format!("AWS_SECRET_ACCESS_KEY={secret}"));
        lines.push(String::new());
        lines.extend(place.lines(&secret));
        lines.push(String::new());
    }
    if new.rotate {
        lines.push(format!(
            "# For the [[clients]] entry of {name} in config.toml, beside its keys."
        ));
        lines.push("# If the list is there already, add the element to it:".to_owned());
    } else {
        lines.push("# For config.toml:".to_owned());
        lines.push("[[clients]]".to_owned());
        lines.push(format!("name = \"{name}\""));
    }
    lines.extend(config);
    Ok(lines.join("\n"))
}

/// Where the gateway finds the secret of a key pair. Each pair has a place of its own, so that the
/// secrets of two pairs can be there at once.
#[derive(Debug, PartialEq, Eq)]
enum SecretPlace {
    Variable(String),
    File(PathBuf),
}

impl SecretPlace {
    fn of(new: &New, id: &str) -> SecretPlace {
        let own = id.get(id.len().saturating_sub(OWN_CHARS)..).unwrap_or(id);
        match &new.file {
            Some(folder) => {
                SecretPlace::File(folder.join(format!("{}-{}", new.name, own.to_lowercase())))
            }
            None => SecretPlace::Variable(format!("{}_{own}", variable(&new.name))),
        }
    }

    /// The reference in the config.
    fn reference(&self) -> String {
        match self {
            SecretPlace::Variable(name) => format!("env:{name}"),
            SecretPlace::File(path) => format!("file:{}", path.display()),
        }
    }

    fn lines(&self, secret: &str) -> [String; 2] {
        match self {
            SecretPlace::Variable(name) => [
                "# Its secret, for the environment of the gateway:".to_owned(),
                format!("{name}={secret}"),
            ],
            SecretPlace::File(path) => {
                [format!("# Its secret, for the file {}:", path.display()), secret.to_owned()]
            }
        }
    }
}

/// How many characters of the access key id are in the name of its secret's place.
const OWN_CHARS: usize = 6;

/// How the variables of a client's secrets begin: those of `team-a` with `TEAM_A_SECRET`.
fn variable(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(letter).collect();
    // The name of a variable doesn't begin with a digit.
    let start = if name.starts_with(|c: char| c.is_ascii_digit()) { "CLIENT_" } else { "" };
    format!("{start}{name}_SECRET")
}

/// A new key to be sent as a bearer token, of 256 random bits.
pub(super) fn bearer_key() -> Result<String, String> {
    Ok(format!("sluice-{}", BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?)))
}

fn access_key_id() -> Result<String, String> {
    Ok(format!("SLUICE{}", random_text(BASE32, 16)?))
}

/// `length` characters out of an alphabet, which has a power of two of them, so that all are
/// equally likely; at most 64.
fn random_text(alphabet: &[u8], length: usize) -> Result<String, String> {
    let bytes = random::<64>()?;
    let letter = |byte: &u8| alphabet.get(usize::from(*byte) % alphabet.len()).copied();
    Ok(bytes.iter().take(length).filter_map(letter).map(char::from).collect())
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    filled.map_err(|_| "cannot get random numbers from the operating system".to_owned())?;
    Ok(bytes)
}
