//! What a comparison finds.

use ostree_seal_trust::digest::Digest;

use crate::tree::Mtime;

/// All that differs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// In the order of their paths, the old one of what was renamed.
    pub changes: Vec<Change>,
    /// Bytes of the objects that the new side has and the old one hasn't.
    pub fetch: u64,
    /// How many objects that are.
    pub objects: usize,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it is; in the new side, unless it is there no more.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
    /// What differs of it, if it is in both.
    pub what: Vec<What>,
}

/// What happened to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the new side has it.
    Added,
    /// Only the old side has it.
    Removed,
    /// Both have it, and it differs.
    Changed,
    /// The old side has its content at another path, which the new one hasn't.
    Renamed(Vec<u8>),
}

/// A property that differs, in the old side and in the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Type of the file, as the bits of `S_IFMT`.
    Type(u32, u32),
    /// Permissions.
    Mode(u32, u32),
    /// Owner and group.
    Owner((u32, u32), (u32, u32)),
    /// An xattr's value, if there is one.
    Xattr(Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>),
    /// Bytes of content.
    Size(u64, u64),
    /// The content; its digests, as far as they are known.
    Content(Option<Digest>, Option<Digest>),
    /// A symlink's target.
    Target(Vec<u8>, Vec<u8>),
    /// The other paths of its inode.
    Links(Vec<Vec<u8>>, Vec<Vec<u8>>),
    /// Time of the last change.
    Mtime(Mtime, Mtime),
    /// Device number.
    Device(u32, u32),
}
