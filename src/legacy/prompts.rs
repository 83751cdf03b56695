//! Prompts, made from templates that the operator may replace.
//!
//! Templates are compiled, checked for unknown variables and rendered once, when
//! they are loaded, so that a mistake in one shows then and not at a user's request. Text of users
//! is only ever a value: template syntax in it is data.

use std::fmt;
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use super::checklist::{CHECKLIST, Topic};
use super::session::{Message, Role};
use super::text::first_chars;
use crate::config::LegacyPrompts;

/// Most characters of a section that are analysed, and of a question.
pub const MAX_CONTENT: usize = 8000;
/// Most characters of a section's name and of a document's type.
const MAX_NAME: usize = 200;

const ANALYSIS_SYSTEM: &str = "analysis_system";
const ANALYSIS: &str = "analysis";
const CHAT_SYSTEM: &str = "chat_system";
const CHAT: &str = "chat";
const TEST: &str = "test";

/// A template's name, its text and the variables that it is given.
type Named<'a> = (&'static str, &'a str, &'static [&'static str]);

fn by_name(texts: &LegacyPrompts) -> [Named<'_>; 5] {
    [
        (ANALYSIS_SYSTEM, &texts.analysis_system, &["checklist"]),
        (ANALYSIS, &texts.analysis, &["section_name", "doc_type", "content", "checklist"]),
        (CHAT_SYSTEM, &texts.chat_system, &["checklist"]),
        (CHAT, &texts.chat, &["query", "current_section", "feedback_count", "history"]),
        (TEST, &texts.test, &[]),
    ]
}

/// A template that can't be used. Each message names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The template uses an unknown variable.
    #[error("the prompt template '{template}' uses '{variable}', but {}", KnownVariables(.known))]
    UnknownVariable {
        /// The template.
        template: &'static str,
        /// The variable.
        variable: String,
        /// The known variables.
        known: &'static [&'static str],
    },
    /// The template renders to an empty text.
    #[error("the prompt template '{0}' is empty")]
    Empty(&'static str),
    /// The template is invalid, or can't be rendered.
    #[error("the prompt template '{template}' can't be used: {reason}")]
    Broken {
        /// The template.
        template: &'static str,
        /// What is wrong, and in which line.
        reason: String,
    },
}

struct KnownVariables<'a>(&'a [&'a str]);

impl fmt::Display for KnownVariables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("it is given none"),
            names => write!(f, "it is given {} alone", names.join(", ")),
        }
    }
}

/// The prompt of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The system prompt, if there is one.
    pub system: Option<Arc<str>>,
    /// The user's message.
    pub user: String,
}

/// What an analysis is about.
#[derive(Clone, Copy, Debug)]
pub struct AnalysisInput<'a> {
    /// The section's name.
    pub section_name: &'a str,
    /// The type of its document.
    pub doc_type: &'a str,
    /// Its text, of which the first [`MAX_CONTENT`] characters are used.
    pub content: &'a str,
}

/// What a question in the chat is about.
#[derive(Clone, Copy, Debug)]
pub struct ChatInput<'a> {
    /// The question, of which the first [`MAX_CONTENT`] characters are used.
    pub query: &'a str,
    /// The section in front of the user.
    pub current_section: Option<&'a str>,
    /// How many feedback items that section has.
    pub feedback_count: usize,
    /// The conversation so far, oldest first.
    pub history: &'a [Message],
}

#[derive(Serialize)]
struct NoVariables {}

#[derive(Serialize)]
struct SystemVariables {
    checklist: [Topic; 20],
}

#[derive(Serialize)]
struct AnalysisVariables<'a> {
    section_name: &'a str,
    doc_type: &'a str,
    content: &'a str,
    checklist: [Topic; 20],
}

#[derive(Serialize)]
struct ChatVariables<'a> {
    query: &'a str,
    current_section: Option<&'a str>,
    feedback_count: usize,
    history: &'a [Message],
}

/// The compiled templates.
#[derive(Debug)]
pub struct Prompts {
    environment: Environment<'static>,
    analysis_system: Option<Arc<str>>,
    chat_system: Option<Arc<str>>,
    test: String,
}

