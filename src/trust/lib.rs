//! What decides whether an image boots, and nothing else: pure functions over bytes. There is no file, no kernel call, no
//! clock and no unsafe code in here; without the standard library there could be none. The initramfs, `ostree-seal verify`
//! and the deploy step call the same functions, so that a build host and a device know what the boot will say.
//!
//! ```text
//! policy.conf, trusted.d, revoked.d ── Policy::parse ──> SealedPolicy ─┐
//! .ostree.seal, or a signed commit  ───────────────────> Evidence ─────┼── check ──> Proof, or a Refusal
//! the digest that the kernel enforces ─────────────────> Digest ───────┘
//! ```
//!
//! **To know what boots and what doesn't**, read in this order, a quarter of an hour:
//!
//! 1. [`check`]: three functions, one behind the other: who signed what, is it for this system, is it this image.
//! 2. [`claim`]: what the second and the third of them compare.
//! 3. [`signatures`]: which signatures count. One key counts once, a revoked one never, a broken one of a trusted key is
//!    the end.
//! 4. [`policy`]: who is trusted, how many must sign. A policy is understood whole or not at all.
//! 5. [`note`], [`commit`]: the two things that can be signed, read by the letter.
//! 6. [`refusal`]: every way to say no, with its word for programs.
//!
//! What is left are small types: [`digest`], [`names`], [`vkey`], [`evidence`], and [`gvariant`], in which commits are
//! encoded. Each file uses those before it in the list of modules only, and each has its own error.
//!
//! A [`Proof`](check::Proof) says that the check was made. It holds no image: the package ostree-seal-root ties it to the
//! open file that was measured, and mounts nothing else.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod digest; // the fs-verity digest of a file, as a type
pub mod names; // a product, a commit id
mod text; // texts in sentences
pub mod vkey; // a public key

pub mod note; // a signed statement about an image

pub mod gvariant; // the encoding of commits

pub mod commit; // a commit that holds an image's digest

pub mod evidence; // the bytes that are to cover an image
pub mod policy; // which keys may sign, what, and from which index on

pub mod signatures; // which trusted keys signed

pub mod claim; // what they signed, and for whom

pub mod refusal; // why not

pub mod check; // digest + evidence + policy -> proof, or why not
