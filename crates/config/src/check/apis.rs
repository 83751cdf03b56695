//! The APIs of OpenAI and Anthropic: the prefixes of their paths, the key of stored responses, the parameters
//! that are left out, and what is fetched.

use std::collections::BTreeMap;

use super::Checker;
use crate::document::KeyPath;
use crate::model::{
    ApiSettings, Apis, EmbeddingsSettings, OnUnsupported, RemoteMediaSettings, ResponsesSettings,
    UnsupportedParameters,
};
use crate::raw::{
    RawApis, RawEmbeddings, RawMessages, RawModels, RawOpenAiApi, RawRemoteMedia, RawResponses,
};
use crate::secret::Secret;

/// Fewest bytes of the key that seals the ids of stored responses.
const MIN_ID_KEY_BYTES: usize = 32;

/// First segments of paths that are served already: those of the legacy application and of the admin port.
const TAKEN: [&str; 14] = [
    "admin",
    "analyze_section",
    "cancel_task",
    "chat",
    "health",
    "healthz",
    "metrics",
    "model_stats",
    "queue_stats",
    "readyz",
    "reset_model_cooldowns",
    "status",
    "task_status",
    "test_claude_connection",
];

/// Segments that the paths of the APIs have after their prefix.
const OF_APIS: [&str; 5] = ["chat", "embeddings", "messages", "models", "responses"];

impl Checker<'_> {
    pub(super) fn apis(&mut self, raw: &RawApis) -> Apis {
        let RawApis { chat_completions, responses, messages, embeddings, models, .. } = raw;
        let RawOpenAiApi { enabled, prefixes } = chat_completions;
        let chat_completions = self.api("chat_completions", *enabled, prefixes);
        let RawResponses { api: RawOpenAiApi { enabled, prefixes }, store, id_key } = responses;
        let responses = ResponsesSettings {
            api: self.api("responses", *enabled, prefixes),
            store: *store,
            id_key: id_key.clone(),
        };
        self.id_key(id_key.as_ref());
        let RawMessages { enabled, prefixes } = messages;
        let messages = self.api("messages", *enabled, prefixes);
        let RawEmbeddings { api: RawOpenAiApi { enabled, prefixes }, max_concurrent_calls } =
            embeddings;
        let embeddings = EmbeddingsSettings {
            api: self.api("embeddings", *enabled, prefixes),
            max_concurrent_calls: *max_concurrent_calls,
        };
        let RawModels { enabled, prefixes } = models;
        let models = self.api("models", *enabled, prefixes);
        let remote_media = self.remote_media(&raw.remote_media);
        let unsupported = self.unsupported(raw);
        Apis {
            chat_completions,
            responses,
            messages,
            embeddings,
            models,
            remote_media,
            prompt_caching: raw.prompt_caching,
            request_metadata: raw.request_metadata.clone(),
            unsupported,
        }
    }

    fn remote_media(&mut self, raw: &RawRemoteMedia) -> RemoteMediaSettings {
        let at = KeyPath::from(["apis", "remote_media"]);
        let hosts: Vec<String> = raw.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        // What follows `*.` is the name of a host, too.
        let names: Vec<String> =
            hosts.iter().map(|host| host.strip_prefix("*.").unwrap_or(host).to_owned()).collect();
        self.hosts(&at.key("hosts"), &names);
        let mut allow_addresses = Vec::new();
        for (index, text) in raw.allow_addresses.iter().enumerate() {
            match text.parse() {
                Ok(block) => allow_addresses.push(block),
                Err(_) => {
                    let message = format!(
                        "'{text}' is no block of IP addresses; write it like \"10.20.0.0/16\" or \"fd00::/8\""
                    );
                    self.problem(&at.key("allow_addresses").index(index), message);
                }
            }
        }
        RemoteMediaSettings {
            hosts,
            ports: raw.ports.clone(),
            allow_addresses,
            max_size: raw.max_size,
            max_per_request: raw.max_per_request,
            timeout: raw.timeout,
            max_concurrent: raw.max_concurrent,
        }
    }

    fn unsupported(&mut self, raw: &RawApis) -> UnsupportedParameters {
        let RawApis { on_unsupported, drop_parameters, refuse_parameters, .. } = raw;
        let at = KeyPath::from(["apis", "refuse_parameters"]);
        for (index, name) in refuse_parameters.iter().enumerate() {
            if drop_parameters.contains(name) {
                let message = format!("'{name}' is in apis.drop_parameters, too");
                self.problem(&at.index(index), message);
            }
        }
        let each =
            |names: &[String], what| names.iter().map(move |name| (name.clone(), what)).collect();
        let mut exceptions: BTreeMap<String, OnUnsupported> =
            each(drop_parameters, OnUnsupported::Drop);
        exceptions.extend::<BTreeMap<_, _>>(each(refuse_parameters, OnUnsupported::Refuse));
        UnsupportedParameters { default: *on_unsupported, exceptions }
    }

    fn api(&mut self, name: &str, enabled: bool, prefixes: &[String]) -> ApiSettings {
        let at = KeyPath::from(["apis", name, "prefixes"]);
        for (index, prefix) in prefixes.iter().enumerate() {
            if let Some(why) = collision(prefix) {
                self.problem(&at.index(index), why);
            } else if prefixes.iter().take(index).any(|earlier| earlier == prefix) {
                self.problem(&at.index(index), "stands there twice");
            }
        }
        ApiSettings { enabled, prefixes: prefixes.to_vec() }
    }

    fn id_key(&mut self, key: Option<&Secret>) {
        // An empty one was a problem already.
        if key.is_some_and(|key| (1..MIN_ID_KEY_BYTES).contains(&key.expose().len())) {
            let message = format!("names a key shorter than {MIN_ID_KEY_BYTES} bytes");
            self.problem(&["apis", "responses", "id_key"].into(), message);
        }
    }
}

/// Why a prefix would take other paths.
fn collision(prefix: &str) -> Option<String> {
    let mut segments = prefix.split('/').skip(1);
    let first = segments.clone().next().unwrap_or_default();
    if sluice_bedrock::path::is_own_collection(first) || TAKEN.contains(&first) {
        return Some(format!(
            "'{prefix}' is taken: the gateway serves other paths below '/{first}'"
        ));
    }
    let inner = segments.find(|segment| OF_APIS.contains(segment))?;
    Some(format!("'{prefix}' would take other paths: '{inner}' is what follows a prefix"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_takes_no_path_of_another() {
        for free in ["/openai/v1", "/v1", "/anthropic/v1", "/ai/team-a/v1", "/models2"] {
            assert_eq!(collision(free), None, "{free}");
        }
        for taken in [
            "/model",
            "/guardrails/v1",
            "/chat",
            "/admin/v1",
            "/status",
            "/v1/models",
            "/v1/chat/v2",
        ] {
            assert!(collision(taken).is_some(), "{taken}");
        }
    }
}
