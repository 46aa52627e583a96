//! All that runs before the root is trusted, as a library: the deploy step and `ostree-seal verify` call the
//! same functions as the initramfs. Nothing here links glib, libostree or OpenSSL. Formats and threat model: README.md.

pub mod run; // the program from the top down

pub mod cmdline; // which deployment the kernel was told to boot
pub mod deployment; // where it is, and its image, opened once
pub mod found; // what is there, and the check of it: also the preflight's
pub mod prepare_root_conf; // how the root is laid out

pub mod check; // image + evidence + policy -> VerifiedImage, or why not
pub mod commit; // a signed commit that holds an image's digest
pub mod digest; // the fs-verity digest of a file, as a type
pub mod evidence; // the bytes that speak for an image
pub mod gvariant; // the encoding of commits
pub mod names; // a product, a commit id
pub mod note; // a signed statement about an image
pub mod policy; // which keys may vouch, for what, and from which index on
pub mod refusal; // why not
pub mod verity; // the digest as the kernel measures it
pub mod vkey; // a public key

pub mod layout; // /etc, /var, /usr and /sysroot on the new root
pub mod mount; // EROFS and the overlay
pub mod namespace; // where the root is put together, unseen until it is whole

pub mod booted; // /run/ostree-booted
pub mod error; // why there is no new root
pub mod fields; // the values in that, one by one
pub mod journal; // what the admin gets to read
pub mod run_files; // what later stages find in /run
pub mod state; // /run/ostree-seal/state.json

pub mod sys; // what needs unsafe code, which is nowhere else
