//! A reply to all who wait for it, and to the cache.
//!
//! A reply whose length is known to be small is read by all while it comes. One of unknown length is read by the leader
//! alone while it comes, and given to the others when it is whole. One that is too large is the leader's, and the others
//! run by themselves: so a slow reader neither stalls anybody nor makes anything grow.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use onrush_invoke::{Body, BodyError, Deadline, LoadReport, Reply, SharingKey};
use onrush_types::Code;
use tokio::time::Instant;

use super::{
    Execution, Led,
    collect::{Ended, Gathered, Part, Pump, gather},
    nobody,
};
use crate::{
    answer::{Answer, Asked, Content, Kept},
    flight::Progress,
    freshness::Life,
    status::Status,
    storage::Head,
    tape::Tape,
};

/// A reply that may be shared, without its body.
struct Delivery {
    head: Arc<Head>,
    node: Arc<str>,
    /// Where it belongs.
    place: SharingKey,
    /// Set if it is to be kept.
    life: Option<Life>,
}

impl Execution {
    /// Gives a reply to whoever may have it.
    pub(super) async fn deliver(&mut self, reply: Reply) {
        let Reply { response, node, .. } = reply;
        let (parts, body) = response.into_parts();
        let head = Arc::new(Head::new(parts.status, parts.headers));
        let names = head.shareable();
        let place = names.and_then(|names| self.core.store.place(self.job.key, names, &self.job.asked.headers));
        let Some(place) = place else { return self.pass(&head, body, node, true) };
        let life = self.life(&head);
        let delivery = Delivery { head, node, place, life };
        match gather(body, self.job.sharing.largest, &self.core.room).await {
            Gathered::Whole(bytes) if delivery.is_complete(&bytes) => self.whole(&delivery, bytes),
            Gathered::Whole(bytes) => self.pass(&delivery.head, Body::whole(bytes), delivery.node, true),
            Gathered::Own(body) => self.pass(&delivery.head, body, delivery.node, true),
            Gathered::NoRoom(body) => self.pass(&delivery.head, body, delivery.node, false),
            Gathered::Broken(error) => self.failed(error.into()),
            Gathered::Part(part) => self.streamed(delivery, part).await,
        }
    }

    /// The reply is here.
    fn whole(&mut self, delivery: &Delivery, bytes: Bytes) {
        let status = self.keep(delivery, &bytes);
        // Left only now: whoever comes next finds what is kept.
        self.core.flights.leave(&self.flight);
        self.answer(delivery.answer(Content::Whole(bytes), &self.job.asked, status));
    }

    /// The reply is still coming.
    async fn streamed(&mut self, delivery: Delivery, part: Part) {
        let length = delivery.head.content_length().or(part.length());
        if length.is_some_and(|length| length > self.job.sharing.largest) {
            return self.pass(&delivery.head, part.back(), delivery.node, true);
        }
        let (tape, pump) = match part.play(length) {
            Ok(playing) => playing,
            Err(body) => return self.pass(&delivery.head, body, delivery.node, false),
        };
        match length {
            Some(length) => self.streamed_to_all(delivery, &tape, pump, length).await,
            None => self.streamed_to_the_leader(delivery, &tape, pump).await,
        }
    }

    async fn streamed_to_all(&mut self, delivery: Delivery, tape: &Arc<Tape>, mut pump: Pump, length: u64) {
        if delivery.head.only_before_head() {
            self.core.flights.leave(&self.flight);
        }
        let ttl = delivery.life.map(|life| life.ttl(life.age));
        let status = Status { stored: ttl.is_some(), ttl, ..Status::default() };
        self.answer(delivery.answer(Content::Tape(Arc::clone(tape)), &self.job.asked, status));
        let ended = tokio::select! {
            biased;
            ended = pump.run(self.job.deadline, length) => ended,
            () = self.unwanted(&delivery, tape) => return,
        };
        match ended {
            Ended::Whole(bytes) if delivery.is_complete(&bytes) => {
                self.keep(&delivery, &bytes);
            }
            Ended::Late => pump.break_off(BodyError::new(Code::DeadlineExceeded, "the reply did not end in time")),
            Ended::Own => pump.break_off(BodyError::new(Code::FunctionFailed, "the reply is longer than it said")),
            Ended::Whole(_) | Ended::Broken(_) => {}
        }
    }

