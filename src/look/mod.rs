//! Looking inside: the files of an image, a commit or a deployment, one at a time. Nothing is mounted, and nothing takes root.

mod item; // a file as all of them have it
mod view; // what can be looked into

mod commit; // a commit of a repository
mod image; // an image, and where the contents of its files are

mod filter; // which files are wanted
mod path; // from a path to a file
mod read; // contents that were checked
mod walk; // all files below a directory

mod change; // what a comparison finds
mod diff; // what differs between two trees
mod explain; // the first cause, in words
mod links; // which paths are one inode
mod pair; // two commits, as far as they differ
mod sides; // what can be compared

pub use change::{Change, ChangeKind, Diff, What};
pub use commit::CommitView;
pub use diff::diff;
pub use explain::explain;
pub use filter::{Filter, FilterError};
pub use image::ImageView;
pub use item::{Body, Id, Item, Kind, XattrsOf};
pub use pair::commits;
pub use path::{FoundFile, find};
pub use read::copy;
pub use sides::{Side, Traits};
pub use view::{Expected, View};
pub use walk::walk;
