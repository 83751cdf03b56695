//! A search for requests that make the gateway take more memory than its bounds allow: random
//! mixtures of endpoints, sizes, framings, keys, protocols and paces, with an upstream whose answers
//! are as odd. The mixture follows from a seed, which is printed.
//!
//! It takes some seconds among the other tests. `SLUICE_MEMORY_SECONDS=600 cargo test --release
//! --test memory -- --nocapture` searches for ten minutes, and `SLUICE_MEMORY_SEED` repeats a search.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod request;
mod upstream;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;
use request::{Request, Servers};
use tokio::time::Instant;

/// The most that the process may take, with [`IN_FLIGHT`] for bodies.
const MOST: u64 = 150_000_000;
const IN_FLIGHT: &str = "30MB";

/// Requests at once.
const WORKERS: u64 = 64;

const KEY: &str = "team-a-bearer-key-0123456789";
const ADMIN_KEY: &str = "the-admin-key-0123456789";

/// The gateway, killed when dropped.
struct Gateway {
    child: Child,
    servers: Servers,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Gateway {
    fn start(upstream: SocketAddr, folder: &std::path::Path, has_jobs: bool) -> Gateway {
        let servers = Servers { api: free_address(), admin: free_address() };
        let jobs = if has_jobs { "sqlite" } else { "off" };
        let config = format!(
            "[server]\nlisten = \"{}\"\nadmin_listen = \"{}\"\nadmin_key = \"env:ADMIN_KEY\"\n\
             max_in_flight_bytes = \"{IN_FLIGHT}\"\nrequest_timeout = \"10s\"\n\
             body_read_timeout = \"5s\"\nheader_read_timeout = \"5s\"\n\
             [upstream]\nregion = \"us-east-1\"\nendpoint_url = \"http://{upstream}\"\n\
             access_key_id = \"AKID\"\nsecret_access_key = \"env:UPSTREAM_KEY\"\n\
             [targets.a]\nmodel = \"anthropic.claude-3-haiku-20240307-v1:0\"\n\
             [[routes]]\nmodels = [\"anthropic.claude-3-haiku-20240307-v1:0\"]\ntargets = [\"a\"]\n\
             [queue]\nmax_wait = \"1s\"\n[fallback]\neject_after = 1000000\n\
             eject_below_success_rate = 0.0\n\
             [[clients]]\nname = \"team-a\"\nbearer_token = \"env:TEAM_A_KEY\"\n\
             [jobs]\nbackend = \"{jobs}\"\npath = \"{}\"\n",
            servers.api,
            servers.admin,
            folder.join("jobs.db").display(),
        );
        let path = folder.join("config.toml");
        std::fs::write(&path, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["serve", "--config", path.to_str().unwrap()])
            .env_clear()
            .env("UPSTREAM_KEY", "upstream-secret-0123456789")
            .env("TEAM_A_KEY", KEY)
            .env("ADMIN_KEY", ADMIN_KEY)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "the gateway ended");
        }
        std::thread::spawn(move || std::io::copy(&mut stderr.by_ref(), &mut std::io::sink()));
        Gateway { child, servers }
    }

    fn resident(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let Ok(status) = std::fs::read_to_string(status) else { return 0 };
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kilobytes.unwrap_or(0) * 1024
    }
}

/// What is under way, by worker.
type UnderWay = Arc<Mutex<Vec<String>>>;

#[tokio::test(flavor = "multi_thread")]
async fn no_mixture_of_requests_takes_more_than_the_bounds_allow() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = Duration::from_secs(number("SLUICE_MEMORY_SECONDS").unwrap_or(12));
    let seed = number("SLUICE_MEMORY_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SLUICE_MEMORY_SEED={seed}");
    let upstream = upstream::start().await;
    let mut most = 0;
    for (round, has_jobs) in [false, true].into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = Arc::new(Gateway::start(upstream, folder.path(), has_jobs));
        let idle = gateway.resident();
        let (sent, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let under_way: UnderWay = Arc::new(Mutex::new(vec![String::new(); WORKERS as usize]));
        let end = Instant::now() + time / 2;
        let workers = (0..WORKERS).map(|worker| {
            let mut rng = Rng::with_seed(seed ^ (worker << 8) ^ round as u64);
            let (servers, sent) = (gateway.servers, Arc::clone(&sent));
            let (under_way, is_over) = (Arc::clone(&under_way), Arc::clone(&is_over));
            tokio::spawn(async move {
                while Instant::now() < end && !is_over.load(Ordering::Relaxed) {
                    let request = Request::random(&mut rng);
                    under_way.lock()[worker as usize] = request.to_string();
                    let limit = Duration::from_secs(12);
                    let _ = tokio::time::timeout(limit, request.send(servers, &mut rng)).await;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let workers: Vec<_> = workers.collect();
        let mut highest = (0, Vec::new());
        while Instant::now() < end {
            let resident = gateway.resident();
            if resident > highest.0 {
                highest = (resident, under_way.lock().clone());
            }
            if resident > MOST {
                break;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        is_over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.await.unwrap();
        }
        let requests = sent.load(Ordering::Relaxed);
        println!(
            "jobs {has_jobs}: {requests} requests, at the most {} MB, idle {} MB",
            highest.0 / 1_000_000,
            idle / 1_000_000
        );
        assert!(requests > WORKERS, "the search has found nothing out");
        assert!(
            highest.0 <= MOST,
            "{} MB with these under way:\n{}",
            highest.0 / 1_000_000,
            highest.1.join("\n")
        );
        most = most.max(highest.0);
    }
    assert!(most > 0);
}
