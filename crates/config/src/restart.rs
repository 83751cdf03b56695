//! The keys that take effect at the next start only: those of listeners, stores, jobs and logs.

use super::model::Config;

/// Keys of two configurations by their names, each with whether it differs.
macro_rules! compare {
    ($running:ident, $newer:ident: $($section:ident $(.$key:ident)?),+ $(,)?) => {
        [$((
            concat!(stringify!($section) $(, ".", stringify!($key))?),
            $running.$section $(.$key)? != $newer.$section $(.$key)?,
        )),+]
    };
}

/// The keys that differ between two configurations and take effect at the next start only.
pub fn needs_restart(running: &Config, newer: &Config) -> Vec<&'static str> {
    fixed_keys(running, newer).filter_map(|(key, differs)| differs.then_some(key)).collect()
}

/// The keys that take effect at the next start only, and whether each differs.
fn fixed_keys(running: &Config, newer: &Config) -> impl Iterator<Item = (&'static str, bool)> {
    let [tls, newer_tls] = [running, newer].map(|config| config.server.tls.as_ref());
    let [handshake, newer_handshake] =
        [tls, newer_tls].map(|tls| tls.map(|tls| tls.handshake_timeout));
    let server = compare!(running, newer:
        server.listen, server.admin_listen, server.header_read_timeout, server.keep_alive_timeout,
        server.max_resets, server.max_connections, server.max_header_bytes, server.max_headers,
        server.max_concurrent_streams, server.worker_threads,
    );
    // New certificate files, and new paths of them, take effect at once.
    let tls = [
        ("server.tls", tls.is_some() != newer_tls.is_some()),
        ("server.tls.handshake_timeout", tls.is_some() && handshake != newer_handshake),
    ];
    let others = compare!(running, newer:
        legacy.listen, legacy.session_ttl, legacy.max_sessions, legacy.max_session_bytes,
        legacy.max_turns, jobs, state,
        response_store.backend, response_store.timeout, log, usage_log, traces,
    );
    server.into_iter().chain(tls).chain(others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Env;

    fn config(text: &str) -> Config {
        Config::from_toml(text, "config.toml", &Env::default()).unwrap().config
    }

    #[test]
    fn keys_that_count_from_the_next_start_are_named() {
        let running = config("");
        let text = "[server]\nlisten = '127.0.0.1:1'\nmax_body = '1MB'\nmax_headers = 20\n\
                    [upstream]\nidle_timeout = '1s'\n[log]\nlevel = 'debug'\n";
        let keys = needs_restart(&running, &config(text));
        assert_eq!(keys, ["server.listen", "server.max_headers", "log"]);
        assert_eq!(needs_restart(&running, &running), [""; 0]);
    }

    #[test]
    fn the_page_names_the_keys_that_need_a_restart_and_no_other() {
        let page = include_str!("../../../docs/operations.md");
        let (_, list) = page.split_once("take effect at the next start:\n\n").unwrap();
        let (list, _) = list.split_once("\n\n").unwrap();
        let named: Vec<_> = list.split('`').skip(1).step_by(2).collect();
        let running = config("");
        let keys = fixed_keys(&running, &running);
        assert_eq!(named, keys.map(|(key, _)| key).collect::<Vec<_>>());
    }

    /// The keys of listeners and of the legacy endpoints that take effect at once.
    const AT_ONCE: [&str; 23] = [
        "server.admin_key",
        "server.admin_key_file",
        "server.open_metrics",
        "server.allowed_hosts",
        "server.max_body",
        "server.request_timeout",
        "server.body_read_timeout",
        "server.drain_delay",
        "server.drain_timeout",
        "server.max_in_flight",
        "server.max_in_flight_bytes",
        "server.bidirectional_timeout",
        "server.config_poll_interval",
        "legacy.enabled",
        "legacy.endpoints",
        "legacy.models",
        "legacy.chat_multi_model",
        "legacy.wait_before_fallback",
        "legacy.max_tokens",
        "legacy.temperature",
        "legacy.mock",
        "legacy.admin_only",
        "legacy.prompts",
    ];

    #[test]
    fn a_new_key_of_a_listener_must_be_put_on_one_side_or_the_other() {
        let (schema, running) = (crate::schema(), config(""));
        let fixed: Vec<_> = fixed_keys(&running, &running).map(|(key, _)| key).collect();
        for section in ["server", "legacy"] {
            for key in schema["properties"][section]["properties"].as_object().unwrap().keys() {
                let key = format!("{section}.{key}");
                let sides = [&fixed[..], &AT_ONCE].map(|keys| keys.contains(&key.as_str()));
                assert!(sides[0] != sides[1], "{key}");
            }
        }
    }
}
