//! The smallest function for WASI 0.3: answers hello, and with `POST` sends back what it gets as it gets it.

use wasip3::{
    exports::http::handler::Guest,
    http::types::{ErrorCode, Fields, Method, Request, Response},
    wit_bindgen, wit_future, wit_stream,
};

struct Hello;

impl Guest for Hello {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let (_read, result) = wit_future::new(|| Ok(()));
        if matches!(request.get_method(), Method::Post) {
            let (body, trailers) = Request::consume_body(request, result);
            let (response, _sent) = Response::new(Fields::new(), Some(body), trailers);
            return Ok(response);
        }
        let authority = request.get_authority().unwrap_or_default();
        let (mut writer, body) = wit_stream::new();
        let (_trailers, no_trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(Fields::new(), Some(body), no_trailers);
        wit_bindgen::spawn_local(async move {
            let text = format!("Hello from Onrush 0.3 at {authority}!\n");
            // Nobody is left to tell if the caller has gone.
            let _unwritten = writer.write_all(text.into_bytes()).await;
        });
        Ok(response)
    }
}

wasip3::http::service::export!(Hello);
