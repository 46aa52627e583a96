//! `ostree-seal`: tamper-evident OSTree and bootc systems. This is the table of contents.
//!
//! Data flows one way: commit -> [`tree`] -> plan -> bytes -> digest -> note.

pub mod atomic; // files that are there whole or not at all
pub mod beneath; // files that nobody has vouched for, below a root
pub mod cache; // what earlier conversions learned of objects
pub mod disk_image; // what an image file is, and where its ext4 lies
pub mod dump; // composefs-dump(5) text <-> tree
pub mod erofs; // tree <-> image
pub mod ext4; // ext4 in a file, which fs-verity can be switched on in
pub mod glob; // patterns of names and paths
pub mod merkle; // the fs-verity digest in user space
pub mod repo; // OSTree repositories: commit -> tree
pub mod shown; // text from outside, fit for a terminal
pub mod threads; // many pieces of work
pub mod tree; // a file system as plain data

pub mod convert; // the pipeline from a commit to an image
pub mod look; // the files of an image, a commit or a deployment, one at a time
pub mod output; // an image on the disk, whole or not at all
pub mod refused; // the answer no
pub mod seal; // a note in the making
pub mod signing; // private keys; the only file that sees one

pub mod initrd; // what the initramfs of a deployment holds
pub mod sysroot; // deployments: which there are, what runs, the lock

pub mod continuity; // what runs decides what may come
pub mod fsck; // what is damaged, by path

pub mod deploy; // make a deployment bootable under its policy, or refuse it

pub mod offline; // a system in an image that nobody has mounted

pub mod doctor; // what stands between a system and its next sealed boot
pub mod status; // what the next boot will make of each deployment

pub mod cli; // the command line; the only code that prints
