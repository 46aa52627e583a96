//! composefs images: a [`Tree`](crate::tree::Tree) becomes bytes, and bytes become a tree. No file is opened here.
//!
//! README.md beside this file has the format with byte diagrams; each of its sections is one file of code.

pub mod format; // the records, byte for byte

mod directory; // names of a directory, and how they fill blocks
mod emit; // the pieces, made by several threads and written in order
mod error; // why a tree can't become an image
mod inode; // what one inode says of its node
mod layout; // the plan: the place of everything
mod order; // which inodes there are, in which order
mod overlay; // what overlayfs finds, and what is hidden from it
mod pieces; // the image, cut into pieces
mod reader; // bytes to a tree
mod sets; // the final xattrs of each inode
mod sharing; // which xattrs are shared, for dumps
mod writer; // a piece of a plan's bytes
mod xattrs; // shared xattrs, and the bytes of all

pub use emit::emit;
pub use error::{PlanError, PlanErrorKind};
pub use layout::{Plan, Versions, plan};
pub use reader::{
    BackingFile, Bytes, FoundContent, FoundInode, ImageError, Lookup, LookupError, NamedValue, ReadErrorKind,
    backings, read, version,
};
pub use sharing::Sharing;

#[cfg(test)]
mod tests;
