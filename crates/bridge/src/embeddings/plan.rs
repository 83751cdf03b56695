//! Writes the calls for a request, in the form of each model.

use std::ops::Range;

use super::{Call, EmbeddingsRequest, InputType, Plan};
use crate::json::Object;
use crate::report::{DropPolicy, Refusal, Report};

/// Most texts of one call of Cohere's models.
const COHERE_TEXTS: usize = 96;

/// The bodies of the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    TitanV1,
    TitanV2,
    TitanImage,
    CohereV3,
    CohereV4,
    Nova,
}

impl Form {
    fn of(base_id: &str) -> Option<Form> {
        [
            ("amazon.titan-embed-text-v2", Form::TitanV2),
            ("amazon.titan-embed-image", Form::TitanImage),
            ("amazon.titan-embed", Form::TitanV1),
            ("cohere.embed-v4", Form::CohereV4),
            ("cohere.embed", Form::CohereV3),
            ("amazon.nova-2-multimodal-embeddings", Form::Nova),
        ]
        .into_iter()
        .find_map(|(prefix, form)| base_id.starts_with(prefix).then_some(form))
    }

    /// The sizes of its vectors; its usual one is first.
    fn dimensions(self) -> &'static [u32] {
        match self {
            Form::TitanV1 => &[1536],
            Form::TitanV2 => &[1024, 512, 256],
            Form::TitanImage => &[1024, 384, 256],
            Form::CohereV3 => &[1024],
            Form::CohereV4 => &[1536, 1024, 512, 256],
            Form::Nova => &[3072, 1024, 384, 256],
        }
    }

    fn texts_of_a_call(self) -> usize {
        match self {
            Form::CohereV3 | Form::CohereV4 => COHERE_TEXTS,
            Form::TitanV1 | Form::TitanV2 | Form::TitanImage | Form::Nova => 1,
        }
    }

    /// Whether it makes different vectors for different purposes.
    fn takes_input_type(self) -> bool {
        matches!(self, Form::CohereV3 | Form::CohereV4 | Form::Nova)
    }
}

/// Whether there is a form for the calls of a model, by its base id.
pub fn makes_embeddings(base_id: &str) -> bool {
    Form::of(base_id).is_some()
}

/// Makes the calls of a model, by its base id.
///
/// # Errors
/// If the model makes no embeddings, or not in this size and the policy does not let drop that.
pub fn plan(
    request: &EmbeddingsRequest<'_>,
    base_id: &str,
    policy: &DropPolicy,
) -> Result<Plan, Refusal> {
    let mut report = Report::new(policy);
    request.dropped.iter().for_each(|what| report.dropped(what.clone()));
    let Some(form) = Form::of(base_id) else {
        let message =
            format!("`{base_id}` makes no embeddings of texts that this gateway can read");
        return Err(Refusal { param: Some("model".to_owned()), message, is_of_model: true });
    };
    let mut dimensions = request.dimensions;
    if let Some(wanted) = dimensions
        && !form.dimensions().contains(&wanted)
    {
        let sizes: Vec<_> = form.dimensions().iter().map(u32::to_string).collect();
        let why = format!("of `{base_id}` must be {}", sizes.join(" or "));
        report.unsupported("dimensions", true, &why);
        dimensions = None;
    }
    if request.input_type.is_some() && !form.takes_input_type() {
        // It makes one vector of a text, whatever that is for.
        report.dropped("input_type");
    }
    let dropped = report.finish()?;
    let count = request.texts.len();
    let step = form.texts_of_a_call();
    let calls = (0..count).step_by(step).map(|start| {
        let inputs = start..count.min(start + step);
        let body = body(form, request, dimensions, inputs.clone());
        Call { body, inputs, encoding: request.encoding }
    });
    Ok(Plan { calls: calls.collect(), dropped })
}

fn body(
    form: Form,
    request: &EmbeddingsRequest<'_>,
    dimensions: Option<u32>,
    inputs: Range<usize>,
) -> Vec<u8> {
    let texts = request.texts.get(inputs).unwrap_or_default();
    let text = texts.first().map_or("", AsRef::as_ref);
    let purpose = request.input_type.unwrap_or_default();
    let length: usize = texts.iter().map(|text| text.len()).sum();
    let mut out = Vec::with_capacity(length + 160);
    let mut body = Object::new(&mut out);
    match form {
        Form::TitanV1 => body.str("inputText", text),
        Form::TitanV2 => {
            body.str("inputText", text);
            if let Some(size) = dimensions {
                body.number("dimensions", size.into());
            }
        }
        Form::TitanImage => {
            body.str("inputText", text);
            if let Some(size) = dimensions {
                body.object("embeddingConfig").number("outputEmbeddingLength", size.into());
            }
        }
        Form::CohereV3 | Form::CohereV4 => {
            let mut list = body.array("texts");
            texts.iter().for_each(|text| list.str(text));
            drop(list);
            body.str("input_type", cohere_name(purpose));
            if form == Form::CohereV4 {
                body.array("embedding_types").str("float");
                if let Some(size) = dimensions {
                    body.number("output_dimension", size.into());
                }
            }
        }
        Form::Nova => {
            body.str("schemaVersion", "nova-multimodal-embed-v1");
            body.str("taskType", "SINGLE_EMBEDDING");
            let mut params = body.object("singleEmbeddingParams");
            params.str("embeddingPurpose", nova_name(purpose));
            let usual = form.dimensions().first().copied().unwrap_or_default();
            params.number("embeddingDimension", dimensions.unwrap_or(usual).into());
            let mut value = params.object("text");
            // A text that is too long is an error, as with OpenAI, and not cut in silence.
            value.str("truncationMode", "NONE");
            value.str("value", text);
        }
    }
    drop(body);
    out
}

fn cohere_name(purpose: InputType) -> &'static str {
    match purpose {
        InputType::SearchDocument => "search_document",
        InputType::SearchQuery => "search_query",
        InputType::Classification => "classification",
        InputType::Clustering => "clustering",
    }
}

fn nova_name(purpose: InputType) -> &'static str {
    match purpose {
        InputType::SearchDocument => "GENERIC_INDEX",
        InputType::SearchQuery => "GENERIC_RETRIEVAL",
        InputType::Classification => "CLASSIFICATION",
        InputType::Clustering => "CLUSTERING",
    }
}
