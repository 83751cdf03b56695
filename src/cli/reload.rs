//! Reloads the config while the gateway runs: all of it, or nothing.
//!
//! The config's files are polled, because polling detects what file notifications miss: a ConfigMap's
//! swapped link, a network volume, an editor that replaces the file. Changed files are loaded when two
//! polls in a row find the same content, so that a file that is being written is left alone. SIGHUP
//! and `POST /admin/reload` load them at once. A faulty config changes nothing and is logged once.
//!
//! At midnight in UTC, the running config is taken over again for the new day, because AWS retires models
//! from one day to the next.
//!
//! The files of the AWS credentials chain are polled in the same way. When they have changed, and at
//! each SIGHUP or request, the credentials are resolved again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::load::{load, today};
use crate::admin::{ReloadError, ReloadReply, ReloadRequests, Reloaded};
use crate::bedrock::Date;
use crate::config::{
    Config, Env, Files, Fingerprint, Loaded, Source, fingerprint_of, needs_restart,
};
use crate::legacy::LegacyService;
use crate::pipeline::SharedGateway;
use crate::system::time::{sleep, timeout};
use crate::telemetry::process_log::UNLIMITED;
use crate::upstream::credentials;

/// Longest pause between the poll that finds a change and the poll that confirms it.
const CONFIRM_PAUSE: Duration = Duration::from_secs(1);

/// Most tries to load files that change while they are read, and the pause between two tries.
const MAX_TRIES: u32 = 50;
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A read of the files that takes longer is logged.
const SLOW_READ: Duration = Duration::from_secs(60);

/// Longest pause between two looks at the clock, which may be set or stand still for a while.
const CLOCK_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Detects changes of the config's files and of the AWS credentials chain's files.
#[derive(Debug)]
pub(super) struct Watch {
    source: Source,
    files: Arc<Mutex<Files>>,
    config: ChangeDetector,
    credentials: ChangeDetector,
}

/// Detects when changed files are complete: two polls in a row find the same fingerprint.
#[derive(Debug)]
struct ChangeDetector {
    /// The fingerprint of the files when they were last loaded, with success or not.
    loaded: Fingerprint,
    /// The fingerprint of the last poll, if it differs from `loaded`.
    changed: Option<Fingerprint>,
}

impl ChangeDetector {
    fn new(loaded: Fingerprint) -> ChangeDetector {
        ChangeDetector { loaded, changed: None }
    }

    /// Notes the fingerprint of a poll. True if the files must be loaded.
    fn must_load(&mut self, now: Fingerprint) -> bool {
        let is_confirmed = self.changed == Some(now);
        self.changed = (now != self.loaded).then_some(now);
        is_confirmed && self.changed.is_some()
    }
}

impl Watch {
    /// Watches the files of `source`. Call this before the files are loaded for the first time.
    pub(super) fn new(source: &Source) -> Watch {
        let mut files = Files::new(source.clone(), Env::of_process());
        let config = ChangeDetector::new(files.fingerprint());
        let files = Arc::new(Mutex::new(files));
        let credentials = ChangeDetector::new(fingerprint_of(&credentials::files()));
        Watch { source: source.clone(), files, config, credentials }
    }

    /// The fingerprint of the config's files now; `None` if the process ends first.
    async fn config_fingerprint(&self) -> Option<Fingerprint> {
        let files = Arc::clone(&self.files);
        let read = move || files.lock().fingerprint();
        await_read(tokio::task::spawn_blocking(read)).await
    }

    /// The fingerprint of the credentials' files now; `None` if the process ends first.
    async fn credentials_fingerprint(&self) -> Option<Fingerprint> {
        let read = || fingerprint_of(&credentials::files());
        await_read(tokio::task::spawn_blocking(read)).await
    }

    /// The pause before the next poll; `None` if polling is off.
    fn pause(&self, interval: Duration) -> Option<Duration> {
        let is_changed = self.config.changed.is_some() || self.credentials.changed.is_some();
        let pause = if is_changed { interval.min(CONFIRM_PAUSE) } else { interval };
        (!interval.is_zero()).then_some(pause)
    }
}

/// Waits until files are read, and logs a read that takes long, as on a file system that does not answer.
/// `None` if the process ends first.
async fn await_read<T>(mut reading: JoinHandle<T>) -> Option<T> {
    if let Ok(read) = timeout(SLOW_READ, &mut reading).await {
        return read.ok();
    }
    let files = "the files of the config";
    tracing::error!("still reading {files}; no change is detected until the read ends");
    let read = reading.await.ok();
    tracing::info!("{files} can be read again");
    read
}

