//! From a reply's body to bytes that can be shared, or to the news that they cannot.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use onrush_invoke::{Body, BodyError, Deadline};
use onrush_types::Code;

use crate::{
    room::{Place, Room},
    tape::Tape,
};

/// What is there of a body without waiting.
pub(super) enum Gathered {
    /// Everything.
    Whole(Bytes),
    /// A beginning.
    Part(Part),
    /// More than may be shared, or what cannot be: trailers.
    Own(Body),
    /// More than there is room for now.
    NoRoom(Body),
    /// It broke off.
    Broken(BodyError),
}

/// The beginning of a body.
pub(super) struct Part {
    chunks: Vec<Bytes>,
    here: u64,
    place: Place,
    rest: Body,
}

/// Takes what is there.
pub(super) async fn gather(body: Body, largest: u64, room: &Arc<Room>) -> Gathered {
    if let Some(bytes) = body.as_whole() {
        return if bytes.len() as u64 > largest { Gathered::Own(body) } else { Gathered::Whole(bytes) };
    }
    if body.size_hint().lower() > largest {
        return Gathered::Own(body);
    }
    let Some(place) = room.take(0) else { return Gathered::NoRoom(body) };
    let mut part = Part { chunks: Vec::new(), here: 0, place, rest: body };
    poll_fn(move |cx| Poll::Ready(part.poll(cx, largest))).await
}

impl Part {
    fn poll(&mut self, cx: &mut Context<'_>, largest: u64) -> Gathered {
        loop {
            match Pin::new(&mut self.rest).poll_frame(cx) {
                Poll::Pending => {
                    let place = self.place.split();
                    let (chunks, rest) = (std::mem::take(&mut self.chunks), std::mem::take(&mut self.rest));
                    return Gathered::Part(Self { chunks, here: self.here, place, rest });
                }
                Poll::Ready(None) => return Gathered::Whole(joined(std::mem::take(&mut self.chunks))),
                Poll::Ready(Some(Err(error))) => return Gathered::Broken(error),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) => {
                        let more = chunk.len() as u64;
                        self.here += more;
                        self.chunks.push(chunk);
                        if self.here > largest {
                            return Gathered::Own(self.whole(None));
                        }
                        if !self.place.grow(more) {
                            return Gathered::NoRoom(self.whole(None));
                        }
                    }
                    Err(frame) => return Gathered::Own(self.whole(frame.into_trailers().ok())),
                },
            }
        }
    }

    /// The body as it was before it was looked at.
    fn whole(&mut self, trailers: Option<HeaderMap>) -> Body {
        let (chunks, rest) = (std::mem::take(&mut self.chunks).into(), std::mem::take(&mut self.rest));
        Body::stream(Before { chunks, rest, trailers })
    }

    /// The length of the whole, if its body says so.
    pub(super) fn length(&self) -> Option<u64> {
        self.rest.size_hint().exact().map(|rest| self.here + rest)
    }

    /// The body as it was before.
    pub(super) fn back(mut self) -> Body {
        self.whole(None)
    }

    /// Makes it readable for many while the rest comes. Where the length is known, room for it is taken now.
    ///
    /// # Errors
    /// The body, if there is no room.
    pub(super) fn play(mut self, length: Option<u64>) -> Result<(Arc<Tape>, Pump), Body> {
        if !self.place.grow(length.map_or(0, |length| length.saturating_sub(self.here))) {
            return Err(self.back());
        }
        let tape = Tape::new(self.chunks, length, self.place);
        let pump = Pump { tape: Arc::clone(&tape), written: self.here, body: Some(self.rest) };
        Ok((tape, pump))
    }
}

/// One piece of memory.
pub(super) fn joined(chunks: Vec<Bytes>) -> Bytes {
    if let [only] = chunks.as_slice() {
        return only.clone();
    }
    let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    for chunk in &chunks {
        all.extend_from_slice(chunk);
    }
    all.freeze()
}

/// How writing a tape ended.
pub(super) enum Ended {
    /// All is written.
    Whole(Bytes),
    /// It is longer than it may be, or there is no room, or it ends in trailers: the rest is still to be read.
    Own,
    /// It takes longer than anybody should wait.
    Late,
    /// It broke off.
    Broken(BodyError),
}

/// Writes a body to a tape.
pub(super) struct Pump {
    tape: Arc<Tape>,
    written: u64,
    body: Option<Body>,
}

impl Pump {
    /// Writes until the end, until `most` bytes, or until `deadline`.
    pub(super) async fn run(&mut self, deadline: Deadline, most: u64) -> Ended {
        loop {
            let Some(body) = &mut self.body else { return Ended::Own };
            let Ok(frame) = deadline.bound(poll_fn(|cx| pin!(&mut *body).poll_frame(cx))).await else {
                return Ended::Late;
            };
            match frame {
                None => {
                    self.body = None;
                    return Ended::Whole(joined(self.tape.finish(None)));
                }
                Some(Err(error)) => {
                    self.break_off(error.clone());
                    return Ended::Broken(error);
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => {
                        self.written += chunk.len() as u64;
                        if !self.tape.write(chunk) || self.written > most {
                            return Ended::Own;
                        }
                    }
                    Err(frame) => {
                        self.body = None;
                        self.tape.finish(frame.into_trailers().ok());
                        return Ended::Own;
                    }
                },
            }
        }
    }

