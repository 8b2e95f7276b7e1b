//! Makes thumbnails: post a picture, get a smaller one.
//!
//! `POST /?w=200&h=200&fit=cover&format=webp&q=80`; see README.md.
#[cfg(target_os = "wasi")]
mod http;
pub mod query;
pub mod thumbnail;

/// Why there is no thumbnail. Each variant is one HTTP status; the text is for the caller.
#[derive(Debug)]
pub enum Problem {
    /// 400: a parameter is wrong.
    BadRequest(String),
    /// 413: too many bytes or too many pixels.
    TooLarge(String),
    /// 415: not a picture, or none that can be read.
    NoPicture(String),
}
