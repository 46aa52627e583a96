//! `ostree-seal-root`, the program in the initramfs: verifies the image of the deployment to boot and mounts it as the
//! root file system. It takes no arguments, so that there is none to get wrong.

#![no_main]

use std::ffi::{c_char, c_int};
use std::path::Path;

#[allow(unsafe_code, reason = "a C interface; each block has its SAFETY text")]
#[path = "sys/malloc.rs"]
mod malloc;

/// The C library's entry: what Rust's runtime does before its own `main` (guard pages, signal handlers, a look at
/// `/proc/self/maps`) costs more than all that this program does before its first mount.
#[allow(unsafe_code, reason = "the attribute is the only way to export the name; the function is safe code")]
#[unsafe(no_mangle)]
pub extern "C" fn main(argc: c_int, _argv: *const *const c_char) -> c_int {
    if argc > 1 {
        eprintln!("ostree-seal-root: takes no arguments; what it does is in the initramfs's policy");
        return 2;
    }
    ostree_seal_root::run::run(Path::new("/")).into()
}
