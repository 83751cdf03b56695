//! Which API a path belongs to, by the prefixes of the config, and in which dialect its errors are written.
//!
//! A path of an API without a prefix, such as `/chat/completions`, is no native one either: its error says which
//! prefix the base URL of the client lacks.

use http::request;

use crate::bedrock::api_path;
use crate::bedrock::path::{Call, PathError};
use crate::bedrock::{Api, Dialect};
use crate::config::Apis;

/// The header that clients of Anthropic's API send with every request.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// The answer to a path of an API that the config does not serve below this prefix.
const NOT_HERE: &str = "the gateway does not serve this API below this prefix; its config says which APIs it serves, \
     and below which";

/// The answer to a path of a part of OpenAI's or Anthropic's APIs that the gateway does not have.
const NO_SUCH_PART: &str = "the gateway does not serve this part of the API; it serves Chat Completions, Responses, \
     Embeddings, Messages with the count of their tokens, and the list of models";

/// The answer to a path that neither of them has.
const NO_SUCH_PATH: &str = "no operation of OpenAI's or Anthropic's API has this path; the base URL of the client may \
     have a prefix too many or too few";

/// The first segments of the parts of OpenAI's and Anthropic's APIs that the gateway does not have.
const OTHER_PARTS: [&str; 21] = [
    "completions",
    "complete",
    "moderations",
    "images",
    "audio",
    "videos",
    "realtime",
    "files",
    "uploads",
    "batches",
    "fine_tuning",
    "vector_stores",
    "assistants",
    "threads",
    "containers",
    "conversations",
    "evals",
    "skills",
    "agents",
    "sessions",
    "organizations",
];

/// What to say of a path below a prefix that is none of an API that the gateway has.
fn unserved(rest: &str) -> &'static str {
    let first = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
    if OTHER_PARTS.contains(&first) { NO_SUCH_PART } else { NO_SUCH_PATH }
}

/// The prefixes of one config, with what is served below each.
#[derive(Debug)]
pub struct ApiPaths {
    /// The longest prefix first, since one may begin with another.
    roots: Vec<Root>,
}

#[derive(Debug)]
struct Root {
    prefix: Box<str>,
    apis: Vec<Api>,
}

impl ApiPaths {
    /// The paths of the APIs that the config turns on.
    pub fn new(apis: &Apis) -> ApiPaths {
        let mut roots: Vec<Root> = Vec::new();
        for api in Api::ALL {
            let Some(settings) = apis.settings(api).filter(|it| it.enabled) else { continue };
            for prefix in &settings.prefixes {
                match roots.iter_mut().find(|root| *root.prefix == **prefix) {
                    Some(root) => root.apis.push(api),
                    None => roots.push(Root { prefix: prefix.as_str().into(), apis: vec![api] }),
                }
            }
        }
        roots.sort_by_key(|root| std::cmp::Reverse(root.prefix.len()));
        ApiPaths { roots }
    }

    /// The call that method and path make; `None` if the path is below no prefix, and so may be a native one.
    pub fn parse(&self, head: &request::Parts) -> Option<Result<Call, PathError>> {
        let path = head.uri.path();
        let Some((root, rest)) = self.root(path) else {
            return self.api_without_prefix(path).map(|api| Err(self.lacks_prefix(api)));
        };
        Some(match api_path::api_of(rest) {
            Some(api) if root.apis.contains(&api) => {
                api_path::parse(&head.method, rest).map_err(|error| match error {
                    PathError::Unknown => PathError::Unserved(NO_SUCH_PART.into()),
                    error => error,
                })
            }
            Some(_) => Err(PathError::Unserved(NOT_HERE.into())),
            None => Err(PathError::Unserved(unserved(rest).into())),
        })
    }

