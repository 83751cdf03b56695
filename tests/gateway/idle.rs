//! A gateway that nobody asks anything does next to nothing, whatever its config.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::budgets::with_budget;
use crate::stores::is_up;
use crate::support::{Config, Gateway, Redis, Simulator};

/// What it may take in [`WATCHED`]: a hundredth of a core. Processor time does not grow on a busy
/// machine.
const MOST: Duration = Duration::from_millis(60);
const WATCHED: Duration = Duration::from_secs(6);

/// Watches gateways with a name for each, all at once.
async fn are_idle(gateways: &[(String, Gateway)]) {
    // What belongs to the start is over.
    sleep(Duration::from_secs(3)).await;
    let before: Vec<Duration> = gateways.iter().map(|it| it.1.processor_time()).collect();
    sleep(WATCHED).await;
    let mut busy = Vec::new();
    for ((name, gateway), before) in gateways.iter().zip(before) {
        let took = gateway.processor_time() - before;
        println!("{name}: {took:?} in {WATCHED:?}");
        if took >= MOST {
            busy.push((name, took));
        }
    }
    assert_eq!(busy, [], "take more than {MOST:?} in {WATCHED:?}");
}

/// Every config that is shipped to be used.
fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("config.toml")];
    let mut folders = vec![root.join("deploy"), root.join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|ending| ending.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("toml") => found.push(path),
                _ => {}
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_config_is_idle() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let url = redis.reference();
    let variables = [
        ("SLUICE__SERVER__LISTEN", "127.0.0.1:0"),
        ("SLUICE__SERVER__ADMIN_LISTEN", "127.0.0.1:0"),
        ("SLUICE__UPSTREAM__REGION", "us-east-1"),
        ("SLUICE__UPSTREAM__ENDPOINT_URL", simulator.url()),
        ("AWS_ACCESS_KEY_ID", simulator.access_key_id()),
        ("AWS_SECRET_ACCESS_KEY", Simulator::SECRET),
        ("SLUICE__JOBS__REDIS_URL", url.as_str()),
    ];
    let files = shipped();
    assert!(files.len() >= 2, "{files:?}");
    let mut gateways = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let write = |folder: &Path| {
            let copy = folder.join("config.toml");
            std::fs::copy(&file, &copy).unwrap();
            copy
        };
        gateways.push((name, Gateway::start_from_with(write, &variables).await));
    }
    are_idle(&gateways).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_is_idle_also_when_it_is_not_there() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let shared = |config: Config, url: &str| {
        config.set("state.backend", "redis").set("state.redis_url", url)
    };
    let budget = || with_budget(&simulator, 1.0).set("state.budget_flush", "1s");
    let jobs = |backend: &str| Config::four_models(&simulator).set("jobs.backend", backend);
    let url = redis.reference();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("redis://{closed}/0");
    let (refusing, silent) = (answering(b"-ERR no\r\n").await, answering(b"").await);
    let configs = [
        ("memory", Config::four_models(&simulator)),
        ("redis", shared(budget(), &url)),
        ("redis, rare heartbeats", shared(budget(), &url).set("state.heartbeat", "5s")),
        ("redis, frequent heartbeats", shared(budget(), &url).set("state.heartbeat", "300ms")),
        ("redis that is gone", shared(budget(), &gone)),
        ("redis that refuses", shared(budget(), &refusing)),
        ("redis that says nothing", shared(budget(), &silent)),
        ("budgets in a file", budget().set("state.budget_path", path("budgets.db"))),
        ("budgets in no file", budget().set("state.budget_path", path("none/budgets.db"))),
        ("jobs in a file", jobs("sqlite").set("jobs.path", path("jobs.db"))),
        ("jobs in no file", jobs("sqlite").set("jobs.path", path("none/jobs.db"))),
        ("jobs in redis", jobs("redis").set("jobs.redis_url", url.as_str())),
        ("jobs in no redis", jobs("redis").set("jobs.redis_url", gone.as_str())),
    ];
    let mut gateways = Vec::new();
    for (name, config) in configs {
        let gateway = Gateway::start_with(&config, &[("TEAM_A_KEY", crate::budgets::KEY)]).await;
        gateways.push((name.to_owned(), gateway));
    }
    are_idle(&gateways).await;
    // A heartbeat a second and no more; those that hold nothing have nothing else to say.
    let exchanges = async |place: usize| {
        gateways[place].1.metrics().await.sum("sluice_fleet_exchanges_total", &[])
    };
    let (before, rare) = (exchanges(1).await, exchanges(2).await);
    sleep(Duration::from_secs(5)).await;
    let (after, rare) = (exchanges(1).await - before, exchanges(2).await - rare);
    // Five, and what a slow machine adds by looking late.
    assert!((1.0..30.0).contains(&after), "{after}");
    assert!(rare < 8.0, "{rare}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_job_queue_sends_redis_less_than_three_commands_a_second() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = Config::four_models(&simulator)
        .set("jobs.backend", "redis")
        .set("jobs.redis_url", redis.reference());
    let gateway = Gateway::start(&config).await;
    is_up(&gateway, "job_queue", 1.0).await;
    let processed = async || {
        let info = redis.ask(&["INFO", "stats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    // What belongs to the start is over.
    sleep(Duration::from_secs(3)).await;
    let before = processed().await;
    sleep(Duration::from_secs(10)).await;
    let commands = processed().await - before;
    println!("{commands} commands in 10 s");
    assert!(commands < 30, "{commands}");
}

/// The URL of a server that says this to whatever it is told.
async fn answering(answer: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/0", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                while let Ok(1..) = tokio::io::AsyncReadExt::read(&mut client, &mut asked).await {
                    if client.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}
