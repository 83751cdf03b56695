//! An upstream whose script returns the bytes of the response to each request.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::upstream::read_request;

/// The bytes of one response.
type Script = dyn Fn(&str, &str, &str) -> String + Send + Sync;

/// An upstream with scripted responses.
pub struct Scripted {
    address: SocketAddr,
    script: Arc<Mutex<Arc<Script>>>,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Scripted {
    /// Starts an upstream. `script` gets a request's path and body.
    pub async fn start(script: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> Scripted {
        Scripted::start_with_heads(move |_, path, body| script(path, body)).await
    }

    /// The same with a script that gets the head of a request, too.
    pub async fn start_with_heads(
        script: impl Fn(&str, &str, &str) -> String + Send + Sync + 'static,
    ) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Mutex<Arc<Script>>> = Arc::new(Mutex::new(Arc::new(script)));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (by, into) = (Arc::clone(&script), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (by, into) = (Arc::clone(&by), Arc::clone(&into));
                tokio::spawn(async move {
                    while let Some((head, body)) = read_request(&mut stream).await {
                        let path = head.split(' ').nth(1).unwrap().replace("%3A", ":");
                        into.lock().push(path.clone());
                        let script = Arc::clone(&by.lock());
                        let answer = script(&head, &path, &body);
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Scripted { address, script, asked, serving }
    }

    /// Replaces the script.
    pub fn turns(&self, script: impl Fn(&str, &str) -> String + Send + Sync + 'static) {
        *self.script.lock() = Arc::new(move |_, path, body| script(path, body));
    }

    /// Its endpoint URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of requests whose path contains all of these parts.
    pub fn asked(&self, parts: &[&str]) -> usize {
        let asked = self.asked.lock();
        asked.iter().filter(|path| parts.iter().all(|part| path.contains(part))).count()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An answer with this status, further header lines and body.
pub fn say(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// An error in Bedrock's form.
pub fn error(status: u16, name: &str, message: &str) -> String {
    let headers = format!("content-type: application/json\r\nx-amzn-errortype: {name}\r\n");
    say(status, &headers, &serde_json::json!({ "message": message }).to_string())
}

/// A throttle.
pub fn throttle() -> String {
    error(429, "ThrottlingException", "Too many requests, please wait before trying again.")
}

/// An answer to Converse, to InvokeModel or to CountTokens.
pub fn answer() -> String {
    let body = serde_json::json!({
        "output": { "message": { "role": "assistant", "content": [{ "text": "ok" }] } },
        "stopReason": "end_turn",
        "content": [{ "type": "text", "text": "ok" }],
        "usage": {
            "inputTokens": 3, "outputTokens": 2, "totalTokens": 5, "input_tokens": 3, "output_tokens": 2
        },
        "inputTokens": 3
    });
    say(200, "content-type: application/json\r\n", &body.to_string())
}
