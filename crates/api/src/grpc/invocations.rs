//! `onrush.v1.Invocations`.

use http::{HeaderMap, HeaderName, HeaderValue};
use onrush_invoke::Body;
use onrush_proto::{
    call_status, code_status,
    v1::{HttpHeader, InvokeReply, InvokeRequest, invocations_server::Invocations},
};
use onrush_types::{FunctionRef, InvocationId};
use tonic::{Request, Response, Status};

use super::Service;
use crate::{ApiError, convert, operations::Call};

#[async_trait::async_trait]
impl Invocations for Service {
    async fn invoke(&self, request: Request<InvokeRequest>) -> Result<Response<InvokeReply>, Status> {
        let call = call(request.into_inner(), self.0.config.max_call_body)?;
        let id = InvocationId::new();
        let named = |mut status: Status| {
            if let Ok(value) = id.to_string().parse() {
                status.metadata_mut().insert("x-onrush-invocation", value);
            }
            status
        };
        let reply = self.0.call(id, call).await.map_err(|error| named(call_status(&error)))?;
        let (head, body) = reply.response.into_parts();
        let body = body.collect(self.0.config.max_call_body).await;
        let body = body.map_err(|error| named(code_status(error.code, error.message)))?;
        Ok(Response::new(InvokeReply {
            status: head.status.as_u16().into(),
            headers: headers_to(&head.headers),
            body,
            invocation: id.to_string(),
            node: reply.node.to_string(),
        }))
    }
}

fn call(request: InvokeRequest, largest: usize) -> Result<Call, ApiError> {
    let namespace = convert::namespace(&request.namespace)?;
    let target = FunctionRef::parse_in(&request.function, &namespace);
    let target = target.map_err(|error| ApiError::bad_request(format!("function: {error}")))?;
    if request.body.len() > largest {
        let why = format!("body: at most {largest} bytes here; larger ones go through the gateway");
        return Err(ApiError::new(onrush_types::Code::TooLarge, why));
    }
    let method = match request.method.as_str() {
        "" if request.body.is_empty() => http::Method::GET,
        "" => http::Method::POST,
        method => convert::field("method", method)?,
    };
    let headers = headers_from(request.headers)?;
    Ok(Call { target, method, path: request.path, headers, body: Body::whole(request.body) })
}

fn headers_from(wire: Vec<HttpHeader>) -> Result<HeaderMap, ApiError> {
    let mut headers = HeaderMap::with_capacity(wire.len().min(128));
    for header in wire {
        let name: HeaderName = convert::field("headers", &header.name)?;
        let value = HeaderValue::from_bytes(&header.value);
        let value = value.map_err(|error| ApiError::bad_request(format!("headers: {name}: {error}")))?;
        let kept = headers.try_append(name, value);
        kept.map_err(|_| ApiError::bad_request("headers: too many"))?;
    }
    Ok(headers)
}

fn headers_to(headers: &HeaderMap) -> Vec<HttpHeader> {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| HttpHeader {
        name: name.as_str().to_owned(),
        value: bytes::Bytes::copy_from_slice(value.as_bytes()),
    };
    headers.iter().map(pair).collect()
}
