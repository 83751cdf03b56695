//! One request by each API that runs a model, as clients of Bedrock, OpenAI and Anthropic send it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::super::ask::{BoxError, Stream, ask};
use crate::bedrock::Operation;
use crate::bedrock::path::model_path;

/// The model that the requests of OpenAI's APIs name.
pub(super) const GPT: &str = "us.openai.gpt-5.6-sol";

/// What the shipped config lacks for them.
pub(super) fn config() -> String {
    format!(
        "\n[targets.gpt]\nmodel = \"{GPT}\"\n\n\
         [[routes]]\nmodels = [\"{GPT}\"]\ntargets = [\"gpt\"]\n"
    )
}

/// Sends them to the gateway, one after the other. `claude` is a model, and its id as paths have it. An
/// answer is read to its end; the access log shows how it was.
pub(super) async fn show(gateway: SocketAddr, claude: (&str, &str)) -> Result<(), BoxError> {
    for (path, body) in requests(claude).ok_or("Converse has no path")? {
        let request = Request::post(path)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("anthropic-version", "2023-06-01")
            .header(HOST, gateway.to_string())
            .body(Full::new(Bytes::from(body.to_string())))?;
        let response = ask(Stream::Left(TcpStream::connect(gateway).await?), request).await?;
        response.into_body().collect().await?;
    }
    Ok(())
}

/// Their paths and bodies.
fn requests((claude, encoded): (&str, &str)) -> Option<[(String, Value); 4]> {
    let said = "Hello";
    let messages = json!([{ "role": "user", "content": said }]);
    Some([
        (
            model_path(Operation::Converse, encoded)?,
            json!({ "messages": [{ "role": "user", "content": [{ "text": said }] }] }),
        ),
        (
            "/v1/chat/completions".to_owned(),
            json!({ "model": GPT, "messages": messages, "stream": true }),
        ),
        ("/v1/responses".to_owned(), json!({ "model": GPT, "input": said })),
        (
            "/v1/messages".to_owned(),
            json!({ "model": claude, "messages": messages, "max_tokens": 100 }),
        ),
    ])
}
