//! Why a request for a legacy endpoint is refused before it is looked into, and how that is
//! answered.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::clients::origin::Foreign;
use crate::clients::{BadToken, Unauthenticated};
use crate::legacy::reply;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("Method not allowed: use {allow}")]
    Method { allow: &'static str },
    #[error("This call needs the admin key")]
    AdminKey,
    #[error("{}", match .0 {
        Unauthenticated::UnknownKey => "The bearer key is not valid",
        Unauthenticated::ExpiredKey => "The bearer key has expired",
        Unauthenticated::Token(BadToken::Expired) => "The token has expired",
        Unauthenticated::Token(BadToken::NoKeys) => "The token can't be checked yet",
        Unauthenticated::Token(_) => "The token is not valid",
        _ => "A bearer key is required",
    })]
    Unauthenticated(Unauthenticated),
    #[error(transparent)]
    Foreign(Foreign),
    #[error("The request body is too large")]
    BodyTooLarge,
    #[error("The request body broke off")]
    BodyBroken,
    #[error("The request body did not arrive in time")]
    BodyTimeout,
    #[error("The request took too long")]
    RequestTimeout,
}

impl From<Unauthenticated> for Refusal {
    fn from(why: Unauthenticated) -> Refusal {
        match why {
            Unauthenticated::Foreign(foreign) => Refusal::Foreign(foreign),
            why => Refusal::Unauthenticated(why),
        }
    }
}

impl Refusal {
    pub(super) fn into_response(self) -> Response<Bytes> {
        let status = match self {
            Refusal::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Foreign(Foreign::Host(_)) => StatusCode::BAD_REQUEST,
            Refusal::AdminKey | Refusal::Foreign(_) => StatusCode::FORBIDDEN,
            Refusal::Unauthenticated(Unauthenticated::Token(BadToken::NoKeys)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::BodyBroken => StatusCode::BAD_REQUEST,
            Refusal::BodyTimeout | Refusal::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        };
        let body = json!({ "success": false, "error": self.to_string() });
        let mut response = reply::json(status, &body);
        let header = match self {
            Refusal::Method { allow } => Some((ALLOW, allow)),
            Refusal::Unauthenticated(_) => Some((WWW_AUTHENTICATE, "Bearer")),
            // What is left of the body is not read.
            Refusal::BodyTooLarge | Refusal::BodyBroken | Refusal::BodyTimeout => {
                Some((CONNECTION, "close"))
            }
            Refusal::AdminKey | Refusal::Foreign(_) | Refusal::RequestTimeout => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
