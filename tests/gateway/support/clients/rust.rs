//! The Rust SDK, in this process.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_bedrockruntime::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{
    BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents, Token,
};
use aws_sdk_bedrockruntime::error::{
    BoxError, DisplayErrorContext, ProvideErrorMetadata, SdkError,
};
use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::primitives::event_stream::{EventReceiver, EventStreamSender};
use aws_sdk_bedrockruntime::types::{
    BidirectionalInputPayloadPart, ContentBlock, ContentBlockDelta, ConversationRole,
    ConverseStreamOutput, ConverseTokensRequest, CountTokensInput, GuardrailContentBlock,
    GuardrailContentSource, GuardrailTextBlock, InferenceConfiguration,
    InvokeModelWithBidirectionalStreamInput, InvokeModelWithBidirectionalStreamOutput, Message,
    ResponseStream,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Answer, Call, Job, Raised};

/// A client with the settings of a job.
fn client(job: &Job) -> aws_sdk_bedrockruntime::Client {
    let mut config = aws_sdk_bedrockruntime::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&job.endpoint)
        .region(Region::new(job.region.clone()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder().read_timeout(Duration::from_secs(job.read_timeout_s)).build(),
        );
    let (id, secret) = (&job.access_key_id, &job.secret_access_key);
    config = match &job.bearer_token {
        Some(token) => config.bearer_token(Token::new(token, None)),
        None => {
            let token = job.session_token.clone();
            config.credentials_provider(Credentials::new(id, secret, token, None, "tests"))
        }
    };
    if let Some(ca) = &job.ca {
        let trust = TrustStore::empty().with_pem_certificate(std::fs::read(ca).unwrap());
        let tls = TlsContext::builder().with_trust_store(trust).build().unwrap();
        let client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls);
        config = config.http_client(client.build_https());
    }
    aws_sdk_bedrockruntime::Client::from_conf(config.build())
}

/// A conversation over InvokeModelWithBidirectionalStream: sends each message after the answer to the
/// previous one. Returns the answers, or the exception.
pub async fn converse_both_ways(
    job: &Job,
    model: &str,
    says: &[&str],
) -> Result<Vec<Value>, Raised> {
    let (events, said) = tokio::sync::mpsc::channel::<Value>(1);
    let body = futures_util::stream::unfold(said, async |mut said| {
        let said_now = said.recv().await?;
        let part = BidirectionalInputPayloadPart::builder();
        let part = part.bytes(Blob::new(said_now.to_string())).build();
        Some((Ok(InvokeModelWithBidirectionalStreamInput::Chunk(part)), said))
    });
    let mut says = says.iter().map(|said| json!({ "say": said }));
    events.send(says.next().unwrap()).await.unwrap();
    let request = client(job).invoke_model_with_bidirectional_stream().model_id(model);
    let answer = request.body(EventStreamSender::from(Box::pin(body))).send().await;
    let mut answer = answer.map_err(|error| raised(&error, false))?.body;
    let (mut events, mut came) = (Some(events), Vec::new());
    while let Some(event) = answer.recv().await.map_err(|error| raised(&error, true))? {
        let InvokeModelWithBidirectionalStreamOutput::Chunk(part) = event else { continue };
        came.push(serde_json::from_slice(part.bytes().unwrap().as_ref()).unwrap());
        match says.next() {
            Some(next) => events.as_ref().unwrap().send(next).await.unwrap(),
            None => events = None,
        }
    }
    Ok(came)
}

pub(super) async fn run(job: Job) -> Vec<Answer> {
    let client = client(&job);
    let headers = Arc::new(job.headers.into_iter().collect::<Vec<_>>());
    futures_util::stream::iter(job.calls)
        .map(|call| {
            let watch = Watch { added: Arc::clone(&headers), seen: Arc::default() };
            let client = client.clone();
            tokio::spawn(async move { run_one(&client, &call, watch).await })
        })
        .buffered(job.concurrency)
        .map(Result::unwrap)
        .collect()
        .await
}

