//! A file system as plain data: no I/O, no OSTree, no EROFS. Sources build a [`Tree`], writers read it.

mod data; // the tree and what it is made of
mod xattrs; // sets of xattrs, interned

mod error; // what does not fit into it
mod limits; // how much does
pub mod mode; // file types
mod path; // where nodes are placed

pub use data::{
    Backing, BackingId, Content, DirectoryId, Entry, Metadata, Mtime, Node, NodeId, Role, Span, Tree, Xattr,
    XattrId, XattrsId,
};
pub use error::TreeError;
pub use limits::{
    FILE_SIZE_MAX, INLINE_MAX, NAME_MAX, TARGET_MAX, XATTR_BUDGET, XATTR_NAME_MAX, XATTR_VALUE_MAX,
};
pub use path::Paths;

#[cfg(test)]
mod tests;
