//! All that runs before the root is trusted, as a library: the deploy step and `ostree-seal verify` call the
//! same functions as the initramfs. Nothing here links glib, libostree or OpenSSL. What decides is in the package
//! ostree-seal-trust.

pub mod run; // the program from the top down: the steps below, one after the other

pub mod check; // policy + evidence + measured image -> verified image, or why not
pub mod find; // which deployment, where it is, and its image, opened once
pub mod layout; // /etc, /var, /usr and /sysroot on the new root
pub mod mount; // EROFS and the overlay, unseen until the root is whole
pub mod root; // the new root, from an image or a directory: mount and layout
pub mod tell; // the journal, /run/ostree-booted, /run/ostree-seal/state.json

pub mod tpm; // what the boot comes to, measured into a PCR; a refusal, too

pub mod end; // of a boot that has no root: nobody gets a shell

pub mod error; // why there is no new root
pub mod read; // a file, whole, up to a limit
pub mod sys; // what needs unsafe code, which is nowhere else
