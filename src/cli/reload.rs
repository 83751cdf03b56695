//! A config that changes while the gateway runs: taken over as a whole, or not at all.
//!
//! The files of the config are polled, because polling sees what file notifications
//! miss: a ConfigMap's swapped link, a network volume, an editor that writes a new file
//! over the old. They are loaded when two looks in a row have found the same, so that a file that
//! is being written is left alone; SIGHUP has them loaded at once. A config that is wrong changes
//! nothing, and is complained of once.
//!
//! The files of AWS' own credential chain are looked at in the same way: when they have changed, and
//! at each SIGHUP, credentials are resolved anew.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{
    Config, Env, Files, Fingerprint, Loaded, Source, fingerprint_of, needs_restart,
};
use crate::legacy::LegacyService;
use crate::pipeline::SharedGateway;
use crate::system::time::{sleep, timeout};
use crate::telemetry::process_log::UNLIMITED;
use crate::upstream::credentials;

/// Longest pause between the look that finds a change and the one that finds it done.
const SETTLING: Duration = Duration::from_secs(1);

/// How often files are loaded that change while they are read, and the pause before each time.
const MAX_TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Files that are not read within this time are logged.
const SLOW: Duration = Duration::from_secs(60);

/// A change of the files on its way to being loaded.
#[derive(Debug)]
pub(super) struct Watch {
    source: Source,
    files: Arc<Mutex<Files>>,
    config: Settled,
    /// The files of AWS' own credential chain.
    credentials: Settled,
}

/// What files are, as far as they have been taken over.
#[derive(Debug)]
struct Settled {
    /// What was loaded last, well or not.
    loaded: Fingerprint,
    /// What the last look found, if that is something else.
    changed: Option<Fingerprint>,
}

impl Settled {
    fn new(loaded: Fingerprint) -> Settled {
        Settled { loaded, changed: None }
    }

    /// Whether what a look has found is to be loaded.
    fn found(&mut self, now: Fingerprint) -> bool {
        let is_settled = self.changed == Some(now);
        self.changed = (now != self.loaded).then_some(now);
        is_settled && self.changed.is_some()
    }
}

impl Watch {
    /// Watches the files of `source`; to be called before they are loaded for the first time.
    pub(super) fn new(source: &Source) -> Watch {
        let mut files = Files::new(source.clone(), Env::of_process());
        let config = Settled::new(files.fingerprint());
        let files = Arc::new(Mutex::new(files));
        let credentials = Settled::new(fingerprint_of(&credentials::files()));
        Watch { source: source.clone(), files, config, credentials }
    }

    /// What the files are now; `None` if the process ends first.
    async fn look(&self) -> Option<Fingerprint> {
        let files = Arc::clone(&self.files);
        let look = move || files.lock().fingerprint();
        patiently(tokio::task::spawn_blocking(look)).await
    }

    /// What the files of credentials are now, in the same way.
    async fn look_at_credentials(&self) -> Option<Fingerprint> {
        let look = || fingerprint_of(&credentials::files());
        patiently(tokio::task::spawn_blocking(look)).await
    }

    /// The pause before the next check; `None` if checks are off.
    fn pause(&self, interval: Duration) -> Option<Duration> {
        let is_changed = self.config.changed.is_some() || self.credentials.changed.is_some();
        let pause = if is_changed { interval.min(SETTLING) } else { interval };
        (!interval.is_zero()).then_some(pause)
    }
}

/// Waits for files to be read, and says so if a file system does not answer. `None` if that can't be
/// told because the process ends.
async fn patiently<T>(mut reading: JoinHandle<T>) -> Option<T> {
    if let Ok(read) = timeout(SLOW, &mut reading).await {
        return read.ok();
    }
    let files = "the files of the config";
    tracing::error!("still reading {files}; no change is detected until that is done");
    let read = reading.await.ok();
    tracing::info!("{files} can be read again");
    read
}

/// Takes over newer configs from here on, until `stop`; with each, `certificates` are looked at too.
///
/// # Errors
/// When the process can't listen for signals.
pub(super) fn start(
    watch: Watch,
    live: Arc<SharedGateway>,
    legacy: Arc<LegacyService>,
    certificates: Arc<Notify>,
    stop: CancellationToken,
) -> Result<(), String> {
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| format!("can't listen for signals: {error}"))?;
    let running = live.load().config.clone();
    let mut reloader = Reloader { watch, running, live, legacy, certificates };
    reloader.succeeded();
    tokio::spawn(async move {
        loop {
            let interval = reloader.live.load().config.server.config_poll_interval;
            let pause = reloader.watch.pause(interval);
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = hangup.recv() => {
                    reloader.reload(None).await;
                    reloader.reread_credentials();
                }
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => reloader.look().await,
                else => return,
            }
        }
    });
    Ok(())
}

