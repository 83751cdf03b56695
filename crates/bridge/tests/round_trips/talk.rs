//! Conversations in no API's form, as random as they may be, and what of one a model must be told.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_bridge::Source;

/// A conversation.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) system: Vec<Said>,
    pub(crate) question: Vec<Part>,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) choice: Choice,
    pub(crate) parallel: Option<bool>,
    pub(crate) max_tokens: u32,
    pub(crate) tuning: Tuning,
    pub(crate) stop: Vec<String>,
    pub(crate) tier: Option<&'static str>,
    pub(crate) has_schema: bool,
}

/// A text, and for how long the prompt is cached up to it.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) cache: Option<&'static str>,
}

/// A part of what the user says, or of a tool's result.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Text(Said),
    Image,
    Document,
}

/// What the model says, and then the user: first the results of the tools that it used.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// The text and the signature of a thought.
    pub(crate) thought: Option<(String, String)>,
    pub(crate) is_redacted: bool,
    pub(crate) text: Option<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) reply: Vec<Part>,
}

/// A use of a tool, and its result.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    /// The client's name of the tool.
    pub(crate) name: String,
    pub(crate) input: Value,
    pub(crate) result: Vec<Part>,
    pub(crate) has_failed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) description: String,
    pub(crate) is_strict: bool,
    pub(crate) cache: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Unsaid,
    Auto,
    Any,
    First,
    None,
}

#[derive(Clone, Debug)]
pub(crate) enum Tuning {
    Nothing,
    Sampling { temperature: f64, top_k: u32 },
    Effort(&'static str),
}

/// What a model takes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takes {
    pub(crate) id: &'static str,
    pub(crate) is_claude: bool,
    pub(crate) is_sampled: bool,
    pub(crate) is_strict: bool,
}

pub(crate) const NAMES: [&str; 4] = [
    "find",
    "files.read/all",
    "mcp__a_name_that_is_longer_than_what_bedrock_takes_which_is_64_characters",
    "finde\u{301}",
];

/// Conversations that this model takes whole, but for what is named.
pub(crate) fn talks(takes: Takes) -> impl Strategy<Value = Talk> {
    let said = (word(), prop::option::weighted(0.2, Just("5m")));
    let said = said.prop_map(|(text, cache)| Said { text, cache });
    let exchanges = prop::collection::vec(exchange(), 0..3);
    let tools = prop::collection::vec((word(), any::<bool>()), 0..NAMES.len());
    let cached = prop::option::weighted(0.4, prop::sample::select(vec!["5m", "1h"]));
    let choice = prop::sample::select(vec![
        Choice::Unsaid,
        Choice::Auto,
        Choice::Any,
        Choice::First,
        Choice::None,
    ]);
    let tuning = prop_oneof![
        Just(Tuning::Nothing),
        (0_u32..=100, 1_u32..50).prop_map(|(of_100, top_k)| Tuning::Sampling {
            temperature: f64::from(of_100) / 100.0,
            top_k
        }),
        prop::sample::select(vec!["low", "medium", "high"]).prop_map(Tuning::Effort),
    ];
    let rest = (
        prop::collection::vec(said, 0..2),
        prop::option::of(any::<bool>()),
        1000_u32..9000,
        prop::collection::vec(word(), 0..3),
        prop::option::of(prop::sample::select(vec!["flex", "priority"])),
        any::<bool>(),
        prop::option::of(Just("5m")),
    );
    (parts(), exchanges, tools, cached, choice, tuning, rest).prop_map(
        move |(mut question, exchanges, tools, cached, choice, tuning, rest)| {
            let (mut system, parallel, max_tokens, stop, tier, has_schema, asked) = rest;
            if let Some(Part::Text(said)) = question.first_mut() {
                said.cache = asked;
            }
            // The longer lifetimes come first: one for the tools and the system text.
            system.iter_mut().for_each(|said| said.cache = said.cache.and(cached));
            let last = tools.len().saturating_sub(1);
            let tools = tools.into_iter().enumerate().map(|(at, (description, is_strict))| {
                let cache = cached.filter(|_| at == last);
                Tool { name: NAMES[at], description, is_strict, cache }
            });
            let talk = Talk {
                system,
                question,
                exchanges,
                tools: tools.collect(),
                choice,
                parallel,
                max_tokens,
                tuning,
                stop,
                tier,
                has_schema,
            };
            talk.fitted(takes)
        },
    )
}

