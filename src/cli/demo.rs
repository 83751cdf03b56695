//! `sluice demo`: the gateway in front of a simulated Bedrock, one request by each API, and a burst that
//! shows what it does: fallback to other models, and a queue for the requested one.

mod apis;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::ask::{BoxError, Stream, ask};
use super::load::today;
use super::progress::Progress;
use super::serve::{self, Started};
use super::{on_signals, runtime};
use crate::bedrock::Operation;
use crate::bedrock::path::model_path;
use crate::bedrock::sigv4::PayloadHash;
use crate::config::{Config, Env, SHIPPED};
use crate::server::Workers;
use crate::simulator::{
    Controls, DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY, Latency, ModelSettings, Settings,
    Simulator,
};
use crate::system::descriptors;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::process_log;
use crate::upstream::credentials::{CredentialsProvider, Sts};
use crate::upstream::sign;

/// Tokens per minute of each model of the shipped config, in its order. Few requests fit at once,
/// since each takes the maximum of its output until it is answered.
const QUOTAS: [u64; 4] = [100_000, 100_000, 100_000, 600_000];

/// The maximum of output of each request, and what a request without one is counted with.
const MAX_TOKENS: u32 = 10_000;

/// How long requests wait for their model in the last burst.
const WAIT: &str = "10s";

/// Arguments of `sluice demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address of the gateway; port 0 picks a free port.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of its admin port, for health, metrics and the status page.
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin_listen: SocketAddr,
    /// Number of requests to send at once.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=500))]
    burst: u16,
    /// Exit after the bursts instead of serving.
    #[arg(long)]
    once: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    runtime(None)?.block_on(async {
        let simulator = Simulator::bind(Settings {
            latency: Latency { head_ms: 150, token_ms: 5, jitter: 0.3 },
            ..Settings::default()
        })
        .await
        .map_err(|error| format!("can't start the simulator: {error}"))?;
        let config = config(&arguments, &simulator)?;
        let _log = process_log::init(&config.log);
        let demo = Demo::new(&config, &simulator)?;
        let (stop, force_stop) = (CancellationToken::new(), CancellationToken::new());
        on_signals(stop.clone(), force_stop.clone())?;
        let simulator_stop = CancellationToken::new();
        let simulated = tokio::spawn(simulator.serve(simulator_stop.clone().cancelled_owned()));

        descriptors::raise_limit();
        let Started { server, budgets, .. } = serve::start(config).await?;
        let address = server.address().map_err(|error| error.to_string())?;
        let admin = server.admin_address().map_err(|error| error.to_string())?;
        // Output goes through the access log's writer: it keeps that order, and does not block.
        let access_log = server.shared_gateway().load().access_log.clone();
        let served = tokio::spawn(server.serve(Workers::none(), stop.clone(), force_stop));
        demo.show(address, usize::from(arguments.burst), &access_log).await;
        if arguments.once {
            stop.cancel();
        } else {
            demo.invite(address, admin, &access_log);
        }
        let clean = served.await.map_err(|error| error.to_string())?;
        budgets.stop().await;
        simulator_stop.cancel();
        // The simulator has nothing left to lose.
        let _ = simulated.await;
        access_log.flush();
        if clean { Ok(()) } else { Err("stopped with requests still open".to_owned()) }
    })
}

/// The shipped config and a model of OpenAI, pointed at the simulator.
fn config(arguments: &Arguments, simulator: &Simulator) -> Result<Config, String> {
    let environment: Env = [
        ("SLUICE__SERVER__LISTEN", arguments.listen.to_string()),
        ("SLUICE__SERVER__ADMIN_LISTEN", arguments.admin_listen.to_string()),
        ("SLUICE__UPSTREAM__REGION", "us-east-1".to_owned()),
        ("SLUICE__UPSTREAM__ENDPOINT_URL", simulator.url()),
        ("SLUICE__UPSTREAM__ACCESS_KEY_ID", DEFAULT_ACCESS_KEY_ID.to_owned()),
        ("SLUICE__UPSTREAM__SECRET_ACCESS_KEY", "env:SIMULATOR_SECRET".to_owned()),
        ("SIMULATOR_SECRET", DEFAULT_SECRET_ACCESS_KEY.to_owned()),
        ("SLUICE__LOG__FORMAT", "text".to_owned()),
        ("SLUICE__LOG__LEVEL", "warn".to_owned()),
    ]
    .into_iter()
    .collect();
    let text = format!("{SHIPPED}{}", apis::config());
    let loaded =
        Config::from_toml(&text, "config.toml", &environment).map_err(|error| error.to_string())?;
    let mut config = loaded.on(today()).config;
    for (target, quota) in config.targets.iter_mut().zip(QUOTAS) {
        target.tpm = Some(quota);
        target.assumed_max_output_tokens = Some(MAX_TOKENS);
    }
    Ok(config)
}

