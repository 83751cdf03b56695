//! How a wish for thinking and effort is put to a model: each family has another form.

use sluice_bedrock::Family;
use sluice_catalogue::Effort;

use crate::conversation::{Conversation, Thinking, ThinkingDisplay};
use crate::effort;
use crate::json::Object;
use crate::model::ThinkingForm;
use crate::source::Source;

use super::super::params::Field;
use super::target::Target;

/// Smallest budget that Claude takes.
const MIN_BUDGET: u64 = 1024;

/// What is written of thinking and effort.
#[derive(Debug, Default)]
pub(super) struct ThinkingPlan {
    form: Form,
    /// `output_config.effort` of Claude.
    effort: Option<&'static str>,
    /// Whether Claude shows its thinking.
    display: Option<&'static str>,
    /// Whether the model was asked to think.
    pub(super) thinks: bool,
    /// The least maximum of the answer that leaves room for its budget.
    pub(super) min_max_tokens: Option<u64>,
    /// A beta flag that it needs.
    pub(super) beta: Option<&'static str>,
}

#[derive(Debug, Default)]
enum Form {
    #[default]
    Unsaid,
    Disabled,
    Adaptive,
    Budget(u64),
    Nova(&'static str),
    /// `reasoning_effort`.
    Effort(&'static str),
    /// `reasoning.effort`, as OpenAI's GPT models have it.
    Reasoning(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Unsaid,
    Off,
    Adaptive,
    Budget(u64),
}

impl ThinkingPlan {
    /// The plan for a conversation; `is_forced`: the model must use a tool.
    pub(super) fn new(
        conversation: &Conversation<'_>,
        is_forced: bool,
        target: &mut Target<'_, '_>,
    ) -> ThinkingPlan {
        let mut wish = wish(conversation, target.source);
        let effort = conversation.effort.filter(|effort| *effort != Effort::None);
        if is_forced && target.model.is_claude() {
            if matches!(wish, Wish::Adaptive | Wish::Budget(_)) {
                let why = "can't be combined with a tool that must be used, since this model does \
                           not think then: leave one of them out";
                target.unsupported(Field::Thinking, why);
                wish = Wish::Off;
            }
            if wish == Wish::Unsaid && target.model.thinks_by_default {
                wish = Wish::Off;
            }
        }
        let mut plan = match target.model.thinking {
            ThinkingForm::None => without_thinking(wish, effort, target),
            ThinkingForm::Budget => budget(wish, effort, conversation, target),
            ThinkingForm::Adaptive | ThinkingForm::Always => adaptive(wish, effort, target),
            ThinkingForm::Nova => nova(wish, effort, conversation.max_tokens.is_some(), target),
            ThinkingForm::Effort => by_effort(wish, effort, target),
        };
        let display = conversation.thinking_display.map(|display| match display {
            ThinkingDisplay::Summarized => "summarized",
            ThinkingDisplay::Omitted => "omitted",
        });
        if display.is_some() && !matches!(plan.form, Form::Adaptive | Form::Budget(_)) {
            let is_adaptive =
                matches!(target.model.thinking, ThinkingForm::Adaptive | ThinkingForm::Always);
            if wish == Wish::Unsaid && is_adaptive && target.model.thinks_by_default {
                // It thinks in any case, and shows it only if it is told to think.
                plan.form = Form::Adaptive;
            } else if target.source != Source::Responses {
                target.report.dropped(format!("{}.display", Field::Thinking.name(target.source)));
            } else if matches!(plan.form, Form::Nova(_)) {
                // Of models that do not think there is nothing to show; Nova hides what it thinks.
                target.report.dropped("reasoning.summary");
            }
        }
        let thinks = matches!(wish, Wish::Adaptive | Wish::Budget(_));
        ThinkingPlan { display, thinks, ..plan }
    }

    /// Whether Nova is to think as hard as it can, and then takes no sampling parameters.
    pub(super) fn is_highest_of_nova(&self) -> bool {
        matches!(self.form, Form::Nova("high"))
    }

    /// Writes its members of `additionalModelRequestFields`.
    pub(super) fn write(&self, fields: &mut Object<'_>) {
        match self.form {
            Form::Unsaid => {}
            Form::Disabled => fields.raw("thinking", r#"{"type":"disabled"}"#),
            Form::Adaptive => {
                let mut thinking = fields.object("thinking");
                thinking.str("type", "adaptive");
                self.display.iter().for_each(|display| thinking.str("display", display));
            }
            Form::Budget(budget) => {
                let mut thinking = fields.object("thinking");
                thinking.str("type", "enabled");
                thinking.number("budget_tokens", budget);
                self.display.iter().for_each(|display| thinking.str("display", display));
            }
            Form::Nova(effort) => {
                let mut config = fields.object("reasoningConfig");
                config.str("type", "enabled");
                config.str("maxReasoningEffort", effort);
            }
            Form::Effort(effort) => fields.str("reasoning_effort", effort),
            Form::Reasoning(effort) => fields.object("reasoning").str("effort", effort),
        }
        if let Some(effort) = self.effort {
            fields.object("output_config").str("effort", effort);
        }
    }

    /// Whether it has nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.form, Form::Unsaid) && self.effort.is_none()
    }
}

/// In OpenAI's APIs an effort is a wish to think; in the others it only says how much to do.
fn wish(conversation: &Conversation<'_>, source: Source) -> Wish {
    let is_openai = matches!(source, Source::ChatCompletions | Source::Responses);
    match (conversation.thinking, conversation.effort) {
        (Some(Thinking::Off), _) | (None, Some(Effort::None)) => Wish::Off,
        (Some(Thinking::Adaptive), _) => Wish::Adaptive,
        (Some(Thinking::Budget(tokens)), _) => Wish::Budget(tokens),
        (None, Some(_)) if is_openai => Wish::Adaptive,
        (None, _) => Wish::Unsaid,
    }
}

fn without_thinking(
    wish: Wish,
    effort: Option<Effort>,
    target: &mut Target<'_, '_>,
) -> ThinkingPlan {
    match wish {
        Wish::Adaptive | Wish::Budget(_) => {
            target.advice(Field::Thinking, "is not taken by this model, which does not think");
        }
        Wish::Unsaid | Wish::Off => {}
    }
    if effort.is_some() {
        no_effort(target);
    }
    ThinkingPlan::default()
}

fn no_effort(target: &mut Target<'_, '_>) {
    target.advice(Field::Effort, "is not taken by this model");
}

/// The effort that this model takes for the one that is wanted; `None` if it takes none.
fn effort_taken(wanted: Effort, field: Field, target: &mut Target<'_, '_>) -> Option<Effort> {
    let taken = target.model.effort_up_to(wanted)?;
    note_lowered(wanted, taken, field, target);
    Some(taken)
}

/// Names an effort that is lower than the one that the client asked for.
fn note_lowered(wanted: Effort, taken: Effort, field: Field, target: &mut Target<'_, '_>) {
    if taken < wanted {
        let why = format!("can be at most `{}` for this model here", effort::name(taken));
        target.advice(field, &why);
    }
}

/// Claude before it decided by itself: thinking has a budget, below the maximum of the answer.
fn budget(
    wish: Wish,
    effort: Option<Effort>,
    conversation: &Conversation<'_>,
    target: &mut Target<'_, '_>,
) -> ThinkingPlan {
    let mut plan = ThinkingPlan::default();
    // An effort that is no measure of the thinking here stands beside it.
    let is_beside = !matches!(wish, Wish::Adaptive);
    let taken = effort.filter(|_| is_beside);
    match taken.and_then(|effort| effort_taken(effort, Field::Effort, target)) {
        Some(effort) => {
            plan.effort = Some(effort::name(effort));
            plan.beta = Some("effort-2025-11-24");
        }
        None if is_beside && effort.is_some() => no_effort(target),
        None => {}
    }
    match wish {
        Wish::Unsaid | Wish::Off => {}
        Wish::Budget(tokens) => {
            let tokens = tokens.max(MIN_BUDGET);
            if conversation.max_tokens.is_some_and(|max| max <= tokens) {
                let param = Field::Thinking.name(target.source);
                let max = Field::MaxTokens.name(target.source);
                let message =
                    format!("`{param}`: the budget of {tokens} tokens must be below `{max}`");
                target.report.refuse(Some(param.to_owned()), true, message);
            }
            plan.form = Form::Budget(tokens);
        }
        Wish::Adaptive => {
            // The budget is this gateway's own: it fits the client's maximum, half of which is left for the
            // answer, and only where even the least budget does not fit is the maximum raised.
            let wanted = budget_of(effort.unwrap_or(Effort::Medium));
            let room = conversation.max_tokens.map_or(wanted, |max| max / 2);
            let tokens = wanted.min(room).max(MIN_BUDGET);
            plan.form = Form::Budget(tokens);
            plan.min_max_tokens = conversation.max_tokens.filter(|max| *max < 2 * MIN_BUDGET);
            plan.min_max_tokens = plan.min_max_tokens.map(|max| max.saturating_add(tokens));
        }
    }
    plan
}

/// Claude that decides by itself.
fn adaptive(wish: Wish, effort: Option<Effort>, target: &mut Target<'_, '_>) -> ThinkingPlan {
    let mut plan = ThinkingPlan::default();
    let mut wanted = effort;
    match wish {
        Wish::Unsaid => {}
        Wish::Off if target.model.thinking == ThinkingForm::Always => {
            target.unsupported(Field::Thinking, "can't be turned off: this model always thinks");
        }
        Wish::Off => plan.form = Form::Disabled,
        Wish::Adaptive => plan.form = Form::Adaptive,
        Wish::Budget(tokens) if target.model.takes_thinking_budget => {
            plan.form = Form::Budget(tokens.max(MIN_BUDGET));
        }
        Wish::Budget(tokens) => {
            plan.form = Form::Adaptive;
            wanted = wanted.or(Some(effort_of(tokens)));
        }
    }
    match wanted.map(|wanted| effort_taken(wanted, Field::Effort, target)) {
        Some(Some(effort)) => plan.effort = Some(effort::name(effort)),
        Some(None) if effort.is_some() && matches!(wish, Wish::Unsaid | Wish::Off) => {
            no_effort(target);
        }
        _ => {}
    }
    plan
}

/// Nova, which takes no maximum of the answer with its highest effort: a maximum is a bound that clients count
/// on, and the effort then goes up to the one below.
fn nova(
    wish: Wish,
    effort: Option<Effort>,
    is_bounded: bool,
    target: &mut Target<'_, '_>,
) -> ThinkingPlan {
    let wanted = match wish {
        Wish::Unsaid | Wish::Off => {
            if effort.is_some() {
                no_effort(target);
            }
            return ThinkingPlan::default();
        }
        Wish::Adaptive => effort.unwrap_or(Effort::Medium),
        Wish::Budget(tokens) => effort.unwrap_or(effort_of(tokens)),
    };
    let taken = match wanted {
        Effort::None | Effort::Minimal | Effort::Low => Effort::Low,
        Effort::Medium => Effort::Medium,
        Effort::High | Effort::Xhigh | Effort::Max if is_bounded => Effort::Medium,
        Effort::High | Effort::Xhigh | Effort::Max => Effort::High,
    };
    let field = if effort.is_some() { Field::Effort } else { Field::Thinking };
    note_lowered(wanted, taken, field, target);
    ThinkingPlan { form: Form::Nova(effort::name(taken)), ..ThinkingPlan::default() }
}

/// Models that think by themselves, as hard as they are told.
fn by_effort(wish: Wish, effort: Option<Effort>, target: &mut Target<'_, '_>) -> ThinkingPlan {
    let can_be_off = target.model.efforts.contains(&Effort::None);
    let wanted = match wish {
        Wish::Off if can_be_off => {
            if effort.is_some() {
                no_effort(target);
            }
            Some(Effort::None)
        }
        Wish::Off => {
            target.unsupported(Field::Thinking, "can't be turned off: this model always thinks");
            None
        }
        Wish::Budget(tokens) => effort.or(Some(effort_of(tokens))),
        Wish::Unsaid | Wish::Adaptive => effort,
    };
    let taken = wanted.and_then(|wanted| effort_taken(wanted, Field::Effort, target));
    let form = match taken {
        None => Form::Unsaid,
        Some(effort) if is_gpt(target) => Form::Reasoning(effort::name(effort)),
        Some(effort) => Form::Effort(effort::name(effort)),
    };
    ThinkingPlan { form, ..ThinkingPlan::default() }
}

fn is_gpt(target: &Target<'_, '_>) -> bool {
    target.model.family == Family::OpenAi && !target.model.id.contains("gpt-oss")
}

/// The budget for an effort, where a model knows budgets alone.
fn budget_of(effort: Effort) -> u64 {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => MIN_BUDGET,
        Effort::Medium => 4096,
        Effort::High => 16_384,
        Effort::Xhigh => 24_576,
        Effort::Max => 31_999,
    }
}

/// The effort for a budget, where a model knows efforts alone: the other way round.
fn effort_of(budget: u64) -> Effort {
    match budget {
        0..=2048 => Effort::Low,
        2049..=8192 => Effort::Medium,
        _ => Effort::High,
    }
}
