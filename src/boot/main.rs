//! `ostree-seal-root`, the program in the initramfs: verifies the image of the deployment to boot and mounts it as the
//! root file system. It takes no arguments, so that there is none to get wrong.

#![no_main]

use std::path::Path;

use dlmalloc::GlobalDlmalloc;

/// The C library's allocator asks for random bytes before it gives out the first one, when the entropy pool may not be
/// ready yet; so Rust has another one, and the C library none but what `program!` exports.
#[global_allocator]
static MEMORY: GlobalDlmalloc = GlobalDlmalloc;

ostree_seal_root::program!(run);

fn run(arguments: usize) -> u8 {
    if arguments > 0 {
        eprintln!("ostree-seal-root: takes no arguments; what it does is in the initramfs's policy");
        return 2;
    }
    ostree_seal_root::run::run(Path::new("/"))
}
