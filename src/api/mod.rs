//! The APIs of OpenAI and Anthropic that clients speak beside Bedrock's own.
//!
//! What differs between APIs lies at the two ends of a request: how its head is read (`paths`), what goes
//! upstream (`messages_headers`, `count_tokens`), and how answers and errors are written (`errors`,
//! `rate_limit_headers`, `response_rewrite`). What has no upstream is answered here (`served_models`). Almost
//! everything is pure: heads and bytes in, values and bytes out.

pub mod count_tokens;
pub mod errors;
pub mod messages_headers;
pub mod models;
pub mod paths;
pub mod rate_limit_headers;
pub mod response_id;
pub mod response_rewrite;
pub mod served_models;
