//! The C library's allocator, replaced: its own one asks for random bytes before it gives out the first byte, when the
//! entropy pool may not be ready yet. Part of the program alone; a library must not do this to who links it.

use std::ffi::{c_int, c_void};

use ostree_seal_root::arena::Arena;

static ARENA: Arena = Arena::new();

const ENOMEM: c_int = 12;

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    ARENA.give(size, false).cast()
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    count.checked_mul(size).map_or(std::ptr::null_mut(), |size| ARENA.give(size, true)).cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(range: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller passes on what malloc, calloc or realloc gave, all of which are ARENA's.
    unsafe { ARENA.resize(range.cast(), size).cast() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(range: *mut c_void) {
    // SAFETY: as for realloc.
    unsafe { ARENA.take(range.cast()) }
}

/// Nothing here has a larger alignment than 16, which every range has; the C library wants the symbol to be ours as well.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(result: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    let range = if alignment > 16 { std::ptr::null_mut() } else { malloc(size) };
    if range.is_null() {
        return ENOMEM;
    }
    // SAFETY: the caller has passed a place for the result.
    unsafe { result.write(range) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    if alignment > 16 { std::ptr::null_mut() } else { malloc(size) }
}

#[unsafe(no_mangle)]
extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    aligned_alloc(alignment, size)
}
