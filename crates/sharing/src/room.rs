//! The bound on the bytes of replies that are being collected.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// So many bytes.
pub(crate) struct Room {
    free: AtomicU64,
}

impl Room {
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { free: AtomicU64::new(bytes) })
    }

    /// Takes a place for so many. None if they are not free.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> Option<Place> {
        let mut place = Place { room: Arc::clone(self), bytes: 0 };
        place.grow(bytes).then_some(place)
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }
}

/// A part of the room, until it is dropped.
pub(crate) struct Place {
    room: Arc<Room>,
    bytes: u64,
}

impl Place {
    /// Takes so many more. Whether they were free.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let less = |free: u64| free.checked_sub(bytes);
        let grown = self.room.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// All of it, as another one.
    pub(crate) fn split(&mut self) -> Self {
        Self { room: Arc::clone(&self.room), bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let room = Room::new(10);
        let mut place = room.take(4).unwrap();
        assert!(place.grow(6));
        assert!(!place.grow(1));
        assert!(room.take(1).is_none());
        drop(place);
        assert_eq!(room.free(), 10);
    }
}
