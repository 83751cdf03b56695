//! Stores in files that are full, locked, not to be written, replaced or deleted: requests are
//! answered all the same, it is said so once, and afterwards the books are what they should be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sluice::simulator::DEFAULT_BEARER_TOKEN;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::time::{Instant, sleep};

use crate::budgets::{KEY, ask, is_about, used, with_budget};
use crate::support::patience::eventually;
use crate::support::{Config, Gateway, PRIMARY, Redis, Simulator, SmallDisk, http};

const SMALL: usize = 2 << 20;

/// What a model says of a section in which it finds nothing.
pub(crate) const NO_FINDING: &str = r#"{"feedback_items": []}"#;

fn budgets(simulator: &Simulator, path: &Path) -> Config {
    with_budget(simulator, 10.0).set("state.budget_path", path.to_str().unwrap())
}

async fn start(config: &Config) -> Gateway {
    Gateway::start_with(config, &[("TEAM_A_KEY", KEY)]).await
}

/// Spends so many tenths of a cent, in as many requests as given: by Chat Completions, as native requests, and by
/// Messages.
async fn spend(gateway: &Gateway, requests: usize, tokens: u64) {
    for request in 0..requests {
        let answer = match request % 3 {
            0 => {
                ask_api(gateway, "/openai/v1/chat/completions", "max_completion_tokens", tokens)
                    .await
            }
            1 => ask(gateway, tokens).send().await,
            _ => ask_api(gateway, "/anthropic/v1/messages", "max_tokens", tokens).await,
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// The same as [`ask`] by another API.
pub(crate) async fn ask_api(
    gateway: &Gateway,
    path: &str,
    maximum: &str,
    tokens: u64,
) -> http::Response {
    let text = format!("hello sim:tokens={tokens}");
    let mut body = json!({ "model": PRIMARY, "messages": [{ "role": "user", "content": text }] });
    body[maximum] = tokens.into();
    let bearer = format!("Bearer {KEY}");
    let url = format!("{}{path}", gateway.url());
    http::post(&url, &[("authorization", &bearer)], body.to_string()).await
}

/// Waits until this is spent, in dollars of the ten.
async fn has_spent(gateway: &Gateway, usd: f64) {
    let look = async || used(gateway).await * 10.0;
    eventually("it is spent", look, |spent| (spent - usd).abs() < 1e-9).await;
}

pub(crate) async fn is_up(gateway: &Gateway, dependency: &str, wanted: f64) {
    let labels = [("dependency", dependency)];
    let look = async || {
        let metrics = gateway.metrics().await;
        metrics.has("sluice_dependency_up").then(|| metrics.sum("sluice_dependency_up", &labels))
    };
    eventually(&format!("{dependency} is {wanted}"), look, |up| *up == Some(wanted)).await;
}

async fn was_replaced(gateway: &Gateway, dependency: &str) {
    let labels = [("dependency", dependency)];
    let look = async || gateway.metrics().await.sum("sluice_store_files_replaced_total", &labels);
    eventually("it is noticed", look, |count| *count >= 1.0).await;
}

/// The log said once that a store is gone, and once after that that it is back.
#[track_caller]
fn said_once(gateway: &Gateway, what: &str) {
    let output = gateway.output();
    let (gone, back) = (format!("{what} is not reachable"), format!("{what} is reachable"));
    assert_eq!(output.matches(&gone).count(), 1, "{output}");
    let after = output.split_once(&gone).unwrap().1;
    assert_eq!(after.matches(&back).count(), 1, "{output}");
}

/// What a file has for this day.
async fn stored(path: &Path) -> f64 {
    let options = SqliteConnectOptions::new().filename(path);
    let mut file = SqliteConnection::connect_with(&options).await.unwrap();
    let sum = "SELECT sum(nano_usd) FROM sluice_budgets WHERE kind = 'daily'";
    let sum: Option<i64> = sqlx::query_scalar(sum).fetch_one(&mut file).await.unwrap();
    sum.unwrap_or(0) as f64 / 1e9
}

/// Stops a gateway and sees that the file has all of it.
async fn ends_with(mut gateway: Gateway, path: &Path, usd: f64) {
    gateway.terminate().await;
    assert!(gateway.ended().await.success(), "{}", gateway.output());
    is_about(stored(path).await, usd);
}

/// A file that another process writes to and keeps for itself.
async fn lock(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Wal);
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    other.execute("PRAGMA busy_timeout = 5000").await.unwrap();
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_outlive_a_full_disk() {
    let Some(disk) = SmallDisk::new(SMALL) else { return };
    let simulator = Simulator::start().await;
    let path = disk.path("budgets.db");
    let config = budgets(&simulator, &path);
    let mut gateway = disk.start(&config, &[("TEAM_A_KEY", KEY)]).await;
    spend(&gateway, 5, 100).await;
    has_spent(&gateway, 0.5).await;
    disk.fill(&gateway);
    spend(&gateway, 20, 100).await;
    is_up(&gateway, "budgets", 0.0).await;
    has_spent(&gateway, 2.5).await;
    disk.clear(&gateway);
    is_up(&gateway, "budgets", 1.0).await;
    spend(&gateway, 5, 100).await;
    has_spent(&gateway, 3.0).await;
    said_once(&gateway, "the budget store");
    // Full at the end, until just before it gives up.
    disk.fill(&gateway);
    let spent = 3.0 + spend_until_down(&gateway).await;
    // The disk goes with the process, which may end as soon as it can store the rest: a handle on its
    // folder keeps it.
    let seen = disk.seen_by(&gateway, "budgets.db");
    let folder = std::fs::File::open(seen.parent().unwrap()).unwrap();
    let kept = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder)));
    gateway.terminate().await;
    gateway.closes_its_listener().await;
    std::fs::File::create(kept.join("fill")).unwrap();
    assert!(gateway.ended().await.success(), "{}", gateway.output());
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(kept).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    is_about(stored(&copy.path().join("budgets.db")).await, spent);
}

