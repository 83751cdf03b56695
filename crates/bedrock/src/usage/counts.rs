//! Counts of tokens as answers write them, under the names of every family and API.

use super::Usage;
use crate::api::Api;
use crate::json::{JsonError, Scanner, Type};
use crate::service_tier::ServiceTier;

/// The counts of an answer, by their place in it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    api: Api,
    usage: ReportedCounts,
    metrics: ReportedCounts,
    /// Counts beside the answer's text.
    beside: ReportedCounts,
    tier: Option<ServiceTier>,
}

impl Counts {
    /// No counts yet of an answer of `api`.
    pub(crate) fn new(api: Api) -> Counts {
        Counts { api, ..Counts::default() }
    }

    /// Reads an answer. What was read before counts where this one has no count.
    pub(crate) fn answer(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match self.api {
            Api::Bedrock | Api::Models | Api::Embeddings => self.native_answer(scanner),
            api => scanner.object(|key, scanner| match key {
                "usage" => scanner.object(|key, scanner| match key {
                    "service_tier" if api == Api::Messages => self.read_tier(scanner),
                    key => self.usage.count(key, scanner),
                }),
                "service_tier" => self.read_tier(scanner),
                // The answer of an operation that only counts.
                "input_tokens" if api == Api::Messages => self.beside.count(key, scanner),
                _ => Ok(()),
            }),
        }
    }

    /// Reads the counts of an object that has nothing else.
    pub(crate) fn count(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| self.usage.count(key, scanner))
    }

    fn native_answer(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "usage" => scanner.object(|key, scanner| self.usage.count(key, scanner)),
            "amazon-bedrock-invocationMetrics" => {
                scanner.object(|key, scanner| self.metrics.count(key, scanner))
            }
            // Titan's answers keep their output counts one level down.
            "results" => scanner.array(|scanner| {
                scanner.object(|key, scanner| match key {
                    "tokenCount" => {
                        let count = scanner.count()?.map_or(0, |(count, _)| count);
                        let before = self.beside.output.unwrap_or(0);
                        self.beside.output = Some(before.saturating_add(count));
                        Ok(())
                    }
                    _ => Ok(()),
                })
            }),
            // What a bidirectional stream has used so far.
            "event" => scanner.object(|key, scanner| match key {
                "usageEvent" => scanner.object(|key, scanner| self.usage.count(key, scanner)),
                _ => Ok(()),
            }),
            // Converse's, and OpenAI's.
            "serviceTier" => scanner.object(|key, scanner| match key {
                "type" => self.read_tier(scanner),
                _ => Ok(()),
            }),
            "service_tier" => self.read_tier(scanner),
            key => self.beside.count(key, scanner),
        })
    }

    fn read_tier(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? == Type::String {
            self.tier = scanner.string().ok().map(|name| ServiceTier::of(&name));
        }
        Ok(())
    }

    /// The most complete part, completed by the others.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let parts = [&self.usage, &self.metrics, &self.beside];
        // In OpenAI's APIs the input is all of it, whatever its count is called.
        let is_all_input = matches!(self.api, Api::ChatCompletions | Api::Responses);
        let mut told = parts.iter().filter_map(|part| part.usage(is_all_input));
        let first = told.next()?;
        let usage = told.fold(first, Usage::refined_by);
        let output = parts.iter().find_map(|part| part.output(is_all_input));
        Some(Usage { output: output.unwrap_or(0), tier: self.tier, ..usage })
    }
}

/// The counts of one object, as they are written. Families differ in whether their input has what
/// was cached in it: OpenAI's has, Anthropic's, Converse's and Bedrock's metrics have not.
#[derive(Debug, Default)]
struct ReportedCounts {
    input: Option<u64>,
    /// Whether the input is all of it, by the name of its count.
    is_all_input: bool,
    output: Option<u64>,
    total: Option<u64>,
    /// Tokens of thinking, which are part of the output, unless the total shows otherwise.
    reasoning: u64,
    cache_read: u64,
    cache_write: u64,
    /// Cached tokens by the details of the input, which are part of it.
    read_within: u64,
    written_within: u64,
    /// What was written to a cache, by how long it stays.
    written_5m: u64,
    written_1h: u64,
}

