//! All that runs before the root is trusted, as a library: the deploy step and `ostree-seal verify` call the
//! same functions as the initramfs. Nothing here links glib, libostree or OpenSSL. Formats and threat model: README.md.

pub mod check; // image + evidence + policy -> VerifiedImage, or why not
pub mod commit; // a signed commit that holds an image's digest
pub mod digest; // the fs-verity digest of a file, as a type
pub mod evidence; // the bytes that speak for an image
pub mod names; // a product, a commit id
pub mod note; // a signed statement about an image
pub mod policy; // which keys may vouch, for what, and from which index on
pub mod refusal; // why not
pub mod verity;
pub mod vkey; // a public key // the digest as the kernel measures it

pub mod gvariant; // the encoding of commits
mod sys; // the only unsafe code