impl Prompts {
    /// Compiles the templates and tries them out.
    ///
    /// # Errors
    /// The first template that can't be used, and why.
    pub fn new(texts: &LegacyPrompts) -> Result<Prompts, PromptError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        for (template, text, known) in by_name(texts) {
            add(&mut environment, template, text, known)?;
        }
        let checklist = SystemVariables { checklist: CHECKLIST };
        let analysis_system = render(&environment, ANALYSIS_SYSTEM, &checklist)?;
        let chat_system = render(&environment, CHAT_SYSTEM, &checklist)?;
        let test = render(&environment, TEST, &NoVariables {})?;
        let some = |text: String| (!text.trim().is_empty()).then(|| text.into());
        let prompts = Prompts {
            environment,
            analysis_system: some(analysis_system),
            chat_system: some(chat_system),
            test,
        };
        prompts.try_out()?;
        Ok(prompts)
    }

    /// The prompt of an analysis.
    ///
    /// # Errors
    /// The template fails for this input.
    pub fn analysis(&self, input: &AnalysisInput<'_>) -> Result<Rendered, PromptError> {
        let variables = AnalysisVariables {
            section_name: first_chars(input.section_name, MAX_NAME),
            doc_type: first_chars(input.doc_type, MAX_NAME),
            content: first_chars(input.content, MAX_CONTENT),
            checklist: CHECKLIST,
        };
        let user = render(&self.environment, ANALYSIS, &variables)?;
        Ok(Rendered { system: self.analysis_system.clone(), user })
    }

    /// The prompt of a question in the chat.
    ///
    /// # Errors
    /// The template fails for this input.
    pub fn chat(&self, input: &ChatInput<'_>) -> Result<Rendered, PromptError> {
        let variables = ChatVariables {
            query: first_chars(input.query, MAX_CONTENT),
            current_section: input.current_section.map(|name| first_chars(name, MAX_NAME)),
            feedback_count: input.feedback_count,
            history: input.history,
        };
        let user = render(&self.environment, CHAT, &variables)?;
        Ok(Rendered { system: self.chat_system.clone(), user })
    }

    /// The prompt of a connection test.
    pub fn test(&self) -> Rendered {
        Rendered { system: None, user: self.test.clone() }
    }

    /// Renders each template that depends on a request, with every branch of the shipped ones.
    fn try_out(&self) -> Result<(), PromptError> {
        let some = "sample";
        let said = |role| Message { role, text: some.into() };
        let history = [said(Role::User), said(Role::Assistant)];
        let (analysis, chat) = (
            AnalysisInput { section_name: some, doc_type: some, content: some },
            ChatInput { query: some, current_section: None, feedback_count: 0, history: &[] },
        );
        self.analysis(&analysis)?;
        self.chat(&chat)?;
        self.chat(&ChatInput {
            current_section: Some(some),
            feedback_count: 2,
            history: &history,
            ..chat
        })?;
        Ok(())
    }
}

/// Compiles a template and checks what it uses.
fn add(
    environment: &mut Environment<'static>,
    template: &'static str,
    text: &str,
    known: &'static [&'static str],
) -> Result<(), PromptError> {
    // The system prompt may be empty, the prompt may not.
    if text.trim().is_empty() && ![ANALYSIS_SYSTEM, CHAT_SYSTEM].contains(&template) {
        return Err(PromptError::Empty(template));
    }
    environment
        .add_template_owned(template, text.to_owned())
        .map_err(|error| broken(template, &error))?;
    let compiled = environment.get_template(template).map_err(|error| broken(template, &error))?;
    let given = |name: &str| known.contains(&name) || environment.globals().any(|(g, _)| g == name);
    // The first by name, so that the same mistake always gets the same message.
    let unknown =
        compiled.undeclared_variables(false).into_iter().filter(|name| !given(name)).min();
    match unknown {
        Some(variable) => Err(PromptError::UnknownVariable { template, variable, known }),
        None => Ok(()),
    }
}

fn render(
    environment: &Environment<'_>,
    template: &'static str,
    variables: &impl Serialize,
) -> Result<String, PromptError> {
    environment
        .get_template(template)
        .and_then(|compiled| compiled.render(Serde(variables)))
        .map_err(|error| broken(template, &error))
}

fn broken(template: &'static str, error: &minijinja::Error) -> PromptError {
    PromptError::Broken { template, reason: error.to_string() }
}

#[cfg(test)]
mod tests;
