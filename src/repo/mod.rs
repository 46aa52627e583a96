//! OSTree repositories: from a commit to a [`Tree`](crate::tree::Tree). With `sysroot`, the only files that name ostree, gio or glib.
//!
//! libostree opens the repository, resolves refs and holds the lock. The objects are read directly: they are a stable
//! format, and that is where the time goes.

mod checksum; // an object's name
mod commit; // where a commit's tree begins
mod dirmeta; // owner, mode and xattrs
mod dirtree; // the names in a directory
mod format; // why an object is not what it should be

mod archive; // file objects in archive repositories
mod file; // file objects in the other modes
mod object; // what is known of a file object
mod store; // objects as files below `objects`
mod xattrs; // their extended attributes

mod look; // directories and files of a commit, one at a time

mod detached; // signatures: what they are made over, where they are kept
mod fsck; // contents compared with their checksums
mod replace; // an object in place of a damaged one
mod verify; // objects, checked

mod lock; // libostree's lock; the only unsafe code of this package
mod open; // libostree: open, resolve, lock

mod name; // what an object is named after
mod paths; // the path of an object, for who has to be told

mod known; // what earlier runs have learned, and who hears of the progress
mod source; // a repository, open

mod assemble; // table of objects -> tree
mod explore; // what the threads do
mod list; // commit -> names of file objects
mod presence; // whether objects that a cache knows are there
mod walk; // commit -> table of objects

pub use checksum::Checksum;
pub use commit::Commit;
pub use detached::Embedded;
pub use file::{FileMeta, Work};
pub use format::FormatError;
pub use fsck::fsck_files;
pub use known::{Check, KeptMetadata, LoadProgress, NoCache, ObjectCache};
pub use look::{DirectoryMeta, Listed, Listing, NameCheck, ObjectContent};
pub use name::DamagedObject;
pub use object::{ObjectInfo, ObjectKind};
pub use source::{Load, Loaded, Source};
pub use store::{MissingObject, RepoMode};
pub use verify::{Fault, Verify, Wanted};
pub use xattrs::{XattrList, Xattrs};

#[cfg(test)]
mod tests;
