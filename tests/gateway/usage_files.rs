//! Files of the records of use that somebody else moves, deletes or truncates while they are written.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::disk::SmallDisk;
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, Simulator};

async fn start(simulator: &Simulator) -> (Gateway, PathBuf) {
    let gateway = Gateway::start_from(|folder| {
        fs::create_dir(folder.join("records")).unwrap();
        let config = Config::models(simulator, 1)
            .set("usage_log.enabled", true)
            .set("usage_log.path", "records/usage.jsonl");
        fs::write(folder.join("config.toml"), config.to_toml()).unwrap();
        folder.join("config.toml")
    })
    .await;
    let path = gateway.folder().join("records/usage.jsonl");
    (gateway, path)
}

fn records(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    records.len()
}

/// Has a record written, and waits until the file has so many.
async fn writes(gateway: &Gateway, path: &Path, count: usize) {
    assert_eq!(Ask::new(gateway, "hello").send().await.status, 200);
    has(path, count).await;
}

async fn has(path: &Path, count: usize) {
    let seen = async || records(path);
    eventually(&format!("{count} records"), seen, |seen| *seen == count).await;
}

async fn reopened(gateway: &Gateway, reason: &str) -> f64 {
    let labels = [("reason", reason)];
    gateway.metrics().await.sum("sluice_usage_log_reopened_total", &labels)
}

async fn lost(gateway: &Gateway) -> f64 {
    gateway.metrics().await.sum("sluice_usage_log_dropped_total", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_to_the_file_by_others_lose_no_record() {
    let simulator = Simulator::start().await;
    let (gateway, path) = start(&simulator).await;
    writes(&gateway, &path, 1).await;

    // As logrotate does: moved away, with or without a new one in its place.
    fs::rename(&path, path.with_extension("moved")).unwrap();
    writes(&gateway, &path, 1).await;
    fs::rename(&path, path.with_extension("moved-again")).unwrap();
    fs::write(&path, "").unwrap();
    writes(&gateway, &path, 1).await;
    assert_eq!(records(&path.with_extension("moved")), 1);
    assert_eq!(records(&path.with_extension("moved-again")), 1);

    // As logrotate does by copytruncate.
    writes(&gateway, &path, 2).await;
    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    writes(&gateway, &path, 1).await;
    assert!(!fs::read(&path).unwrap().contains(&0), "a hole before the record");

    fs::remove_file(&path).unwrap();
    writes(&gateway, &path, 1).await;

    for reason in ["replaced", "truncated"] {
        assert!(reopened(&gateway, reason).await >= 1.0, "{reason}");
    }
    assert!(reopened(&gateway, "deleted").await >= 1.0);
    assert_eq!(lost(&gateway).await, 0.0);
    let said = "another process changed the usage log file";
    assert!(gateway.log_lines(said).await.len() >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_file_is_noticed_without_traffic() {
    let simulator = Simulator::start().await;
    let (gateway, path) = start(&simulator).await;
    writes(&gateway, &path, 1).await;
    fs::remove_file(&path).unwrap();
    let there = async || path.exists();
    eventually("it is there again", there, |there| *there).await;
    assert_eq!(reopened(&gateway, "deleted").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_folder_lost_records_are_counted_until_it_returns() {
    let simulator = Simulator::start().await;
    let (gateway, path) = start(&simulator).await;
    writes(&gateway, &path, 1).await;
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    for _ in 0..5 {
        assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    }
    let counted = async || lost(&gateway).await;
    eventually("they are counted", counted, |count| *count == 5.0).await;
    gateway.log_lines("cannot write the usage log").await;
    gateway.is_healthy().await;

    fs::create_dir(path.parent().unwrap()).unwrap();
    let there = async || path.exists();
    eventually("it is there again", there, |there| *there).await;
    writes(&gateway, &path, 1).await;
    assert_eq!(lost(&gateway).await, 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_whole_records_and_is_not_taken_for_another_process() {
    let Some(disk) = SmallDisk::new(1 << 20) else { return };
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("usage_log.enabled", true)
        .set("usage_log.path", disk.path("usage.jsonl").to_str().unwrap());
    let gateway = disk.start(&config, &[]).await;
    let path = disk.seen_by(&gateway, "usage.jsonl");
    let asks = async |count: usize| {
        for _ in 0..count {
            assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
        }
    };
    asks(1).await;
    has(&path, 1).await;
    // The rest of the page that the file has begun takes a few records, and the beginning of another.
    disk.fill(&gateway);
    asks(20).await;
    let all = async || records(&path) as f64 + lost(&gateway).await;
    eventually("all are written or counted as lost", all, |all| *all == 21.0).await;
    assert!(lost(&gateway).await > 0.0);
    disk.clear(&gateway);
    asks(3).await;
    eventually("all are written or counted as lost", all, |all| *all == 24.0).await;
    assert_eq!(reopened(&gateway, "truncated").await, 0.0);
}
