//! The store on a SQLite file. `tests/gateway/kept_responses` has Redis.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{ResponseStoreBackend, Secret};
use crate::limits::{Caller, CallerKind};

const FIRST: &str = "resp_00000000000000000000000000000001";
const SECOND: &str = "resp_00000000000000000000000000000002";

fn owner(name: &str) -> Owner {
    let kind = CallerKind::Removed(Arc::from(name));
    Owner::of(&Caller { kind, access_key_id: None })
}

fn config(dir: &tempfile::TempDir) -> config::ResponseStore {
    config::ResponseStore {
        backend: ResponseStoreBackend::Sqlite { path: dir.path().join("responses.db") },
        keys: vec![Secret::from("a key of thirty-two bytes or more")],
        // Other tests may keep the disk busy.
        timeout: Duration::from_secs(30),
        ..config::ResponseStore::default()
    }
}

fn store(config: &config::ResponseStore) -> ResponseStore {
    ResponseStore::new(config, &Arc::new(Metrics::new())).unwrap().unwrap()
}

fn results(store: &ResponseStore, result: &str) -> u64 {
    store.shared.metrics.kept_responses.with_label_values(&[result]).get()
}

#[test]
fn ids_of_kept_responses_have_a_form_of_their_own() {
    assert!(is_id(FIRST));
    let longer = format!("{FIRST}0");
    for other in ["", "resp_", "resp_1", &longer, &FIRST.replace("resp", "msg"), "resp_é"] {
        assert!(!is_id(other), "{other}");
    }
    assert!(!is_id("resp_0000000000000000000000000000000A"));
}

#[tokio::test]
async fn a_record_is_its_owners_alone_until_it_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&config(&dir));
    let (a, b) = (owner("a"), owner("b"));
    store.keep(a, FIRST, "the record").await.unwrap();
    assert_eq!(store.get(a, FIRST).await.unwrap().unwrap(), b"the record");
    assert_eq!(store.get(b, FIRST).await.unwrap(), None);
    assert_eq!(store.get(a, SECOND).await.unwrap(), None);
    assert_eq!(store.get(a, "resp_1").await.unwrap(), None);
    assert!(!store.delete(b, FIRST).await.unwrap());
    assert!(store.delete(a, FIRST).await.unwrap());
    assert!(!store.delete(a, FIRST).await.unwrap());
    assert_eq!(store.get(a, FIRST).await.unwrap(), None);
}

#[tokio::test]
async fn bounds_count_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let config = config::ResponseStore {
        max_response_bytes: 100,
        max_bytes_per_client: 250,
        max_bytes: 400,
        ..config(&dir)
    };
    let store = store(&config);
    let (a, b) = (owner("a"), owner("b"));
    let ids: Vec<String> = (0..9).map(|number| format!("resp_{number:032x}")).collect();
    let record = "x".repeat(90);
    for id in &ids[..2] {
        store.keep(a, id, &record).await.unwrap();
    }
    assert!(matches!(store.keep(a, &ids[2], &record).await, Err(NotKept::ClientFull)));
    store.keep(b, &ids[3], &record).await.unwrap();
    assert!(matches!(store.keep(b, &ids[4], &record).await, Err(NotKept::StoreFull)));
    assert!(matches!(store.keep(b, &ids[4], &"x".repeat(101)).await, Err(NotKept::TooLong)));
    // What is deleted makes room.
    assert!(store.delete(a, &ids[0]).await.unwrap());
    store.keep(b, &ids[4], &record).await.unwrap();
    let counted =
        ["stored", "client_full", "store_full", "too_long"].map(|result| results(&store, result));
    assert_eq!(counted, [4, 1, 1, 1]);
    let bytes = store.shared.store.tidy(Duration::from_secs(3600)).await.unwrap();
    // A sealed record is longer by its version, its nonce and its tag.
    assert_eq!(bytes, 3 * (90 + 1 + 12 + 16));
}

#[tokio::test]
async fn what_has_expired_is_gone_and_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let short = config::ResponseStore { ttl: Duration::from_millis(1), ..config(&dir) };
    let store = store(&short);
    let a = owner("a");
    store.keep(a, FIRST, "gone soon").await.unwrap();
    let gone = async || store.get(a, FIRST).await.unwrap().is_none();
    while !gone().await {
        tokio::task::yield_now().await;
    }
    assert!(!store.delete(a, FIRST).await.unwrap());
    let longer = store.with_config(&config(&dir));
    longer.keep(a, SECOND, "stays").await.unwrap();
    assert_eq!(longer.shared.store.tidy(longer.shared.ttl()).await.unwrap(), 5 + 29);
    // A shorter time counts for what is there, too.
    assert_eq!(longer.shared.store.tidy(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(longer.get(a, SECOND).await.unwrap(), None);
}

#[tokio::test]
async fn a_store_that_fails_is_no_unknown_id() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no-folder").join("responses.db");
    let missing =
        config::ResponseStore { backend: ResponseStoreBackend::Sqlite { path }, ..config(&dir) };
    let store = store(&missing);
    let a = owner("a");
    assert!(matches!(store.keep(a, FIRST, "x").await, Err(NotKept::Unavailable(_))));
    assert!(store.get(a, FIRST).await.is_err());
    assert!(store.delete(a, FIRST).await.is_err());
    assert_eq!(results(&store, "unavailable"), 1);
}

#[tokio::test]
async fn a_record_without_its_key_is_no_unknown_id() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&config(&dir));
    let a = owner("a");
    store.keep(a, FIRST, "x").await.unwrap();
    let other = Secret::from("another key of 32 bytes or longer");
    let rotated = config::ResponseStore { keys: vec![other], ..config(&dir) };
    assert!(store.with_config(&rotated).get(a, FIRST).await.is_err());
    assert!(store.get(a, FIRST).await.unwrap().is_some());
}
