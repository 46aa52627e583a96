//! `ostree-seal-root`, the program in the initramfs: verifies the image of the deployment to boot and mounts it as the
//! root file system. It takes no arguments about what it checks, so that there is none to get wrong. `--give-up` checks and
//! mounts nothing: initramfs images run it before they would give somebody a shell.

#![no_main]

use std::path::Path;

use dlmalloc::GlobalDlmalloc;

/// The C library's allocator asks for random bytes before it gives out the first one, when the entropy pool may not be
/// ready yet; so Rust has another one, and the C library none but what `program!` exports.
#[global_allocator]
static MEMORY: GlobalDlmalloc = GlobalDlmalloc;

ostree_seal_root::program!(run);

fn run(arguments: usize) -> u8 {
    let root = Path::new("/");
    let code = match (arguments, std::env::args_os().nth(1)) {
        (0, _) => ostree_seal_root::run::run(root),
        (1, Some(argument)) if argument == "--give-up" => {
            // Nobody is left to tell what could not be closed.
            ostree_seal_root::tpm::close(root);
            3
        }
        _ => {
            eprintln!(
                "ostree-seal-root: knows no argument but --give-up; what it does is in the initramfs's policy"
            );
            return 2;
        }
    };
    if code != 0 {
        ostree_seal_root::end::end(root);
    }
    code
}
