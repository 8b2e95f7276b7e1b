//! A function: gets a request, gives a response.
//!
//! Built for a target that knows nothing of WASI: `println!`, `std::env`, `std::time` and files do nothing or fail here.
//! What is needed of WASI is called by name, through the crate `wasip2`.

mod arena;

use wasip2::{
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
};

struct Function;

impl Guest for Function {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        respond(out, 200, "text/plain; charset=utf-8", format!("Hello from {{name}}! You asked for {path}\n").as_bytes());
    }
}

fn respond(out: ResponseOutparam, status: u16, content_type: &str, body: &[u8]) {
    let headers = Fields::new();
    let _ = headers.append("content-type", content_type.as_bytes());
    let _ = headers.append("content-length", body.len().to_string().as_bytes());
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a valid status");
    let outgoing = response.body().expect("a response gives its body once");
    ResponseOutparam::set(out, Ok(response));
    let stream = outgoing.write().expect("a body gives its stream once");
    // 4096 bytes are the most that one such call takes.
    if body.chunks(4096).all(|chunk| stream.blocking_write_and_flush(chunk).is_ok()) {
        drop(stream);
        let _ = OutgoingBody::finish(outgoing, None);
    }
}

wasip2::http::proxy::export!(Function);