    /// The dialect in which a request's errors are written. Paths that two dialects share belong to the one
    /// that the headers show.
    pub fn dialect(&self, head: &request::Parts) -> Dialect {
        let Some((root, rest)) = self.root(head.uri.path()) else {
            return match self.api_without_prefix(head.uri.path()) {
                Some(Api::Messages) => Dialect::Anthropic,
                Some(Api::Models) => by_headers(head),
                Some(_) => Dialect::OpenAi,
                None => Dialect::Bedrock,
            };
        };
        let has_messages = root.apis.contains(&Api::Messages);
        let has_openai =
            root.apis.iter().any(|api| matches!(api, Api::ChatCompletions | Api::Responses));
        match api_path::api_of(rest) {
            Some(Api::ChatCompletions | Api::Responses | Api::Embeddings) => Dialect::OpenAi,
            Some(Api::Messages) => Dialect::Anthropic,
            _ if has_messages && has_openai => by_headers(head),
            _ if has_messages => Dialect::Anthropic,
            _ if has_openai => Dialect::OpenAi,
            // A prefix of the list of models alone.
            _ if *root.prefix == *"/anthropic/v1" => Dialect::Anthropic,
            _ => by_headers(head),
        }
    }

    /// The API whose path this is, but for its prefix; `None` if it is no such path, or the API is off.
    fn api_without_prefix(&self, path: &str) -> Option<Api> {
        let api = api_path::api_of(path)?;
        self.roots.iter().any(|root| root.apis.contains(&api)).then_some(api)
    }

    /// The answer to a path of this API without its prefix.
    fn lacks_prefix(&self, api: Api) -> PathError {
        let serving = self.roots.iter().filter(|root| root.apis.contains(&api));
        let prefixes: Vec<&str> = serving.map(|root| &*root.prefix).collect();
        let prefixes = prefixes.join(" or ");
        let message = format!(
            "this path lacks a prefix: the client's base URL must be the address of the gateway followed by \
             {prefixes}"
        );
        PathError::Unserved(message.into())
    }

    /// The prefix that a path is below, and the rest of the path.
    fn root<'p>(&self, path: &'p str) -> Option<(&Root, &'p str)> {
        self.roots.iter().find_map(|root| {
            let rest = path.strip_prefix(&*root.prefix)?;
            rest.starts_with('/').then_some((root, rest))
        })
    }
}

