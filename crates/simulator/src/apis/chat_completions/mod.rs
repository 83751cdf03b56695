//! OpenAI's Chat Completions: what a request must be, and the form of its answer.
//!
//! Refusals beyond those of the API itself are what AWS's pages and users report of Bedrock: GPT from 5.6 on
//! takes no `max_tokens` and no `stop`, and no sampling and no tools while it reasons; Grok refuses an effort
//! of `none` and answers penalties with a 503; gpt-oss refuses `logit_bias` and writes its reasoning into the
//! text; images are in the body or in S3.

mod read;
mod write;

pub(super) use read::read;
pub(super) use write::ChatCompletions;
