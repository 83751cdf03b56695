//! OpenAI's SDKs as they come: they ask for base64 unless told otherwise, and decode it.

use super::*;
use crate::support::api_clients::each_succeeded;
use crate::support::{ApiCall, ApiJob, Language, Sdk};

fn embedding(model: &str, input: impl Into<Value>) -> ApiCall {
    ApiCall::new("embeddings.create", json!({"model": model, "input": input.into()}))
}

/// The numbers of a vector, as bytes of 32 bits have them.
fn vector(data: &Value) -> Vec<f32> {
    data["embedding"].as_array().unwrap().iter().map(|it| it.as_f64().unwrap() as f32).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_sdks_get_the_same_vectors_in_either_encoding() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&config(&simulator)).await;
    for (language, prefix) in [(Language::Python, "/openai/v1"), (Language::JavaScript, "/v1")] {
        let job = ApiJob::new(language, Sdk::OpenAi, format!("{}{prefix}", gateway.url()))
            .call(embedding("titan", texts(300)))
            .call(embedding("titan", texts(300)).with("encoding_format", "float"))
            .call(embedding("titan", "text number 7").with("dimensions", 512))
            .call(embedding("cohere", texts(2)));
        let [decoded, floats, small, cohere] = each_succeeded(job.run().await);
        let all = |answer: &Value| -> Vec<Vec<f32>> {
            answer["data"].as_array().unwrap().iter().map(vector).collect()
        };
        let (decoded, floats) = (all(&decoded.body), all(&floats.body));
        assert_eq!((decoded.len(), decoded[0].len()), (300, 1024));
        assert_eq!(decoded, floats);
        assert_ne!(decoded[0], decoded[1]);
        assert_eq!(all(&small.body)[0].len(), 512);
        assert_eq!(all(&cohere.body).len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_sdks_raise_their_usual_errors() {
    let simulator = Simulator::start().await;
    let config = config(&simulator).set("fallback.unrouted", "reject");
    let gateway = Gateway::start(&config).await;
    simulator.always_throttles(COHERE);
    for language in Language::ALL {
        let job = ApiJob::new(language, Sdk::OpenAi, format!("{}/v1", gateway.url()))
            .call(embedding("nothing", "a"))
            .call(embedding("titan", "a").with("dimensions", 7))
            .call(embedding("titan", json!([[1, 2]])))
            .call(embedding("cohere", "a"));
        let answers = job.run().await;
        let classes: Vec<_> = answers.iter().map(|it| it.raised().class.as_str()).collect();
        let wanted = ["NotFoundError", "BadRequestError", "BadRequestError", "RateLimitError"];
        assert_eq!(classes, wanted, "{answers:#?}");
        assert_eq!(answers[1].raised().param.as_deref(), Some("dimensions"));
    }
}
