//! What a guest prints, as lines.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use onrush_types::{InvocationId, LogStream};
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::GuestLog;

/// One stream of a guest, cut into lines. Clones share the unfinished line.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    log: Arc<dyn GuestLog>,
    stream: LogStream,
    longest: usize,
    unfinished: Mutex<Unfinished>,
}

#[derive(Default)]
struct Unfinished {
    invocation: Option<InvocationId>,
    line: Vec<u8>,
    /// The line is already out, cut; skip to its end.
    cut: bool,
}

impl Lines {
    pub(super) fn new(log: Arc<dyn GuestLog>, stream: LogStream, longest: usize) -> Self {
        Self(Arc::new(Shared { log, stream, longest: longest.max(1), unfinished: Mutex::default() }))
    }

    /// What is printed from now on belongs to this call.
    pub(super) fn begin(&self, invocation: InvocationId) {
        self.end();
        self.unfinished().invocation = Some(invocation);
    }

    /// Writes out a line without an end: nothing more will come.
    pub(super) fn end(&self) {
        let mut unfinished = self.unfinished();
        if !unfinished.line.is_empty() {
            self.write_out(&mut unfinished);
        }
        unfinished.cut = false;
    }

    fn unfinished(&self) -> std::sync::MutexGuard<'_, Unfinished> {
        self.0.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: &[u8]) {
        let mut unfinished = self.unfinished();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            if !unfinished.cut {
                let room = self.0.longest - unfinished.line.len();
                unfinished.line.extend_from_slice(&text[..text.len().min(room)]);
                if text.len() > room {
                    self.write_out(&mut unfinished);
                    unfinished.cut = true;
                }
            }
            if ended {
                if !unfinished.cut {
                    self.write_out(&mut unfinished);
                }
                unfinished.cut = false;
            }
        }
    }

    fn write_out(&self, unfinished: &mut Unfinished) {
        let line = String::from_utf8_lossy(&unfinished.line);
        self.0.log.line(unfinished.invocation, self.0.stream, line.trim_end_matches('\r'));
        unfinished.line.clear();
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[async_trait::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<(bool, String)>>);

    impl GuestLog for Kept {
        fn line(&self, invocation: Option<InvocationId>, _: LogStream, text: &str) {
            self.0.lock().unwrap().push((invocation.is_some(), text.to_owned()));
        }
    }

    fn lines_of(longest: usize, writes: &[&str]) -> Vec<String> {
        let kept = Arc::new(Kept::default());
        let lines = Lines::new(kept.clone(), LogStream::Stdout, longest);
        for write in writes {
            lines.push(write.as_bytes());
        }
        lines.end();
        let kept = kept.0.lock().unwrap();
        kept.iter().map(|(_, text)| text.clone()).collect()
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        assert_eq!(lines_of(80, &["a", "b\nc", "\r\n\nend"]), ["ab", "c", "", "end"]);
        assert!(lines_of(80, &[]).is_empty());
    }

    #[test]
    fn a_line_without_end_is_cut_and_never_buffered_beyond_the_limit() {
        assert_eq!(lines_of(4, &["abcdefgh", "ijk", "lmn\nnext\n"]), ["abcd", "next"]);
        assert_eq!(lines_of(4, &["abcd\nabcde"]), ["abcd", "abcd"]);
    }

    #[test]
    fn lines_belong_to_the_call_that_printed_them() {
        let kept = Arc::new(Kept::default());
        let lines = Lines::new(kept.clone(), LogStream::Stdout, 80);
        lines.push(b"before\n");
        lines.begin(InvocationId::new());
        lines.push(b"during\n");
        assert_eq!(*kept.0.lock().unwrap(), [(false, "before".to_owned()), (true, "during".to_owned())]);
    }
}
