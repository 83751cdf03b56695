//! What the endpoints and the jobs share: the live gateway, the sessions and the prompts.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::pending::PendingChats;
use super::prompts::{PromptError, Prompts};
use super::session::{Bounds, Sessions};
use crate::config::{Config, LegacyMock};
use crate::pipeline::{Gateway, SharedGateway};

#[derive(Debug)]
pub(super) struct LegacyState {
    pub(super) shared_gateway: Arc<SharedGateway>,
    pub(super) sessions: Sessions,
    pub(super) pending: PendingChats,
    prompts: ArcSwap<Prompts>,
}

/// JSON of more bytes is read on a thread that serves no connections: it may take milliseconds.
const LONG_JSON: usize = 16 * 1024;

impl LegacyState {
    pub(super) fn new(shared_gateway: Arc<SharedGateway>) -> Result<LegacyState, PromptError> {
        let gateway = shared_gateway.load_full();
        let legacy = &gateway.config.legacy;
        Ok(LegacyState {
            sessions: Sessions::new(
                Bounds {
                    ttl: legacy.session_ttl,
                    max_sessions: legacy.max_sessions,
                    max_bytes: legacy.max_session_bytes,
                    max_turns: legacy.max_turns,
                },
                gateway.metrics.sessions_forgotten.clone(),
            ),
            pending: PendingChats::new(legacy.max_sessions),
            prompts: ArcSwap::from_pointee(Prompts::new(&legacy.prompts)?),
            shared_gateway,
        })
    }

    /// Takes the prompts of a newer config.
    pub(super) fn renew(&self, config: &Config) -> Result<(), PromptError> {
        self.prompts.store(Arc::new(Prompts::new(&config.legacy.prompts)?));
        Ok(())
    }

    pub(super) fn gateway(&self) -> Arc<Gateway> {
        self.shared_gateway.load_full()
    }

    pub(super) fn prompts(&self) -> Arc<Prompts> {
        self.prompts.load_full()
    }

    /// Runs `read`, which reads JSON of so many bytes: at once, or apart from the threads that serve
    /// connections where it may take long.
    pub(super) async fn parse<T: Send + 'static>(
        &self,
        bytes: usize,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.gateway().offload.run(bytes <= LONG_JSON, read).await
    }

    /// Whether a mock answer may stand in now, which is counted.
    pub(super) fn may_mock(&self, endpoint: &str) -> bool {
        let gateway = self.gateway();
        let may = gateway.config.legacy.mock == LegacyMock::WhenExhausted;
        if may {
            gateway.metrics.mock_answers.with_label_values(&[endpoint]).inc();
        }
        may
    }
}

/// Seconds since `began`, to two decimals.
pub(super) fn seconds_since(began: Instant) -> f64 {
    (began.elapsed().as_secs_f64() * 100.0).round() / 100.0
}
