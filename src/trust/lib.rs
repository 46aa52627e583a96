//! What decides whether an image boots, and nothing else: pure functions over bytes. No file, no kernel call, no clock and
//! no unsafe code: without the standard library there are none. The initramfs, `ostree-seal verify` and the deploy step call
//! the same functions.
//!
//! Read from the top down: each module uses those above it only.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod digest; // the fs-verity digest of a file, as a type
pub mod names; // a product, a commit id
mod text;
pub mod vkey; // a public key // texts in sentences

pub mod commit;
pub mod gvariant; // the encoding of commits
pub mod note; // a signed statement about an image // a commit that holds an image's digest

pub mod evidence; // the bytes that are to cover an image
pub mod policy; // which keys may sign, what, and from which index on

pub mod check;
pub mod claim; // what they signed, and for whom
pub mod refusal; // why not
pub mod signatures; // which trusted keys signed // digest + evidence + policy -> proof, or why not
