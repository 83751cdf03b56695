//! Request paths of the APIs of OpenAI and Anthropic, below the prefix at which each is served.
//!
//! Source: AWS's pages on inference with Chat Completions, Responses and Messages; the SDKs of OpenAI and
//! Anthropic.

use http::Method;

use super::api::Api;
use super::operation::Operation;
use super::path::{Call, PathError, Resource, identifier_in};

/// The API that a path below a prefix belongs to, whatever its method; `None` if it is of none.
pub fn api_of(rest: &str) -> Option<Api> {
    let (collection, further) = split(rest)?;
    match (collection, further) {
        ("chat", Some("completions")) => Some(Api::ChatCompletions),
        ("responses", _) => Some(Api::Responses),
        ("messages", _) => Some(Api::Messages),
        ("models", _) => Some(Api::Models),
        ("embeddings", None) => Some(Api::Embeddings),
        _ => None,
    }
}

/// Reads method and raw path below a prefix: `/chat/completions` of `/openai/v1/chat/completions`.
///
/// # Errors
/// When no operation has this path, or it does not take this method.
pub fn parse(method: &Method, rest: &str) -> Result<Call, PathError> {
    let (collection, further) = split(rest).ok_or(PathError::Unknown)?;
    let call = |operation, resource| Call { operation, resource };
    let in_body = |operation| call(operation, Resource::InBody);
    let call = match (collection, further) {
        ("chat", Some("completions")) => in_body(Operation::CreateChatCompletion),
        ("messages", None) => in_body(Operation::CreateMessage),
        ("messages", Some("count_tokens")) => in_body(Operation::CountMessageTokens),
        ("embeddings", None) => in_body(Operation::CreateEmbeddings),
        ("models", None) => call(Operation::ListModels, Resource::None),
        // The id of a model may have slashes.
        ("models", Some(id)) => call(Operation::GetModel, Resource::Listed(identifier_in(id)?)),
        ("responses", None) => in_body(Operation::CreateResponse),
        ("responses", Some(further)) => response(method, further)?,
        _ => return Err(PathError::Unknown),
    };
    let wanted = call.operation.method();
    match () {
        () if *method == wanted => Ok(call),
        () if wanted == Method::GET => Err(PathError::Method { allow: "GET" }),
        () => Err(PathError::Method { allow: "POST" }),
    }
}

/// The path of an operation below a prefix; `None` for one that has no such path. `id` is that of the stored
/// response or of the model, for the operations on one.
pub fn to_path(operation: Operation, id: &str) -> Option<String> {
    let fixed = match operation {
        Operation::CreateChatCompletion => "/chat/completions",
        Operation::CreateResponse => "/responses",
        Operation::CreateMessage => "/messages",
        Operation::CountMessageTokens => "/messages/count_tokens",
        Operation::CreateEmbeddings => "/embeddings",
        Operation::ListModels => "/models",
        Operation::GetModel => return Some(format!("/models/{}", encoded(id))),
        Operation::GetResponse | Operation::DeleteResponse => {
            return Some(format!("/responses/{}", encoded(id)));
        }
        Operation::CancelResponse => return Some(format!("/responses/{}/cancel", encoded(id))),
        Operation::ListInputItems => {
            return Some(format!("/responses/{}/input_items", encoded(id)));
        }
        _ => return None,
    };
    Some(fixed.to_owned())
}

fn encoded(id: &str) -> impl std::fmt::Display {
    percent_encoding::utf8_percent_encode(id, super::model_id::SEGMENT)
}

/// The first segment, and what follows it. A slash at the end is no segment.
fn split(rest: &str) -> Option<(&str, Option<&str>)> {
    let rest = rest.strip_prefix('/')?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    Some(match rest.split_once('/') {
        Some((collection, further)) => (collection, Some(further)),
        None => (rest, None),
    })
}

/// Reads a path below `/responses/`.
fn response(method: &Method, further: &str) -> Result<Call, PathError> {
    let (id, operation) = match further.split_once('/') {
        None if *method == Method::GET => (further, Operation::GetResponse),
        None if *method == Method::DELETE => (further, Operation::DeleteResponse),
        None => return Err(PathError::Method { allow: "GET, DELETE" }),
        Some((id, "cancel")) => (id, Operation::CancelResponse),
        Some((id, "input_items")) => (id, Operation::ListInputItems),
        Some(_) => return Err(PathError::Unknown),
    };
    let id = identifier_in(id)?;
    if id.contains('/') {
        return Err(PathError::Identifier);
    }
    Ok(Call { operation, resource: Resource::Response(id) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_operation_has_the_path_that_reads_as_itself() {
        let has_path = |operation: &Operation| operation.api() != Api::Bedrock;
        for operation in Operation::ALL.into_iter().filter(has_path) {
            let path = to_path(operation, "resp_1").unwrap();
            let call = parse(&operation.method(), &path).unwrap();
            assert_eq!(call.operation, operation, "{path}");
            assert_eq!(api_of(&path), Some(operation.api()));
            assert_eq!(parse(&operation.method(), &format!("{path}/")), Ok(call));
        }
    }

    #[test]
    fn a_wrong_method_names_the_right_ones() {
        for (method, path, allow) in [
            (Method::GET, "/chat/completions", "POST"),
            (Method::GET, "/messages", "POST"),
            (Method::DELETE, "/models", "GET"),
            (Method::POST, "/models/a", "GET"),
            (Method::PUT, "/responses/resp_1", "GET, DELETE"),
            (Method::GET, "/responses/resp_1/cancel", "POST"),
            (Method::GET, "/responses", "POST"),
        ] {
            assert_eq!(parse(&method, path), Err(PathError::Method { allow }), "{method} {path}");
        }
    }

    #[test]
    fn other_paths_are_of_no_operation() {
        for path in
            ["", "/", "chat/completions", "/chat", "/completions", "/responses/a/b", "/message"]
        {
            assert_eq!(parse(&Method::POST, path), Err(PathError::Unknown), "{path}");
        }
        assert_eq!(parse(&Method::GET, "/responses/a%2Fb"), Err(PathError::Identifier));
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "/?(chat|models|responses|messages)?[/a-z%0-9.]{0,30}") {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                _ = parse(&method, &path);
            }
            _ = api_of(&path);
        }
    }
}