/// Starts to watch the files and to reload the config, until `stop`. Each reload also notifies
/// `certificates`, so that the certificate files are checked. `requests` are an operator's for a reload.
///
/// # Errors
/// If the process can't listen for signals.
pub(super) fn start(
    watch: Watch,
    shared_gateway: Arc<SharedGateway>,
    legacy: Arc<LegacyService>,
    certificates: Arc<Notify>,
    mut requests: Option<ReloadRequests>,
    stop: CancellationToken,
) -> Result<(), String> {
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| format!("can't listen for signals: {error}"))?;
    let running = shared_gateway.load().config.clone();
    let mut reloader = Reloader { watch, running, shared_gateway, legacy, certificates };
    reloader.succeeded();
    tokio::spawn(async move {
        loop {
            reloader.keep_the_day().await;
            let interval = reloader.shared_gateway.load().config.server.config_poll_interval;
            let pause = reloader.watch.pause(interval);
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = hangup.recv() => {
                    reloader.reload(None).await;
                    reloader.reread_credentials();
                }
                Some(reply) = next(&mut requests) => {
                    let result = reloader.reload(None).await;
                    reloader.reread_credentials();
                    // Fails if the operator has gone away.
                    let _ = reply.send(result.unwrap_or(Err(ReloadError::Unavailable)));
                }
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => reloader.poll().await,
                // The next round looks at the clock.
                () = sleep(CLOCK_PAUSE.min(until_midnight(SystemTime::now()))) => {}
            }
        }
    });
    Ok(())
}

/// The time until the next day begins in UTC.
fn until_midnight(now: SystemTime) -> Duration {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Duration::from_secs(DAY - seconds % DAY)
}

/// The next request for a reload; `None` when there will be none.
async fn next(requests: &mut Option<ReloadRequests>) -> Option<ReloadReply> {
    requests.as_mut()?.next().await
}

struct Reloader {
    watch: Watch,
    /// The config that the process was started with.
    running: Config,
    shared_gateway: Arc<SharedGateway>,
    legacy: Arc<LegacyService>,
    /// Notified when the certificate files must be checked.
    certificates: Arc<Notify>,
}

impl Reloader {
    async fn poll(&mut self) {
        let now = self.watch.config_fingerprint().await;
        if let Some(now) = now.filter(|now| self.watch.config.must_load(*now)) {
            self.reload(Some(now)).await;
        }
        let now = self.watch.credentials_fingerprint().await;
        if let Some(now) = now.filter(|now| self.watch.credentials.must_load(*now)) {
            self.watch.credentials = ChangeDetector::new(now);
            tracing::info!("AWS credential files changed");
            self.reread_credentials();
        }
    }

    /// Takes over the running config again if its day is over. Files that have changed are not read.
    async fn keep_the_day(&self) {
        let (gateway, day) = (self.shared_gateway.load_full(), today());
        if gateway.config.day == day {
            return;
        }
        let renewed = tokio::task::spawn_blocking(move || gateway.on(day)).await;
        match renewed.map_err(|error| error.to_string()) {
            Ok(Ok(renewed)) => {
                for warning in renewed.config.retirement_warnings() {
                    tracing::warn!(name: UNLIMITED, "{warning}");
                }
                self.shared_gateway.store(renewed);
            }
            Ok(Err(error)) => tracing::error!(%error, "the models are those of {}", self.day()),
            Err(error) => tracing::error!(%error, "the models are those of {}", self.day()),
        }
    }

    /// The day whose models are in use.
    fn day(&self) -> Date {
        self.shared_gateway.load().config.day
    }

    fn reread_credentials(&self) {
        for provider in self.shared_gateway.load().router.credentials() {
            provider.reread();
        }
    }

