//! Where an upstream listens: scheme and authority, nothing else.
//!
//! A path prefix, a query or user info in an endpoint URL is refused rather than ignored: the
//! canonical path of a signed request is exactly the one the gateway writes.

use std::fmt;

use http::Uri;
use http::uri::{Authority, Scheme};

use super::units::TextForm;
#[cfg(test)]
use super::units::schema_of;

/// Scheme (`http` or `https`) and authority of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    scheme: Scheme,
    authority: Authority,
}

/// Why a text is not an [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL with scheme and host.
    #[error("not a URL; write it like \"https://bedrock-runtime.us-east-1.amazonaws.com\"")]
    NotAUrl,
    /// A scheme other than http and https.
    #[error("the scheme must be http or https")]
    Scheme,
    /// User info in front of the host.
    #[error("a user name or password has no place in it")]
    UserInfo,
    /// A path or a query after the authority.
    #[error("it must end after host and port, without a path or query")]
    Path,
}

impl Endpoint {
    /// The public Bedrock Runtime endpoint of a region, or its FIPS endpoint.
    ///
    /// # Errors
    /// When `region` does not fit in a host name.
    pub fn of_region(region: &str, fips: bool) -> Result<Self, EndpointError> {
        Self::of_service(if fips { "bedrock-runtime-fips" } else { "bedrock-runtime" }, region)
    }

    /// The public mantle endpoint of a region, which has no FIPS endpoint.
    ///
    /// # Errors
    /// When `region` does not fit in a host name.
    pub fn of_mantle(region: &str) -> Result<Self, EndpointError> {
        Self::parse(&format!("https://bedrock-mantle.{region}.api.aws"))
    }

    /// The public endpoint of Bedrock's control plane in a region, or its FIPS endpoint.
    ///
    /// # Errors
    /// When `region` does not fit in a host name.
    pub fn of_control_plane(region: &str, fips: bool) -> Result<Self, EndpointError> {
        Self::of_service(if fips { "bedrock-fips" } else { "bedrock" }, region)
    }

    /// The public endpoint of Service Quotas in a region, or its FIPS endpoint.
    ///
    /// # Errors
    /// When `region` does not fit in a host name.
    pub fn of_service_quotas(region: &str, fips: bool) -> Result<Self, EndpointError> {
        Self::of_service(if fips { "servicequotas-fips" } else { "servicequotas" }, region)
    }

    fn of_service(service: &str, region: &str) -> Result<Self, EndpointError> {
        let suffix = if region.starts_with("cn-") { ".com.cn" } else { ".com" };
        Self::parse(&format!("https://{service}.{region}.amazonaws{suffix}"))
    }

