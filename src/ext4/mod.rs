//! ext4 in a file: files are read, and fs-verity is switched on for some of them, without mounting anything.
//!
//! Images may come from an enemy: every offset is checked, and work is bounded by what the image has. What is written is
//! planned to the last block before the first byte of the image changes.

#![allow(dead_code, reason = "the writer comes next")]

pub mod error; // what is wrong
pub mod file_system; // an open file system: directories and files
pub mod inode; // one inode

mod checksum; // CRC32C as ext4 has it
mod directory; // names in a directory
mod disk; // bytes at offsets
mod extents; // where a file's blocks lie
mod features; // accepted and refused
mod format; // the records, byte for byte
mod groups; // group descriptors
mod superblock; // what kind of file system

pub use directory::Entry;
pub use error::Error;
pub use file_system::FileSystem;
