//! Calls through the API, for clients that speak it already. Function traffic belongs on the gateway.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, Uri, header};
use onrush_invoke::{Body, Deadline, Invocation, InvokeError, Target};
use onrush_types::{Code, FunctionName, FunctionRef, InvocationId};

use crate::Api;

/// One call, as it was asked for.
pub(crate) struct Call {
    pub(crate) target: FunctionRef,
    pub(crate) method: http::Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// What came back.
pub(crate) struct CallReply {
    pub(crate) response: Response<Body>,
    pub(crate) node: Arc<str>,
}

impl Api {
    /// Runs a call. The id is made by the caller of this, so that it can name failed calls too.
    pub(crate) async fn call(&self, id: InvocationId, call: Call) -> Result<CallReply, InvokeError> {
        let catalog = self.parts.store.watch().borrow().clone();
        let Some(version) = catalog.resolve(&call.target).cloned() else {
            let FunctionRef { function, qualifier } = &call.target;
            let why = format!("there is no function {function} with version or alias {qualifier}");
            return Err(InvokeError::refused(Code::NotFound, why));
        };
        let target = Target { function: version.function.clone(), version: version.number, revision: version.revision };
        let deadline = Deadline::after(version.spec.limits.timeout);
        let request = request(&target.function, call)?;
        let reply =
            self.parts.invoke.invoke(Invocation { id, target, deadline, attempt: 1, sharing: None, request }).await?;
        Ok(CallReply { response: reply.response, node: reply.node })
    }
}

/// The request as the function sees it: `http://AUTHORITY/PATH`, with the caller's `Host` or the function's name.
fn request(function: &FunctionName, call: Call) -> Result<Request<Body>, InvokeError> {
    let bad = |why: String| InvokeError::refused(Code::BadRequest, why);
    let mut headers = call.headers;
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "trailer"] {
        headers.remove(name);
    }
    let authority = match headers.get(header::HOST).map(|host| host.to_str()) {
        Some(Ok(host)) => host.to_owned(),
        Some(Err(_)) | None => function.to_string(),
    };
    let path = match call.path.as_str() {
        "" => "/",
        path if path.starts_with('/') => path,
        path => return Err(bad(format!("path: must start with '/', not {path:?}"))),
    };
    let uri = Uri::builder().scheme("http").authority(authority.as_str()).path_and_query(path).build();
    let uri = uri.map_err(|error| bad(format!("path or host: {error}")))?;
    if let Ok(host) = authority.parse() {
        headers.insert(header::HOST, host);
    }
    let mut request = Request::new(call.body);
    *request.method_mut() = call.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}
