//! Costs what the query says: for benchmarks and for tests of load.
//!
//! | parameter | what it does |
//! |---|---|
//! | `us=N` | computes for about N microseconds: a fixed number of steps, so a slower node takes longer |
//! | `sleep=N` | waits for N milliseconds, without a processor |
//! | `bytes=N` | the reply's size; 64 without it |
//! | `cache=TEXT` | the reply's `cache-control`, with `+` for a blank: `cache=max-age%3D60`, `cache=no-store` |
//! | `status=N` | the reply's status |
//! | `id` | the reply begins with a random number, so that executions can be counted |

use wasip2::{
    clocks::monotonic_clock::subscribe_duration,
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
    random::random::get_random_u64,
};

struct Work;

/// Steps of [`compute`] in a microsecond of a server's core around 3 GHz.
const STEPS_PER_MICROSECOND: u64 = 700;

/// What a call asks for.
struct Wanted {
    microseconds: u64,
    sleep: u64,
    bytes: usize,
    cache: String,
    status: u16,
    id: bool,
}

impl Wanted {
    fn parse(query: &str) -> Self {
        let mut wanted = Self { microseconds: 0, sleep: 0, bytes: 64, cache: String::new(), status: 200, id: false };
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = || value.parse::<u64>().unwrap_or(0);
            match name {
                "us" => wanted.microseconds = number(),
                "sleep" => wanted.sleep = number(),
                "bytes" => wanted.bytes = number().min(16 << 20) as usize,
                "cache" => wanted.cache = value.replace('+', " ").replace("%3D", "=").replace("%2C", ","),
                "status" => wanted.status = number() as u16,
                "id" => wanted.id = true,
                _ => {}
            }
        }
        wanted
    }
}

/// A chain of steps of which none can begin before the one before it has ended, so that it takes the same time everywhere.
fn compute(microseconds: u64) -> u64 {
    let mut x = std::hint::black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..microseconds * STEPS_PER_MICROSECOND {
        x = x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
    }
    std::hint::black_box(x)
}

impl Guest for Work {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let wanted = Wanted::parse(path.split_once('?').map_or("", |(_, query)| query));
        if wanted.microseconds > 0 {
            compute(wanted.microseconds);
        }
        if wanted.sleep > 0 {
            subscribe_duration(wanted.sleep * 1_000_000).block();
        }
        answer(&wanted, out);
    }
}

fn answer(wanted: &Wanted, out: ResponseOutparam) {
    let mut body = Vec::with_capacity(wanted.bytes);
    if wanted.id {
        body.extend_from_slice(format!("{:016x}", get_random_u64()).as_bytes());
    }
    body.resize(wanted.bytes.max(body.len()), b'w');
    let headers = Fields::new();
    let _ = headers.append("content-type", b"text/plain");
    let _ = headers.append("content-length", body.len().to_string().as_bytes());
    if !wanted.cache.is_empty() {
        let _ = headers.append("cache-control", wanted.cache.as_bytes());
    }
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(wanted.status);
    let outgoing = response.body().expect("a response gives its body once");
    ResponseOutparam::set(out, Ok(response));
    let stream = outgoing.write().expect("a body gives its stream once");
    for piece in body.chunks(4096) {
        if stream.blocking_write_and_flush(piece).is_err() {
            return;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(outgoing, None);
}

wasip2::http::proxy::export!(Work);