impl ReportedCounts {
    fn usage(&self, is_all_input: bool) -> Option<Usage> {
        let input = self.input?;
        let split = self.written_5m.saturating_add(self.written_1h);
        // Where they disagree, the sum of the parts is what is billed.
        let written = if split > 0 { split } else { self.cache_write };
        let cache_read = self.cache_read.max(self.read_within);
        let cache_write = written.max(self.written_within);
        let (read_within, written_within) = match is_all_input || self.is_all_input {
            true => (cache_read, cache_write),
            false => (self.read_within, self.written_within),
        };
        // More than all of it can't be part of it.
        let fresh = input.checked_sub(read_within.saturating_add(written_within)).unwrap_or(input);
        Some(Usage {
            input: fresh,
            output: self.output(is_all_input).unwrap_or(0),
            cache_read,
            cache_write,
            cache_write_1h: self.written_1h.min(cache_write),
            tier: None,
        })
    }

    fn output(&self, is_all_input: bool) -> Option<u64> {
        let output = self.output?;
        let (all, input) = (output.saturating_add(self.reasoning), self.input.unwrap_or(0));
        let is_all_input = is_all_input || self.is_all_input;
        let is_beside = is_all_input && self.total == Some(input.saturating_add(all));
        Some(if is_beside { all } else { output })
    }

    fn count(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let slot = match key {
            "inputTokens"
            | "input_tokens"
            | "inputTokenCount"
            | "inputTextTokenCount"
            | "prompt_token_count"
            | "totalInputTokens" => return self.count_input(false, scanner),
            "prompt_tokens" => return self.count_input(true, scanner),
            "outputTokens"
            | "output_tokens"
            | "completion_tokens"
            | "outputTokenCount"
            | "generation_token_count"
            | "totalOutputTokens" => {
                if let Some((count, _)) = scanner.count()? {
                    self.output = Some(count);
                }
                return Ok(());
            }
            "total_tokens" => {
                self.total = scanner.count()?.map(|(count, _)| count);
                return Ok(());
            }
            "prompt_tokens_details" | "input_tokens_details" => {
                return scanner.object(|key, scanner| match key {
                    "cached_tokens" => read(&mut self.read_within, scanner),
                    "cache_write_tokens" | "cache_creation_tokens" => {
                        read(&mut self.written_within, scanner)
                    }
                    _ => Ok(()),
                });
            }
            "completion_tokens_details" => {
                return scanner.object(|key, scanner| match key {
                    "reasoning_tokens" => read(&mut self.reasoning, scanner),
                    _ => Ok(()),
                });
            }
            "cache_creation" => {
                return scanner.object(|key, scanner| match key {
                    "ephemeral_5m_input_tokens" => read(&mut self.written_5m, scanner),
                    "ephemeral_1h_input_tokens" => read(&mut self.written_1h, scanner),
                    _ => Ok(()),
                });
            }
            "cacheDetails" => return self.cache_details(scanner),
            "cacheReadInputTokens" | "cache_read_input_tokens" | "cacheReadInputTokenCount" => {
                &mut self.cache_read
            }
            "cacheWriteInputTokens"
            | "cache_creation_input_tokens"
            | "cacheWriteInputTokenCount" => &mut self.cache_write,
            // Names of models that others have made, beside OpenAI's.
            "cached_tokens" | "prompt_cache_hit_tokens" => &mut self.read_within,
            _ => return Ok(()),
        };
        read(slot, scanner)
    }

    fn count_input(&mut self, is_all: bool, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if let Some((count, _)) = scanner.count()? {
            self.input = Some(count);
            self.is_all_input = is_all;
        }
        Ok(())
    }

    /// Converse's list of cache writes, each with its time to live.
    fn cache_details(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        (self.written_5m, self.written_1h) = (0, 0);
        scanner.array(|scanner| {
            let (mut is_hour, mut tokens) = (false, 0);
            scanner.object(|key, scanner| match key {
                "ttl" if scanner.peek()? == Type::String => {
                    is_hour = scanner.string()? == "1h";
                    Ok(())
                }
                "inputTokens" => read(&mut tokens, scanner),
                _ => Ok(()),
            })?;
            let slot = if is_hour { &mut self.written_1h } else { &mut self.written_5m };
            *slot = slot.saturating_add(tokens);
            Ok(())
        })
    }
}

/// Reads a count into its slot, if it is one.
fn read(slot: &mut u64, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
    if let Some((count, _)) = scanner.count()? {
        *slot = count;
    }
    Ok(())
}