/// Spends a tenth of a dollar at a time until the store of budgets is down, and returns what was
/// spent. The file's journal may have space for the first writes on a full disk.
async fn spend_until_down(gateway: &Gateway) -> f64 {
    for requests in 1..=60 {
        spend(gateway, 1, 100).await;
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            let labels = [("dependency", "budgets")];
            if gateway.metrics().await.sum("sluice_dependency_up", &labels) == 0.0 {
                return f64::from(requests) * 0.1;
            }
        }
    }
    panic!("the store of budgets stays up on a full disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_come_up_on_a_disk_that_was_full_at_the_start() {
    let Some(disk) = SmallDisk::new(SMALL) else { return };
    // Room for some of the tables and not for all.
    for room in [0, 8192, 24_576, 65_536] {
        let simulator = Simulator::start().await;
        let config = queue(&simulator, &disk.path("jobs.db"))
            .set("state.budget_path", disk.path("budgets.db").to_str().unwrap());
        let fill = format!("head -c {} /dev/zero > {}", SMALL - room, disk.path("fill").display());
        let filled = filling(&disk, &fill);
        let filled: Vec<&str> = filled.iter().map(String::as_str).collect();
        let gateway = Gateway::start_by(&filled, &config, &[("TEAM_A_KEY", KEY)]).await;
        is_up(&gateway, "budgets", 0.0).await;
        spend(&gateway, 3, 100).await;
        has_spent(&gateway, 0.3).await;
        simulator.says(PRIMARY, NO_FINDING);
        assert_eq!(analyze(&gateway).await.get("task_id"), None, "{room}");
        disk.clear(&gateway);
        is_up(&gateway, "budgets", 1.0).await;
        is_up(&gateway, "job_queue", 1.0).await;
        is_done(&gateway).await;
    }
}