    /// Leaves the rest to the one who reads.
    pub(super) fn hand_over(&mut self) {
        if let Some(rest) = self.body.take() {
            self.tape.hand_over(rest);
        }
    }

    /// Tells the readers that this is not the whole.
    pub(super) fn break_off(&mut self, error: BodyError) {
        self.body = None;
        self.tape.break_off(error);
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // Readers must not wait for a writer that has gone.
        if self.body.is_some() {
            self.break_off(BodyError::new(Code::Unavailable, "the shared reply broke off"));
        }
    }
}

/// A body that was looked at, as if it had not been.
struct Before {
    chunks: VecDeque<Bytes>,
    rest: Body,
    trailers: Option<HeaderMap>,
}

impl HttpBody for Before {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && self.trailers.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let here: u64 = self.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(here.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(here.saturating_add(upper));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    use super::*;

    struct Coming(mpsc::Receiver<Frame<Bytes>>);

    impl HttpBody for Coming {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            self.0.poll_recv(cx).map(|frame| frame.map(Ok))
        }
    }

    fn coming() -> (mpsc::Sender<Frame<Bytes>>, Body) {
        let (send, receive) = mpsc::channel(9);
        (send, Body::stream(Coming(receive)))
    }

    async fn gathered(send: &[&'static str], largest: u64, room: u64) -> Gathered {
        let (sender, body) = coming();
        for chunk in send {
            sender.try_send(Frame::data(Bytes::from_static(chunk.as_bytes()))).unwrap();
        }
        drop(sender);
        gather(body, largest, &Room::new(room)).await
    }

    async fn text(body: Body) -> String {
        String::from_utf8(body.collect(99).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_is_there_is_whole_too_large_or_without_room() {
        assert!(matches!(gathered(&["ab", "c"], 3, 3).await, Gathered::Whole(bytes) if bytes == "abc"));
        assert!(matches!(gathered(&[], 3, 3).await, Gathered::Whole(bytes) if bytes.is_empty()));
        let Gathered::Own(body) = gathered(&["ab", "cd"], 3, 9).await else { panic!() };
        assert_eq!(text(body).await, "abcd");
        let Gathered::NoRoom(body) = gathered(&["ab", "cd"], 9, 3).await else { panic!() };
        assert_eq!(text(body).await, "abcd");
        let Gathered::Own(body) = gather(Body::whole("abcd"), 3, &Room::new(9)).await else { panic!() };
        assert_eq!(text(body).await, "abcd");
    }

    #[tokio::test]
    async fn trailers_come_through() {
        let (sender, body) = coming();
        sender.try_send(Frame::data(Bytes::from_static(b"a"))).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x", http::HeaderValue::from_static("1"));
        sender.try_send(Frame::trailers(trailers.clone())).unwrap();
        drop(sender);
        let Gathered::Own(body) = gather(body, 9, &Room::new(9)).await else { panic!() };
        assert_eq!(BodyExt::collect(body).await.unwrap().trailers(), Some(&trailers));
    }

    #[tokio::test]
    async fn the_rest_is_written_as_it_comes_and_the_room_comes_back() {
        let room = Room::new(9);
        let (sender, body) = coming();
        sender.try_send(Frame::data(Bytes::from_static(b"ab"))).unwrap();
        let Gathered::Part(part) = gather(body, 9, &room).await else { panic!() };
        assert_eq!(room.free(), 7);
        let (tape, mut pump) = part.play(None).ok().unwrap();
        let reader = tape.reader();
        drop(tape);
        sender.try_send(Frame::data(Bytes::from_static(b"c"))).unwrap();
        drop(sender);
        let ended = pump.run(Deadline::after(std::time::Duration::from_secs(1)), 9).await;
        assert!(matches!(ended, Ended::Whole(bytes) if bytes == "abc"));
        drop(pump);
        assert_eq!(room.free(), 6);
        assert_eq!(reader.collect().await.unwrap().to_bytes(), "abc");
        assert_eq!(room.free(), 9);
    }

    #[tokio::test]
    async fn a_writer_that_goes_leaves_no_reader_waiting() {
        let (_sender, body) = coming();
        let Gathered::Part(part) = gather(body, 9, &Room::new(9)).await else { panic!() };
        let (tape, pump) = part.play(None).ok().unwrap();
        let reader = tape.reader();
        drop(pump);
        assert!(reader.collect().await.is_err());
    }
}
