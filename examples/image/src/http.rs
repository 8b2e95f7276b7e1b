//! The function's HTTP side.

use wasip2::{
    cli::environment::get_environment,
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam},
    io::streams::{InputStream, OutputStream, StreamError},
};

use crate::{Problem, query::Query, thumbnail::thumbnail};

/// The largest file that is taken, in bytes.
const MAX_BODY: usize = 20 << 20;

struct Function;

impl Guest for Function {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let (status, content_type, bytes) = match answer(&request) {
            Ok((bytes, content_type)) => (200, content_type, bytes),
            Err((status, text)) => (status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes()),
        };
        send(out, status, content_type, &bytes);
    }
}

fn answer(request: &IncomingRequest) -> Result<(Vec<u8>, &'static str), (u16, String)> {
    if !matches!(request.method(), Method::Post | Method::Put) {
        let usage =
            "post a JPEG, PNG or WebP picture; parameters: w, h, fit=inside|cover|exact, format=jpeg|png|webp, q";
        return Err((405, usage.to_owned()));
    }
    let path = request.path_with_query().unwrap_or_default();
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let environment = get_environment();
    let quality = environment.iter().find(|(name, _)| name == "QUALITY").map(|(_, value)| value.as_str());
    let work = || thumbnail(&read(request)?, &Query::parse(query, quality)?);
    work().map_err(|problem| match problem {
        Problem::BadRequest(text) => (400, text),
        Problem::TooLarge(text) => (413, text),
        Problem::NoPicture(text) => (415, text),
    })
}

fn read(request: &IncomingRequest) -> Result<Vec<u8>, Problem> {
    let body: IncomingBody = request.consume().expect("a request gives its body once");
    let stream: InputStream = body.stream().expect("a body gives its stream once");
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(256 << 10) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(Problem::BadRequest(format!("the body broke off: {}", error.to_debug_string())));
            }
        }
        if bytes.len() > MAX_BODY {
            return Err(Problem::TooLarge(format!("the file is larger than {} MiB", MAX_BODY >> 20)));
        }
    }
}

fn send(out: ResponseOutparam, status: u16, content_type: &str, bytes: &[u8]) {
    let headers = Fields::new();
    let _ = headers.append("content-type", content_type.as_bytes());
    let _ = headers.append("content-length", bytes.len().to_string().as_bytes());
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a valid status");
    let body = response.body().expect("a response gives its body once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a body gives its stream once");
    let written = write(&stream, bytes);
    drop(stream);
    if written.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        stream.subscribe().block();
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(room);
        stream.write(now)?;
        bytes = later;
    }
    stream.flush()?;
    stream.subscribe().block();
    Ok(())
}

wasip2::http::proxy::export!(Function);
