//! ext4 in a file: files are read, and fs-verity is switched on for some of them, without mounting anything.
//!
//! Images may come from an enemy: every offset is checked, and work is bounded by what the image has. What is written is
//! planned to the last block before the first byte of the image changes.

pub mod enable; // fs-verity switched on: plan, then bytes
pub mod error; // what is wrong
pub mod examine; // what fs-verity files have, and should have
pub mod file_system; // an open file system: directories and files
pub mod inode; // one inode

mod append; // extents behind a file's last one
mod checksum; // CRC32C as ext4 has it
mod directory; // names in a directory
mod disk; // bytes at offsets
mod extents; // where a file's blocks lie
mod features; // accepted and refused
mod format; // the records, byte for byte
mod free; // free blocks
mod groups; // group descriptors
mod metadata; // tree and descriptor behind the end of a file
mod superblock; // what kind of file system

pub use directory::NamedInode;
pub use error::Error;
pub use file_system::FileSystem;
