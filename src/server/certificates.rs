//! The certificate of the listener: read at the start, and again whenever its files change.
//!
//! What the files hold is compared, not when they were written, so that files that are replaced,
//! links that are turned elsewhere and folders that are swapped are all seen. New files that are
//! wrong are refused and counted once, and what was in use stays in use. Open connections keep what
//! they began with.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::sync::Notify;

use super::tls::{Acceptor, UnusableTls, server_config};
use crate::config::{CertificateError, Tls, TlsFiles};
use crate::pipeline::SharedGateway;
use crate::system::time::timeout;
use crate::telemetry::Metrics;

/// Why certificate files are not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or wrong.
    #[error(transparent)]
    Files(#[from] CertificateError),
    /// They are right, but no TLS can be made of them.
    #[error(transparent)]
    Unusable(#[from] UnusableTls),
    /// The certificate came too late.
    #[error("the certificate has expired on {}", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
    /// The task that reads files did not come back.
    #[error("the files were not read")]
    Lost,
}

/// The certificate in use, and what is known of the files it came from.
#[derive(Debug)]
pub(super) struct Certificates {
    current: Arc<ArcSwap<ServerConfig>>,
    /// What was read last, be it in use or refused.
    seen: FileState,
    tls: Tls,
    metrics: Arc<Metrics>,
}

/// What a look at the files has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
enum FileState {
    Content([u8; 32]),
    /// They could not be read; why not.
    Nothing(String),
}

impl Certificates {
    /// Reads the files for the first time. An expired certificate is taken here, since one that
    /// clients refuse is better than no gateway.
    pub(super) async fn load(tls: &Tls, metrics: Arc<Metrics>) -> Result<Certificates, TlsError> {
        let files = read(tls).await?;
        let seen = FileState::Content(files.fingerprint());
        let (config, not_after) = make(tls, &files)?;
        show_expiry(&metrics, not_after);
        let current = Arc::new(ArcSwap::from_pointee(config));
        Ok(Certificates { current, seen, tls: tls.clone(), metrics })
    }

    /// What makes the handshakes, with the certificate that is current at the time of each.
    pub(super) fn acceptor(&self) -> Acceptor {
        let failures = self.metrics.tls_handshake_failures.clone();
        Acceptor::new(Arc::clone(&self.current), self.tls.handshake_timeout, failures)
    }

    /// Looks at the files again and again, and at once when it is woken. Where they are is what the
    /// live config requires.
    pub(super) async fn keep_fresh(
        mut self,
        shared_gateway: Arc<SharedGateway>,
        wake: Arc<Notify>,
    ) {
        loop {
            let _ = timeout(self.tls.reload_interval, wake.notified()).await;
            let now = shared_gateway.load().config.server.tls.clone();
            // Whether there is TLS is decided at the start; a config without it changes nothing.
            let tls = now.unwrap_or_else(|| self.tls.clone());
            self.look(tls).await;
        }
    }

    async fn look(&mut self, tls: Tls) {
        let read = read(&tls).await;
        let seen = match &read {
            Ok(files) => FileState::Content(files.fingerprint()),
            Err(error) => FileState::Nothing(error.to_string()),
        };
        if seen == self.seen && tls == self.tls {
            return;
        }
        (self.seen, self.tls) = (seen, tls);
        let made = read.and_then(|files| {
            let (config, not_after) = make(&self.tls, &files)?;
            if not_after <= SystemTime::now() {
                return Err(TlsError::Expired(not_after));
            }
            Ok((config, not_after))
        });
        let result = match made {
            Ok((config, not_after)) => {
                self.current.store(Arc::new(config));
                show_expiry(&self.metrics, not_after);
                let until = humantime::format_rfc3339_seconds(not_after);
                tracing::info!(%until, "certificate reloaded");
                "ok"
            }
            Err(error) => {
                tracing::error!(%error, "certificate not reloaded");
                "refused"
            }
        };
        self.metrics.tls_reloads.with_label_values(&[result]).inc();
    }
}

/// Reads the files without blocking others.
async fn read(tls: &Tls) -> Result<TlsFiles, TlsError> {
    let tls = tls.clone();
    let read = tokio::task::spawn_blocking(move || TlsFiles::read(&tls)).await;
    Ok(read.map_err(|_| TlsError::Lost)??)
}

fn make(tls: &Tls, files: &TlsFiles) -> Result<(ServerConfig, SystemTime), TlsError> {
    let material = files.material()?;
    let not_after = material.certified.not_after;
    Ok((server_config(tls, material)?, not_after))
}

fn show_expiry(metrics: &Metrics, not_after: SystemTime) {
    let since = not_after.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    metrics.tls_certificate_expiry.with_label_values::<&str>(&[]).set(seconds);
}