async fn run_one(client: &aws_sdk_bedrockruntime::Client, call: &Call, watch: Watch) -> Answer {
    let mut answer = Answer::default();
    let seen = Arc::clone(&watch.seen);
    let failed = match call.operation {
        "InvokeModel" => {
            let request = client.invoke_model().model_id(&call.model).body(blob(call));
            match request.customize().interceptor(watch).send().await {
                Ok(output) => {
                    answer.body = String::from_utf8(output.body.into_inner()).ok();
                    None
                }
                Err(error) => Some(raised(&error, false)),
            }
        }
        "InvokeModelWithResponseStream" => {
            let request =
                client.invoke_model_with_response_stream().model_id(&call.model).body(blob(call));
            match request.customize().interceptor(watch).send().await {
                Ok(output) => read(output.body, chunk, call, &mut answer).await,
                Err(error) => Some(raised(&error, false)),
            }
        }
        "Converse" => {
            let (message, limits) = conversation(call);
            let request = client.converse().model_id(&call.model);
            let request = request.messages(message).inference_config(limits);
            match request.customize().interceptor(watch).send().await {
                Ok(output) => {
                    answer.body = Some(converse_output(&output).to_string());
                    None
                }
                Err(error) => Some(raised(&error, false)),
            }
        }
        "ConverseStream" => {
            let (message, limits) = conversation(call);
            let request = client.converse_stream().model_id(&call.model);
            let request = request.messages(message).inference_config(limits);
            match request.customize().interceptor(watch).send().await {
                Ok(output) => read(output.stream, converse_event, call, &mut answer).await,
                Err(error) => Some(raised(&error, false)),
            }
        }
        "CountTokens" => {
            let (message, _) = conversation(call);
            let input = ConverseTokensRequest::builder().messages(message).build();
            let request = client.count_tokens().model_id(&call.model);
            let request = request.input(CountTokensInput::Converse(input));
            match request.customize().interceptor(watch).send().await {
                Ok(output) => {
                    answer.body = Some(json!({"inputTokens": output.input_tokens}).to_string());
                    None
                }
                Err(error) => Some(raised(&error, false)),
            }
        }
        "ApplyGuardrail" => {
            let body: Value = serde_json::from_str(&call.body).unwrap();
            let text = body.pointer("/content/0/text/text").unwrap().as_str().unwrap();
            let text = GuardrailTextBlock::builder().text(text).build().unwrap();
            let request = client
                .apply_guardrail()
                .guardrail_identifier(body["guardrailIdentifier"].as_str().unwrap())
                .guardrail_version(body["guardrailVersion"].as_str().unwrap())
                .source(GuardrailContentSource::Input)
                .content(GuardrailContentBlock::Text(text));
            match request.customize().interceptor(watch).send().await {
                Ok(output) => {
                    answer.body = Some(json!({"action": output.action.as_str()}).to_string());
                    None
                }
                Err(error) => Some(raised(&error, false)),
            }
        }
        "ListAsyncInvokes" => {
            match client.list_async_invokes().customize().interceptor(watch).send().await {
                Ok(output) => {
                    let arns = output.async_invoke_summaries().iter().map(|s| &s.invocation_arn);
                    answer.body = Some(json!({"arns": arns.collect::<Vec<_>>()}).to_string());
                    None
                }
                Err(error) => Some(raised(&error, false)),
            }
        }
        other => panic!("the Rust client is not set up for {other}"),
    };
    answer.error = failed;
    if let Some((status, headers)) = seen.lock().take() {
        answer.status = Some(status);
        answer.headers = headers.into_iter().collect();
    }
    answer
}

async fn read<T, E>(
    mut stream: EventReceiver<T, E>,
    shown: fn(&T) -> Value,
    call: &Call,
    answer: &mut Answer,
) -> Option<Raised>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    loop {
        match stream.recv().await {
            Ok(Some(event)) => answer.events.push(shown(&event)),
            Ok(None) => return None,
            Err(error) => return Some(raised(&error, true)),
        }
        if call.abandon_after == Some(answer.events.len()) {
            return None;
        }
    }
}

