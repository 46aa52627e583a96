//! composefs-dump(5) text to a [`Tree`](crate::tree::Tree) and back: one line a name, with eleven fields and xattrs.
//!
//! ```text
//! PATH SIZE MODE NLINK UID GID RDEV MTIME PAYLOAD CONTENT DIGEST [KEY=VALUE]…
//! /etc/hosts 220 100644 1 0 0 0 0.0 ab/cdef….file - 8f3c… security.selinux=system_u:object_r:net_conf_t:s0\x00
//! ```

mod error; // what is wrong, in which line and field
mod escape; // bytes that can't stand for themselves
mod links; // hard links, resolved when all lines are read
mod parse; // lines to nodes
mod print; // nodes to lines

pub use error::{DumpError, DumpErrorKind, Field};
pub use parse::parse;
pub use print::print;

#[cfg(test)]
mod tests;
