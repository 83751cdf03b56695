//! Embeddings by InvokeModel: their shapes, and what their models refuse.

use super::*;

const TITAN_1: &str = "amazon.titan-embed-text-v1";
const TITAN_2: &str = "amazon.titan-embed-text-v2:0";
const COHERE_3: &str = "cohere.embed-multilingual-v3";
const COHERE_4: &str = "us.cohere.embed-v4:0";
const NOVA: &str = "amazon.nova-2-multimodal-embeddings-v1:0";

async fn embeds(simulator: &Running, model: &str, body: Value) -> Value {
    let answered = simulator.post(model, "invoke", body.to_string()).await;
    assert_eq!(answered.status, 200, "{model}: {}", String::from_utf8_lossy(&answered.body));
    assert!(answered.headers.contains_key("x-amzn-bedrock-input-token-count"));
    answered.json()
}

fn numbers(vector: &Value) -> Vec<f64> {
    vector.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn length(vector: &Value) -> f64 {
    numbers(vector).iter().map(|n| n * n).sum::<f64>().sqrt()
}

#[tokio::test]
async fn titan_embeds_one_text_in_the_size_that_is_asked_for() {
    let simulator = start().await;
    let first = embeds(&simulator, TITAN_1, json!({"inputText": "a"})).await;
    assert_eq!(numbers(&first["embedding"]).len(), 1536);
    assert!(first.get("embeddingsByType").is_none());
    let body = json!({"inputText": "abcde", "dimensions": 256, "normalize": true});
    let second = embeds(&simulator, TITAN_2, body.clone()).await;
    assert_eq!(
        (numbers(&second["embedding"]).len(), &second["inputTextTokenCount"]),
        (256, &json!(2))
    );
    assert!((length(&second["embedding"]) - 1.0).abs() < 1e-9);
    assert_eq!(second["embedding"], second["embeddingsByType"]["float"]);
    assert_eq!(embeds(&simulator, TITAN_2, body).await, second, "the same text, the same vector");
    let body =
        json!({"inputText": "abcde", "normalize": false, "embeddingTypes": ["binary", "float"]});
    let loose = embeds(&simulator, TITAN_2, body).await;
    assert!(length(&loose["embedding"]) > 2.0);
    assert!(
        numbers(&loose["embeddingsByType"]["binary"]).iter().all(|bit| [0.0, 1.0].contains(bit))
    );
}

#[tokio::test]
async fn cohere_embeds_many_texts_in_order_and_in_both_forms() {
    let simulator = start().await;
    let both = json!({"texts": ["a", "b"], "input_type": "search_document"});
    let plain = embeds(&simulator, COHERE_3, both).await;
    assert_eq!(plain["response_type"], "embeddings_floats");
    assert_eq!(numbers(&plain["embeddings"][0]).len(), 1024);
    let alone = json!({"texts": ["b"], "input_type": "search_query"});
    let alone = embeds(&simulator, COHERE_3, alone).await;
    assert_eq!(plain["embeddings"][1], alone["embeddings"][0]);
    let typed = json!({"texts": ["a"], "input_type": "clustering", "output_dimension": 256,
        "embedding_types": ["float", "int8", "ubinary"]});
    let typed = embeds(&simulator, COHERE_4, typed).await;
    assert_eq!(typed["response_type"], "embeddings_by_type");
    let sizes = ["float", "int8", "ubinary"].map(|it| numbers(&typed["embeddings"][it][0]).len());
    assert_eq!(sizes, [256, 256, 32]);
    let usual = embeds(&simulator, COHERE_4, json!({"texts": ["a"], "input_type": "image"})).await;
    assert_eq!(numbers(&usual["embeddings"][0]).len(), 1536);
}

#[tokio::test]
async fn nova_embeds_one_input_of_a_kind() {
    let simulator = start().await;
    let params = json!({"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 384,
        "text": {"truncationMode": "END", "value": "a"}});
    let body = json!({"schemaVersion": "nova-multimodal-embed-v1", "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": params});
    let embedded = embeds(&simulator, NOVA, body).await;
    assert_eq!(embedded["embeddings"][0]["embeddingType"], "TEXT");
    assert_eq!(numbers(&embedded["embeddings"][0]["embedding"]).len(), 384);
}

#[tokio::test]
async fn bodies_that_a_model_does_not_know_are_refused() {
    let simulator = start().await;
    let many: Vec<&str> = std::iter::repeat_n("a", 97).collect();
    let cohere = |change: Value| {
        let mut body = json!({"texts": ["a"], "input_type": "search_query"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let nova =
        |params: Value| json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params});
    for (model, body, part) in [
        (TITAN_1, json!({"inputText": "a", "dimensions": 256}), "extraneous key [dimensions]"),
        (TITAN_2, json!({}), "required key [inputText] not found"),
        (TITAN_2, json!({"inputText": ["a"]}), "expected type: String, found: JSONArray"),
        (TITAN_2, json!({"inputText": ""}), "expected minLength: 1, actual: 0"),
        (TITAN_2, json!({"inputText": "a", "dimensions": 384}), "384 is not a valid enum value"),
        (TITAN_2, json!({"inputText": "a".repeat(40_000)}), "Too many input tokens"),
        (COHERE_3, json!({"texts": ["a"]}), "required key [input_type] not found"),
        (COHERE_3, json!({"input_type": "search_query"}), "required key [texts] not found"),
        (COHERE_3, cohere(json!({"texts": many})), "expected maximum item count: 96, found: 97"),
        (
            COHERE_3,
            cohere(json!({"texts": ["a".repeat(2049)]})),
            "#/texts/0: expected maxLength: 2048",
        ),
        (COHERE_3, cohere(json!({"texts": [[1]]})), "expected type: String, found: JSONArray"),
        (COHERE_3, cohere(json!({"output_dimension": 256})), "extraneous key [output_dimension]"),
        (COHERE_3, cohere(json!({"input_type": "query"})), "\"query\" is not a valid enum value"),
        (COHERE_4, cohere(json!({"output_dimension": 300})), "300 is not a valid enum value"),
        (COHERE_4, cohere(json!({"embedding_types": ["base64"]})), "#/embedding_types"),
        (NOVA, json!({"inputText": "a"}), "extraneous key [inputText]"),
        (NOVA, nova(json!({"embeddingPurpose": "GENERIC_INDEX"})), "exactly one of"),
        (NOVA, nova(json!({"embeddingPurpose": "X"})), "not a valid enum value"),
    ] {
        let answered = simulator.post(model, "invoke", body.to_string()).await;
        let told = answered.json()["message"].to_string();
        let part = part.replace('"', "\\\"");
        assert!(answered.status == 400 && told.contains(&part), "{model} {body}: {told}");
    }
}
