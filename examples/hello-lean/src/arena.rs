//! Memory for one call: handed out from the front, given back as a whole when the instance ends. What was handed out
//! last can be given back or grown in place. The first pages are there from the start, so that a small call never asks
//! the host for memory, which would cost more than the call. With `reuse` in onrush.toml, use the standard allocator
//! instead: remove this module.

use std::{
    alloc::{GlobalAlloc, Layout},
    arch::wasm32::{memory_grow, memory_size},
    cell::Cell,
};

const PAGE: usize = 64 << 10;

struct Arena {
    next: Cell<usize>,
    end: Cell<usize>,
}

// SAFETY: this target has one thread.
unsafe impl Sync for Arena {}

unsafe extern "C" {
    /// Where the linker's own data end.
    static __heap_base: u8;
}

#[global_allocator]
static ARENA: Arena = Arena { next: Cell::new(0), end: Cell::new(0) };

impl Arena {
    /// Makes everything up to `next` ours.
    fn reach(&self, next: usize) -> bool {
        let missing = next.saturating_sub(self.end.get()).div_ceil(PAGE);
        if missing > 0 {
            if memory_grow(0, missing) == usize::MAX {
                return false;
            }
            self.end.set(self.end.get() + missing * PAGE);
        }
        self.next.set(next);
        true
    }
}

// SAFETY: every piece lies between the linker's data and the end of memory, and begins behind the end of the one before.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.end.get() == 0 {
            self.next.set((&raw const __heap_base).addr());
            self.end.set(memory_size(0) * PAGE);
        }
        let at = self.next.get().next_multiple_of(layout.align());
        match at.checked_add(layout.size()) {
            Some(next) if self.reach(next) => std::ptr::with_exposed_provenance_mut(at),
            _ => std::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if piece.addr() + layout.size() == self.next.get() {
            self.next.set(piece.addr());
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let last = piece.addr() + layout.size() == self.next.get();
        if last && piece.addr().checked_add(size).is_some_and(|next| self.reach(next)) {
            return piece;
        }
        // SAFETY: the caller promises what GlobalAlloc asks of a layout; the pieces do not overlap.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                std::ptr::copy_nonoverlapping(piece, new, size.min(layout.size()));
            }
            new
        }
    }
}