    /// Loads the files. With `wanted`, only if the files still have this fingerprint. `None` if they have
    /// not, or if the process ends first.
    async fn reload(
        &mut self,
        wanted: Option<Fingerprint>,
    ) -> Option<Result<Reloaded, ReloadError>> {
        let mut tries = 0;
        let (contents, loaded) = loop {
            let before = match wanted {
                Some(contents) => contents,
                None => self.watch.config_fingerprint().await?,
            };
            let source = self.watch.source.clone();
            let load_files = tokio::task::spawn_blocking(move || {
                load(&source).map_err(|error| error.to_string())
            });
            let loaded = await_read(load_files).await?;
            let after = self.watch.config_fingerprint().await?;
            if before == after {
                break (before, loaded);
            }
            // The files changed while they were loaded, so the config may be incomplete. A poll will find
            // the complete files. A signal may have come before the change was complete, so try again.
            tries += 1;
            if wanted.is_some() {
                return None;
            }
            if tries == MAX_TRIES {
                break (before, Err("its files kept changing while they were loaded".to_owned()));
            }
            sleep(RETRY_PAUSE).await;
        };
        self.watch.config = ChangeDetector::new(contents);
        let taken = match loaded {
            Ok(loaded) => self.take_over(loaded).await,
            Err(error) => Err(error),
        };
        let result = match &taken {
            Ok(_) => {
                self.succeeded();
                tracing::info!("config reloaded");
                "ok"
            }
            Err(error) => {
                tracing::error!(%error, "config not reloaded");
                let metrics = &self.shared_gateway.load().metrics;
                metrics.last_reload.refused(error, SystemTime::now());
                "refused"
            }
        };
        self.certificates.notify_one();
        self.shared_gateway.load().metrics.config_reloads.with_label_values(&[result]).inc();
        Some(taken.map_err(ReloadError::Refused))
    }

    async fn take_over(&self, loaded: Loaded) -> Result<Reloaded, String> {
        let Loaded { config, warnings, .. } = loaded;
        let fixed = needs_restart(&self.running, &config);
        let gateway = self.shared_gateway.load_full();
        // Thousands of targets take long to build, and this thread accepts connections.
        let renewed = tokio::task::spawn_blocking(move || gateway.with_config(config)).await;
        let renewed = renewed.map_err(|error| error.to_string())?;
        let renewed = renewed.map_err(|error| error.to_string())?;
        self.legacy.renew(&renewed.config).map_err(|error| error.to_string())?;
        self.shared_gateway.store(renewed);
        for warning in &warnings {
            tracing::warn!(name: UNLIMITED, "{warning}");
        }
        if !fixed.is_empty() {
            let keys = fixed.join(", ");
            tracing::warn!(%keys, "these keys have changed and take effect after a restart");
        }
        let restart_needed = fixed.into_iter().map(Into::into).collect();
        Ok(Reloaded { warnings, restart_needed })
    }

    fn succeeded(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let metrics = &self.shared_gateway.load().metrics;
        metrics.config_last_reload.set(now.as_secs_f64());
        metrics.last_reload.succeeded();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_read_of_the_files_is_awaited() {
        let late = tokio::spawn(async {
            sleep(SLOW_READ * 3).await;
            1
        });
        assert_eq!(await_read(late).await, Some(1));
    }

    #[test]
    fn the_clock_is_looked_at_when_the_day_ends_in_utc() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(until_midnight(at(1_772_323_200)), Duration::from_secs(86_400));
        assert_eq!(until_midnight(at(1_772_323_199)), Duration::from_secs(1));
    }

    #[test]
    fn a_change_is_loaded_when_two_polls_in_a_row_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::File(dir.path().join("config.toml"));
        let mut files = Files::new(source.clone(), Env::default());
        let contents = |text: &str| {
            std::fs::write(dir.path().join("config.toml"), text).unwrap();
            files.fingerprint()
        };
        let [old, half, whole] = ["# old", "# h", "# half"].map(contents);
        let files = Arc::new(Mutex::new(files));
        let [config, credentials] = [ChangeDetector::new(old), ChangeDetector::new(old)];
        let mut watch = Watch { source, files, config, credentials };
        let minute = Duration::from_secs(60);
        assert!(!watch.config.must_load(old));
        assert_eq!(watch.pause(minute), Some(minute));
        assert!(!watch.config.must_load(half));
        assert_eq!(watch.pause(minute), Some(CONFIRM_PAUSE));
        assert!(!watch.config.must_load(whole), "it was being written");
        assert!(watch.config.must_load(whole));
        watch.config = ChangeDetector::new(whole);
        assert!(!watch.config.must_load(whole));
        assert!(!watch.config.must_load(half));
        assert!(!watch.config.must_load(whole), "taken back");
        assert_eq!(watch.config.changed, None);
        assert!(!watch.credentials.must_load(whole));
        assert_eq!(watch.pause(minute), Some(CONFIRM_PAUSE), "the same for credentials");
        assert_eq!(watch.pause(Duration::ZERO), None);
    }
}
