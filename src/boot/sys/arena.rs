//! Memory for a program that runs once and ends: given out from the front of a fixed block, and taken back at its end
//! only. What doesn't fit is mapped.
//!
//! Before each range is its size, as `free` isn't told it.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

const SIZE: usize = 256 << 10;

/// The bytes before a range, and what every range is aligned to.
const HEADER: usize = 16;

/// The block, and how much of its front is given out.
#[derive(Debug)]
#[repr(align(16))]
pub struct Arena {
    block: UnsafeCell<[u8; SIZE]>,
    used: AtomicUsize,
}

// SAFETY: the bytes of the block are only reached through pointers that were given out, and no two ranges overlap since
// `used` changes by atomic operations alone.
unsafe impl Sync for Arena {}

impl Arena {
    /// A block of which nothing is given out.
    #[allow(clippy::new_without_default, reason = "a default could not be a constant")]
    pub const fn new() -> Self {
        Self { block: UnsafeCell::new([0; SIZE]), used: AtomicUsize::new(0) }
    }

    /// `size` bytes, aligned to 16; null if there are none. They are zero if `zeroed` asks for it.
    pub fn give(&self, size: usize, zeroed: bool) -> *mut u8 {
        let Some(whole) = size.checked_next_multiple_of(HEADER).and_then(|size| size.checked_add(HEADER))
        else {
            return ptr::null_mut();
        };
        let used = self.used.load(Ordering::Relaxed);
        let from = if whole <= SIZE - used && self.move_end(used, used + whole) {
            // SAFETY: `used + whole` is at most SIZE.
            unsafe { self.start().add(used) }
        } else {
            // SAFETY: the kernel chooses where.
            match unsafe {
                mmap_anonymous(ptr::null_mut(), whole, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
            } {
                Ok(from) => from.cast(),
                Err(_) => return ptr::null_mut(),
            }
        };
        // SAFETY: `from` has `whole` bytes that are nobody else's, and is aligned to HEADER.
        unsafe {
            from.cast::<usize>().write(whole);
            let range = from.add(HEADER);
            if zeroed {
                range.write_bytes(0, size);
            }
            range
        }
    }

    /// Takes a range back.
    ///
    /// # Safety
    ///
    /// The pointer is null, or one that this arena gave out and that nobody uses any more.
    pub unsafe fn take(&self, range: *mut u8) {
        if range.is_null() {
            return;
        }
        // SAFETY: before the range is its header.
        let (from, whole) = unsafe { header(range) };
        match self.offset(from) {
            // Somewhere in the middle it is lost until the program ends.
            Some(offset) => {
                self.move_end(offset + whole, offset);
            }
            // SAFETY: it was mapped with this length. What fails to be unmapped is lost as well.
            None => unsafe {
                let _ = munmap(from.cast(), whole);
            },
        }
    }

    /// Makes a range larger or smaller, in its place or in another one; null, and the old range is kept, if it can't.
    ///
    /// # Safety
    ///
    /// As for [`Arena::take`].
    pub unsafe fn resize(&self, range: *mut u8, size: usize) -> *mut u8 {
        if range.is_null() {
            return self.give(size, false);
        }
        // SAFETY: before the range is its header.
        let (from, whole) = unsafe { header(range) };
        let Some(wanted) = size.checked_next_multiple_of(HEADER).and_then(|size| size.checked_add(HEADER))
        else {
            return ptr::null_mut();
        };
        if wanted <= whole {
            return range;
        }
        if let Some(offset) = self.offset(from) {
            if wanted <= SIZE - offset && self.move_end(offset + whole, offset + wanted) {
                // SAFETY: the range is the last one of the block, and `offset + wanted` is at most SIZE.
                unsafe { from.cast::<usize>().write(wanted) };
                return range;
            }
        }
        let new = self.give(size, false);
        if !new.is_null() {
            // SAFETY: the new range is longer than the old one, which is `whole - HEADER` long, and isn't part of it.
            unsafe {
                ptr::copy_nonoverlapping(range, new, whole - HEADER);
                self.take(range);
            }
        }
        new
    }

    fn start(&self) -> *mut u8 {
        self.block.get().cast()
    }

    /// Where in the block a pointer points to, if it does.
    fn offset(&self, pointer: *mut u8) -> Option<usize> {
        pointer.addr().checked_sub(self.start().addr()).filter(|offset| *offset < SIZE)
    }

    /// Moves the end of what is given out, if it still is where the caller saw it.
    fn move_end(&self, from: usize, to: usize) -> bool {
        self.used.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Where a range really begins, and how long it is from there.
///
/// # Safety
///
/// The pointer is one that an arena gave out.
unsafe fn header(range: *mut u8) -> (*mut u8, usize) {
    // SAFETY: each range has HEADER bytes before it, which begin with the length.
    unsafe {
        let from = range.sub(HEADER);
        (from, from.cast::<usize>().read())
    }
}

#[cfg(test)]
mod tests {
    use super::{Arena, SIZE};

    static ARENA: Arena = Arena::new();

    #[test]
    fn ranges_are_disjoint_and_the_last_one_grows_in_place() {
        // SAFETY: no range is used after it was given back, and no other test uses ARENA.
        unsafe {
            let one = ARENA.give(3, false);
            let two = ARENA.give(8, false);
            assert_eq!((one.addr() % 16, two.addr() % 16), (0, 0));
            two.write_bytes(7, 8);
            assert_eq!(ARENA.resize(two, 64), two);
            one.write_bytes(1, 3);
            let moved = ARENA.resize(one, 40);
            assert_ne!(moved, one);
            assert_eq!((moved.add(2).read(), two.add(7).read()), (1, 7));
            ARENA.take(moved);
            let again = ARENA.give(40, true);
            assert_eq!((again, again.add(2).read()), (moved, 0));
            let large = ARENA.give(SIZE, true);
            assert!(ARENA.offset(large).is_none());
            let larger = ARENA.resize(large, 2 * SIZE);
            larger.add(SIZE).write_bytes(9, SIZE);
            ARENA.take(larger);
            assert!(ARENA.give(usize::MAX - 8, false).is_null());
        }
    }
}
