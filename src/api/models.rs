//! The answers of `GET /v1/models` and `GET /v1/models/{id}`, in OpenAI's form and in Anthropic's.
//!
//! OpenAI's list has all models at once, up to [`MAX_LISTED`]. Anthropic's has pages, which a query asks
//! for: `limit`, and `after_id` or `before_id`.

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::bedrock::{Date, Dialect};

#[cfg(test)]
mod tests;

/// Most models in a list; any others are left out.
pub const MAX_LISTED: usize = 1000;

/// Models on a page of Anthropic's list where the query does not say.
const DEFAULT_PAGE: usize = 20;

/// A model that a client can request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedModel {
    /// The id or name by which a client requests it.
    pub id: String,
    /// Who made it, such as `anthropic`.
    pub owner: String,
    /// Since when it is known.
    pub created: Date,
    /// Largest input, in tokens, if that is known.
    pub context_window: Option<u32>,
    /// Largest answer, in tokens, if that is known.
    pub max_output_tokens: Option<u32>,
    /// When AWS retires it, if that is announced.
    pub retires_on: Option<Date>,
}

/// What is wrong with a query for a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// `limit` is no number of models.
    #[error("limit: must be a whole number from 1 to {MAX_LISTED}")]
    Limit,
    /// Both ends of a page are named.
    #[error("before_id and after_id can't both be set")]
    TwoEnds,
    /// The named model is not in the list.
    #[error("{parameter}: no model has this id")]
    UnknownId {
        /// The parameter that names it.
        parameter: &'static str,
    },
}

/// A page of Anthropic's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Page {
    limit: Option<usize>,
    after_id: Option<String>,
    before_id: Option<String>,
}

impl Page {
    /// Reads a query. Unknown parameters are ignored.
    fn read(query: &str) -> Result<Page, PageError> {
        let mut page = Page::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            // A form writes a space as a plus, which no id has; so a plus stands for itself.
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                _ if value.is_empty() => {}
                "limit" => {
                    let limit = value.parse().ok().filter(|it| (1..=MAX_LISTED).contains(it));
                    page.limit = Some(limit.ok_or(PageError::Limit)?);
                }
                "after_id" => page.after_id = Some(value),
                "before_id" => page.before_id = Some(value),
                _ => {}
            }
        }
        match (&page.after_id, &page.before_id) {
            (Some(_), Some(_)) => Err(PageError::TwoEnds),
            _ => Ok(page),
        }
    }

    /// The models on this page, and whether there are more beyond it, in the direction of the query.
    fn of<'a>(&self, all: &'a [ListedModel]) -> Result<(&'a [ListedModel], bool), PageError> {
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        let position = |id: &str, parameter| {
            let found = all.iter().position(|model| model.id == id);
            found.ok_or(PageError::UnknownId { parameter })
        };
        let (from, to, has_more) = if let Some(id) = &self.before_id {
            let to = position(id, "before_id")?;
            let from = to.saturating_sub(limit);
            (from, to, from > 0)
        } else {
            let after = self.after_id.as_deref().map(|id| position(id, "after_id"));
            let from = after.transpose()?.map_or(0, |at| at + 1);
            let to = from.saturating_add(limit).min(all.len());
            (from, to, to < all.len())
        };
        Ok((all.get(from..to).unwrap_or_default(), has_more))
    }
}

/// The JSON body of the list of these models, in a dialect. `query` is that of the request; OpenAI's list
/// has no parameters.
///
/// # Errors
/// What is wrong with the query.
pub fn list_body(
    dialect: Dialect,
    models: impl Iterator<Item = ListedModel>,
    query: &str,
) -> Result<Bytes, PageError> {
    let models: Vec<ListedModel> = models.take(MAX_LISTED).collect();
    if dialect != Dialect::Anthropic {
        let data: Vec<_> = models.iter().map(OpenAiModel::of).collect();
        return Ok(to_json(&OpenAiList { object: "list", data }));
    }
    let (page, has_more) = Page::read(query)?.of(&models)?;
    Ok(to_json(&AnthropicList {
        data: page.iter().map(AnthropicModel::of).collect(),
        has_more,
        first_id: page.first().map(|model| &*model.id),
        last_id: page.last().map(|model| &*model.id),
    }))
}

/// The JSON body of one model, in a dialect.
pub fn model_body(dialect: Dialect, model: &ListedModel) -> Bytes {
    match dialect {
        Dialect::Anthropic => to_json(&AnthropicModel::of(model)),
        Dialect::OpenAi | Dialect::Bedrock => to_json(&OpenAiModel::of(model)),
    }
}

/// Serializes what consists of texts and numbers alone, which can't fail.
fn to_json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).unwrap_or_default().into()
}

#[derive(Serialize)]
struct OpenAiList<'a> {
    object: &'static str,
    data: Vec<OpenAiModel<'a>>,
}

#[derive(Serialize)]
struct OpenAiModel<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_window: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shutdown_date: Option<Date>,
}

impl OpenAiModel<'_> {
    fn of(model: &ListedModel) -> OpenAiModel<'_> {
        OpenAiModel {
            id: &model.id,
            object: "model",
            created: model.created.unix_seconds(),
            owned_by: &model.owner,
            context_window: model.context_window,
            max_output_tokens: model.max_output_tokens,
            shutdown_date: model.retires_on,
        }
    }
}

#[derive(Serialize)]
struct AnthropicList<'a> {
    data: Vec<AnthropicModel<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicModel<'a> {
    r#type: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: String,
    lifecycle: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_input_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retires_at: Option<String>,
}

impl AnthropicModel<'_> {
    fn of(model: &ListedModel) -> AnthropicModel<'_> {
        // What is listed can be called, so none is "retired".
        let lifecycle = if model.retires_on.is_some() { "deprecated" } else { "active" };
        AnthropicModel {
            r#type: "model",
            id: &model.id,
            display_name: &model.id,
            created_at: start_of(model.created),
            lifecycle,
            max_input_tokens: model.context_window,
            max_tokens: model.max_output_tokens,
            retires_at: model.retires_on.map(start_of),
        }
    }
}

/// The start of a day, by RFC 3339.
fn start_of(day: Date) -> String {
    format!("{day}T00:00:00Z")
}
