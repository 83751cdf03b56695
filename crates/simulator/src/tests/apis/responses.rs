//! Responses.

use super::*;

#[tokio::test]
async fn a_response_is_stored_and_gone_on_from() {
    let simulator = start().await;
    let answer = simulator.json(RESPONSES, &response(GPT, "hello")).await;
    assert_eq!((&answer["object"], &answer["status"]), (&json!("response"), &json!("completed")));
    let output = answer["output"].as_array().unwrap();
    assert_eq!(output[0]["type"], "reasoning");
    assert_eq!(output[1]["content"][0]["text"], format!("[{GPT}] hello"));
    let id = answer["id"].as_str().unwrap();
    let path = format!("{RESPONSES}/{id}");
    let got = simulator.call("GET", &path, &[], &Value::Null).await;
    assert_eq!(got.json(), answer);
    let further = with(&response(GPT, "more"), json!({"previous_response_id": id}));
    let further = simulator.json(RESPONSES, &further).await;
    assert!(further["usage"]["input_tokens"].as_u64() > answer["usage"]["input_tokens"].as_u64());
    let deleted = simulator.call("DELETE", &path, &[], &Value::Null).await;
    assert_eq!(deleted.json()["deleted"], true);
    let gone = simulator.call("GET", &path, &[], &Value::Null).await;
    assert_eq!(error_of(&gone).0, 404);
}
