//! Does what it should not, by path: for tests of the runtime.

use std::{
    io::Write as _,
    sync::atomic::{AtomicU32, Ordering},
};

use wasip2::{
    cli::environment::get_environment,
    clocks::monotonic_clock::subscribe_duration,
    exports::http::incoming_handler::Guest,
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam,
            Scheme,
        },
    },
    io::streams::OutputStream,
};

struct Hostile;

/// Survives from one call to the next only if the instance does.
static CALLS: AtomicU32 = AtomicU32::new(0);
static MARK: AtomicU32 = AtomicU32::new(0x5eed);

impl Guest for Hostile {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (path, argument) = path.split_once('?').unwrap_or((&path, ""));
        let number = || argument.parse::<u64>().unwrap_or(0);
        match path {
            "/trap" => panic!("trapped on purpose"),
            "/exit" => std::process::exit(3),
            "/spin" => spin(),
            "/allocate" => allocate(),
            "/silent" => drop(out),
            "/sleep" => {
                subscribe_duration(number() * 1_000_000).block();
                send(out, b"slept");
            }
            "/error" => ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("on purpose".to_owned())))),
            "/headers" => headers(out, number()),
            "/env" => send(out, format!("{:?}", get_environment()).as_bytes()),
            "/log" => {
                println!("out line");
                eprintln!("err line");
                print!("no end");
                let _ = std::io::stdout().flush();
                send(out, b"logged");
            }
            "/pristine" => send(out, pristine().as_bytes()),
            "/count" => send(out, CALLS.fetch_add(1, Ordering::Relaxed).to_string().as_bytes()),
            "/outbound" => send(out, outbound(argument).as_bytes()),
            "/large" => large(out, number()),
            "/half-then-trap" => half(out, || panic!("in the middle")),
            "/half-then-spin" => half(out, || spin()),
            "/half-then-drop" => half(out, || ()),
            "/short" => short(out),
            "/after" => {
                send(out, b"answered");
                subscribe_duration(number() * 1_000_000).block();
                println!("done after the answer");
            }
            "/handles" => {
                let kept: Vec<_> = (0..100_000).map(|_| Fields::new()).collect();
                send(out, kept.len().to_string().as_bytes());
            }
            "/random" => send(out, &wasip2::random::random::get_random_bytes(number())[..1]),
            "/where" => {
                let scheme = match request.scheme() {
                    Some(Scheme::Http) => "http",
                    Some(Scheme::Https) => "https",
                    _ => "none",
                };
                send(out, format!("{scheme}://{}", request.authority().unwrap_or_default()).as_bytes());
            }
            _ => send(out, b"hello"),
        }
    }
}

fn spin() -> ! {
    let mut x = 0_u64;
    loop {
        x = std::hint::black_box(x.wrapping_add(1));
    }
}

fn allocate() -> ! {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1; 1 << 20]));
    }
}

fn headers(out: ResponseOutparam, bytes: u64) {
    let fields = Fields::new();
    let value = vec![b'x'; 1000];
    for index in 0..bytes / 1000 {
        fields.append(&format!("x-{index}"), &value).expect("headers are accepted");
    }
    let response = OutgoingResponse::new(fields);
    ResponseOutparam::set(out, Ok(response));
}

/// Says whether every byte that this instance can see is as it was compiled in, then dirties as much as it can.
fn pristine() -> String {
    let globals = CALLS.swap(7, Ordering::Relaxed) == 0 && MARK.swap(9, Ordering::Relaxed) == 0x5eed;
    // Fresh pages of the heap must be zero: they are where an earlier guest's secrets would be.
    let pages = 4 << 20;
    let before = core::arch::wasm32::memory_grow(0, pages >> 16);
    let start = before << 16;
    let fresh = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, pages) };
    let zero = fresh.iter().all(|byte| *byte == 0);
    fresh.fill(0xAA);
    // Leave marks on the heap and deep down on the stack as well.
    std::hint::black_box(vec![0xBB_u8; 300 << 10]);
    std::hint::black_box([0xCC_u8; 64 << 10]);
    format!("globals {globals} memory {zero}")
}

fn outbound(to: &str) -> String {
    let request = OutgoingRequest::new(Fields::new());
    let _ = request.set_scheme(Some(&Scheme::Http));
    let _ = request.set_authority(Some(to));
    let _ = request.set_path_with_query(Some("/"));
    let response = match outgoing_handler::handle(request, None) {
        Ok(response) => response,
        Err(code) => return format!("{code:?}"),
    };
    response.subscribe().block();
    match response.get() {
        Some(Ok(Ok(response))) => format!("answered {}", response.status()),
        Some(Ok(Err(code))) => format!("{code:?}"),
        other => format!("{other:?}"),
    }
}

fn large(out: ResponseOutparam, bytes: u64) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("once");
    let piece = vec![b'l'; 64 << 10];
    let mut left = usize::try_from(bytes).expect("fits");
    while left > 0 {
        let now = left.min(piece.len());
        if write(&stream, &piece[..now]).is_err() {
            return;
        }
        left -= now;
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// The head and half of the body, then something else. The body is never finished.
fn half(out: ResponseOutparam, then: impl FnOnce()) {
    let fields = Fields::new();
    let response = OutgoingResponse::new(fields);
    let body = response.body().expect("once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("once");
    let _ = stream.blocking_write_and_flush(b"half");
    // Long enough for the head to be on its way.
    subscribe_duration(50_000_000).block();
    then();
}

/// Promises ten bytes, writes four.
fn short(out: ResponseOutparam) {
    let fields = Fields::new();
    let _ = fields.append("content-length", b"10");
    let response = OutgoingResponse::new(fields);
    let body = response.body().expect("once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("once");
    let _ = stream.blocking_write_and_flush(b"four");
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn send(out: ResponseOutparam, bytes: &[u8]) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("once");
    let _ = write(&stream, bytes);
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), ()> {
    while !bytes.is_empty() {
        stream.subscribe().block();
        let room = usize::try_from(stream.check_write().map_err(drop)?).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(room);
        stream.write(now).map_err(drop)?;
        bytes = later;
    }
    stream.flush().map_err(drop)
}

wasip2::http::proxy::export!(Hostile);
