//! HTTP/2 by hand: what no well-behaved client library would send.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::fixture::{Running, in_time};

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a `GET` of `path`.
pub(crate) fn get(path: &str) -> Vec<u8> {
    let path = [&[0x04, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    [&[0x82, 0x86][..], &path, &[0x41, 0x01, b'h']].concat()
}

pub(crate) fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path))
}

/// "I do not want it": CANCEL.
pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Opens a connection whose requests have a window of `window` bytes to us.
pub(crate) async fn open(running: &Running, window: u32) -> TcpStream {
    let mut stream = running.connect().await;
    stream.set_nodelay(true).unwrap();
    let settings = [&4_u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
    let opening = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &settings)[..]].concat();
    stream.write_all(&opening).await.unwrap();
    stream
}

/// Waits until the server has seen everything that was sent so far: it answers pings in their turn.
pub(crate) async fn has_seen_all(stream: &mut TcpStream) {
    stream.write_all(&frame(PING, 0, 0, b"seen all")).await.unwrap();
    in_time("the answer to a ping", async { while next(stream).await != Some((PING, b"seen all".to_vec())) {} }).await;
}

/// The next frame's kind and payload, until the connection ends.
pub(crate) async fn next(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}

/// The error code of the GOAWAY with which the server ends the connection, if it says one.
pub(crate) async fn goodbye(stream: &mut TcpStream) -> Option<u8> {
    let mut code = None;
    in_time("the end of the connection", async {
        while let Some((kind, payload)) = next(stream).await {
            if kind == GOAWAY {
                code = payload.get(7).copied();
            }
        }
    })
    .await;
    code
}
