//! Guests compute only while they may, and give that right back whenever they wait.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use onrush_invoke::{Body, InvokeError, Reached};
use onrush_runtime::Permit;
use onrush_types::Code;

use super::bench::{Bench, Guest, until};

/// A node with one slot, which goes to whoever asks first.
#[derive(Default)]
struct Door {
    taken: Mutex<bool>,
    waiting: Mutex<Vec<Waker>>,
    /// How often the slot was given back by a guest that had not ended.
    pauses: AtomicUsize,
    inside: AtomicUsize,
}

struct Slot {
    door: Arc<Door>,
    mine: bool,
}

impl Door {
    fn slot(self: &Arc<Self>) -> Box<Slot> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        Box::new(Slot { door: Arc::clone(self), mine: false })
    }

    fn is_empty(&self) -> bool {
        !*self.taken.lock().unwrap() && self.inside.load(Ordering::SeqCst) == 0
    }
}

impl Slot {
    fn give_back(&mut self) -> bool {
        let was_mine = std::mem::take(&mut self.mine);
        if was_mine {
            *self.door.taken.lock().unwrap() = false;
            self.door.waiting.lock().unwrap().drain(..).for_each(Waker::wake);
        }
        was_mine
    }
}

impl Permit for Slot {
    fn poll_compute(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), InvokeError>> {
        let mut taken = self.door.taken.lock().unwrap();
        if !self.mine && *taken {
            self.door.waiting.lock().unwrap().push(cx.waker().clone());
            return Poll::Pending;
        }
        *taken = true;
        self.mine = true;
        Poll::Ready(Ok(()))
    }

    fn pause(&mut self) {
        if self.give_back() {
            self.door.pauses.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.give_back();
        self.door.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One that never lets its call start.
struct Closed;

impl Permit for Closed {
    fn poll_compute(&mut self, _: &mut Context<'_>) -> Poll<Result<(), InvokeError>> {
        Poll::Ready(Err(InvokeError::refused(Code::Overloaded, "come again later")))
    }

    fn pause(&mut self) {}
}

async fn send(guest: &Guest, path: &str, time: Duration, door: &Arc<Door>) -> Result<(), InvokeError> {
    guest.call_under(door.slot(), get(path), time).await.map(drop)
}

fn get(path: &str) -> http::Request<Body> {
    http::Request::get(format!("http://shop.example{path}")).body(Body::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_waits_gives_its_slot_back() {
    let (bench, door) = (Bench::new(), Arc::new(Door::default()));
    let guest = bench.prepare("hostile").await;
    let sleeper = {
        let (guest, door) = (guest.clone(), Arc::clone(&door));
        tokio::spawn(async move { send(&guest, "/sleep?60000", Duration::from_secs(60), &door).await })
    };
    until("the sleeper waits", || door.pauses.load(Ordering::SeqCst) > 0).await;
    send(&guest, "/", Duration::from_secs(10), &door).await.expect("there is one slot, and nobody computes on it");
    sleeper.abort();
    until("everything is given back", || door.is_empty()).await;
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_spins_gives_way_at_each_tick() {
    let (bench, door) = (Bench::new(), Arc::new(Door::default()));
    let guest = bench.prepare("hostile").await;
    let spinner = {
        let (guest, door) = (guest.clone(), Arc::clone(&door));
        tokio::spawn(async move { send(&guest, "/spin", Duration::from_secs(20), &door).await })
    };
    until("the spinner has the slot", || *door.taken.lock().unwrap()).await;
    send(&guest, "/", Duration::from_secs(10), &door).await.expect("the slot goes round");
    assert!(!spinner.is_finished());
    spinner.abort();
    until("everything is given back", || door.is_empty()).await;
    bench.all_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_permit_ends_before_its_turn_has_not_run() {
    let bench = Bench::new();
    let guest = bench.prepare("hostile").await;
    let error = guest.call_under(Box::new(Closed), get("/"), Duration::from_secs(10)).await.unwrap_err();
    assert_eq!((error.code, error.reached), (Code::Overloaded, Reached::NotSent));
    bench.all_quiet().await;
}
