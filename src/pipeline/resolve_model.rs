//! Finds the requested model of an API that names it in the request body.
//!
//! From here on such a request is like one whose path names the model. The body is read here, and what was read
//! is kept for routing.

use super::error::{GatewayError, RequestError};
use super::stage::BufferedRequest;
use super::step::Step;
use crate::bedrock::path::Resource;
use crate::bedrock::{Family, ModelId, body};

#[derive(Clone, Debug)]
pub(super) struct ResolveModel;

impl Step<Box<BufferedRequest>> for ResolveModel {
    type Out = Box<BufferedRequest>;

    fn apply(
        &self,
        mut request: Box<BufferedRequest>,
    ) -> Result<Box<BufferedRequest>, RequestError> {
        if request.call.resource != Resource::InBody {
            return Ok(request);
        }
        match resolve(&mut request) {
            Ok(()) => Ok(request),
            Err(error) => Err(RequestError { error, context: request.context }),
        }
    }
}

fn resolve(request: &mut BufferedRequest) -> Result<(), GatewayError> {
    let BufferedRequest { context, call, body, .. } = request;
    // The schema is that of the API, whatever the model's family.
    let peek = body::peek(call.operation, Family::Unknown, body)?;
    let name = peek.parameters.model.as_deref().filter(|name| !name.is_empty());
    let model = ModelId::new(name.ok_or(GatewayError::NoModel)?)?;
    context.call.requested_model = Some(model.as_str().to_owned());
    call.resource = Resource::Model(model);
    request.peek = Some(Box::new(peek));
    Ok(())
}
