//! The SDKs straight at the simulator: what they show here is what the gateway must not change.

use crate::support::clients::Job;
use crate::support::{Answer, Call, Client, PRIMARY, Simulator};

const CLIENTS: [Client; 4] =
    [Client::Boto3, Client::JavaScript, Client::JavaScriptHttp1, Client::Rust];

async fn run(client: Client, simulator: &Simulator, calls: Vec<Call>) -> Vec<Answer> {
    let mut job = Job::at_once(simulator.url(), calls);
    job.access_key_id = simulator.access_key_id().to_owned();
    job.secret_access_key = Simulator::SECRET.to_owned();
    client.run(job).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sdk_reads_every_answer() {
    let simulator = Simulator::start().await;
    for client in CLIENTS {
        let answers = run(client, &simulator, Call::routed(PRIMARY, "hello").to_vec()).await;
        for answer in &answers[..4] {
            assert_eq!(answer.text(), format!("[{PRIMARY}] hello"), "{client:?}");
        }
        assert!(answers[4].json()["inputTokens"].as_u64().unwrap() > 0, "{client:?}");
    }
    for call in Call::routed(PRIMARY, "hello").into_iter().filter(|call| !call.is_stream()) {
        run(Client::Cli, &simulator, vec![call]).await[0].json();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sdk_raises_the_right_exception() {
    let simulator = Simulator::start().await;
    simulator.always_throttles(PRIMARY);
    for client in CLIENTS.into_iter().chain([Client::Cli]) {
        let answers = run(client, &simulator, vec![Call::converse(PRIMARY, "hello")]).await;
        let raised = answers[0].raised();
        assert!(raised.is("ThrottlingException"), "{client:?} {raised:?}");
        assert_eq!(raised.message, "Too many requests, please wait before trying again.");
    }
    // One request each: the SDKs' own retries are off.
    assert_eq!(simulator.log().len(), CLIENTS.len() + 1);
}