    async fn streamed_to_the_leader(&mut self, delivery: Delivery, tape: &Arc<Tape>, mut pump: Pump) {
        if self.leader.is_some() {
            let body = Body::stream(tape.reader());
            let reply = own(delivery.head.status, delivery.head.headers.clone(), body, Arc::clone(&delivery.node));
            self.tell(Led::Own(Box::new(reply)));
        }
        // A leader holds nobody up for longer than this.
        let coalesce = self.job.sharing.coalesce.as_ref();
        let age = coalesce.map(|coalesce| Deadline::at(self.flight.began() + coalesce.lock_age));
        let patience = age.unwrap_or(self.job.deadline).min(self.job.deadline);
        let ended = tokio::select! {
            biased;
            ended = pump.run(patience, self.job.sharing.largest) => ended,
            () = self.unwanted(&delivery, tape) => return,
        };
        match ended {
            Ended::Whole(bytes) if delivery.is_complete(&bytes) => self.whole(&delivery, bytes),
            Ended::Broken(error) => self.release(&error.into()),
            Ended::Whole(_) | Ended::Own | Ended::Late => {
                self.alone(true);
                pump.hand_over();
            }
        }
    }

    /// Resolves when nobody reads what is not to be kept either.
    async fn unwanted(&self, delivery: &Delivery, tape: &Tape) {
        if delivery.life.is_some() {
            std::future::pending::<()>().await;
        }
        nobody(&self.core, &self.flight, Some(tape)).await;
    }

    /// Keeps a whole reply, if it may be. Returns what is said of it.
    fn keep(&self, delivery: &Delivery, bytes: &Bytes) -> Status {
        let Some(life) = delivery.life else { return Status::default() };
        // Exactly the bytes, not the buffer that they came in.
        let exactly = Bytes::copy_from_slice(bytes);
        let kept = Kept::new(Arc::clone(&delivery.head), exactly, Arc::clone(&delivery.node), life);
        self.core.keep(delivery.place, Arc::new(kept), self.worth(&delivery.head, &life));
        Status { stored: true, ttl: Some(life.ttl(life.age)), ..Status::default() }
    }

    /// The reply is the leader's own.
    fn pass(&mut self, head: &Head, body: Body, node: Arc<str>, mark: bool) {
        self.alone(mark);
        let reply = own(head.status, head.headers.clone(), body, node);
        self.tell(Led::Own(Box::new(reply)));
    }

    /// The others run by themselves; with a mark, so does whoever comes next, without waiting for the like of it.
    fn alone(&self, mark: bool) {
        let caching = self.job.sharing.cache.as_ref();
        let time = caching.map_or(self.core.config.pass_for, |caching| caching.hit_for_miss);
        if mark && !time.is_zero() {
            self.core.store.mark(self.job.place, Instant::now() + time);
        }
        self.core.flights.leave(&self.flight);
        self.flight.publish(Progress::Alone);
    }
}

impl Delivery {
    /// Whether these are all the bytes that the head promised.
    fn is_complete(&self, bytes: &Bytes) -> bool {
        self.head.content_length().is_none_or(|length| length == bytes.len() as u64)
    }

    fn answer(&self, content: Content, asked: &Arc<Asked>, status: Status) -> Answer {
        let (head, node, asked) = (Arc::clone(&self.head), Arc::clone(&self.node), Arc::clone(asked));
        Answer { head, content, node, asked, age: None, status }
    }
}

/// A reply that somebody has alone. Its load is said by whoever passes it on.
fn own(status: StatusCode, headers: HeaderMap, body: Body, node: Arc<str>) -> Reply {
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Reply { response, node, load: LoadReport::default() }
}
