//! Reads a client's request.

use std::borrow::Cow;

use super::{EmbeddingsRequest, Encoding, InputType, MAX_TEXTS};
use crate::fields;
use crate::report::{DropPolicy, Refusal, Report};
use crate::value::Value;

/// Reads the body of a request.
///
/// # Errors
/// If it is not what OpenAI's API takes, or has what no model on Bedrock takes and the policy does not let drop.
pub fn read_request<'a>(
    body: &'a [u8],
    policy: &DropPolicy,
) -> Result<EmbeddingsRequest<'a>, Refusal> {
    let mut report = Report::new(policy);
    let request = read(body, &mut report);
    let dropped = report.finish()?;
    match request {
        Some(request) => Ok(EmbeddingsRequest { dropped, ..request }),
        // Whatever is missing has been refused.
        None => Err(Refusal {
            param: None,
            message: "the request can't be read".to_owned(),
            is_of_model: false,
        }),
    }
}

fn read<'a>(body: &'a [u8], report: &mut Report<'_>) -> Option<EmbeddingsRequest<'a>> {
    let members = fields::body(body).map_err(|why| report.refuse(None, false, why)).ok()?;
    let mut request = EmbeddingsRequest {
        model: String::new(),
        texts: Vec::new(),
        encoding: Encoding::default(),
        dimensions: None,
        input_type: None,
        dropped: Vec::new(),
    };
    for (name, value) in members {
        if fields::is_null(value) {
            continue;
        }
        match name.as_ref() {
            "model" => request.model = fields::text(value).unwrap_or_default().into_owned(),
            "input" => request.texts = texts(value, report)?,
            "encoding_format" => match fields::text(value).as_deref() {
                Some("float") => request.encoding = Encoding::Float,
                Some("base64") => request.encoding = Encoding::Base64,
                _ => return refuse(report, "encoding_format", "must be `float` or `base64`"),
            },
            "dimensions" => {
                let count = fields::count(value).and_then(|count| u32::try_from(count).ok());
                request.dimensions = count.filter(|count| *count > 0);
                if request.dimensions.is_none() {
                    return refuse(report, "dimensions", "must be a whole number of at least 1");
                }
            }
            "input_type" => match fields::text(value).as_deref().and_then(InputType::of) {
                Some(kind) => request.input_type = Some(kind),
                None => {
                    let why = "must be `search_document`, `search_query`, `classification` or \
                               `clustering`";
                    return refuse(report, "input_type", why);
                }
            },
            "user" => report.dropped("user"),
            name => {
                report.unsupported(name, false, "is not known to this gateway; leave it out");
            }
        }
    }
    if request.model.is_empty() {
        return refuse(report, "model", "must be a text that names the model");
    }
    if request.texts.is_empty() {
        return refuse(report, "input", "must be a text or a list of texts");
    }
    Some(request)
}

fn texts<'a>(value: Value<'a>, report: &mut Report<'_>) -> Option<Vec<Cow<'a, str>>> {
    if let Some(text) = fields::text(value) {
        return match text.is_empty() {
            true => refuse(report, "input", "must not be empty"),
            false => Some(vec![text]),
        };
    }
    let Some(elements) = fields::elements(value) else {
        return refuse(report, "input", "must be a text or a list of texts");
    };
    if elements.len() > MAX_TEXTS {
        return refuse(report, "input", &format!("must have at most {MAX_TEXTS} texts"));
    }
    let mut texts = Vec::with_capacity(elements.len());
    for (index, element) in elements.into_iter().enumerate() {
        let param = || format!("input[{index}]");
        match fields::text(element) {
            Some(text) if text.is_empty() => return refuse(report, param(), "must not be empty"),
            Some(text) => texts.push(text),
            None if fields::number(element).is_some() || fields::is_array(element) => {
                let why = "has tokens of a model of OpenAI, which mean nothing to other models; \
                           send texts (with LangChain: `check_embedding_ctx_length=False`)";
                return refuse(report, "input", why);
            }
            None => return refuse(report, param(), "must be a text"),
        }
    }
    Some(texts)
}

fn refuse<T>(report: &mut Report<'_>, param: impl Into<String>, why: &str) -> Option<T> {
    let param = param.into();
    let message = format!("`{param}` {why}");
    report.refuse(Some(param), false, message);
    None
}

impl InputType {
    /// By its name in Cohere's API, which OpenAI's has no like for.
    fn of(name: &str) -> Option<InputType> {
        Some(match name {
            "search_document" => InputType::SearchDocument,
            "search_query" => InputType::SearchQuery,
            "classification" => InputType::Classification,
            "clustering" => InputType::Clustering,
            _ => return None,
        })
    }
}