/// A command that has the disk, does something on it, and runs what it is given.
fn filling(disk: &SmallDisk, what: &str) -> Vec<String> {
    let mut words = disk.runner();
    let script = format!("{what}; exec \"$@\"");
    words.extend(["sh", "-c", &script, "sh"].map(str::to_owned));
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_come_up_on_a_disk_that_could_only_be_read() {
    let Some(disk) = SmallDisk::new(SMALL) else { return };
    let (disk, simulator) = (disk.read_only(), Simulator::start().await);
    let config = queue(&simulator, &disk.path("jobs.db"))
        .set("state.budget_path", disk.path("budgets.db").to_str().unwrap());
    let gateway = disk.start(&config, &[("TEAM_A_KEY", KEY)]).await;
    is_up(&gateway, "budgets", 0.0).await;
    spend(&gateway, 3, 100).await;
    has_spent(&gateway, 0.3).await;
    simulator.says(PRIMARY, NO_FINDING);
    assert_eq!(analyze(&gateway).await.get("task_id"), None);
    disk.make_writable(&gateway);
    is_up(&gateway, "budgets", 1.0).await;
    is_up(&gateway, "job_queue", 1.0).await;
    is_done(&gateway).await;
    said_once(&gateway, "the budget store");
    said_once(&gateway, "the job queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_outlive_another_process_that_keeps_the_file() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("budgets.db");
    let gateway = start(&budgets(&simulator, &path)).await;
    spend(&gateway, 5, 100).await;
    has_spent(&gateway, 0.5).await;
    let mut other = lock(&path).await;
    spend(&gateway, 10, 100).await;
    is_up(&gateway, "budgets", 0.0).await;
    has_spent(&gateway, 1.5).await;
    other.execute("ROLLBACK").await.unwrap();
    is_up(&gateway, "budgets", 1.0).await;
    said_once(&gateway, "the budget store");
    // Kept at the end, and let go while the process waits for it.
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    spend(&gateway, 5, 100).await;
    is_up(&gateway, "budgets", 0.0).await;
    gateway.terminate().await;
    gateway.closes_its_listener().await;
    other.execute("ROLLBACK").await.unwrap();
    ends_with(gateway, &path, 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_are_written_anew_when_their_file_is_deleted_replaced_or_cut() {
    for what in ["deleted", "replaced", "replaced by an old copy", "moved away", "cut", "spoilt"] {
        let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
        let path = folder.path().join("budgets.db");
        let config = budgets(&simulator, &path);
        let first = start(&config).await;
        spend(&first, 2, 100).await;
        has_spent(&first, 0.2).await;
        ends_with(first, &path, 0.2).await;
        let old = folder.path().join("old.db");
        std::fs::copy(&path, &old).unwrap();
        let gateway = start(&config).await;
        spend(&gateway, 3, 100).await;
        has_spent(&gateway, 0.5).await;
        let beside = |ending: &str| folder.path().join(format!("budgets.db-{ending}"));
        match what {
            "deleted" => {
                std::fs::remove_file(&path).unwrap();
                std::fs::remove_file(beside("wal")).unwrap();
                std::fs::remove_file(beside("shm")).unwrap();
            }
            "replaced" => {
                let new = folder.path().join("new.db");
                std::fs::write(&new, b"").unwrap();
                std::fs::rename(&new, &path).unwrap();
            }
            "replaced by an old copy" => std::fs::rename(&old, &path).unwrap(),
            "moved away" => std::fs::rename(&path, folder.path().join("moved.db")).unwrap(),
            // In place: the file is the same, and what is in it is not.
            "cut" => {
                std::fs::File::create(&path).unwrap();
                std::fs::remove_file(beside("wal")).unwrap();
                std::fs::remove_file(beside("shm")).unwrap();
            }
            _ => {
                std::fs::write(&path, [0x5a; 20_000]).unwrap();
                std::fs::write(beside("wal"), [0x5a; 9000]).unwrap();
            }
        }
        // In their place, though nothing is spent; what is spoilt stays so until somebody takes it away.
        if !matches!(what, "cut" | "spoilt") {
            was_replaced(&gateway, "budgets").await;
            let all = async || if path.exists() { stored(&path).await } else { 0.0 };
            eventually(what, all, |usd| (usd - 0.5).abs() < 1e-9).await;
        }
        spend(&gateway, 4, 100).await;
        has_spent(&gateway, 0.9).await;
        if what == "spoilt" {
            sleep(Duration::from_millis(300)).await;
            std::fs::remove_file(&path).unwrap();
            let _gone = std::fs::remove_file(beside("wal"));
            let _gone = std::fs::remove_file(beside("shm"));
            was_replaced(&gateway, "budgets").await;
        }
        if what != "cut" {
            is_up(&gateway, "budgets", 1.0).await;
            ends_with(gateway, &path, 0.9).await;
            let again = start(&config).await;
            is_about(used(&again).await, 0.09);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_are_kept_until_the_folder_of_their_file_is_there() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("later/budgets.db");
    let gateway = start(&budgets(&simulator, &path)).await;
    is_up(&gateway, "budgets", 0.0).await;
    spend(&gateway, 3, 100).await;
    std::fs::create_dir(folder.path().join("later")).unwrap();
    is_up(&gateway, "budgets", 1.0).await;
    has_spent(&gateway, 0.3).await;
    said_once(&gateway, "the budget store");
    // It goes away and comes back.
    std::fs::rename(folder.path().join("later"), folder.path().join("away")).unwrap();
    spend(&gateway, 2, 100).await;
    is_up(&gateway, "budgets", 0.0).await;
    std::fs::rename(folder.path().join("away"), folder.path().join("later")).unwrap();
    is_up(&gateway, "budgets", 1.0).await;
    ends_with(gateway, &path, 0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_outlive_a_redis_that_is_full() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = with_budget(&simulator, 10.0).set("state.redis_url", redis.reference());
    let gateway = start(&config).await;
    spend(&gateway, 5, 100).await;
    has_spent(&gateway, 0.5).await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    spend(&gateway, 5, 100).await;
    is_up(&gateway, "budgets", 0.0).await;
    // It answers what it is asked, and takes nothing.
    sleep(Duration::from_millis(1500)).await;
    is_up(&gateway, "budgets", 0.0).await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    is_up(&gateway, "budgets", 1.0).await;
    said_once(&gateway, "the budget store");
    // What it has lost it is told again.
    redis.ask(&["FLUSHALL"]).await;
    spend(&gateway, 1, 100).await;
    has_spent(&gateway, 1.1).await;
    let keys = async || redis.ask(&["KEYS", "*:budget:daily:*"]).await;
    let key = eventually("it has it", keys, |keys| !keys.trim().is_empty()).await;
    let sums = async || redis.ask(&["HVALS", key.trim()]).await;
    eventually("all of it", sums, |sums| sums.trim() == "1100000000").await;
}

fn queue(simulator: &Simulator, path: &Path) -> Config {
    with_budget(simulator, 10.0)
        .set("jobs.backend", "sqlite")
        .set("jobs.path", path.to_str().unwrap())
        .set("jobs.timeout", "2s")
        .set("jobs.poll_interval", "200ms")
        .set("jobs.heartbeat", "1s")
        .set("jobs.analysis_per_minute", 100_000)
}

/// Asks for an analysis: accepted, with a task's id, or answered at once.
pub(crate) async fn analyze(gateway: &Gateway) -> Value {
    let content = "We closed the case. ".repeat(400);
    let body = json!({ "session_id": "s", "section_name": "n", "content": content });
    let url = format!("{}/analyze_section", gateway.url());
    let bearer = format!("Bearer {KEY}");
    let answer = http::post(&url, &[("authorization", &bearer)], body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn task(gateway: &Gateway, accepted: &Value) -> http::Response {
    let id = accepted["task_id"].as_str().unwrap();
    let bearer = format!("Bearer {KEY}");
    let url = format!("{}/task_status/{id}", gateway.url());
    http::request("GET", &url, &[("authorization", &bearer)], "").await
}

/// A job is accepted and comes to its end.
pub(crate) async fn is_done(gateway: &Gateway) {
    let accepted = async || analyze(gateway).await;
    let accepted = eventually("a job is taken", accepted, |it| it.get("task_id").is_some()).await;
    has_ended(gateway, &accepted).await;
}

pub(crate) async fn has_ended(gateway: &Gateway, accepted: &Value) {
    let look = async || task(gateway, accepted).await.text();
    eventually("it is done", look, |text| text.contains("SUCCESS")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_outlive_a_full_disk() {
    let Some(disk) = SmallDisk::new(SMALL) else { return };
    let simulator = Simulator::start().await;
    simulator.says(PRIMARY, NO_FINDING);
    let config = queue(&simulator, &disk.path("jobs.db"));
    let gateway = disk.start(&config, &[("TEAM_A_KEY", KEY)]).await;
    is_up(&gateway, "job_queue", 1.0).await;
    let before = analyze(&gateway).await;
    has_ended(&gateway, &before).await;
    for _ in 0..2 {
        disk.fill(&gateway);
        // What is there of the file is used up first, and what ends makes room in it again.
        let full = async || {
            let answer = analyze(&gateway).await;
            let status = task(&gateway, &before).await.status;
            (answer.get("task_id").is_none(), status)
        };
        eventually("no more is taken", full, |full| *full == (true, 503)).await;
        disk.clear(&gateway);
        is_up(&gateway, "job_queue", 1.0).await;
        has_ended(&gateway, &before).await;
        is_done(&gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_job_file_delays_no_request_beyond_the_timeout() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("jobs.db");
    simulator.says(PRIMARY, NO_FINDING);
    let gateway = start(&queue(&simulator, &path)).await;
    is_up(&gateway, "job_queue", 1.0).await;
    let before = analyze(&gateway).await;
    has_ended(&gateway, &before).await;
    let mut other = lock(&path).await;
    let mut longest = Duration::ZERO;
    for _ in 0..6 {
        let began = Instant::now();
        let answer = analyze(&gateway).await;
        longest = longest.max(began.elapsed());
        assert_eq!(answer.get("task_id"), None, "{answer}");
    }
    // The timeout, and what a busy machine adds to an answer; it was five to ten seconds.
    assert!(longest < Duration::from_millis(4500), "{longest:?}");
    is_up(&gateway, "job_queue", 0.0).await;
    // It can be read while it is locked, which does not make it one that can be used.
    sleep(Duration::from_secs(1)).await;
    is_up(&gateway, "job_queue", 0.0).await;
    other.execute("ROLLBACK").await.unwrap();
    is_up(&gateway, "job_queue", 1.0).await;
    said_once(&gateway, "the job queue");
    is_done(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_go_on_in_a_new_file_when_theirs_is_deleted_or_replaced() {
    for what in ["deleted", "replaced"] {
        let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
        let path = folder.path().join("jobs.db");
        simulator.says(PRIMARY, NO_FINDING);
        let gateway = start(&queue(&simulator, &path)).await;
        is_up(&gateway, "job_queue", 1.0).await;
        is_done(&gateway).await;
        if what == "deleted" {
            std::fs::remove_file(&path).unwrap();
        } else {
            std::fs::write(folder.path().join("new"), b"").unwrap();
            std::fs::rename(folder.path().join("new"), &path).unwrap();
        }
        was_replaced(&gateway, "job_queue").await;
        is_up(&gateway, "job_queue", 1.0).await;
        is_done(&gateway).await;
        // What is accepted now is in the file that is there.
        let options = SqliteConnectOptions::new().filename(&path);
        let mut file = SqliteConnection::connect_with(&options).await.unwrap();
        let count = "SELECT count(*) FROM sluice_jobs WHERE state = 'done'";
        let count: i64 = sqlx::query_scalar(count).fetch_one(&mut file).await.unwrap();
        assert!(count >= 1, "{what}");
    }
}

/// The library that shows a process another clock, where it is installed.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let found = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        println!("skipped: libfaketime is not installed");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_follow_the_wall_clock_when_it_jumps_and_returns() {
    let Some(library) = faketime() else { return };
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    let (path, clock) = (folder.path().join("budgets.db"), folder.path().join("clock"));
    let set = |offset: &str| std::fs::write(&clock, offset).unwrap();
    set("+0");
    let variables = [
        ("TEAM_A_KEY", KEY),
        ("UPSTREAM_KEY", DEFAULT_BEARER_TOKEN),
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    // A key, since a signature of another day is not taken.
    let config = budgets(&simulator, &path).without_credentials();
    let config = config.set("upstream.bearer_token", "env:UPSTREAM_KEY");
    let gateway = Gateway::start_with(&config, &variables).await;
    spend(&gateway, 5, 100).await;
    has_spent(&gateway, 0.5).await;
    for (offset, tokens) in [("+2d", 100), ("-2d", 200), ("-30y", 300), ("+80y", 400)] {
        set(offset);
        has_spent(&gateway, 0.0).await;
        spend(&gateway, 1, tokens).await;
        has_spent(&gateway, tokens as f64 / 1000.0).await;
    }
    // Right again: this day, with what was spent in it.
    set("+0");
    has_spent(&gateway, 0.5).await;
    spend(&gateway, 1, 100).await;
    has_spent(&gateway, 0.6).await;
    is_up(&gateway, "budgets", 1.0).await;
    // The file has each day.
    ends_with(gateway, &path, 1.6).await;
}