fn word() -> impl Strategy<Value = String> {
    "w[a-z \\\\\"\u{e9}\n{}]{0,6}"
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let text = || word().prop_map(|text| Part::Text(Said { text, cache: None }));
    let part = prop_oneof![3 => text(), 1 => Just(Part::Image), 1 => Just(Part::Document)];
    // A document needs a text beside it.
    (text(), prop::collection::vec(part, 0..3)).prop_map(|(text, mut parts)| {
        parts.insert(0, text);
        parts
    })
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let result = prop_oneof![
        2 => word().prop_map(|text| Part::Text(Said { text, cache: None })),
        1 => Just(Part::Image),
    ];
    let call = (0..NAMES.len(), word(), prop::collection::vec(result, 1..3), any::<bool>());
    let thought = prop::option::of(("[a-z]{0,5}", "[a-zA-Z0-9+/]{4,9}"));
    let calls = prop::collection::vec(call, 0..3);
    (thought, any::<bool>(), prop::option::of(word()), calls, parts()).prop_map(
        |(thought, is_redacted, text, calls, reply)| {
            let calls = calls.into_iter().map(|(name, word, result, has_failed)| Call {
                id: String::new(),
                name: NAMES[name].to_owned(),
                input: json!({"z": word, "a": [1, null]}),
                result,
                has_failed,
            });
            Exchange { thought, is_redacted, text, calls: calls.collect(), reply }
        },
    )
}

impl Talk {
    /// Without what no request for this model has.
    fn fitted(mut self, takes: Takes) -> Talk {
        for (turn, exchange) in self.exchanges.iter_mut().enumerate() {
            if exchange.text.is_none() && exchange.calls.is_empty() {
                exchange.text = Some("w".to_owned());
            }
            for (at, call) in exchange.calls.iter_mut().enumerate() {
                call.id = format!("call_{turn}_{at}");
            }
        }
        if self.tools.is_empty() {
            self.exchanges.iter_mut().for_each(|exchange| exchange.calls.clear());
            for exchange in &mut self.exchanges {
                exchange.text.get_or_insert_with(|| "w".to_owned());
            }
            self.choice = Choice::Unsaid;
            self.parallel = None;
        }
        // Of a use the tool must be there; which does not matter.
        let count = self.tools.len();
        for call in self.exchanges.iter_mut().flat_map(|exchange| &mut exchange.calls) {
            if !self.tools.iter().any(|tool| tool.name == call.name) {
                call.name = NAMES[call.id.len() % count].to_owned();
            }
        }
        if matches!(self.tuning, Tuning::Effort(_))
            && matches!(self.choice, Choice::Any | Choice::First)
        {
            self.choice = Choice::Auto;
        }
        if self.choice == Choice::None {
            self.parallel = None;
        }
        if !takes.is_sampled && matches!(self.tuning, Tuning::Sampling { .. }) {
            self.tuning = Tuning::Nothing;
        }
        if !takes.is_claude {
            self.has_schema = false;
            self.parallel = None;
            if self.choice == Choice::None {
                self.choice = Choice::Auto;
            }
            if matches!(self.tuning, Tuning::Effort(_)) {
                self.tuning = Tuning::Nothing;
            }
        }
        self
    }

    /// Without what the API has no words for.
    pub(crate) fn in_words_of(mut self, source: Source) -> Talk {
        if source == Source::Responses {
            self.stop.clear();
            self.tools.iter_mut().for_each(|tool| tool.cache = None);
            if let Tuning::Sampling { top_k, .. } = &mut self.tuning {
                *top_k = 0;
            }
        }
        if matches!(source, Source::ChatCompletions | Source::Responses) {
            for call in self.exchanges.iter_mut().flat_map(|exchange| &mut exchange.calls) {
                call.has_failed = false;
            }
        }
        self
    }

    /// What must be named as left out.
    pub(crate) fn lost(&self, source: Source, takes: Takes) -> BTreeSet<&'static str> {
        let [thinking, cache, ttl] = match source {
            Source::ChatCompletions => ["thinking_blocks", "cache_control", "cache_control.ttl"],
            Source::Responses => ["input.reasoning", "cache_control", "cache_control.ttl"],
            Source::Messages | Source::InvokeClaude => {
                ["messages.thinking", "cache_control", "cache_control.ttl"]
            }
            Source::Converse => ["messages.reasoningContent", "cachePoint", "cachePoint.ttl"],
        };
        let thinks = |it: &Exchange| it.thought.is_some() || it.is_redacted;
        let mut lost = BTreeSet::new();
        if !takes.is_claude && self.exchanges.iter().any(thinks) {
            lost.insert(thinking);
        }
        if !takes.is_claude && self.tools.iter().any(|tool| tool.cache.is_some()) {
            lost.insert(cache);
        }
        if !takes.is_claude && self.system.iter().any(|said| said.cache == Some("1h")) {
            lost.insert(ttl);
        }
        if !takes.is_strict && self.tools.iter().any(|tool| tool.is_strict) {
            lost.insert("strict");
        }
        lost
    }
}