struct Demo {
    credentials: CredentialsProvider,
    region: String,
    bedrock: SocketAddr,
    models: Vec<(String, String)>,
    controls: Controls,
}

/// How many requests each model answered, how many of them waited for that, and how many were not
/// answered.
#[derive(Debug, Default)]
struct Tally {
    answered: BTreeMap<String, usize>,
    waited: usize,
    throttled: usize,
    failed: usize,
}

/// How a burst is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Straight to Bedrock, signed.
    Straight,
    /// Through the gateway, with its fallback.
    Fallback,
    /// Through the gateway, and with a wait for the requested model.
    Wait,
}

/// An answer.
struct Answered {
    status: StatusCode,
    model: String,
    waited: bool,
}

impl Demo {
    fn new(config: &Config, simulator: &Simulator) -> Result<Demo, String> {
        let models = config.targets.iter().map(|target| {
            let id =
                crate::bedrock::ModelId::new(&target.model).map_err(|error| error.to_string())?;
            Ok((target.model.clone(), id.encode()))
        });
        Ok(Demo {
            credentials: CredentialsProvider::start(
                &config.upstream.credentials,
                Sts { region: &config.upstream.region, use_fips: false },
            ),
            region: config.upstream.region.clone(),
            bedrock: simulator.addr(),
            models: models.collect::<Result<_, String>>()?,
            controls: simulator.controls(),
        })
    }

    /// Sends the burst straight to the simulated Bedrock, through the gateway, and through the gateway
    /// with a wait for the requested model.
    async fn show(&self, gateway: SocketAddr, burst: usize, access_log: &AccessLog) {
        let Some((requested, encoded)) = self.models.first() else { return };
        let print = |text: &str| access_log.write_message(text);
        print(&format!(
            "Sluice at http://{gateway}, in front of a simulated Bedrock at http://{}.",
            self.bedrock
        ));
        print("The quotas, in tokens a minute:");
        for ((model, _), quota) in self.models.iter().zip(QUOTAS) {
            print(&format!("  {quota:>6}  {model}"));
        }
        print("\nOne request by each API, as the access log of Sluice shows them:");
        if let Err(error) = apis::show(gateway, (requested, encoded)).await {
            print(&format!("  failed: {error}"));
        }
        self.refill();
        print(&format!("\n{burst} requests at once for {requested}, straight to Bedrock:"));
        let progress = Progress::start();
        let straight = self.burst(self.bedrock, burst, Way::Straight, |done| {
            progress.show(&format!("{done} of {burst} answered"));
        });
        let straight = straight.await;
        progress.clear();
        straight.print(access_log);
        self.refill();
        print(&format!("\nThe same {burst} through Sluice, as its access log shows them:"));
        let fallback = self.burst(gateway, burst, Way::Fallback, |_| {}).await;
        self.refill();
        print(&format!("\nThe same {burst}, which wait up to {WAIT} for the requested model:"));
        let wait = self.burst(gateway, burst, Way::Wait, |_| {}).await;
        print(&format!("\nIn sum, of {burst} requests:"));
        print("                    answered   by its model   by another   after a wait   lost");
        for (name, tally) in
            [("without Sluice", straight), ("with fallback", fallback), ("with waiting", wait)]
        {
            print(&tally.row(name, requested));
        }
        // Requests of visitors may name no maximum, and would take more than the whole quota.
        self.controls.quotas.clear_limits();
    }

    fn refill(&self) {
        for ((model, _), quota) in self.models.iter().zip(QUOTAS) {
            let settings = ModelSettings { tpm: Some(quota), ..ModelSettings::default() };
            self.controls.quotas.set(model, settings);
        }
    }

    /// Sends so many at once and passes the number of answers to `tell`.
    async fn burst(&self, to: SocketAddr, count: usize, way: Way, tell: impl Fn(usize)) -> Tally {
        let mut tally = Tally::default();
        let asks = (0..count).map(|number| self.ask(to, number, way));
        let mut answers = asks.collect::<FuturesUnordered<_>>().enumerate();
        while let Some((before, answer)) = answers.next().await {
            tell(before + 1);
            match answer {
                Ok(Answered { status: StatusCode::OK, model, waited }) => {
                    *tally.answered.entry(model).or_default() += 1;
                    tally.waited += usize::from(waited);
                }
                Ok(Answered { status: StatusCode::TOO_MANY_REQUESTS, .. }) => tally.throttled += 1,
                Ok(_) | Err(_) => tally.failed += 1,
            }
        }
        tally
    }

