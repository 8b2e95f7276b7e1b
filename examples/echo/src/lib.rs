//! Sends back what it gets, as it gets it: a gigabyte passes through a few kilobytes of memory.
//!
//! The reply carries the method, the path and the host of the call as headers.

use wasip2::{
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam},
    io::streams::StreamError,
};

/// How much is moved from the request to the reply in one step.
const CHUNK: u64 = 64 << 10;

struct Echo;

impl Guest for Echo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let response = OutgoingResponse::new(headers(&request));
        let body = response.body().expect("a response gives its body once");
        ResponseOutparam::set(out, Ok(response));

        let incoming = request.consume().expect("a request gives its body once");
        let from = incoming.stream().expect("a body gives its stream once");
        let to = body.write().expect("a body gives its stream once");
        let copied = loop {
            match to.blocking_splice(&from, CHUNK) {
                Ok(_) => {}
                Err(StreamError::Closed) => break to.blocking_flush().is_ok(),
                Err(StreamError::LastOperationFailed(_)) => break false,
            }
        };
        drop((from, to));
        // A body that is dropped instead of finished tells the client that something is missing.
        if copied {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

fn headers(request: &IncomingRequest) -> Fields {
    let method = match request.method() {
        Method::Other(name) => name,
        known => format!("{known:?}").trim_start_matches("Method::").to_uppercase(),
    };
    let incoming = request.headers();
    let headers = Fields::new();
    let add = |name: &str, value: &[u8]| {
        let _ = headers.append(name, value);
    };
    add("x-echo-method", method.as_bytes());
    add("x-echo-path", request.path_with_query().unwrap_or_default().as_bytes());
    add("x-echo-authority", request.authority().unwrap_or_default().as_bytes());
    for name in ["content-type", "content-length"] {
        if let Some(value) = incoming.get(name).first() {
            add(name, value);
        }
    }
    headers
}

wasip2::http::proxy::export!(Echo);
