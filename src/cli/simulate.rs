//! `sluice simulate`: the embedded Bedrock by itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{on_signals, print, runtime};
use crate::simulator::{
    ACCOUNT, AccountSettings, DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY, Latency,
    ModelSettings, PlayedEndpoint, Settings, Simulator,
};

/// Arguments of `sluice simulate`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address to listen on; port 0 picks a free port.
    #[arg(long, default_value = "127.0.0.1:4599")]
    listen: SocketAddr,
    /// Access key id that requests must be signed with.
    #[arg(long, default_value = DEFAULT_ACCESS_KEY_ID)]
    access_key_id: String,
    /// Secret of that key. The default is public and good only for a simulator.
    #[arg(long, env = "SLUICE_SIMULATOR_SECRET", hide_env_values = true, default_value = DEFAULT_SECRET_ACCESS_KEY)]
    secret_access_key: String,
    /// Endpoints of Bedrock to play: Bedrock Runtime, mantle, or both on one port.
    #[arg(long, value_enum, default_value = "both")]
    endpoint: Endpoints,
    /// Accept requests with any signature or none.
    #[arg(long)]
    no_verify: bool,
    /// A model's quotas: requests and tokens per minute, and tokens per UTC day. Each may be left out, as in
    /// MODEL=,TPM. The model * stands for all models together, which have tokens per day alone; mantle/MODEL for
    /// a model at mantle. May be repeated.
    #[arg(long = "quota", value_name = "MODEL=[RPM][,[TPM][,TPD]]", value_parser = parse_quota)]
    quotas: Vec<(String, ModelSettings)>,
    /// JSON file of the account whose models, inference profiles and quotas are listed.
    #[arg(long, value_name = "FILE")]
    account: Option<PathBuf>,
    /// Milliseconds before the head of an answer is sent.
    #[arg(long, default_value_t = 0)]
    head_ms: u64,
    /// Milliseconds for each output token.
    #[arg(long, default_value_t = 0)]
    token_ms: u64,
    /// Seed for random parts of the answers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Which endpoints are played.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Endpoints {
    Both,
    Runtime,
    Mantle,
}

impl Endpoints {
    fn played(self) -> PlayedEndpoint {
        match self {
            Endpoints::Both => PlayedEndpoint::Both,
            Endpoints::Runtime => PlayedEndpoint::Runtime,
            Endpoints::Mantle => PlayedEndpoint::Mantle,
        }
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    let secret = SecretString::from(arguments.secret_access_key);
    let settings = Settings {
        listen: arguments.listen,
        keys: HashMap::from([(arguments.access_key_id.clone(), secret)]),
        endpoint: arguments.endpoint.played(),
        verify_signatures: !arguments.no_verify,
        seed: arguments.seed,
        latency: Latency {
            head_ms: arguments.head_ms,
            token_ms: arguments.token_ms,
            ..Latency::default()
        },
        models: arguments.quotas.into_iter().collect(),
        account: arguments.account.as_deref().map(account).transpose()?.unwrap_or_default(),
        ..Settings::default()
    };
    let listen = settings.listen;
    runtime(None)?.block_on(async {
        let simulator = Simulator::bind(settings)
            .await
            .map_err(|error| format!("can't listen on {listen}: {error}"))?;
        print(&format!(
            "Simulated Bedrock at {}, control at {}",
            simulator.url(),
            simulator.control_url()
        ));
        print(&format!("Sign with access key id {}", arguments.access_key_id));
        let stop = CancellationToken::new();
        on_signals(stop.clone(), CancellationToken::new())?;
        simulator.serve(stop.cancelled_owned()).await.map_err(|error| error.to_string())
    })
}

/// Reads the file of an account.
fn account(file: &Path) -> Result<AccountSettings, String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))
}

fn parse_quota(text: &str) -> Result<(String, ModelSettings), String> {
    let wrong = || format!("'{text}' is not MODEL=RPM, MODEL=RPM,TPM or MODEL=RPM,TPM,TPD");
    let (model, quotas) = text.rsplit_once('=').ok_or_else(wrong)?;
    let mut figures = [None; 3];
    for (place, quota) in quotas.split(',').enumerate() {
        let figure = figures.get_mut(place).ok_or_else(wrong)?;
        if !quota.is_empty() {
            *figure = Some(quota.parse::<u64>().map_err(|_| wrong())?);
        }
    }
    let [rpm, tpm, tpd] = figures;
    let is_of_account = model == ACCOUNT;
    if figures.iter().all(Option::is_none) || is_of_account && rpm.or(tpm).is_some() {
        return Err(wrong());
    }
    Ok((model.to_owned(), ModelSettings { rpm, tpm, tpd, ..ModelSettings::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_parsed() {
        let (model, settings) = parse_quota("anthropic.claude-v2:1=50,4000").unwrap();
        assert_eq!(model, "anthropic.claude-v2:1");
        assert_eq!((settings.rpm, settings.tpm), (Some(50), Some(4000)));
        assert_eq!(parse_quota("m=5").unwrap().1.tpm, None);
        let figures = |text: &str| {
            let settings = parse_quota(text).unwrap().1;
            (settings.rpm, settings.tpm, settings.tpd)
        };
        assert_eq!(figures("m=,4000"), (None, Some(4000), None));
        assert_eq!(figures("m=5,,9"), (Some(5), None, Some(9)));
        assert_eq!(figures("*=,,9"), (None, None, Some(9)));
        for wrong in ["m", "m=", "m=,", "m=x", "m=1,y", "m=1,2,3,4", "*=5"] {
            assert!(parse_quota(wrong).is_err(), "{wrong}");
        }
    }
}