    /// Calls the first model.
    async fn ask(&self, to: SocketAddr, number: usize, way: Way) -> Result<Answered, BoxError> {
        let (requested, encoded) = self.models.first().ok_or("no models")?;
        let body = serde_json::json!({
            "messages": [{ "role": "user", "content": [{ "text": format!("request {number}") }] }],
            "inferenceConfig": { "maxTokens": MAX_TOKENS },
        });
        let body = Bytes::from(body.to_string());
        let path = model_path(Operation::Converse, encoded).ok_or("Converse has no path")?;
        let (mut head, ()) = Request::post(path)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(HOST, to.to_string())
            .body(())?
            .into_parts();
        if way == Way::Wait {
            let wait = HeaderValue::from_static(WAIT);
            head.headers.insert("x-sluice-wait-before-fallback", wait);
        }
        if way == Way::Straight {
            let auth: Arc<_> = self.credentials.auth().ok_or("no credentials")?;
            let hash = PayloadHash::of(&body);
            sign::authorize(&mut head, || hash, &auth, &self.region, SystemTime::now())?;
        }
        let request = Request::from_parts(head, Full::new(body));
        let response = ask(Stream::Left(TcpStream::connect(to).await?), request).await?;
        let status = response.status();
        let model = response.headers().get("x-sluice-model").and_then(|value| value.to_str().ok());
        let model = model.unwrap_or(requested).to_owned();
        let queued = response.headers().get("x-sluice-queued-ms");
        let waited = queued.is_some_and(|millis| millis != "0");
        // An answer counts when it is complete.
        response.into_body().collect().await?;
        Ok(Answered { status, model, waited })
    }

    /// Prints what a visitor can try.
    fn invite(&self, gateway: SocketAddr, admin: SocketAddr, access_log: &AccessLog) {
        let Some((model, _)) = self.models.first() else { return };
        let gpt = apis::GPT;
        access_log.write_message(&format!(
            r#"
Now you:

curl -i http://{gateway}/model/{model}/converse \
  -H 'content-type: application/json' \
  -d '{{"messages":[{{"role":"user","content":[{{"text":"Hello"}}]}}]}}'

By OpenAI's API, and likewise by Anthropic's at /v1/messages:

curl -s http://{gateway}/v1/chat/completions \
  -H 'content-type: application/json' \
  -d '{{"model":"{gpt}","messages":[{{"role":"user","content":"Hello"}}]}}'

With an AWS SDK, only the endpoint changes (pip install boto3):

python3 - <<'EOF'
import boto3
bedrock = boto3.client(
    "bedrock-runtime", region_name="us-east-1", endpoint_url="http://{gateway}",
    aws_access_key_id="any", aws_secret_access_key="any")
answer = bedrock.converse(
    modelId="{model}",
    messages=[{{"role": "user", "content": [{{"text": "Hello"}}]}}])
print(answer["output"]["message"]["content"][-1]["text"])
print("answered by", answer["ResponseMetadata"]["HTTPHeaders"]["x-sluice-model"])
EOF

Status page: http://{admin}/status
The same in a terminal: sluice top --url http://{admin}
Metrics: curl -s http://{admin}/metrics | grep ^sluice_
Requests show up here as they are answered. Stop with Ctrl-C.
"#
        ));
    }
}

impl Tally {
    /// A row of the table at the end.
    fn row(&self, name: &str, requested: &str) -> String {
        let answered: usize = self.answered.values().sum();
        let own = self.answered.get(requested).copied().unwrap_or_default();
        let (others, lost) = (answered - own, self.throttled + self.failed);
        let waited = self.waited;
        format!("  {name:<16} {answered:>9}   {own:>12}   {others:>10}   {waited:>12}   {lost:>4}")
    }

    fn print(&self, access_log: &AccessLog) {
        let print = |text: &str| access_log.write_message(text);
        for (model, count) in &self.answered {
            print(&format!("  {count:>3} answered by {model}"));
        }
        if self.throttled > 0 {
            print(&format!("  {:>3} lost to ThrottlingException (429)", self.throttled));
        }
        if self.failed > 0 {
            print(&format!("  {:>3} failed", self.failed));
        }
        if self.throttled + self.failed == 0 {
            print("    0 lost");
        }
    }
}
