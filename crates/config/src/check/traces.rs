//! Where traces go: the collector's URL and what it is sent with each delivery.

use std::collections::BTreeMap;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Uri, header};

use super::Checker;
use crate::document::KeyPath;
use crate::endpoint::{Endpoint, EndpointError};
use crate::model::{TraceProtocol, Traces};
use crate::raw::RawTraces;
use crate::secret::Secret;

/// Where OTLP by HTTP takes spans, below the collector's URL.
const PATH: &str = "/v1/traces";

/// The headers that each delivery has of its own.
const OWN: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
];

impl Checker<'_> {
    pub(super) fn traces(&mut self, raw: &RawTraces) -> Option<Traces> {
        let at = KeyPath::from(["traces"]);
        let endpoint = raw.endpoint_url.as_deref().map(|url| {
            read(url, raw.traces.protocol).unwrap_or_else(|why| {
                // Not repeated: it may hold a password.
                self.problem(&at.key("endpoint_url"), why);
                Uri::default()
            })
        });
        let traces = Traces {
            endpoint: endpoint.clone().unwrap_or_default(),
            headers: self.trace_headers(&at.key("headers"), &raw.headers),
            ..raw.traces.clone()
        };
        endpoint.map(|_| traces)
    }

    fn trace_headers(
        &mut self,
        at: &KeyPath,
        raw: &BTreeMap<String, Secret>,
    ) -> Vec<(HeaderName, Secret)> {
        let mut headers = Vec::with_capacity(raw.len());
        for (name, value) in raw {
            let Ok(header) = name.parse::<HeaderName>() else { continue };
            if OWN.contains(&header) {
                self.problem(&at.key(name), "is the delivery's own");
            }
            if HeaderValue::from_str(value.expose()).is_err() {
                self.problem(&at.key(name), "names a value that no header can have");
            }
            headers.push((header, value.clone()));
        }
        headers
    }
}

/// The URL that spans are sent to.
fn read(url: &str, protocol: TraceProtocol) -> Result<Uri, String> {
    let not_a_url = || "not a URL; write it like \"http://localhost:4317\"".to_owned();
    let uri: Uri = url.parse().map_err(|_| not_a_url())?;
    if uri.query().is_some() {
        return Err("a query has no place in it".to_owned());
    }
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
        return Err(not_a_url());
    };
    // What holds for the upstream's endpoint holds here, but for the path.
    Endpoint::parse(&format!("{scheme}://{authority}")).map_err(|why| match why {
        EndpointError::NotAUrl => not_a_url(),
        why => why.to_string(),
    })?;
    let path = uri.path().trim_end_matches('/');
    let path = match protocol {
        TraceProtocol::Grpc if path.is_empty() => "/".to_owned(),
        TraceProtocol::Grpc => {
            return Err("it must end after host and port: gRPC has a path of its own".to_owned());
        }
        TraceProtocol::Http if path.ends_with(PATH) => path.to_owned(),
        TraceProtocol::Http => format!("{path}{PATH}"),
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if *scheme == Scheme::HTTPS { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| not_a_url())?);
    Uri::from_parts(parts).map_err(|_| not_a_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_by_http_go_to_the_path_of_the_protocol() {
        for (url, wanted) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            ("https://otlp.example/otlp", "https://otlp.example/otlp/v1/traces"),
            ("https://otlp.example/otlp/v1/traces", "https://otlp.example/otlp/v1/traces"),
        ] {
            assert_eq!(read(url, TraceProtocol::Http).unwrap().to_string(), wanted);
        }
        let grpc = |url| read(url, TraceProtocol::Grpc).map(|uri| uri.to_string());
        assert_eq!(grpc("http://localhost:4317").unwrap(), "http://localhost:4317/");
        assert!(grpc("http://localhost:4317/v1/traces").unwrap_err().contains("gRPC"));
    }

    #[test]
    fn what_is_no_url_of_a_collector_is_refused_without_repeating_it() {
        for url in [
            "localhost:4317",
            "ftp://localhost",
            "http://user:hunter2@localhost",
            "http://localhost/?key=hunter2",
            "http://localhost:99999",
            "",
        ] {
            let why = read(url, TraceProtocol::Http).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