struct Reloader {
    watch: Watch,
    /// What the process was started with.
    running: Config,
    live: Arc<SharedGateway>,
    legacy: Arc<LegacyService>,
    /// Has the certificate files looked at.
    certificates: Arc<Notify>,
}

impl Reloader {
    async fn look(&mut self) {
        let now = self.watch.look().await;
        if let Some(now) = now.filter(|now| self.watch.config.found(*now)) {
            self.reload(Some(now)).await;
        }
        let now = self.watch.look_at_credentials().await;
        if let Some(now) = now.filter(|now| self.watch.credentials.found(*now)) {
            self.watch.credentials = Settled::new(now);
            tracing::info!("AWS credential files changed");
            self.reread_credentials();
        }
    }

    fn reread_credentials(&self) {
        for provider in self.live.load().router.credentials() {
            provider.reread();
        }
    }

    /// Loads the files; if `wanted`, only when they are still so.
    async fn reload(&mut self, wanted: Option<Fingerprint>) {
        let mut tries = 0;
        let (contents, loaded) = loop {
            let before = match wanted {
                Some(contents) => contents,
                None => match self.watch.look().await {
                    Some(contents) => contents,
                    None => return,
                },
            };
            let source = self.watch.source.clone();
            let load = tokio::task::spawn_blocking(move || super::load(&source));
            let Some(loaded) = patiently(load).await else { return };
            let Some(after) = self.watch.look().await else { return };
            if before == after {
                break (before, loaded);
            }
            // Changed in between: what was loaded may be half of it. Whoever asked for the reload
            // by a signal may not have waited for the end of the change.
            tries += 1;
            if wanted.is_some() {
                return;
            }
            if tries == MAX_TRIES {
                break (before, Err("its files do not stop changing".to_owned()));
            }
            sleep(BETWEEN_TRIES).await;
        };
        self.watch.config = Settled::new(contents);
        let taken = match loaded {
            Ok(loaded) => self.take_over(loaded).await,
            Err(error) => Err(error),
        };
        let result = match taken {
            Ok(()) => {
                self.succeeded();
                tracing::info!("config reloaded");
                "ok"
            }
            Err(error) => {
                tracing::error!(%error, "config not reloaded");
                "refused"
            }
        };
        self.certificates.notify_one();
        self.live.load().metrics.config_reloads.with_label_values(&[result]).inc();
    }

    async fn take_over(&self, loaded: Loaded) -> Result<(), String> {
        let Loaded { config, warnings, .. } = loaded;
        let fixed = needs_restart(&self.running, &config);
        let live = self.live.load_full();
        // Thousands of targets take a while to build, and this thread accepts connections.
        let renewed = tokio::task::spawn_blocking(move || live.renewed(config)).await;
        let renewed = renewed.map_err(|error| error.to_string())?;
        let renewed = renewed.map_err(|error| error.to_string())?;
        self.legacy.renew(&renewed.config).map_err(|error| error.to_string())?;
        self.live.store(renewed);
        for warning in warnings {
            tracing::warn!(name: UNLIMITED, "{warning}");
        }
        if !fixed.is_empty() {
            let keys = fixed.join(", ");
            tracing::warn!(%keys, "these keys have changed and take effect after a restart");
        }
        Ok(())
    }

    fn succeeded(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.live.load().metrics.config_last_reload.set(now.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn files_that_are_read_late_are_waited_for() {
        let late = tokio::spawn(async {
            sleep(SLOW * 3).await;
            1
        });
        assert_eq!(patiently(late).await, Some(1));
    }

    #[test]
    fn a_change_is_loaded_when_two_looks_in_a_row_have_found_it() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::File(dir.path().join("config.toml"));
        let mut files = Files::new(source.clone(), Env::default());
        let contents = |text: &str| {
            std::fs::write(dir.path().join("config.toml"), text).unwrap();
            files.fingerprint()
        };
        let [old, half, whole] = ["# old", "# h", "# half"].map(contents);
        let files = Arc::new(Mutex::new(files));
        let [config, credentials] = [Settled::new(old), Settled::new(old)];
        let mut watch = Watch { source, files, config, credentials };
        let minute = Duration::from_secs(60);
        assert!(!watch.config.found(old));
        assert_eq!(watch.pause(minute), Some(minute));
        assert!(!watch.config.found(half));
        assert_eq!(watch.pause(minute), Some(SETTLING));
        assert!(!watch.config.found(whole), "it was being written");
        assert!(watch.config.found(whole));
        watch.config = Settled::new(whole);
        assert!(!watch.config.found(whole));
        assert!(!watch.config.found(half));
        assert!(!watch.config.found(whole), "taken back");
        assert_eq!(watch.config.changed, None);
        assert!(!watch.credentials.found(whole));
        assert_eq!(watch.pause(minute), Some(SETTLING), "the same for credentials");
        assert_eq!(watch.pause(Duration::ZERO), None);
    }
}
