//! An image's tree. Images may come from an enemy: every offset is checked, nothing recurses, nothing is allocated by
//! a length that the image claims, and work is linear in the image's length. README.md, "Reading".

mod backings; // nothing but the backing files
mod lookup; // some inodes, each block read when it is needed
mod walk; // the tree

mod content; // bytes of directories, inline files and targets
mod error; // what is wrong, and at which path
mod image; // header and superblock
mod inode; // one inode's record
mod roles; // which of several names is a node's place
mod xattrs; // one inode's xattrs

pub use backings::{BackingFile, backings};
pub use error::{ImageError, ReadErrorKind};
pub use image::version;
pub use lookup::{Bytes, FoundContent, FoundInode, Lookup, LookupError, NamedValue};
pub use walk::read;
