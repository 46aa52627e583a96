//! All that runs before the root is trusted, as a library: the deploy step and `ostree-seal verify` call the
//! same functions as the initramfs. Nothing here links glib, libostree or OpenSSL.

pub mod digest; // the fs-verity digest of a file, as a type
pub mod verity; // the digest as the kernel measures it

mod sys; // the only unsafe code
