//! Answers hello like `hello`, but is built for a target that knows nothing of WASI (`.cargo/config.toml`), so that an
//! instance is one small core module instead of four.

mod arena;

use wasip2::{
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
};

struct Hello;

impl Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        const TEXT: &[u8] = b"Hello from Onrush!\n";
        let headers = Fields::new();
        let _ = headers.append("content-type", b"text/plain; charset=utf-8");
        let _ = headers.append("content-length", TEXT.len().to_string().as_bytes());
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("a response gives its body once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a body gives its stream once");
        let _ = stream.blocking_write_and_flush(TEXT);
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

wasip2::http::proxy::export!(Hello);
