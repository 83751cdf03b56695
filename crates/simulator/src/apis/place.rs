//! Where a request is for: the prefix of its path, and the endpoint.
//!
//! Bedrock Runtime has the prefixes `/openai/v1` and `/anthropic/v1`. Mantle has them too, and `/v1` for the
//! models whose row in the catalogue says so. One simulator plays both: `Settings::endpoint` may choose one of
//! them, else the host does, else the path or the model.

use http::header::HOST;
use http::{Method, request};

use super::super::settings::{PlayedEndpoint, Settings};
use sluice_bedrock::path::{Call, PathError};
use sluice_bedrock::{Api, Dialect, ModelId, Operation, api_path};
use sluice_catalogue::{Catalogue, Endpoint};

/// A path of the APIs of OpenAI and Anthropic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(super) prefix: Prefix,
    rest: &'a str,
}

/// What such a path begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    OpenAi,
    Anthropic,
    Bare,
}

impl Prefix {
    const ALL: [Prefix; 3] = [Prefix::OpenAi, Prefix::Anthropic, Prefix::Bare];

    pub(super) fn path(self) -> &'static str {
        match self {
            Prefix::OpenAi => "/openai/v1",
            Prefix::Anthropic => "/anthropic/v1",
            Prefix::Bare => "/v1",
        }
    }

    fn has(self, api: Api) -> bool {
        match self {
            Prefix::OpenAi => matches!(api, Api::ChatCompletions | Api::Responses),
            Prefix::Anthropic => api == Api::Messages,
            Prefix::Bare => matches!(api, Api::ChatCompletions | Api::Responses | Api::Models),
        }
    }
}

impl<'a> Place<'a> {
    /// The place that a path names; `None` for a path of Bedrock's own.
    pub(crate) fn of(path: &'a str) -> Option<Place<'a>> {
        Prefix::ALL.into_iter().find_map(|prefix| {
            let rest = path.strip_prefix(prefix.path())?;
            (rest.is_empty() || rest.starts_with('/')).then_some(Place { prefix, rest })
        })
    }

    /// The dialect of errors there.
    pub(crate) fn dialect(self) -> Dialect {
        match (self.prefix, api_path::api_of(self.rest)) {
            (Prefix::Anthropic, _) | (_, Some(Api::Messages)) => Dialect::Anthropic,
            _ => Dialect::OpenAi,
        }
    }

    /// What the request asks for.
    ///
    /// # Errors
    /// When no endpoint has such a call there.
    pub(crate) fn call(self, method: &Method) -> Result<Call, PathError> {
        let call = api_path::parse(method, self.rest)?;
        if self.prefix.has(call.operation.api()) { Ok(call) } else { Err(PathError::Unknown) }
    }

    /// The endpoint that must be meant whatever the model, because the other has no such call.
    pub(super) fn only_endpoint(self, operation: Operation) -> Option<Endpoint> {
        let is_of_mantle =
            self.prefix == Prefix::Bare || operation == Operation::CountMessageTokens;
        is_of_mantle.then_some(Endpoint::Mantle)
    }
}

/// The endpoint that the settings or the host of a request choose, if they do.
pub(crate) fn chosen_endpoint(settings: &Settings, head: &request::Parts) -> Option<Endpoint> {
    match settings.endpoint {
        PlayedEndpoint::Runtime => return Some(Endpoint::Runtime),
        PlayedEndpoint::Mantle => return Some(Endpoint::Mantle),
        PlayedEndpoint::Both => {}
    }
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| head.uri.authority().map(|authority| authority.as_str()))?;
    let begins =
        |name: &str| host.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name));
    match () {
        () if begins("bedrock-mantle") => Some(Endpoint::Mantle),
        () if begins("bedrock-runtime") => Some(Endpoint::Runtime),
        () => None,
    }
}

/// The endpoint that calls a model by this id. A profile and an ARN are Bedrock Runtime's, and so is the plain
/// id of a model that can be called by it there.
pub(super) fn endpoint_of(id: &ModelId) -> Endpoint {
    let is_plain = !id.as_str().starts_with("arn:") && id.geography().is_none();
    if !is_plain {
        return Endpoint::Runtime;
    }
    let catalogue = Catalogue::shipped();
    let at_runtime = catalogue.has_row(Endpoint::Runtime, id);
    let on_demand = || catalogue.facts(id, "").and_then(|facts| facts.on_demand).unwrap_or(true);
    let at_mantle = || catalogue.facts_at(Endpoint::Mantle, id, "").is_some();
    if !(at_runtime && on_demand()) && at_mantle() { Endpoint::Mantle } else { Endpoint::Runtime }
}
