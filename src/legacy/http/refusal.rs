//! Why a request for a legacy endpoint is refused before it is looked into, and how that is
//! answered.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::auth::origin::OriginError;
use crate::auth::{AuthError, TokenError};
use crate::bedrock::error::whole_seconds;
use crate::legacy::response;
use crate::limits::LimitExceeded;
use crate::pipeline::body::BodyError;
use crate::quota::Overloaded;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("Method not allowed: use {allow}")]
    Method { allow: &'static str },
    #[error("This call needs the admin key")]
    AdminKey,
    #[error("The admin key is wrong")]
    WrongAdminKey,
    #[error("{}", match .0 {
        AuthError::UnknownKey => "The bearer key is not valid",
        AuthError::ExpiredKey(_) => "The bearer key has expired",
        AuthError::Token(TokenError::Expired) => "The token has expired",
        AuthError::Token(TokenError::NoKeys) => "The token can't be checked yet",
        AuthError::Token(_) => "The token is not valid",
        _ => "A bearer key is required",
    })]
    Unauthenticated(AuthError),
    #[error(transparent)]
    Foreign(OriginError),
    #[error("{}", match .0 {
        BodyError::TooLarge { .. } => "The request body is too large",
        BodyError::Broken => "The request body ended early",
        BodyError::Timeout { .. } => "The request body did not arrive in time",
        BodyError::Overloaded(_) => "The gateway is overloaded, please try again",
    })]
    Body(#[from] BodyError),
    #[error("The gateway is overloaded, please try again")]
    Overloaded(#[from] Overloaded),
    #[error("Rate exceeded: {0}")]
    Limited(#[from] LimitExceeded),
    #[error("The request took too long")]
    RequestTimeout,
}

impl From<AuthError> for Refusal {
    fn from(why: AuthError) -> Refusal {
        match why {
            AuthError::Origin(foreign) => Refusal::Foreign(foreign),
            why => Refusal::Unauthenticated(why),
        }
    }
}

impl Refusal {
    pub(super) fn into_response(self) -> Response<Bytes> {
        let status = match self {
            Refusal::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Foreign(OriginError::Host(_)) => StatusCode::BAD_REQUEST,
            Refusal::AdminKey | Refusal::WrongAdminKey | Refusal::Foreign(_) => {
                StatusCode::FORBIDDEN
            }
            Refusal::Unauthenticated(AuthError::Token(TokenError::NoKeys)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Refusal::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Body(BodyError::Broken) => StatusCode::BAD_REQUEST,
            Refusal::Body(BodyError::Timeout { .. }) | Refusal::RequestTimeout => {
                StatusCode::REQUEST_TIMEOUT
            }
            Refusal::Body(BodyError::Overloaded(_)) | Refusal::Overloaded(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
        };
        let body = json!({ "success": false, "error": self.to_string() });
        let mut response = response::json(status, &body);
        let header = match self {
            Refusal::Method { allow } => Some((ALLOW, HeaderValue::from_static(allow))),
            Refusal::Unauthenticated(_) => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            // What is left of the body is not read.
            Refusal::Body(
                BodyError::TooLarge { .. } | BodyError::Broken | BodyError::Timeout { .. },
            ) => Some((CONNECTION, HeaderValue::from_static("close"))),
            Refusal::Body(BodyError::Overloaded(_)) | Refusal::Overloaded(_) => {
                Some((RETRY_AFTER, HeaderValue::from_static("1")))
            }
            Refusal::Limited(limited) => {
                Some((RETRY_AFTER, HeaderValue::from(whole_seconds(limited.retry_after))))
            }
            Refusal::AdminKey
            | Refusal::WrongAdminKey
            | Refusal::Foreign(_)
            | Refusal::RequestTimeout => None,
        };
        response.headers_mut().extend(header);
        response
    }
}
