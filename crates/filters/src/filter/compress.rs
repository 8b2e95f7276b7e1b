//! `compress`: replies take less room on the wire.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use bytesize::ByteSize;
use http::{
    Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode, Version,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG},
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use onrush_invoke::{Body, BodyError};
use onrush_types::Code;
use serde::Deserialize;
use tower::{ServiceExt, service_fn};
use tower_http::{
    CompressionLevel,
    compression::{
        Compression, CompressionBody,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
};

use super::{Filter, Parameter, Wrong, wrong};
use crate::{stack::Gateways, value::List};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    #[serde(default = "algorithms")]
    algorithms: List<Algorithm>,
    #[serde(default)]
    level: Level,
    #[serde(default = "min_size")]
    min_size: ByteSize,
}

fn algorithms() -> List<Algorithm> {
    List(vec![Algorithm::Zstd, Algorithm::Br, Algorithm::Gzip])
}

fn min_size() -> ByteSize {
    ByteSize(1_024)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    Gzip,
    Br,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    #[default]
    Fast,
    Default,
    Best,
}

/// The filter.
#[derive(Debug)]
pub(crate) struct Compress {
    settings: Settings,
    min_size: u16,
}

impl Filter for Compress {
    const NAME: &'static str = "compress";
    const SUMMARY: &'static str = "Compresses replies for clients that say that they understand it. Left as they are: what \
        is compressed already, images, gRPC, server-sent events, ranges, small replies, and `cache-control: no-transform`.";
    const EXAMPLE: &'static str = r#"{ use = "compress", algorithms = ["zstd", "gzip"], min-size = "1KiB" }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "algorithms",
            form: r#"["zstd", "br", "gzip"]"#,
            default: Some(r#"["zstd", "br", "gzip"]"#),
            meaning: "what may be used; the client's preference decides",
        },
        Parameter {
            name: "level",
            form: r#""fast", "default" or "best""#,
            default: Some("fast"),
            meaning: "how much time may be spent; it is the gateway's time",
        },
        Parameter {
            name: "min-size",
            form: r#""1KiB""#,
            default: Some("1KiB"),
            meaning: "the smallest reply worth it, up to 65535 bytes",
        },
    ];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        if settings.algorithms.0.is_empty() {
            return Err(vec![wrong("algorithms", "name at least one of \"zstd\", \"br\" and \"gzip\"")]);
        }
        let Ok(min_size) = u16::try_from(settings.min_size.as_u64()) else {
            return Err(vec![wrong("min-size", format!("at most 65535 bytes, not {}", settings.min_size.as_u64()))]);
        };
        Ok(Self { settings, min_size })
    }
}

/// What a client said that it understands; none where it said nothing, and nothing is compressed.
pub(crate) fn understood(headers: &HeaderMap) -> Option<Request<()>> {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return None;
    }
    let mut request = Request::new(());
    for value in headers.get_all(ACCEPT_ENCODING) {
        request.headers_mut().append(ACCEPT_ENCODING, value.clone());
    }
    Some(request)
}

impl Compress {
    /// Compresses the reply to a client that understands this.
    pub(crate) async fn apply(&self, understood: Request<()>, response: Response<Body>) -> Response<Body> {
        let plain = !response.headers().contains_key(CONTENT_ENCODING);
        let mut response = Some(response);
        let inner = service_fn(move |_: Request<()>| {
            let response = response.take().unwrap_or_default();
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        });
        let allows = |algorithm| self.settings.algorithms.0.contains(&algorithm);
        let level = match self.settings.level {
            Level::Fast => CompressionLevel::Fastest,
            Level::Default => CompressionLevel::Default,
            Level::Best => CompressionLevel::Best,
        };
        let worth_it = SizeAbove::new(self.min_size)
            .and(NotForContentType::GRPC)
            .and(NotForContentType::IMAGES)
            .and(NotForContentType::SSE)
            .and(transformable);
        let service = Compression::new(inner)
            .gzip(allows(Algorithm::Gzip))
            .br(allows(Algorithm::Br))
            .zstd(allows(Algorithm::Zstd))
            .quality(level)
            .compress_when(worth_it);
        let Ok(response) = service.oneshot(understood).await;
        let (mut parts, body) = response.into_parts();
        if !(plain && parts.headers.contains_key(CONTENT_ENCODING)) {
            return Response::from_parts(parts, body.into_inner());
        }
        weaken(&mut parts.headers);
        Response::from_parts(parts, Body::stream(Turns { body, left: TURN }))
    }
}

/// Whether the reply allows it (RFC 9110, section 7.7).
fn transformable(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let forbids = |value: &HeaderValue| {
        let mut directives = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        directives.any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
    };
    !headers.get_all(CACHE_CONTROL).iter().any(forbids)
}

/// Compressed bytes are no longer those that a strong validator stands for (RFC 9110, section 8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        headers.insert(ETAG, weak);
    }
}

/// So many frames are made before others get their turn: making them is work, and a body that is there as a whole would
/// hold up its thread to its end.
const TURN: u8 = 8;

pin_project_lite::pin_project! {
    struct Turns {
        #[pin]
        body: CompressionBody<Body>,
        left: u8,
    }
}

impl HttpBody for Turns {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.project();
        if *this.left == 0 {
            *this.left = TURN;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        *this.left -= 1;
        let frame = ready!(this.body.poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(error.as_ref()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body's own error, which comes back wrapped.
fn broken(error: &(dyn std::error::Error + Send + Sync + 'static)) -> BodyError {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = at {
        if let Some(own) = error.downcast_ref::<BodyError>() {
            return own.clone();
        }
        at = error.source();
    }
    BodyError::new(Code::Internal, format!("compressing the reply failed: {error}"))
}
