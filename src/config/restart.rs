//! The keys that take effect at the next start only: those of listeners, jobs and logs.

use super::model::{Config, Server};

/// The keys that differ between two configurations and take effect at the next start only.
pub fn needs_restart(running: &Config, newer: &Config) -> Vec<&'static str> {
    let keys = fixed_keys(running, newer).into_iter();
    keys.filter_map(|(key, differs)| differs.then_some(key)).collect()
}

/// The keys that take effect at the next start only, and whether each differs.
fn fixed_keys(running: &Config, newer: &Config) -> [(&'static str, bool); 22] {
    // Without `..`, so that a new key must be put on one side or the other.
    let Server {
        listen,
        admin_listen,
        header_read_timeout,
        keep_alive_timeout,
        max_resets,
        max_connections,
        max_header_bytes,
        max_headers,
        max_concurrent_streams,
        worker_threads,
        admin_key: _,
        admin_key_file: _,
        open_metrics: _,
        allowed_hosts: _,
        max_body: _,
        request_timeout: _,
        body_read_timeout: _,
        drain_delay: _,
        drain_timeout: _,
        max_in_flight: _,
        max_in_flight_bytes: _,
        bidirectional_timeout: _,
        config_poll_interval: _,
        tls,
    } = &running.server;
    let server = &newer.server;
    let handshake = |config: &Config| config.server.tls.as_ref().map(|tls| tls.handshake_timeout);
    [
        ("server.listen", *listen != server.listen),
        ("server.admin_listen", *admin_listen != server.admin_listen),
        ("server.header_read_timeout", *header_read_timeout != server.header_read_timeout),
        ("server.keep_alive_timeout", *keep_alive_timeout != server.keep_alive_timeout),
        ("server.max_resets", *max_resets != server.max_resets),
        ("server.max_connections", *max_connections != server.max_connections),
        ("server.max_header_bytes", *max_header_bytes != server.max_header_bytes),
        ("server.max_headers", *max_headers != server.max_headers),
        ("server.max_concurrent_streams", *max_concurrent_streams != server.max_concurrent_streams),
        ("server.worker_threads", *worker_threads != server.worker_threads),
        // New certificate files, and new paths of them, take effect at once.
        ("server.tls", tls.is_some() != server.tls.is_some()),
        ("server.tls.handshake_timeout", tls.is_some() && handshake(running) != handshake(newer)),
        ("legacy.listen", running.legacy.listen != newer.legacy.listen),
        ("legacy.session_ttl", running.legacy.session_ttl != newer.legacy.session_ttl),
        ("legacy.max_sessions", running.legacy.max_sessions != newer.legacy.max_sessions),
        (
            "legacy.max_session_bytes",
            running.legacy.max_session_bytes != newer.legacy.max_session_bytes,
        ),
        ("legacy.max_turns", running.legacy.max_turns != newer.legacy.max_turns),
        ("jobs", running.jobs != newer.jobs),
        ("state", running.state != newer.state),
        ("log", running.log != newer.log),
        ("usage_log", running.usage_log != newer.usage_log),
        ("traces", running.traces != newer.traces),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

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
        let page = include_str!("../../docs/operations.md");
        let (_, list) = page.split_once("take effect at the next start:\n\n").unwrap();
        let (list, _) = list.split_once("\n\n").unwrap();
        let named: Vec<_> = list.split('`').skip(1).step_by(2).collect();
        let running = config("");
        let keys = fixed_keys(&running, &running);
        assert_eq!(named, keys.map(|(key, _)| key.to_owned()));
    }
}
