//! `/analyze_section`: the findings of a model about a section of a write-up.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::choice;
use super::feedback::{self, Item};
use super::invoke::{ALL_MODELS, Caller, InvokeError};
use super::json::{Field, Texts};
use super::mock;
use super::prompts::{AnalysisInput, MAX_CONTENT};
use super::response::timestamp;
use super::session::{IdTooLong, MAX_ID_BYTES, owned_by};
use super::state::LegacyState;

/// Most characters of a section's name and of a type of document.
const MAX_NAME: usize = 1000;

const DEFAULT_DOC_TYPE: &str = "Full Write-up";

/// The input of an analysis, from a request or as a job stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Analysis {
    /// As the sessions know it.
    pub(super) session_id: String,
    pub(super) section_name: String,
    pub(super) content: String,
    pub(super) doc_type: String,
    /// The name of the client, if clients have keys.
    pub(super) client: Option<String>,
    /// The `traceparent` that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<String>,
}

/// What a request lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MissingField {
    #[error("No session ID provided")]
    Session,
    #[error("No section name provided")]
    Section,
    /// There is no upload that the section could come from.
    #[error("Section \"{section}\" not found in document")]
    Content { section: String },
    #[error(transparent)]
    SessionId(#[from] IdTooLong),
    #[error("{member} is longer than {MAX_NAME} characters")]
    Brevity { member: &'static str },
}

/// What came of an analysis.
#[derive(Clone, Debug)]
pub(super) struct Analysed {
    pub(super) items: Vec<Item>,
    pub(super) is_mock: bool,
}

impl Analysis {
    /// The members of a request that are read. Content beyond what is analysed is not kept.
    pub(super) const TEXTS: Texts<5> = Texts([
        choice::FIELD,
        ("session_id", MAX_ID_BYTES + 1),
        ("section_name", MAX_NAME + 1),
        ("content", MAX_CONTENT),
        ("doc_type", MAX_NAME + 1),
    ]);

    /// The analysis that a request of `client` with these texts wants.
    pub(super) fn read(
        [session_id, section_name, content, doc_type]: [Field; 4],
        client: Option<&str>,
    ) -> Result<Analysis, MissingField> {
        let named = |member, name: String| match name.chars().count() {
            0..=MAX_NAME => Ok(name),
            _ => Err(MissingField::Brevity { member }),
        };
        let session_id = owned_by(client, &session_id.text().ok_or(MissingField::Session)?)?;
        let section_name =
            named("section_name", section_name.text().ok_or(MissingField::Section)?)?;
        let doc_type = doc_type.text().unwrap_or_else(|| DEFAULT_DOC_TYPE.to_owned());
        let Field::Text(content) = content else {
            return Err(MissingField::Content { section: section_name });
        };
        Ok(Analysis {
            session_id,
            section_name,
            content,
            doc_type: named("doc_type", doc_type)?,
            client: client.map(str::to_owned),
            trace: None,
        })
    }

    pub(super) fn is_blank(&self) -> bool {
        self.content.trim().is_empty()
    }
}

impl LegacyState {
    /// Has a section analysed, until `deadline`.
    pub(super) async fn analyse(
        &self,
        analysis: &Analysis,
        caller: &Caller,
        deadline: Instant,
    ) -> Result<Vec<Item>, InvokeError> {
        let input = AnalysisInput {
            section_name: &analysis.section_name,
            doc_type: &analysis.doc_type,
            content: &analysis.content,
        };
        let rendered = self.prompts().analysis(&input).map_err(|error| InvokeError::Refused {
            name: "PromptError".to_owned(),
            message: error.to_string(),
        })?;
        let said = self.invoke(&rendered, ALL_MODELS, caller, deadline).await?;
        let (length, text) = (said.text.len(), said.text);
        let read = move || feedback::read(&text).map(feedback::dedupe);
        Ok(match self.parse(length, read).await {
            Ok(items) => items,
            Err(error) => {
                tracing::info!(model = %said.by.name, %error, "cannot parse the model's analysis");
                vec![feedback::unavailable()]
            }
        })
    }

    /// What a request gets in the end: findings, or what stands in for them, noted in its session.
    pub(super) fn finish(
        &self,
        analysis: &Analysis,
        outcome: Result<Vec<Item>, InvokeError>,
    ) -> Result<Analysed, InvokeError> {
        let analysed = match outcome {
            Ok(items) => Analysed { items, is_mock: false },
            Err(error) if error.is_want_of_models() && self.may_mock("analyze_section") => {
                let items = mock::analysis(&analysis.section_name, &analysis.content);
                Analysed { items, is_mock: true }
            }
            // A model has answered, without anything that can be read.
            Err(InvokeError::NoText(error)) => {
                tracing::info!(%error, "cannot parse the model's analysis");
                Analysed { items: vec![feedback::unavailable()], is_mock: false }
            }
            // No model has: that is a failure and not an analysis without findings.
            Err(error) => return Err(error),
        };
        let (session, section) = (&analysis.session_id, &analysis.section_name);
        self.sessions.note_feedback(session, section, analysed.items.len(), Instant::now());
        Ok(analysed)
    }
}

pub(super) fn done(analysis: &Analysis, analysed: &Analysed) -> Value {
    json!({
        "success": true,
        "feedback_items": analysed.items,
        "section_content": analysis.content,
        "section_name": analysis.section_name,
        "analysis_timestamp": timestamp(SystemTime::now()),
    })
}

pub(super) fn blank() -> Value {
    json!({
        "success": true,
        "feedback_items": [],
        "section_content": "This section appears to be empty.",
        "message": "Section is empty - no analysis needed",
    })
}

/// What a job keeps as its result.
pub(super) fn result(analysis: &Analysis, analysed: &Analysed, duration: f64) -> Value {
    let mut result = json!({
        "success": true,
        "section": analysis.section_name,
        "feedback_count": analysed.items.len(),
        "duration": duration,
        "result": { "feedback_items": analysed.items },
    });
    if analysed.is_mock
        && let Some(object) = result.as_object_mut()
    {
        object.insert("mock".to_owned(), true.into());
    }
    result
}

pub(super) fn failed(error: &str, name: &str) -> Value {
    json!({
        "success": false,
        "error": format!("Analysis failed: {error}"),
        "error_type": name,
        "timestamp": timestamp(SystemTime::now()),
    })
}
