//! `/chat`: an answer to a question about the write-up, with what the session knows.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::choice;
use super::invoke::{ALL_MODELS, Caller, InvokeError, ModelPreference};
use super::json::{Field, Texts};
use super::mock;
use super::prompts::{ChatInput, MAX_CONTENT};
use super::session::{ChatContext, MAX_ID_BYTES, Turn, owned_by};
use super::state::LegacyState;
use crate::jobs::Record;

/// Most characters of a section's and of a model's name.
const MAX_NAME: usize = 1000;

/// The model name in a mock answer.
const MOCK_MODEL: &str = "Mock";

/// The input of a chat, from a request or as a job stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chat {
    /// As the sessions know it.
    pub(super) session_id: String,
    pub(super) message: String,
    pub(super) current_section: Option<String>,
    pub(super) ai_model: Option<String>,
    /// What the session knew when the question came.
    pub(super) context: ChatContext,
    /// The name of the client, if clients have keys.
    pub(super) client: Option<String>,
    /// The `traceparent` that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<String>,
}

/// What a request lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MissingField {
    #[error("Invalid session")]
    Session,
    #[error("No message provided")]
    Message,
    #[error("the message is not a text")]
    Text,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) response: String,
    pub(super) model: String,
    pub(super) is_mock: bool,
}

impl Chat {
    /// The members of a request that are read. A longer message is cut.
    pub(super) const TEXTS: Texts<5> = Texts([
        choice::FIELD,
        ("session_id", MAX_ID_BYTES + 1),
        ("message", MAX_CONTENT),
        ("current_section", MAX_NAME),
        ("ai_model", MAX_NAME),
    ]);
}

impl LegacyState {
    /// The chat that a request of `client` with the texts of [`Chat::TEXTS`] wants.
    pub(super) fn read_chat(
        &self,
        [session_id, message, current_section, ai_model]: [Field; 4],
        client: Option<&str>,
    ) -> Result<Chat, MissingField> {
        let session_id = session_id.text().ok_or(MissingField::Session)?;
        let (current_section, ai_model) = (current_section.text(), ai_model.text());
        let session_id = owned_by(client, &session_id).map_err(|_| MissingField::Session)?;
        let context =
            self.sessions.context(&session_id, current_section.as_deref(), Instant::now());
        let context = context.ok_or(MissingField::Session)?;
        let Field::Text(_) = message else { return Err(MissingField::Text) };
        let message = message.text().ok_or(MissingField::Message)?;
        Ok(Chat {
            session_id,
            message,
            current_section,
            ai_model,
            context,
            client: client.map(str::to_owned),
            trace: None,
        })
    }

    /// Has a question answered, until `deadline`.
    pub(super) async fn chat(
        &self,
        chat: &Chat,
        caller: &Caller,
        deadline: Instant,
    ) -> Result<Answered, InvokeError> {
        let input = ChatInput {
            query: &chat.message,
            current_section: chat.current_section.as_deref(),
            feedback_count: chat.context.feedback_count,
            history: &chat.context.history,
        };
        let rendered = self.prompts().chat(&input).map_err(|error| InvokeError::Refused {
            name: "PromptError".to_owned(),
            message: error.to_string(),
        })?;
        let order = self.chat_order(chat.ai_model.as_deref());
        let said = self.invoke(&rendered, order, caller, deadline).await?;
        let model = said.by.display_name.clone();
        Ok(Answered { response: said.text, model, is_mock: false })
    }

    /// The result of a request: the answer or a mock, noted in its session. `key` distinguishes
    /// this turn from others.
    pub(super) fn finish_chat(
        &self,
        chat: &Chat,
        outcome: Result<Answered, InvokeError>,
        key: Option<&str>,
    ) -> Result<Answered, InvokeError> {
        let answered = match outcome {
            Ok(answered) => answered,
            Err(error) if error.is_want_of_models() && self.may_mock("chat") => Answered {
                response: mock::chat(&chat.message),
                model: MOCK_MODEL.to_owned(),
                is_mock: true,
            },
            Err(error) => return Err(error),
        };
        let turn = Turn { question: &chat.message, answer: &answered.response, key };
        self.sessions.note_turn(&chat.session_id, &turn, Instant::now());
        Ok(answered)
    }

    /// Brings the answer of a job to the session that it was asked in here, wherever it was worked
    /// at. A turn that is known is not noted again.
    pub(super) fn note_answer(&self, job: Uuid, record: Option<&Record>) {
        let Some(result) = record.and_then(|record| record.result.as_ref()) else { return };
        let Some(answer) = result.get("response").and_then(Value::as_str) else { return };
        let Some(asked) = self.pending.take(job) else { return };
        let key = job.to_string();
        let turn = Turn { question: &asked.question, answer, key: Some(&key) };
        self.sessions.note_turn(&asked.session_id, &turn, Instant::now());
    }

    /// The model that `ai_model` names goes first, by its id, its name or its target's name; else
    /// the primary.
    fn chat_order(&self, ai_model: Option<&str>) -> ModelPreference {
        let gateway = self.gateway();
        let legacy = &gateway.config.legacy;
        if !legacy.chat_multi_model {
            return ModelPreference { alone: true, ..ALL_MODELS };
        }
        let named = ai_model.and_then(|name| {
            legacy.models.iter().position(|&index| {
                let is_it = |text: &str| text.eq_ignore_ascii_case(name);
                gateway.router.targets().get(index).is_some_and(|target| {
                    is_it(target.model.as_str())
                        || is_it(target.named_model())
                        || is_it(&target.name)
                        || is_it(&target.display_name)
                })
            })
        });
        ModelPreference { first: named.unwrap_or(ALL_MODELS.first), alone: false }
    }
}

pub(super) fn done(answered: &Answered) -> Value {
    json!({ "success": true, "response": answered.response, "model_used": answered.model })
}

/// What a job keeps as its result.
pub(super) fn result(answered: &Answered, duration: f64) -> Value {
    let mut result =
        json!({ "success": true, "response": answered.response, "duration": duration });
    if answered.is_mock
        && let Some(object) = result.as_object_mut()
    {
        object.insert("mock".to_owned(), true.into());
    }
    result
}

pub(super) fn failed(error: &str) -> Value {
    json!({ "success": false, "error": format!("Chat failed: {error}"), "details": null })
}
