//! `sluice tail` over what a gateway wrote.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use sluice::simulator::{Fault, FaultRule};

use crate::support::ask::Ask;
use crate::support::gateway::{Lines, run_sluice, sluice};
use crate::support::patience::eventually;
use crate::support::{Gateway, PRIMARY, SECOND, Simulator};

/// The access log of one request that the second model answered and one that failed, as written.
async fn written() -> String {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    simulator.add(FaultRule::next(1, Fault::Throttle).on(PRIMARY));
    assert_eq!(Ask::new(&gateway, "hi").send().await.status, 200);
    simulator.add(FaultRule::next(1, Fault::Validation).on(SECOND));
    assert_eq!(Ask::new(&gateway, "hi").of(SECOND).send().await.status, 400);
    let log = gateway.access_log(2).await;
    log.iter().map(|line: &Value| format!("{line}\n")).collect()
}

async fn tail(file: &Path, more: &[&str]) -> Vec<String> {
    let arguments = [&["tail", file.to_str().unwrap()], more].concat();
    let (status, shown, said) = run_sluice(&arguments).await;
    assert!(status.success(), "{said}");
    shown.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_a_log_line_with_its_outcome() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("access.log");
    std::fs::write(&file, written().await).unwrap();
    let lines = tail(&file, &[]).await;
    let [fell_back, failed] = &lines[..] else { panic!("{lines:?}") };
    let way = format!("{PRIMARY} -> {SECOND}");
    assert!(fell_back.contains("200 success") && fell_back.contains(&way), "{fell_back}");
    assert!(fell_back.contains("sonnet-35 throttled, sonnet-35-v2 success"), "{fell_back}");
    assert!(failed.contains("400 client_error") && failed.contains("Validation"), "{failed}");
    // Into a file or a pipe, without colours.
    assert!(!lines.concat().contains('\u{1b}'));

    assert_eq!(tail(&file, &["--failed"]).await, [failed.as_str()]);
    assert_eq!(tail(&file, &["--model", PRIMARY]).await, [fell_back.as_str()]);
    assert_eq!(tail(&file, &["--outcome", "no*"]).await, [""; 0]);
    let (status, _, said) = run_sluice(&["tail", "/nowhere/access.log"]).await;
    assert!(!status.success() && said.contains("/nowhere/access.log"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_goes_on_in_the_file_that_takes_its_place() {
    let line = written().await.lines().next().unwrap().to_owned();
    let of = |client: &str| {
        let mut record: Value = serde_json::from_str(&line).unwrap();
        record["client"] = client.into();
        format!("{record}\n")
    };
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("access.log");
    let mut log = std::fs::File::create(&file).unwrap();
    log.write_all(of("first").as_bytes()).unwrap();
    let mut tail = sluice()
        .args(["tail", "--follow", file.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = Lines::read(tail.stdout.take().unwrap());
    let shows = async |client: &str| {
        let seen = async || lines.all();
        let has = |lines: &Vec<String>| lines.iter().any(|line| line.contains(client));
        eventually(client, seen, has).await
    };
    shows("first").await;
    let second = of("second");
    let (begin, end) = second.as_bytes().split_at(40);
    log.write_all(begin).unwrap();
    log.write_all(end).unwrap();
    shows("second").await;
    std::fs::rename(&file, files.path().join("access.log.1")).unwrap();
    std::fs::write(&file, of("third")).unwrap();
    let all = shows("third").await;
    assert_eq!(all.len(), 3, "{all:?}");
}