fn raised<E, R>(error: &SdkError<E, R>, in_stream: bool) -> Raised
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: Debug + Send + Sync + 'static,
{
    let class = match error {
        // An exception within a stream has no code; its variant says which it is.
        SdkError::ServiceError(failed) => format!("{:?}", failed.err()),
        other => format!("{other:?}"),
    };
    let class = class.split('(').next().unwrap_or_default();
    let message = match error.message() {
        Some(message) => message.to_owned(),
        None => DisplayErrorContext(error).to_string(),
    };
    Raised { name: error.code().unwrap_or(class).to_owned(), message, in_stream, class: None }
}

fn blob(call: &Call) -> Blob {
    assert_eq!(call.options, json!({}), "the Rust client takes no options");
    Blob::new(call.body.as_bytes())
}

fn conversation(call: &Call) -> (Message, InferenceConfiguration) {
    let body: Value = serde_json::from_str(&call.body).unwrap();
    let text = body.pointer("/messages/0/content/0/text").unwrap().as_str().unwrap();
    let message = Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text(text.to_owned()))
        .build()
        .unwrap();
    let max = body.pointer("/inferenceConfig/maxTokens").and_then(Value::as_i64);
    let limits = InferenceConfiguration::builder()
        .set_max_tokens(max.map(|max| i32::try_from(max).unwrap()))
        .build();
    (message, limits)
}

fn converse_output(output: &ConverseOutput) -> Value {
    let message = output.output().and_then(|output| output.as_message().ok());
    let text = message.and_then(|m| m.content().first()?.as_text().ok());
    let usage = output.usage().unwrap();
    json!({
        "output": {"message": {"content": [{"text": text}]}},
        "stopReason": output.stop_reason().as_str(),
        "usage": {"inputTokens": usage.input_tokens(), "outputTokens": usage.output_tokens()},
    })
}

fn chunk(event: &ResponseStream) -> Value {
    let bytes = event.as_chunk().unwrap().bytes().unwrap();
    serde_json::from_slice(bytes.as_ref()).unwrap()
}

fn converse_event(event: &ConverseStreamOutput) -> Value {
    match event {
        ConverseStreamOutput::MessageStart(_) => json!({"messageStart": {}}),
        ConverseStreamOutput::ContentBlockStart(_) => json!({"contentBlockStart": {}}),
        ConverseStreamOutput::ContentBlockDelta(event) => {
            let text = match event.delta() {
                Some(ContentBlockDelta::Text(text)) => text.as_str(),
                _ => "",
            };
            json!({"contentBlockDelta": {"delta": {"text": text}}})
        }
        ConverseStreamOutput::ContentBlockStop(_) => json!({"contentBlockStop": {}}),
        ConverseStreamOutput::MessageStop(event) => {
            json!({"messageStop": {"stopReason": event.stop_reason().as_str()}})
        }
        ConverseStreamOutput::Metadata(event) => {
            let usage = event.usage().unwrap();
            json!({"metadata": {"usage": {
                "inputTokens": usage.input_tokens(),
                "outputTokens": usage.output_tokens(),
            }}})
        }
        other => panic!("an event that the SDK does not know: {other:?}"),
    }
}

type Head = (u16, Vec<(String, String)>);

/// Adds headers before signing, and keeps the head of the response.
#[derive(Debug)]
struct Watch {
    added: Arc<Vec<(String, String)>>,
    seen: Arc<Mutex<Option<Head>>>,
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        for (name, value) in self.added.iter() {
            context.request_mut().headers_mut().insert(name.clone(), value.clone());
        }
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let headers = response.headers().iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
        *self.seen.lock() = Some((response.status().as_u16(), headers.collect()));
        Ok(())
    }
}
