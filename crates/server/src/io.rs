//! The socket, with an eye on it.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use crate::activity::Activity;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is known of the protocol.
enum Opening {
    /// So many bytes are those of HTTP/2.
    Maybe(usize),
    Known,
}

/// A byte stream that tells [`Activity`] what it sees.
pub(crate) struct Watched<T> {
    inner: T,
    opening: Opening,
    activity: Arc<Activity>,
    closing: Option<Closing>,
}

/// After the last byte: a peer that is still sending (a body that was refused unread) must get the answer before its
/// bytes meet a closed socket, because the reset that follows those would take the answer away.
struct Closing {
    swallowed: usize,
    patience: Pin<Box<Sleep>>,
}

/// So many bytes are swallowed, and so long is waited for each of them.
const SWALLOW: (usize, Duration) = (1 << 20, Duration::from_millis(500));

impl<T> Watched<T> {
    pub(crate) const fn new(inner: T, activity: Arc<Activity>) -> Self {
        Self { inner, opening: Opening::Maybe(0), activity, closing: None }
    }

    fn saw(&mut self, bytes: &[u8]) {
        if let Opening::Maybe(before) = self.opening {
            let rest = &PREFACE[before..];
            let compared = rest.len().min(bytes.len());
            if rest[..compared] != bytes[..compared] {
                self.opening = Opening::Known;
            } else if compared == rest.len() {
                self.opening = Opening::Known;
                self.activity.speaks_http2();
            } else {
                self.opening = Opening::Maybe(before + compared);
            }
        }
        if !bytes.is_empty() {
            self.activity.bytes_came();
        }
    }

    fn wrote<R>(&self, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match &result {
            Poll::Ready(_) => self.activity.write_moved(),
            Poll::Pending => self.activity.write_blocked(),
        }
        result
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buffer);
        this.saw(&buffer.filled()[before..]);
        result
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        }
        this.poll_swallow(cx).map(Ok)
    }
}

impl<T: AsyncRead + Unpin> Watched<T> {
    /// Ready once the peer has ended too, is quiet, or has sent enough.
    fn poll_swallow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [MaybeUninit::uninit(); 8 << 10];
        loop {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let until = Instant::now() + SWALLOW.1;
                    let closing = self.closing.get_or_insert_with(|| Closing {
                        swallowed: 0,
                        patience: Box::pin(tokio::time::sleep_until(until)),
                    });
                    closing.swallowed += buffer.filled().len();
                    closing.patience.as_mut().reset(until);
                    if closing.swallowed >= SWALLOW.0 {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                // Nothing was under way: an idle connection is closed at once.
                Poll::Pending => {
                    return self.closing.as_mut().map_or(Poll::Ready(()), |closing| closing.patience.as_mut().poll(cx));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::activity::{Patience, Verdict};

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(1),
        idle: Duration::from_secs(60),
        write: Duration::from_secs(30),
        reply: Duration::from_secs(60),
    };

    async fn verdict_after(pieces: &[&[u8]]) -> Verdict {
        let activity = Arc::new(Activity::new(Instant::now(), 1));
        let (mut peer, ours) = tokio::io::duplex(64);
        let mut watched = Watched::new(ours, Arc::clone(&activity));
        for piece in pieces {
            peer.write_all(piece).await.unwrap();
            watched.read_exact(&mut vec![0; piece.len()]).await.unwrap();
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        activity.judge(Instant::now(), PATIENCE)
    }

    #[tokio::test(start_paused = true)]
    async fn the_opening_of_http2_is_known_in_any_pieces_and_part_of_it_is_a_slow_head() {
        assert!(matches!(verdict_after(&[PREFACE]).await, Verdict::LookAgain(_)));
        assert!(matches!(verdict_after(&[&PREFACE[..5], &PREFACE[5..]]).await, Verdict::LookAgain(_)));
        assert!(matches!(verdict_after(&[&PREFACE[..5]]).await, Verdict::Cut(_)));
        assert!(matches!(verdict_after(&[&PREFACE[..5], b"GET / HTTP/1.1"]).await, Verdict::Cut(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_swallows_what_is_under_way_but_not_for_ever() {
        let quiet = async {
            let (_peer, ours) = tokio::io::duplex(64);
            Watched::new(ours, Arc::new(Activity::new(Instant::now(), 1))).shutdown().await.unwrap();
        };
        let began = Instant::now();
        quiet.await;
        assert_eq!(began.elapsed(), Duration::ZERO, "an idle peer is not waited for");

        let (mut peer, ours) = tokio::io::duplex(64);
        let mut watched = Watched::new(ours, Arc::new(Activity::new(Instant::now(), 1)));
        peer.write_all(b"rest of a body").await.unwrap();
        let (sent, closed) = tokio::join!(peer.write_all(&[0; 4_096]), watched.shutdown());
        sent.unwrap();
        closed.unwrap();
        assert_eq!(began.elapsed(), SWALLOW.1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_pipe_is_seen_as_blocked() {
        let activity = Arc::new(Activity::new(Instant::now(), 1));
        activity.request_began();
        let (_peer, ours) = tokio::io::duplex(8);
        let mut watched = Watched::new(ours, Arc::clone(&activity));
        let stuck = tokio::time::timeout(Duration::from_secs(31), watched.write_all(&[0; 64])).await;
        assert!(stuck.is_err());
        assert!(matches!(activity.judge(Instant::now(), PATIENCE), Verdict::Cut(_)));
    }
}
