//! Two engines over a pair, in virtual time: what one's programs do, the other's must see.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

mod addresses;
mod attacks;
mod bridged;
mod datagrams;
mod echo;
mod ends;
mod fragments;
mod hostile;
mod listeners;
mod multicast;
mod peer;
mod reports;
mod reuse;
mod streams;
mod treatment;
mod udp_options;
mod weather;
mod world;

/// Counts what each thread, and so each test, has allocated.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<isize> = const { Cell::new(0) };
}

/// Bytes that this test has allocated and not freed.
fn allocated() -> isize {
    ALLOCATED.get()
}

// SAFETY: every call is passed to the system's allocator with the arguments that it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + layout.size() as isize);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.set(ALLOCATED.get() - layout.size() as isize);
        // SAFETY: the caller keeps the promises of `dealloc`; the pointer came from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