fn by_headers(head: &request::Parts) -> Dialect {
    match head.headers.contains_key(ANTHROPIC_VERSION) {
        true => Dialect::Anthropic,
        false => Dialect::OpenAi,
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::bedrock::Operation;
    use crate::config::{ApiSettings, EmbeddingsSettings, ResponsesSettings};

    /// The APIs as a config without `apis` has them.
    fn apis() -> Apis {
        let served = |prefixes: &[&str]| ApiSettings {
            enabled: true,
            prefixes: prefixes.iter().map(|it| (*it).to_owned()).collect(),
        };
        let openai = served(&["/openai/v1", "/v1"]);
        Apis {
            chat_completions: openai.clone(),
            embeddings: EmbeddingsSettings { api: openai.clone(), ..EmbeddingsSettings::default() },
            responses: ResponsesSettings { api: openai, ..ResponsesSettings::default() },
            messages: served(&["/anthropic/v1", "/v1"]),
            models: served(&["/openai/v1", "/anthropic/v1", "/v1"]),
            ..Apis::default()
        }
    }

    fn head(method: &str, path: &str, headers: &[&str]) -> request::Parts {
        let mut request = Request::builder().method(method).uri(path);
        for name in headers {
            request = request.header(*name, "1");
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn each_api_is_served_below_its_prefixes() {
        let paths = ApiPaths::new(&apis());
        for (method, path, operation) in [
            ("POST", "/openai/v1/chat/completions", Operation::CreateChatCompletion),
            ("POST", "/v1/chat/completions", Operation::CreateChatCompletion),
            ("POST", "/v1/responses", Operation::CreateResponse),
            ("POST", "/openai/v1/embeddings", Operation::CreateEmbeddings),
            ("POST", "/v1/embeddings", Operation::CreateEmbeddings),
            ("POST", "/anthropic/v1/messages", Operation::CreateMessage),
            ("POST", "/v1/messages/count_tokens", Operation::CountMessageTokens),
            ("GET", "/anthropic/v1/models", Operation::ListModels),
        ] {
            let call = paths.parse(&head(method, path, &[])).unwrap().unwrap();
            assert_eq!(call.operation, operation, "{path}");
        }
        let unknown = |path| paths.parse(&head("POST", path, &[])).unwrap();
        assert_eq!(unknown("/openai/v1/messages"), Err(PathError::Unserved(NOT_HERE.into())));
        assert_eq!(
            unknown("/anthropic/v1/chat/completions"),
            Err(PathError::Unserved(NOT_HERE.into()))
        );
        for (path, says) in [
            ("/openai/v1/files/file_1/content", "Chat Completions, Responses"),
            ("/anthropic/v1/messages/batches", "Chat Completions, Responses"),
            ("/v1/chat", "base URL"),
            ("/v1/v1/messages", "base URL"),
            ("/v1/", "base URL"),
        ] {
            let why = unknown(path).unwrap_err().to_string();
            assert!(why.contains(says) && !why.contains("Bedrock Runtime"), "{path}: {why}");
        }
        for native in ["/model/m/invoke", "/v1", "/v1x/chat/completions", "/async-invoke", "/"] {
            assert_eq!(paths.parse(&head("POST", native, &[])), None, "{native}");
        }
    }

    #[test]
    fn an_api_that_is_off_has_no_path() {
        let mut apis = apis();
        apis.chat_completions.enabled = false;
        let paths = ApiPaths::new(&apis);
        let head = head("POST", "/v1/chat/completions", &[]);
        assert_eq!(paths.parse(&head), Some(Err(PathError::Unserved(NOT_HERE.into()))));
        assert_eq!(paths.dialect(&head), Dialect::OpenAi);
    }

    #[test]
    fn a_path_without_its_prefix_is_told_what_the_base_url_lacks() {
        let paths = ApiPaths::new(&apis());
        for (method, path, prefixes, dialect) in [
            ("POST", "/chat/completions", "/openai/v1 or /v1", Dialect::OpenAi),
            ("POST", "/responses", "/openai/v1 or /v1", Dialect::OpenAi),
            ("GET", "/responses/resp_1", "/openai/v1 or /v1", Dialect::OpenAi),
            ("POST", "/embeddings", "/openai/v1 or /v1", Dialect::OpenAi),
            ("POST", "/messages", "/anthropic/v1 or /v1", Dialect::Anthropic),
            ("POST", "/messages/count_tokens", "/anthropic/v1 or /v1", Dialect::Anthropic),
            ("GET", "/models", "/anthropic/v1 or /openai/v1 or /v1", Dialect::OpenAi),
        ] {
            let head = head(method, path, &[]);
            let why = paths.parse(&head).unwrap().unwrap_err().to_string();
            assert!(why.contains("base URL") && why.ends_with(prefixes), "{path}: {why}");
            assert_eq!(paths.dialect(&head), dialect, "{path}");
        }
        let anthropic = head("GET", "/models", &["anthropic-version"]);
        assert_eq!(paths.dialect(&anthropic), Dialect::Anthropic);
        let mut apis = apis();
        apis.chat_completions.enabled = false;
        let off = head("POST", "/chat/completions", &[]);
        assert_eq!(ApiPaths::new(&apis).parse(&off), None);
    }

    #[test]
    fn paths_that_two_dialects_share_are_of_the_one_that_the_headers_show() {
        let paths = ApiPaths::new(&apis());
        let dialect = |path, headers: &[&str]| paths.dialect(&head("GET", path, headers));
        assert_eq!(dialect("/v1/models", &[]), Dialect::OpenAi);
        assert_eq!(dialect("/v1/models", &["anthropic-version"]), Dialect::Anthropic);
        assert_eq!(dialect("/v1/nonsense", &["anthropic-version"]), Dialect::Anthropic);
        assert_eq!(dialect("/anthropic/v1/models", &[]), Dialect::Anthropic);
        assert_eq!(dialect("/openai/v1/models", &["anthropic-version"]), Dialect::OpenAi);
        assert_eq!(dialect("/v1/chat/completions", &["anthropic-version"]), Dialect::OpenAi);
        assert_eq!(dialect("/v1/messages", &[]), Dialect::Anthropic);
        assert_eq!(dialect("/model/m/invoke", &["anthropic-version"]), Dialect::Bedrock);
    }
}