    /// Reads an endpoint URL such as `http://127.0.0.1:4599`.
    ///
    /// # Errors
    /// When it is not an http(s) URL, or holds more than scheme, host and port.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let parts = url.parse::<Uri>().map_err(|_| EndpointError::NotAUrl)?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(EndpointError::NotAUrl);
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(EndpointError::Scheme);
        }
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInfo);
        }
        if authority.host().is_empty() || !has_valid_port(&authority) {
            return Err(EndpointError::NotAUrl);
        }
        match parts.path_and_query.as_ref().map(|path| path.as_str()) {
            None | Some("" | "/") => Ok(Self { scheme, authority }),
            Some(_) => Err(EndpointError::Path),
        }
    }

    /// Stands in for an endpoint that could not be read, while the rest is checked.
    pub(super) fn stand_in() -> Self {
        Self { scheme: Scheme::HTTPS, authority: Authority::from_static("invalid") }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Host and, where given, port: the value of the `host` header.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whether its name is one of a FIPS endpoint.
    pub(super) fn is_fips(&self) -> bool {
        self.authority.host().contains("fips")
    }

    /// Whether it is one of AWS's own, public or in a VPC, and so of one region.
    pub fn is_of_aws(&self) -> bool {
        let host = self.authority.host().to_ascii_lowercase();
        [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|end| host.ends_with(end))
    }

    /// Whether it is one of AWS's own mantle endpoints.
    pub fn is_mantle(&self) -> bool {
        let host = self.authority.host();
        self.is_of_aws() && host.split('.').any(|part| part.starts_with("bedrock-mantle"))
    }

    /// Whether requests go to this machine, as they do with a simulator.
    pub fn is_loopback(&self) -> bool {
        let host = self.authority.host().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl TextForm for Endpoint {
    type Value = Endpoint;

    fn read(text: &str) -> Result<Endpoint, String> {
        // Not repeated: it may hold a password.
        Endpoint::parse(text).map_err(|why| why.to_string())
    }

    #[cfg(test)]
    fn write(value: &Endpoint) -> String {
        value.to_string()
    }
}

#[cfg(test)]
schema_of!(Endpoint, {
    "type": "string",
    "format": "endpoint-url",
    "examples": ["http://127.0.0.1:4599"],
});

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// `host:` and `host:99999` are authorities to `http`, but nothing to connect to.
fn has_valid_port(authority: &Authority) -> bool {
    let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    after_host.is_empty() || authority.port_u16().is_some_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_their_public_endpoint() {
        let shown = |region| Endpoint::of_region(region, false).unwrap().to_string();
        assert_eq!(shown("eu-west-1"), "https://bedrock-runtime.eu-west-1.amazonaws.com");
        assert_eq!(shown("cn-north-1"), "https://bedrock-runtime.cn-north-1.amazonaws.com.cn");
        let control = Endpoint::of_control_plane("eu-west-1", false).unwrap().to_string();
        assert_eq!(control, "https://bedrock.eu-west-1.amazonaws.com");
        let quotas = Endpoint::of_service_quotas("eu-west-1", false).unwrap().to_string();
        assert_eq!(quotas, "https://servicequotas.eu-west-1.amazonaws.com");
        let mantle = Endpoint::of_mantle("eu-west-1").unwrap();
        assert_eq!(mantle.to_string(), "https://bedrock-mantle.eu-west-1.api.aws");
        assert!(mantle.is_mantle() && mantle.is_of_aws());
        let fips = Endpoint::of_region("us-gov-west-1", true).unwrap().to_string();
        assert_eq!(fips, "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com");
    }

    #[test]
    fn urls_are_scheme_and_authority_only() {
        for good in ["http://127.0.0.1:4599", "https://vpce-1.example.com/", "http://[::1]:80"] {
            assert_eq!(Endpoint::parse(good).unwrap().to_string(), good.trim_end_matches('/'));
        }
        for (bad, why) in [
            ("127.0.0.1:4599", EndpointError::NotAUrl),
            ("/path", EndpointError::NotAUrl),
            ("", EndpointError::NotAUrl),
            ("http://host:", EndpointError::NotAUrl),
            ("http://host:99999", EndpointError::NotAUrl),
            ("ftp://host", EndpointError::Scheme),
            ("https://user:pw@host", EndpointError::UserInfo),
            ("https://host/prefix", EndpointError::Path),
            ("https://host/?q=1", EndpointError::Path),
        ] {
            assert_eq!(Endpoint::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn endpoints_of_aws_are_recognised() {
        for (url, is_of_aws) in [
            ("https://bedrock-runtime.eu-west-1.amazonaws.com", true),
            ("https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com", true),
            ("https://bedrock-runtime.cn-north-1.AMAZONAWS.com.cn", true),
            ("https://bedrock-runtime.us-east-1.api.aws", true),
            ("https://proxy.example.com", false),
            ("http://127.0.0.1:4599", false),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().is_of_aws(), is_of_aws, "{url}");
        }
    }

    #[test]
    fn loopback_is_recognised() {
        for (url, loopback) in [
            ("http://localhost:1", true),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("https://example.com", false),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().is_loopback(), loopback, "{url}");
        }
    }
}
