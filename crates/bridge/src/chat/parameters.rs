//! Reads the parameters at the top of a request that are no messages and no tools.

use std::borrow::Cow;

use sluice_catalogue::Effort;

use super::request::Reader;
use crate::conversation::{AnswerFormat, CacheTtl, Thinking, ThinkingDisplay};
use crate::effort;
use crate::fields;
use crate::request_metadata::record;
use crate::value::Value;

impl<'a> Reader<'_, '_, 'a> {
    pub(super) fn max_tokens(&mut self, name: &str, value: Value<'_>) -> Option<u64> {
        match fields::count(value).filter(|count| *count > 0) {
            Some(count) => Some(count),
            None => self.refuse(name, "must be a whole number of at least 1"),
        }
    }

    /// A number from 0 to `most`, as it was written.
    pub(super) fn number(
        &mut self,
        name: &str,
        value: Value<'a>,
        most: f64,
    ) -> Option<Cow<'a, str>> {
        match fields::number(value).filter(|number| (0.0..=most).contains(number)) {
            Some(_) => Some(Cow::Borrowed(value.get())),
            None => self.refuse(name, &format!("must be a number from 0 to {most}")),
        }
    }

    /// A text or a list of texts. Empty ones would end no answer, and Bedrock refuses them.
    pub(super) fn stop(&mut self, value: Value<'a>) -> Option<()> {
        let texts = match fields::elements(value) {
            Some(elements) => elements.into_iter().map(fields::text).collect(),
            None => fields::text(value).map(|text| vec![text]),
        };
        let Some(texts) = texts else {
            return self.refuse("stop", "must be a text or a list of texts");
        };
        let texts = texts.into_iter().filter(|text| !text.is_empty());
        self.conversation.stop_sequences = texts.collect();
        Some(())
    }

    /// Whether the stream is to end with the usage.
    pub(super) fn stream_options(&mut self, value: Value<'a>) -> Option<bool> {
        let place = || "stream_options".to_owned();
        let members = self.object(value, place)?;
        self.only(&members, &["include_usage", "include_obfuscation"], place)?;
        let obfuscation = members.get("include_obfuscation").and_then(fields::boolean);
        if obfuscation == Some(true) {
            self.report.dropped("stream_options.include_obfuscation");
        }
        match members.get("include_usage") {
            Some(value) => self.boolean("stream_options.include_usage", value),
            None => Some(false),
        }
    }

    pub(super) fn response_format(&mut self, value: Value<'a>) -> Option<()> {
        let place = || "response_format".to_owned();
        let members = self.object(value, place)?;
        let kind = self.text_in(&members, "type", place)?;
        self.conversation.format = match kind.as_ref() {
            "text" => {
                self.only(&members, &["type"], place)?;
                None
            }
            "json_object" => {
                self.only(&members, &["type"], place)?;
                Some(AnswerFormat::JsonObject)
            }
            "json_schema" => {
                self.only(&members, &["type", "json_schema"], place)?;
                Some(self.json_schema(members.get("json_schema"))?)
            }
            _ => {
                let why = "must be `text`, `json_object` or `json_schema`";
                return self.refuse("response_format.type", why);
            }
        };
        Some(())
    }

    fn json_schema(&mut self, value: Option<Value<'a>>) -> Option<AnswerFormat<'a>> {
        let place = || "response_format.json_schema".to_owned();
        let Some(value) = value else { return self.refuse(place(), "must be an object") };
        let members = self.object(value, place)?;
        self.only(&members, &["name", "description", "schema", "strict"], place)?;
        let mut optional = |name: &str| match members.get(name) {
            Some(_) => self.text_in(&members, name, place).map(Some),
            None => Some(None),
        };
        let (name, description) = (optional("name")?, optional("description")?);
        let strict = match members.get("strict") {
            Some(value) => self.boolean("response_format.json_schema.strict", value)?,
            None => false,
        };
        match members.get("schema").filter(|value| fields::is_object(*value)) {
            Some(schema) => {
                let schema = fields::json(schema);
                Some(AnswerFormat::JsonSchema { name, description, schema, strict })
            }
            None => self.refuse("response_format.json_schema.schema", "must be an object"),
        }
    }

    /// An effort is also a wish to think, and `none` one not to.
    pub(super) fn reasoning_effort(&mut self, value: Value<'_>) -> Option<()> {
        let name = fields::text(value);
        let Some(effort) = name.as_deref().and_then(effort::by_name) else {
            let why = "must be `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`";
            return self.refuse("reasoning_effort", why);
        };
        let thinking = if effort == Effort::None { Thinking::Off } else { Thinking::Adaptive };
        self.conversation.effort = Some(effort);
        // A `thinking` of its own is more exact, wherever it stands.
        self.conversation.thinking.get_or_insert(thinking);
        Some(())
    }

    /// Claude's own form of a wish to think, which clients send through OpenAI's SDKs.
    pub(super) fn thinking(&mut self, value: Value<'a>) -> Option<()> {
        let place = || "thinking".to_owned();
        let members = self.object(value, place)?;
        self.only(&members, &["type", "budget_tokens", "display"], place)?;
        let kind = members.get("type").and_then(fields::text);
        let budget = members.get("budget_tokens");
        let thinking = match (kind.as_deref(), budget.map(fields::count)) {
            (Some("enabled"), Some(Some(budget))) => Thinking::Budget(budget),
            (Some("adaptive"), None) => Thinking::Adaptive,
            (Some("disabled"), None) => Thinking::Off,
            _ => {
                let why = "must be `{\"type\":\"enabled\",\"budget_tokens\":..}`, \
                           `{\"type\":\"adaptive\"}` or `{\"type\":\"disabled\"}`";
                return self.refuse("thinking", why);
            }
        };
        self.conversation.thinking = Some(thinking);
        let display = members.get("display").map(|value| fields::text(value).unwrap_or_default());
        self.conversation.thinking_display = match display.as_deref() {
            None => None,
            Some("summarized") => Some(ThinkingDisplay::Summarized),
            Some("omitted") => Some(ThinkingDisplay::Omitted),
            Some(_) => {
                return self.refuse("thinking.display", "must be `summarized` or `omitted`");
            }
        };
        Some(())
    }

    pub(super) fn service_tier(&mut self, value: Value<'_>) -> Option<()> {
        self.conversation.service_tier = match fields::text(value).as_deref() {
            Some("auto") => None,
            Some("default") => Some("default"),
            Some("flex") => Some("flex"),
            // OpenAI's newer name of it.
            Some("priority" | "fast") => Some("priority"),
            Some("scale") => {
                let why = "must not be `scale`, which OpenAI alone sells; use `auto`, `default`, \
                           `flex` or `priority`";
                self.report.unsupported("service_tier", false, why);
                None
            }
            _ => {
                let why = "must be `auto`, `default`, `flex` or `priority`";
                return self.refuse("service_tier", why);
            }
        };
        Some(())
    }

    /// The lifetime of the cache points that `prompt_cache_breakpoint` sets: `30m` is a minimum, and an hour the
    /// shortest that keeps it.
    pub(super) fn prompt_cache_options(&mut self, value: Value<'a>) -> Option<()> {
        let place = || "prompt_cache_options".to_owned();
        let members = self.object(value, place)?;
        self.only(&members, &["mode", "ttl"], place)?;
        match members.get("mode").map(fields::text) {
            None => {}
            Some(Some(mode)) if mode == "explicit" => {}
            // No point is set where the client sets none.
            Some(Some(mode)) if mode == "implicit" => {
                self.report.dropped("prompt_cache_options.mode");
            }
            Some(_) => {
                let why = "must be `implicit` or `explicit`";
                return self.refuse("prompt_cache_options.mode", why);
            }
        }
        match members.get("ttl").map(fields::text) {
            None => {}
            Some(Some(ttl)) if ttl == "30m" => self.breakpoint_ttl = CacheTtl::Hour,
            Some(_) => return self.refuse("prompt_cache_options.ttl", "must be `30m`"),
        }
        Some(())
    }

    /// A parameter that Bedrock has no place for.
    pub(super) fn other(&mut self, name: &str, value: Value<'a>) -> Option<()> {
        let is = |json: &str| value.get() == json;
        let is_number = |number: f64| fields::number(value) == Some(number);
        let (means_nothing, why) = match name {
            "user" | "safety_identifier" if self.report.is_recorded(name) => {
                let (key, text) = (Cow::Owned(name.to_owned()), fields::text(value));
                record(name, name, key, text, &mut self.conversation.metadata, self.report);
                return Some(());
            }
            "metadata" if self.report.is_recorded(name) => {
                for (key, value) in self.object(value, || name.to_owned())? {
                    let (of, text) = (format!("{name}.{key}"), fields::text(value));
                    record(name, &of, key, text, &mut self.conversation.metadata, self.report);
                }
                return Some(());
            }
            // Names for the provider's records, which would end in the operator's, and hints to a cache that
            // works otherwise here: they change no answer.
            "user" | "safety_identifier" | "prompt_cache_key" => {
                self.note(name, false);
                return Some(());
            }
            "prompt_cache_retention" => {
                self.note(name, fields::text(value).as_deref() == Some("in_memory"));
                return Some(());
            }
            "metadata" => {
                self.note(name, has_no_part(value));
                return Some(());
            }
            "store" => {
                self.note(name, is("false"));
                return Some(());
            }
            "functions" | "function_call" => {
                let why = "is no longer served; use `tools` and `tool_choice`";
                return self.refuse(name, why);
            }
            "n" => (is_number(1.0), "asks for several answers; send a request for each"),
            "frequency_penalty" | "presence_penalty" => {
                (is_number(0.0), "is not served by models on Bedrock; leave it out or set it to 0")
            }
            "logprobs" => (is("false"), "is not served by models on Bedrock; leave it out"),
            "top_logprobs" => (is_number(0.0), "is not served by models on Bedrock; leave it out"),
            "logit_bias" => {
                (has_no_part(value), "is not served by models on Bedrock; leave it out")
            }
            "seed" => (false, "is not served by models on Bedrock; leave it out"),
            "verbosity" => {
                let is_usual = fields::text(value).as_deref() == Some("medium");
                (is_usual, "is not served by models on Bedrock; say it in a system message")
            }
            "modalities" => (is_text_only(value), "must be `[\"text\"]`: answers are text"),
            "audio" => (false, "is not served: answers are text"),
            "prediction" => (false, "is not served by models on Bedrock; leave it out"),
            "moderation" => (false, "is not served by models on Bedrock; use a guardrail"),
            "web_search_options" => {
                (false, "is not served: no model on Bedrock searches the web by itself; use a tool")
            }
            _ => (false, "is not known to this gateway; leave it out"),
        };
        if !means_nothing {
            self.report.unsupported(name, false, why);
        }
        Some(())
    }

    fn note(&mut self, name: &str, means_nothing: bool) {
        if !means_nothing {
            self.report.dropped(name.to_owned());
        }
    }
}

fn has_no_part(value: Value<'_>) -> bool {
    fields::members(value).is_some_and(|members| members.iter().next().is_none())
}

fn is_text_only(value: Value<'_>) -> bool {
    let elements = fields::elements(value).unwrap_or_default();
    let is_text = |element: Value<'_>| fields::text(element).as_deref() == Some("text");
    !elements.is_empty() && elements.into_iter().all(is_text)
}
