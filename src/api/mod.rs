//! What the APIs of OpenAI and Anthropic have of their own, beside the protocol: the ids of stored
//! responses, the list of models, and the headers of limits.

pub mod models;
pub mod rate_limit_headers;
pub mod response_id;
pub mod response_rewrite;
pub mod served_models;
